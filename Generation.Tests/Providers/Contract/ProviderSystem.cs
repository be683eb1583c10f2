using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Contract;

/// <summary>
/// One system for the scenarios of all providers, a session each, one after the other: short timeouts, small limits, and given up after two
/// attempts of two tries each.
/// </summary>
public sealed class ProviderSystem : IAsyncLifetime
{
    public TestSystem System { get; private set; } = null!;

    public async ValueTask InitializeAsync() => System = await StartAsync();

    public ValueTask DisposeAsync() => System.DisposeAsync();

    internal static Task<TestSystem> StartAsync(Action<TestSystemOptions>? configure = null) => TestSystem.StartAsync(options =>
    {
        options.Credits = 100_000;
        options.Settings["Worker:MaxAttempts"] = "2";
        options.Settings["Worker:OutputWait"] = "00:00:02";
        options.Settings["Worker:ResultTimeout"] = "00:00:00.500";
        options.Settings["Media:MaxImageDownloadBytes"] = "200000"; // the simulator's pictures have 20,000
        options.Settings["Media:MaxRemoteDownloadBytes"] = "1000000";
        options.Settings["Providers:Ark:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:Ark:CallTimeout"] = "00:00:03";
        options.Settings["Providers:Ark:GroupTimeout"] = "00:00:06";
        options.Settings["Providers:Ark:VideoCallTimeout"] = "00:00:02";
        options.Settings["Providers:Forge:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:Forge:CallTimeout"] = "00:00:03";
        options.Settings["Providers:Forge:PollTimeout"] = "00:00:00.200";
        options.Settings["Providers:Google:CallTimeout"] = "00:00:02";
        options.Settings["Providers:Kie:CallTimeout"] = "00:00:02";
        options.Settings["Providers:OpenAi:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:OpenAi:CallTimeout"] = "00:00:03";
        options.Settings["Providers:OpenAi:VideoCallTimeout"] = "00:00:02";
        configure?.Invoke(options);
    });
}
