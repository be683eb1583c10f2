using Generation.Worker.Providers.Forge;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Forge;

public sealed class ForgeOptionsTests
{
    [Fact]
    public void Without_a_setting_it_is_the_WebUI_beside_us()
    {
        var options = Read();

        Assert.Equal(["http://127.0.0.1:7860"], options.Endpoints);
        Assert.Equal("", options.ApiAuth);
        Assert.Equal((180, 1), ((int)options.CallTimeout.TotalSeconds, (int)options.PollInterval.TotalSeconds));
        Assert.Equal("sd_xl_base_1.0", options.CheckpointOf("sd_xl_base_1.0"));
    }

    [Fact]
    public void Endpoints_come_as_a_list_or_as_one_string_and_one_endpoint_has_one_name()
    {
        Assert.Equal(["http://gpu-1:7860", "http://gpu-2:7860"], Read(("Endpoints", "http://gpu-1:7860/, http://gpu-2:7860")).Endpoints);
        Assert.Equal(["http://gpu-1:7860", "http://gpu-2:7860"],
            Read(("Endpoints:0", "http://gpu-1:7860"), ("Endpoints:1", "http://gpu-2:7860/")).Endpoints);
        Assert.Single(Read(("Endpoints", "")).Endpoints);
    }

    [Fact]
    public void A_model_may_be_any_checkpoint_or_the_one_that_is_loaded()
    {
        var options = Read(("Models:sd_xl_base_1.0", "juggernautXL_v9.safetensors"), ("Models:other", ""));

        Assert.Equal(("juggernautXL_v9.safetensors", null), (options.CheckpointOf("sd_xl_base_1.0"), options.CheckpointOf("other")));
    }

    [Theory]
    [InlineData("Endpoints", "gpu-1:7860", "Providers:Forge:Endpoints")]
    [InlineData("Endpoints", "http://user:word@gpu-1:7860", "Providers:Forge:Endpoints")]
    [InlineData("Endpoints", "http://gpu-1:7860,http://GPU-1:7860/", "Providers:Forge:Endpoints")]
    [InlineData("ApiAuth", "no colon", "Providers:Forge:ApiAuth")]
    [InlineData("ConnectTimeout", "00:00:00", "Providers:Forge:ConnectTimeout")]
    [InlineData("CallTimeout", "00:00:05", "Providers:Forge:CallTimeout")]
    [InlineData("PollInterval", "00:00:00.001", "Providers:Forge:PollInterval")]
    [InlineData("PollTimeout", "00:00:00", "Providers:Forge:PollTimeout")]
    [InlineData("SlotPatience", "01:00:00", "Providers:Forge:SlotPatience")]
    public async Task A_wrong_value_stops_the_start_and_names_its_setting(string setting, string value, string named)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection([new($"Providers:Forge:{setting}", value)]);
        builder.Services.AddForge(builder.Configuration);
        using var host = builder.Build();

        var refused = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync());

        Assert.Contains(named, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(value, setting == "ApiAuth" ? refused.Message : "", StringComparison.Ordinal);
    }

    private static ForgeOptions Read(params (string Setting, string Value)[] settings)
    {
        var configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(settings.Select(s => KeyValuePair.Create($"Providers:Forge:{s.Setting}", (string?)s.Value)))
            .Build();
        using var services = new ServiceCollection().AddForge(configuration).BuildServiceProvider();
        return services.GetRequiredService<IOptions<ForgeOptions>>().Value;
    }
}
