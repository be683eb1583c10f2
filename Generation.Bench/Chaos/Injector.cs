using System.Collections.Concurrent;
using System.Net.Http.Json;
using Generation.Bench.Harness;
using Generation.LocalServers;

namespace Generation.Bench.Chaos;

/// <summary>A fault that struck.</summary>
/// <param name="Injection">As planned.</param>
/// <param name="At">Since the load began.</param>
/// <param name="On">What it struck.</param>
/// <param name="UnderWay">How much was in flight.</param>
internal sealed record Struck(Injection Injection, TimeSpan At, string On, UnderWay UnderWay)
{
    public bool HadWork => UnderWay.Open > 0;
}

/// <summary>
/// Carries a schedule out. Faults overlap, but for two of one process or server: the later one waits its turn. Nor are there ever more than
/// a few at once: on a machine where a process takes half a minute to start, a schedule kept to the second would leave nothing to break.
/// </summary>
internal sealed class Injector(ChaosSystem system, History history)
{
    private static readonly string[] ProviderFaults = ["rate-limit", "server-error", "poll-error", "overload", "slow-body", "poll-gateway"];
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan WorkInterval = TimeSpan.FromMilliseconds(100);
    private const int WorkTries = 30;
    private const long SlowStorageBytesPerSecond = 60_000;

    private const int MaxAtOnce = 5;
    private static readonly TimeSpan RestartPause = TimeSpan.FromMilliseconds(500);

    private readonly SemaphoreSlim places = new(MaxAtOnce);
    private readonly SemaphoreSlim postgresTurns = new(1);
    private readonly SemaphoreSlim redisTurns = new(1);
    private readonly ConcurrentQueue<Struck> struck = new();
    private readonly long started = TimeProvider.System.GetTimestamp();

    public IReadOnlyCollection<Struck> Struck => struck;

    /// <summary>Faults that are not over.</summary>
    public int Active => Volatile.Read(ref active);

    private int active;

    /// <summary>Ends when the last fault is over: what was killed runs again, and the network is quick.</summary>
    public async Task RunAsync(IReadOnlyList<Injection> schedule, CancellationToken ct)
    {
        var faults = new List<Task>();
        foreach (var injection in schedule)
        {
            var wait = injection.At - TimeProvider.System.GetElapsedTime(started);
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, TimeProvider.System, ct);
            }

