using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Forge;

/// <summary>The WebUIs, each of which is one GPU, with a circuit breaker each.</summary>
public sealed class ForgeGpus(ProviderBreakers breakers, IOptions<ForgeOptions> options) : IGpuEndpoints
{
    public IReadOnlyList<string> All => options.Value.Endpoints;

    /// <summary>A retry goes to another machine first, if there is one.</summary>
    public IReadOnlyList<string> Usable =>
        [.. All.Where(endpoint => BreakerAt(endpoint).OpenFor is null).OrderBy(endpoint => BreakerAt(endpoint).ConsecutiveFailures)];

    public ProviderBreaker BreakerAt(string endpoint) => breakers.Of(BreakerName(endpoint));

    /// <summary>The name of its breaker, which operators see.</summary>
    public static string BreakerName(string endpoint) => $"forge {new Uri(endpoint).Authority}";
}
