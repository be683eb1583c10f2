namespace Generation.Bench.Chaos;

/// <summary>What goes wrong, on purpose. Each kind is counted by itself.</summary>
internal enum FaultKind
{
    KillApi,
    KillRelay,
    KillWorker,

    /// <summary>
    /// SIGSTOP for longer than the lease, then SIGCONT: the worker goes on with sessions that another has claimed meanwhile.
    /// </summary>
    PauseWorker,

    /// <summary>SIGSTOP and SIGCONT of an Api or a relay: it accepts connections and does nothing.</summary>
    PauseApiOrRelay,

    /// <summary>SIGTERM to one instance of a service after the other, each followed by a new one.</summary>
    RollingRestart,

    /// <summary>FLUSHALL.</summary>
    WipeRedis,

    /// <summary>kill -9, and a start with what its append-only file has.</summary>
    KillRedis,

    /// <summary>A fast shutdown, which cuts every connection, and a start.</summary>
    RestartPostgres,

    /// <summary>kill -9, and a start with recovery.</summary>
    KillPostgres,

    /// <summary>A burst of 429, 500, failing questions or dripping downloads.</summary>
    ProviderFault,

    /// <summary>Each callback of the next tasks comes three times.</summary>
    DuplicateCallbacks,

    SlowPostgres,
    SlowRedis,
    SlowStorage,

    /// <summary>An open transaction locks one row on the way of a job for longer than the lease.</summary>
    LockRow,

    /// <summary>Whatever statement a service has under way is canceled, ten times a second.</summary>
    CancelStatements,

    /// <summary>The primary becomes a replica, which takes no writes, and stays one for seconds; connections are whole.</summary>
    DemoteRedis,

    /// <summary>A provider takes questions about tasks and does not answer.</summary>
    HangProvider,

    /// <summary>Usage, cost and progress that a provider reports are beyond sense: 1e300, -9223372036854775808.</summary>
    AbsurdNumbers,

    /// <summary>A creation is answered with 500 although the task was made, and will be billed.</summary>
    PaidServerError,
}

/// <summary>One fault of the schedule.</summary>
/// <param name="At">Since the load began.</param>
/// <param name="Kind">What.</param>
/// <param name="Victim">Which instance: a number to be taken modulo how many there are.</param>
/// <param name="Choice">Which variant, likewise.</param>
/// <param name="Duration">How long it lasts: until the next process is started, until SIGCONT, until the network is quick again.</param>
/// <param name="Milliseconds">Of a slow network: what every piece waits, each way.</param>
internal sealed record Injection(TimeSpan At, FaultKind Kind, int Victim, int Choice, TimeSpan Duration, int Milliseconds)
{
    public override string ToString() =>
        $"{At.TotalSeconds,6:0.0} s  {Kind,-18} victim {Victim}, variant {Choice}, {Duration.TotalSeconds:0.0} "
        + $"s{(Milliseconds > 0 ? $", {Milliseconds} ms" : "")}";
}

/// <summary>When what happens, from nothing but the seed and the minutes: the same again for the same two numbers.</summary>
internal static class Schedule
{
    /// <summary>Each kind this often a minute, and at least this often in all.</summary>
    public const int TimesAMinute = 3;

    private static readonly TimeSpan First = TimeSpan.FromSeconds(3); // some work is under way by then
    private static readonly TimeSpan Last = TimeSpan.FromSeconds(8); // before the end of the load, so that most faults are over with it

    /// <summary>Evenly: each kind's share of the time is cut into as many pieces as it strikes, and it strikes somewhere in each.</summary>
    /// <param name="seed">Decides everything.</param>
    /// <param name="duration">Of the load.</param>
    /// <param name="kinds">What strikes.</param>
    public static IReadOnlyList<Injection> Make(int seed, TimeSpan duration, IReadOnlyList<FaultKind> kinds)
    {
        var random = new Random(seed);
        var times = Math.Max(TimesAMinute, (int)Math.Round(TimesAMinute * duration.TotalMinutes));
        var span = duration - First - Last;
        var all = new List<Injection>();
        foreach (var kind in kinds)
        {
            var choice = random.Next(100);
            for (var i = 0; i < times; i++)
            {
                var at = First + (span * ((i + (0.05 + (0.9 * random.NextDouble()))) / times));
                var (from, to) = Seconds(kind);
                var lasts = TimeSpan.FromSeconds(from + ((to - from) * random.NextDouble()));
                all.Add(new Injection(at, kind, random.Next(100), choice + i, lasts, Slowness(kind, random)));
            }
        }

        return [.. all.OrderBy(injection => injection.At)];
    }

    private static (double From, double To) Seconds(FaultKind kind) => kind switch
    {
        FaultKind.PauseWorker => (6, 8), // the lease lasts five
        FaultKind.PauseApiOrRelay => (2, 6),
        FaultKind.KillApi or FaultKind.KillRelay or FaultKind.KillWorker => (0.2, 2),
        FaultKind.KillRedis => (0.2, 3),
        FaultKind.LockRow => (6, 11), // the lease lasts five
        FaultKind.CancelStatements => (1, 3),
        FaultKind.DemoteRedis => (2, 6),
        FaultKind.RestartPostgres or FaultKind.KillPostgres => (0, 1),
        FaultKind.SlowPostgres or FaultKind.SlowRedis or FaultKind.SlowStorage => (2, 5),
        _ => (0, 0),
    };

    private static int Slowness(FaultKind kind, Random random) => kind switch
    {
        FaultKind.SlowPostgres => random.Next(10, 80),
        FaultKind.SlowRedis => random.Next(20, 300),
        FaultKind.SlowStorage => random.Next(100, 500),
        _ => 0,
    };
}
