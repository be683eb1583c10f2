using Generation.ServiceDefaults;
using Generation.Worker.Providers.Ark;
using Generation.Worker.Providers.Forge;
using Generation.Worker.Providers.Google;
using Generation.Worker.Providers.Kie;
using Generation.Worker.Providers.OpenAi;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Hosting;

/// <summary>
/// The default of <c>Shutdown:GracePeriod</c> outside Development: a deploy must not cut off a paid call that is waited for, which would end as
/// outcome_unknown. So it covers the longest one that the configured providers allow, the creation of a task included, and 30 s for what comes
/// after it: the download, the end, the last flush. What can be asked for later (a task at a provider, a file) is handed over at once.
/// </summary>
/// <remarks>The host's own limit (terminationGracePeriodSeconds and its like) must be as long: docs/deployment.md.</remarks>
public sealed class GracePeriod(
    IConfiguration configuration, IHostEnvironment environment, IOptions<ArkOptions> ark, IOptions<OpenAiOptions> openAi,
    IOptions<GoogleOptions> google, IOptions<KieOptions> kie, IOptions<ForgeOptions> forge) : IPostConfigureOptions<ShutdownOptions>
{
    private static readonly TimeSpan AfterTheCall = TimeSpan.FromSeconds(30);

    public void PostConfigure(string? name, ShutdownOptions options)
    {
        if (environment.IsDevelopment() || !string.IsNullOrEmpty(configuration["Shutdown:GracePeriod"]))
        {
            return;
        }

        var longest = new[]
        {
            With(ark.Value.ApiKey, ark.Value.CallTimeout, ark.Value.GroupTimeout, ark.Value.VideoCallTimeout),
            With(openAi.Value.ApiKey, openAi.Value.CallTimeout),
            With(openAi.Value.VideoBaseUrl, openAi.Value.VideoCallTimeout),
            With(google.Value.ApiKey, google.Value.CallTimeout),
            With(kie.Value.ApiKey, kie.Value.CallTimeout),
            configuration.GetSection($"{ForgeOptions.Section}:{nameof(ForgeOptions.Endpoints)}").Exists() ? forge.Value.CallTimeout : TimeSpan.Zero,
        }.Max();
        if (longest + AfterTheCall > options.GracePeriod)
        {
            options.GracePeriod = longest + AfterTheCall;
        }
    }

    /// <summary>The longest call of a provider that is used, which one without a key or an address is not.</summary>
    private static TimeSpan With(string? keyOrAddress, params TimeSpan[] calls) => string.IsNullOrEmpty(keyOrAddress) ? TimeSpan.Zero : calls.Max();
}