            await places.WaitAsync(ct);
            faults.Add(InjectAsync(injection, ct));
        }

        await Task.WhenAll(faults);
    }

    private async Task InjectAsync(Injection injection, CancellationToken ct)
    {
        // A fault that meets nobody proves nothing.
        for (var tries = 0; tries < WorkTries && history.Latest.Open == 0; tries++)
        {
            await Task.Delay(WorkInterval, TimeProvider.System, ct);
        }

        Interlocked.Increment(ref active);
        try
        {
            await StrikeAsync(injection, on => struck.Enqueue(new Struck(injection, TimeProvider.System.GetElapsedTime(started), on, history.Latest)),
                ct);
        }
        finally
        {
            Interlocked.Decrement(ref active);
            places.Release();
        }
    }

    private Task StrikeAsync(Injection injection, Action<string> tell, CancellationToken ct) => injection.Kind switch
    {
        FaultKind.KillApi => system.Apis.KillAsync(injection.Victim, injection.Duration, tell),
        FaultKind.KillRelay => system.Relays.KillAsync(injection.Victim, injection.Duration, tell),
        FaultKind.KillWorker => system.Workers.KillAsync(injection.Victim, injection.Duration, tell),
        FaultKind.PauseWorker => system.Workers.PauseAsync(injection.Victim, injection.Duration, tell),
        FaultKind.PauseApiOrRelay => (injection.Choice % 2 == 0 ? system.Apis : system.Relays).PauseAsync(injection.Victim, injection.Duration, tell),
        FaultKind.RollingRestart => system.Fleets.ElementAt(injection.Choice % 3).RollAsync(tell),
        FaultKind.WipeRedis => WithAsync(redisTurns, async () =>
        {
            await InsistOnAsync("FLUSHALL", ct);
            if (system.Sqs is { } sqs)
            {
                await sqs.PurgeAsync(ct);
            }

            tell("everything in it");
        }),
        FaultKind.KillRedis => WithAsync(redisTurns, async () =>
        {
            await system.Redis.KillAsync();
            tell("the server");
            await Task.Delay(injection.Duration, TimeProvider.System, ct);
            await InsistAsync(system.Redis.StartAsync, ct);
        }),
        FaultKind.RestartPostgres => WithAsync(postgresTurns, async () =>
        {
            tell("the server, SIGINT");
            await system.Postgres.StopAsync(StopGrace, ct);
            await Task.Delay(injection.Duration, TimeProvider.System, ct);
            await InsistAsync(system.Postgres.StartAsync, ct);
        }),
        FaultKind.KillPostgres => WithAsync(postgresTurns, async () =>
        {
            tell("the server, SIGKILL");
            await system.Postgres.KillAsync();
            await Task.Delay(injection.Duration, TimeProvider.System, ct);
            await InsistAsync(system.Postgres.StartAsync, ct);
        }),
        FaultKind.ProviderFault => ProviderFaultAsync(ProviderFaults[injection.Choice % ProviderFaults.Length], tell, ct),
        FaultKind.DuplicateCallbacks => OrderAsync(new { fault = "callback-duplicate", count = 6 }, "the next 6 callbacks", tell, ct),
        FaultKind.LockRow => system.DatabaseFaults.LockRowAsync(injection.Choice, injection.Duration, tell, ct),
        FaultKind.CancelStatements => system.DatabaseFaults.CancelStatementsAsync(injection.Duration, tell, ct),
        FaultKind.DemoteRedis => WithAsync(redisTurns, async () =>
        {
            await InsistOnAsync("REPLICAOF 127.0.0.1 1", ct); // of nobody: it keeps its data
            tell("the server");
            await Task.Delay(injection.Duration, TimeProvider.System, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await InsistOnAsync("REPLICAOF NO ONE", CancellationToken.None);
        }),
        FaultKind.HangProvider => OrderAsync(new { fault = "poll-timeout", count = 3 }, "the next 3 questions", tell, ct),
        FaultKind.AbsurdNumbers => OrderAsync(new { fault = "absurd-usage", count = 6 }, "the next 6 calls", tell, ct),
        FaultKind.PaidServerError => OrderAsync(
            new { fault = "server-error-paid", count = 3, prompt = Workload.TaskWord }, "the next 3 creations of a task", tell, ct),
        FaultKind.SlowPostgres => SlowAsync(system.PostgresNetwork, injection, 0, tell, ct),
        FaultKind.SlowRedis => SlowAsync(system.RedisNetwork, injection, 0, tell, ct),
        FaultKind.SlowStorage => SlowAsync(system.StorageNetwork, injection, SlowStorageBytesPerSecond, tell, ct),
        _ => throw new InvalidOperationException($"{injection.Kind} has no hand."),
    };

    /// <summary>
    /// Fewer than open a circuit breaker, with one of a prompt's own: when all meet one provider, its sessions would have to fail.
    /// </summary>
    private static int ProviderFaultCount(string fault) => fault is "server-error" or "overload" ? 3 : 6;

    /// <summary>
    /// A 500 only where it says that nothing was made: elsewhere it may have cost something, and nobody could repeat it. And no overload
    /// for Kie, which says "maintenance" then and is left alone for a minute.
    /// </summary>
    private Task ProviderFaultAsync(string fault, Action<string> tell, CancellationToken ct) =>
        OrderAsync(
            new
            {
                fault,
                count = ProviderFaultCount(fault),
                prompt = fault switch
                {
                    "server-error" or "overload" => Workload.AnswersWord,
                    "slow-body" => Workload.SmallWord,
                    _ => null
                }
            },
            $"{fault}, {ProviderFaultCount(fault)} times", tell, ct);

    private async Task OrderAsync(object order, string on, Action<string> tell, CancellationToken ct)
    {
        using var answer = await system.Sim.PostAsJsonAsync("/sim/faults", order, ct);
        answer.EnsureSuccessStatusCode();
        tell(on);
    }

    private async Task InsistOnAsync(string command, CancellationToken ct)
    {
        var reply = await system.Redis.CommandAsync(command, ct);
        if (!reply.StartsWith("+OK", StringComparison.Ordinal))
        {
            throw new InvalidOperationException($"{command} answered {reply}");
        }
    }

    private static async Task SlowAsync(TcpProxy network, Injection injection, long bytesPerSecond, Action<string> tell, CancellationToken ct)
    {
        (network.Delay, network.BytesPerSecond) = (TimeSpan.FromMilliseconds(injection.Milliseconds), bytesPerSecond);
        tell($"{injection.Milliseconds} ms each way for {injection.Duration.TotalSeconds:0.0} s");
        await Task.Delay(injection.Duration, TimeProvider.System, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        (network.Delay, network.BytesPerSecond) = (TimeSpan.Zero, 0);
    }

    /// <summary>Starts a server again, however long what is left of its predecessor stands in the way.</summary>
    private async Task InsistAsync(Func<CancellationToken, Task> start, CancellationToken ct)
    {
        while (true)
        {
            try
            {
                await start(ct);
                return;
            }
            catch (StartFailure e)
            {
                system.Events.Enqueue($"again: {e.Message}");
                await Task.Delay(RestartPause, TimeProvider.System, ct);
            }
        }
    }

    private static async Task WithAsync(SemaphoreSlim turns, Func<Task> use)
    {
        await turns.WaitAsync();
        try
        {
            await use();
        }
        finally
        {
            turns.Release();
        }
    }
}
