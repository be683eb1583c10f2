using Generation.Core.Catalog;
using Generation.Core.Settings;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Ark;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Ark;

public sealed class ArkOptionsTests
{
    [Fact]
    public void Without_a_setting_the_defaults_are_valid_and_no_key_is_needed_to_start()
    {
        var options = Read();

        Assert.Equal("https://ark.ap-southeast.bytepluses.com/api/v3", options.BaseUrl);
        Assert.Equal("", options.ApiKey);
        Assert.Equal(4, options.ImageBatch);
        Assert.Equal((TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(120)), (options.ConnectTimeout, options.CallTimeout));
        Assert.Equal(["*.volces.com", "*.bytepluses.com", "*.byteplus.com"], options.SourceHosts);
        Assert.Equal("seedream-4-0-250828", options.IdOf("seedream-4-0-250828"));
    }

    [Fact]
    public void Source_hosts_come_as_a_list_or_as_one_string_and_replace_the_default()
    {
        Assert.Equal(["127.0.0.1", "*.volces.com"], Read(("SourceHosts", "127.0.0.1, *.volces.com")).SourceHosts);
        Assert.Equal(["127.0.0.1", "*.volces.com"], Read(("SourceHosts:0", "127.0.0.1"), ("SourceHosts:1", "*.volces.com")).SourceHosts);
        Assert.Equal(3, Read(("SourceHosts", "")).SourceHosts.Count);
    }

    [Fact]
    public void A_model_may_be_bound_to_an_endpoint_of_the_account()
    {
        var options = Read(("Models:seedream-4-0-250828", "ep-20260101-abc"));

        Assert.Equal("ep-20260101-abc", options.IdOf("seedream-4-0-250828"));
        Assert.Equal("seedream-4-5-251128", options.IdOf("seedream-4-5-251128"));
    }

    [Fact]
    public void A_key_from_a_file_may_end_with_a_line_break() => Assert.Equal("ark-key", Read(("ApiKey", "ark-key\n")).ApiKey);

    [Fact]
    public void The_flat_name_sets_the_calls_at_once()
    {
        var configuration = new ConfigurationBuilder();
        configuration.AddFlatNames(name => name == "SEEDREAM4_PROVIDER_BATCH" ? "7" : null);
        using var services = new ServiceCollection().AddArk(configuration.Build()).BuildServiceProvider();

        Assert.Equal(7, services.GetRequiredService<IOptions<ArkOptions>>().Value.ImageBatch);
    }

    [Theory]
    [InlineData("GroupTimeout", "00:01:00", "Providers:Ark:GroupTimeout")]
    [InlineData("GroupTimeout", "01:00:01", "Providers:Ark:GroupTimeout")]
    [InlineData("VideoCallbackPatience", "-00:00:01", "Providers:Ark:VideoCallbackPatience")]
    [InlineData("VideoReadsPerSecond", "-1", "Providers:Ark:VideoReadsPerSecond")]
    [InlineData("VideoCreatesPerMinute", "-1", "Providers:Ark:VideoCreatesPerMinute")]
    [InlineData("BaseUrl", "ark.example.com", "Providers:Ark:BaseUrl")]
    [InlineData("BaseUrl", "ftp://ark.example.com/api/v3", "Providers:Ark:BaseUrl")]
    [InlineData("BaseUrl", "https://user:word@ark.example.com/api/v3", "Providers:Ark:BaseUrl")]
    [InlineData("ImageBatch", "0", "Providers:Ark:ImageBatch (SEEDREAM4_PROVIDER_BATCH)")]
    [InlineData("ImageBatch", "16", "Providers:Ark:ImageBatch (SEEDREAM4_PROVIDER_BATCH)")]
    [InlineData("SourceHosts", "https://ark.example.com", "Providers:Ark:SourceHosts")]
    [InlineData("ConnectTimeout", "00:00:00", "Providers:Ark:ConnectTimeout")]
    [InlineData("CallTimeout", "00:00:05", "Providers:Ark:CallTimeout")]
    [InlineData("CallTimeout", "01:00:00", "Providers:Ark:CallTimeout")]
    [InlineData("Models:seedream-4-0-250828", " ", "Providers:Ark:Models:seedream-4-0-250828")]
    public async Task A_wrong_value_stops_the_start_and_names_its_setting(string setting, string value, string named)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection([new($"Providers:Ark:{setting}", value)]);
        builder.Services.AddArk(builder.Configuration);
        using var host = builder.Build();

        var refused = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync());

        Assert.Contains(named, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_that_cannot_be_sent_is_refused_without_being_shown()
    {
        var refused = Assert.Throws<OptionsValidationException>(() => Read(("ApiKey", "ark key")));

        Assert.Contains("Providers:Ark:ApiKey", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("ark key", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_picture_model_of_Ark_that_is_sold_has_a_tool_in_the_worker()
    {
        using var services = new ServiceCollection().AddLogging().AddArk(new ConfigurationBuilder().Build()).BuildServiceProvider();
        Assert.Contains(new ServiceCollection().AddHandlers(typeof(Seedream4Handler).Assembly), s => s.ServiceType == typeof(Seedream4Handler));
        var tools = new HandlerRegistry([ActivatorUtilities.CreateInstance<Seedream4Handler>(services)]);

        var sold = ModelRegistry.BuiltIn.Where(model => model is { Provider: "ark", Kind: "image", Lifecycle: not ModelLifecycle.Retired }).ToList();

        Assert.NotEmpty(sold);
        Assert.All(sold, model => Assert.IsType<Seedream4Handler>(tools.Find(model.JobType)));
    }

    private static ArkOptions Read(params (string Setting, string Value)[] settings)
    {
        var configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(settings.Select(s => KeyValuePair.Create($"Providers:Ark:{s.Setting}", (string?)s.Value)))
            .Build();
        using var services = new ServiceCollection().AddArk(configuration).BuildServiceProvider();
        return services.GetRequiredService<IOptions<ArkOptions>>().Value;
    }
}
