using Generation.Core.Catalog;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Kie;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Kie;

public sealed class KieOptionsTests
{
    [Fact]
    public void Without_a_setting_the_defaults_are_valid_and_a_task_is_asked_for_less_often_the_older_it_is()
    {
        var options = Read();

        Assert.Equal(("https://api.kie.ai", "", 20), (options.BaseUrl, options.ApiKey, options.CreationsPerWindow));
        Assert.Equal(["*.aiquickdraw.com"], options.SourceHosts);
        Assert.Equal([3, 3, 7.5, 21, 21], new[] { 0, 29, 30, 120, 900 }.Select(age => options.PollAfter(TimeSpan.FromSeconds(age)).TotalSeconds));
    }

    [Fact]
    public void A_key_from_a_file_may_end_with_a_line_break_and_hosts_come_as_one_string()
    {
        Assert.Equal("kie-key", Read(("ApiKey", "kie-key\n")).ApiKey);
        Assert.Equal(["127.0.0.1", "*.aiquickdraw.com"], Read(("SourceHosts", "127.0.0.1, *.aiquickdraw.com")).SourceHosts);
    }

    [Theory]
    [InlineData("BaseUrl", "api.kie.ai", "Providers:Kie:BaseUrl")]
    [InlineData("ApiKey", "kie key", "Providers:Kie:ApiKey")]
    [InlineData("SourceHosts", "https://a.example", "Providers:Kie:SourceHosts")]
    [InlineData("ConnectTimeout", "00:00:00", "Providers:Kie:ConnectTimeout")]
    [InlineData("CallTimeout", "01:00:00", "Providers:Kie:CallTimeout")]
    [InlineData("PollInterval", "00:00:00.001", "Providers:Kie:PollInterval")]
    [InlineData("CallbackPatience", "-00:00:01", "Providers:Kie:CallbackPatience")]
    [InlineData("VideoCallbackPatience", "02:00:00", "Providers:Kie:VideoCallbackPatience")]
    [InlineData("CreationsPerWindow", "-1", "Providers:Kie:CreationsPerWindow")]
    [InlineData("Models:google/nano-banana", " ", "Providers:Kie:Models:google/nano-banana")]
    public void A_wrong_value_is_refused_and_names_its_setting(string setting, string value, string named)
    {
        var refused = Assert.Throws<OptionsValidationException>(() => Read((setting, value)));

        Assert.Contains(named, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_model_of_Kies_has_a_tool_in_the_worker()
    {
        using var services = new ServiceCollection().AddLogging().AddKie(new ConfigurationBuilder().Build()).BuildServiceProvider();
        var tools = new HandlerRegistry(
            [ActivatorUtilities.CreateInstance<KieHandler>(services), ActivatorUtilities.CreateInstance<SpeechHandler>(services)]);

        Assert.Equal(6, ModelRegistry.BuiltIn.Count(model => model.Provider == "kie"));
        Assert.All(ModelRegistry.BuiltIn.Where(model => model.Provider == "kie"), model => Assert.NotNull(tools.Find(model.JobType)));
    }

    private static KieOptions Read(params (string Setting, string Value)[] settings)
    {
        var configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(settings.Select(s => KeyValuePair.Create($"Providers:Kie:{s.Setting}", (string?)s.Value)))
            .Build();
        using var services = new ServiceCollection().AddKie(configuration).BuildServiceProvider();
        return services.GetRequiredService<IOptions<KieOptions>>().Value;
    }
}
