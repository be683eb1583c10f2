using System.Collections.Concurrent;
using Generation.Core;
using Generation.Core.Providers;
using Polly;
using Polly.CircuitBreaker;

namespace Generation.Worker.Calls;

/// <summary>
/// A circuit breaker a provider: five calls in a row that found it unavailable open it for <see cref="WorkerOptions.BreakDuration"/>, then one
/// call probes. While it is open jobs come back later through the outbox, and nobody waits for a timeout.
/// </summary>
public sealed class ProviderBreakers : IDisposable
{
    private readonly ConcurrentDictionary<string, ProviderBreaker> breakers = new(StringComparer.Ordinal);
    private readonly IDisposable observation;
    private readonly TimeSpan breakDuration;
    private readonly TimeProvider time;

    public ProviderBreakers(WorkerOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        (breakDuration, this.time) = (options.BreakDuration, time);
        observation = Telemetry.ObserveBreakers(() => breakers.Select(b => (b.Key, b.Value.State switch
        {
            CircuitState.Closed => 0,
            CircuitState.HalfOpen => 1,
            _ => 2,
        })));
    }

    public ProviderBreaker Of(string provider) => breakers.GetOrAdd(provider, name => new ProviderBreaker(name, breakDuration, time));

    /// <summary>What operators are told of every provider that was used.</summary>
    public IReadOnlyList<ProviderReport> Report() => [.. breakers.OrderBy(b => b.Key, StringComparer.Ordinal).Select(b => b.Value.Report())];

    public void Dispose() => observation.Dispose();
}

public sealed class ProviderBreaker
{
    private const int MaxConsecutiveFailures = 5;

    private readonly CircuitBreakerStateProvider state = new();
    private readonly ResiliencePipeline<ProviderReply> pipeline;
    private readonly string provider;
    private readonly TimeSpan breakDuration;
    private readonly TimeProvider time;
    private readonly CallHistory history;
    private int failuresInARow;
    private int isRefused;
    private long openedAt;

    public ProviderBreaker(string provider, TimeSpan breakDuration, TimeProvider time)
    {
        (this.provider, this.breakDuration, this.time) = (provider, breakDuration, time);
        history = new CallHistory(time);
        pipeline = new ResiliencePipelineBuilder<ProviderReply> { TimeProvider = time }
            .AddCircuitBreaker(new CircuitBreakerStrategyOptions<ProviderReply>
            {
                // Polly judges by the share of failures in a window: with a share of 1 a single success, up to a minute old, would keep
                // the breaker closed. The row is counted here instead, and Polly is told of a failure when it is long enough.
                FailureRatio = 0,
                MinimumThroughput = 2,
                SamplingDuration = TimeSpan.FromHours(1),
                BreakDuration = breakDuration,
                StateProvider = state,
                ShouldHandle = arguments => ValueTask.FromResult(CountsAsBreak(arguments.Outcome)),
                OnOpened = _ =>
                {
                    openedAt = time.GetTimestamp();
                    return default;
                },
            })
            .Build();
    }

    public CircuitState State => state.CircuitState;

    /// <summary>Consecutive calls that found the provider unavailable; of several machines, one without failures is tried first.</summary>
    public int ConsecutiveFailures => Volatile.Read(ref failuresInARow);

    /// <summary>How long it stays open; null when a call may be made.</summary>
    public TimeSpan? OpenFor
    {
        get
        {
            var left = breakDuration - time.GetElapsedTime(openedAt);
            return State == CircuitState.Open && left > TimeSpan.Zero ? left : null;
        }
    }

    /// <summary>
    /// Whether this rejection of the key is the first since the provider last answered: many tasks are polled, and one alert is enough.
    /// </summary>
    public bool TryMarkRefused() => Interlocked.Exchange(ref isRefused, 1) == 0;

    /// <summary>The provider accepted the key.</summary>
    public void ClearRefused() => Volatile.Write(ref isRefused, 0);

    public ProviderReport Report()
    {
        var (calls, errors, p50, p95, lastError) = history.Sum();
        var word = State switch
        {
            CircuitState.Closed => "closed",
            CircuitState.HalfOpen => "half_open",
            _ when OpenFor is null => "half_open", // its time is up: the next call probes
            _ => "open",
        };
        return new ProviderReport(provider, word, OpenFor?.TotalSeconds, calls, errors, p50, p95, lastError);
    }

    public async Task<ProviderReply> CallAsync(Func<CancellationToken, Task<ProviderReply>> call, CancellationToken ct, string operation = "submit")
    {
        var started = time.GetTimestamp();
        ProviderReply reply;
        try
        {
            reply = await pipeline.ExecuteAsync(async token => await call(token), ct);
        }
        catch (BrokenCircuitException e)
        {
            return ProviderReply.Failed(new Failure(
                FailureKind.Unavailable, "breaker.open", e.Message)
            { RetryAfter = breakDuration, NotTried = true });
        }

        var duration = time.GetElapsedTime(started);
        history.Add(duration, reply.Failure?.ProviderCode);
        Telemetry.ProviderDuration.Record(
            duration.TotalSeconds,
            new KeyValuePair<string, object?>("provider", provider),
            new KeyValuePair<string, object?>("operation", operation),
            new KeyValuePair<string, object?>("outcome", reply.Failure?.Code ?? "ok"));
        return reply;
    }

    /// <summary>Counts consecutive failures, and tells whether this one opens the breaker. A cancelled call counts neither way.</summary>
    private bool CountsAsBreak(Outcome<ProviderReply> outcome)
    {
        if (outcome.Exception is HttpRequestException
            || outcome.Result?.Failure is { Kind: FailureKind.Unavailable or FailureKind.OutcomeUnknown, ProviderIsThere: false })
        {
            // a failed probe opens it again
            return Interlocked.Increment(ref failuresInARow) >= MaxConsecutiveFailures || State != CircuitState.Closed;
        }

        if (outcome.Exception is null)
        {
            Volatile.Write(ref failuresInARow, 0);
        }

        return false;
    }
}
