using Generation.ServiceDefaults;
using Generation.Worker.Providers.Ark;
using Generation.Worker.Providers.Forge;
using Generation.Worker.Providers.OpenAi;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Hosting;

/// <summary>
/// The default of <c>Shutdown:GracePeriod</c> outside Development: a deploy must not cut off a paid call that is waited for, which would end as
/// outcome_unknown. So it covers the longest one that the configured providers allow, and 30 s for what comes after it: the download, the end, the
/// last flush. What
/// can be asked for later (a task at a provider) is handed over at once.
/// </summary>
/// <remarks>The host's own limit (terminationGracePeriodSeconds and its like) must be as long: docs/deployment.md.</remarks>
public sealed class GracePeriod(
    IConfiguration configuration, IHostEnvironment environment, IOptions<ArkOptions> ark, IOptions<OpenAiOptions> openAi,
        IOptions<ForgeOptions> forge) : IPostConfigureOptions<ShutdownOptions>
{
    private static readonly TimeSpan AfterTheCall = TimeSpan.FromSeconds(30);

    public void PostConfigure(string? name, ShutdownOptions options)
    {
        if (environment.IsDevelopment() || !string.IsNullOrEmpty(configuration["Shutdown:GracePeriod"]))
        {
            return;
        }

        TimeSpan[] calls =
        [
            string.IsNullOrEmpty(ark.Value.ApiKey) ? TimeSpan.Zero : ark.Value.GroupTimeout,
            string.IsNullOrEmpty(openAi.Value.ApiKey) ? TimeSpan.Zero : openAi.Value.CallTimeout,
            configuration.GetSection($"{ForgeOptions.Section}:{nameof(ForgeOptions.Endpoints)}").Exists() ? forge.Value.CallTimeout : TimeSpan.Zero,
        ];
        if (calls.Max() + AfterTheCall > options.GracePeriod)
        {
            options.GracePeriod = calls.Max() + AfterTheCall;
        }
    }
}
