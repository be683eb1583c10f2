using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Providers;
using Generation.Worker.Jobs;
using Polly;
using Polly.CircuitBreaker;

namespace Generation.Worker.Providers;

/// <summary>
/// A circuit breaker a provider: five calls in a row that found it away open it for a minute, then one call probes. While it is open
/// jobs come back later through the outbox, and nobody waits for a timeout.
/// </summary>
public sealed class ProviderBreakers : IDisposable
{
    private readonly ConcurrentDictionary<string, ProviderBreaker> breakers = new(StringComparer.Ordinal);
    private readonly IDisposable observation;
    private readonly TimeProvider time;

    public ProviderBreakers(TimeProvider time)
    {
        this.time = time;
        observation = Telemetry.ObserveBreakers(() => breakers.Select(b => (b.Key, b.Value.State switch
        {
            CircuitState.Closed => 0,
            CircuitState.HalfOpen => 1,
            _ => 2,
        })));
    }

    public ProviderBreaker Of(string provider) => breakers.GetOrAdd(provider, name => new ProviderBreaker(name, time));

    public void Dispose() => observation.Dispose();
}

public sealed class ProviderBreaker
{
    private const int Failures = 5;

    private static readonly TimeSpan BreakDuration = TimeSpan.FromSeconds(60);

    private readonly CircuitBreakerStateProvider state = new();
    private readonly ResiliencePipeline<ProviderReply> pipeline;
    private readonly string provider;
    private readonly TimeProvider time;
    private long openedAt;

    public ProviderBreaker(string provider, TimeProvider time)
    {
        this.provider = provider;
        this.time = time;
        pipeline = new ResiliencePipelineBuilder<ProviderReply> { TimeProvider = time }
            .AddCircuitBreaker(new CircuitBreakerStrategyOptions<ProviderReply>
            {
                FailureRatio = 1,
                MinimumThroughput = Failures,
                SamplingDuration = TimeSpan.FromSeconds(60),
                BreakDuration = BreakDuration,
                StateProvider = state,
                ShouldHandle = arguments => ValueTask.FromResult(
                    arguments.Outcome.Exception is HttpRequestException
                    || arguments.Outcome.Result?.Failure?.Kind is FailureKind.Unavailable or FailureKind.OutcomeUnknown),
                OnOpened = _ =>
                {
                    openedAt = time.GetTimestamp();
                    return default;
                },
            })
            .Build();
    }

    public CircuitState State => state.CircuitState;

    /// <summary>How long it stays open; null when a call may be made.</summary>
    public TimeSpan? OpenFor
    {
        get
        {
            var left = BreakDuration - time.GetElapsedTime(openedAt);
            return State == CircuitState.Open && left > TimeSpan.Zero ? left : null;
        }
    }

    public async Task<ProviderReply> CallAsync(Func<CancellationToken, Task<ProviderReply>> call, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        ProviderReply reply;
        try
        {
            reply = await pipeline.ExecuteAsync(async token => await call(token), ct);
        }
        catch (BrokenCircuitException e)
        {
            return ProviderReply.Failed(new Failure(FailureKind.Unavailable, "breaker.open", e.Message) { RetryAfter = BreakDuration });
        }

        Telemetry.ProviderDuration.Record(
            time.GetElapsedTime(started).TotalSeconds,
            new KeyValuePair<string, object?>("provider", provider),
            new KeyValuePair<string, object?>("operation", "submit"),
            new KeyValuePair<string, object?>("outcome", reply.Failure?.Code ?? "ok"));
        return reply;
    }
}
