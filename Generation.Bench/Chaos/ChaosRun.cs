using System.Globalization;
using Generation.Bench.Harness;
using Spectre.Console;

namespace Generation.Bench.Chaos;

/// <param name="Seed">Of the schedule and of what is asked for.</param>
/// <param name="Minutes">Of load.</param>
/// <param name="RequestsPerSecond">Steady.</param>
internal sealed record ChaosOptions(int Seed, double Minutes, double RequestsPerSecond)
{
    public const string Usage = "chaos --seed N [--minutes M] [--rate REQUESTS_PER_SECOND] [--keep 1] [--queue redis|sqs] [--upgrade-from CHECKOUT]";

    /// <summary>Keeps the logs also when every promise held.</summary>
    public bool Keeps { get; init; }

    /// <summary>Jobs go by SQS; Redis still carries hints.</summary>
    public bool UsesSqs { get; init; }

    /// <summary>The checkout of the release before, which was built there: the run begins with it, and upgrades. Null: only this release.</summary>
    public string? PreviousRelease { get; init; }

    /// <summary>No faults, but the loss of everything: <see cref="RestoreDrill"/>.</summary>
    public bool IsRestore { get; init; }

    public IReadOnlyList<FaultKind> Faults => IsRestore ? [] : PreviousRelease is null ? Enum.GetValues<FaultKind>() : Upgrade.Faults;

    public string Command => IsRestore ? "dotnet run --project Generation.Bench -- restore"
        : $"dotnet run --project Generation.Bench -- chaos --seed {Seed} --minutes {Minutes} --rate {RequestsPerSecond}" +
        (UsesSqs ? " --queue sqs" : "") + (PreviousRelease is null ? "" : $" --upgrade-from {PreviousRelease}");

    /// <summary>Null when the words are no such thing.</summary>
    public static ChaosOptions? Parse(IReadOnlyList<string> words)
    {
        var options = new ChaosOptions(1, 1, 8);
        for (var i = 0; i < words.Count; i += 2)
        {
            if (i + 1 < words.Count && words[i] == "--upgrade-from")
            {
                options = options with { PreviousRelease = Path.GetFullPath(words[i + 1]) };
                continue;
            }

            if (i + 1 < words.Count && words[i] == "--queue" && words[i + 1] is "redis" or "sqs")
            {
                options = options with { UsesSqs = words[i + 1] == "sqs" };
                continue;
            }

            if (i + 1 == words.Count || !double.TryParse(words[i + 1], NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
            {
                return null;
            }

            switch (words[i])
            {
                case "--seed" when value is >= 0 and <= int.MaxValue
                    && value == Math.Floor(value):
                    options = options with { Seed = (int)value }; break;
                case "--minutes" when value is >= 0.5 and <= 600: options = options with { Minutes = value }; break;
                case "--keep" when value is 0 or 1: options = options with { Keeps = value == 1 }; break;
                case "--rate" when value is > 0 and <= 1_000: options = options with { RequestsPerSecond = value }; break;
                default: return null;
            }
        }

        return options;
    }
}

/// <summary>
/// Everything at once: the whole system under a steady load while its parts are killed, stopped, wiped and slowed down, by a schedule that
/// the seed decides; then quiet, and a look at every promise from the outside.
/// </summary>
internal static class ChaosRun
{
    internal const int WidthOfFiles = 160;
    private const int MaxUnderWay = 150;
    private static readonly TimeSpan MaxQuiet = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan TellInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan QuietInterval = TimeSpan.FromMilliseconds(200);

    /// <summary>The exit code: 0 when all promises held and every fault struck often enough.</summary>
    public static async Task<int> RunAsync(ChaosOptions options, CancellationToken ct)
    {
        if (Console.IsOutputRedirected)
        {
            AnsiConsole.Profile.Width = WidthOfFiles;
        }

        var folder = await RunFolder.CreateAsync(ct);
        try
        {
            var report = new ChaosReport(options);
            await using (var system = await ChaosSystem.StartAsync(folder, options.PreviousRelease, options.UsesSqs, ct))
            {
                report.Lap("start");
                await LoadAsync(system, folder, options, report, ct);
            }

            report.Lap("stop");
            report.Print();
            if (report.Holds && !options.Keeps)
            {
                return 0;
            }

            var kept = Path.Combine(Path.GetTempPath(), $"generation-chaos-{options.Seed}-{Environment.ProcessId}");
            Directory.CreateDirectory(kept);
            foreach (var log in Directory.GetFiles(folder["logs"]))
            {
                File.Move(log, Path.Combine(kept, Path.GetFileName(log)));
            }

            await report.WriteAsync(Path.Combine(kept, "run.txt"));
            AnsiConsole.WriteLine($"The logs of every process, the run's own story and that of each session named: {kept}");
            return report.Holds ? 0 : 1;
        }
        finally
        {
            folder.Dispose();
        }
    }

    private static async Task LoadAsync(ChaosSystem system, RunFolder folder, ChaosOptions options, ChaosReport report, CancellationToken ct)
    {
        var duration = TimeSpan.FromMinutes(options.Minutes);
        var schedule = Schedule.Make(options.Seed, duration, options.Faults);
        report.Begin(schedule);
        var history = new History(system.Db);
        await history.BeginAsync(ct);
        using var client = new Client(system, await system.MockTokenAsync(ct));
        using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
        using var sampling = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var injector = new Injector(system, history);
        var upgrade = options.PreviousRelease is null ? null : new Upgrade(system, history, report, folder);
        var sampler = history.SampleAsync(sampling.Token);
        var teller = TellAsync();
        try
        {
            var faults = Task.WhenAll(injector.RunAsync(schedule, ct), upgrade?.RunAsync(duration, ct) ?? Task.CompletedTask);
            var lives = await AskAsync(faults);
            await faults;
            foreach (var fleet in system.Fleets)
            {
                await fleet.CompleteAsync();
            }

            report.Lap("load and faults");

            end.CancelAfter(MaxQuiet);
            var isQuiet = await QuietAsync(Task.WhenAll(lives));
            report.Lap("until quiet");
            await new Promises(system, client, history, injector, options, report).CheckAsync(isQuiet, ct);
            if (upgrade is not null)
            {
                await upgrade.CheckAsync(ct);
            }

            report.Lap("checks");
        }
        finally
        {
            await sampling.CancelAsync();
            await Task.WhenAll(sampler, teller);
        }

        // One request after the other at equal distances, until the time is over and every fault has met work. They do not wait for one
        // another, but on a machine that is too busy for the rate nobody joins a crowd: it would only make it busier.
        async Task<List<Task>> AskAsync(Task faults)
        {
            var workload = new Workload(options.Seed);
            var lives = new List<Task>();
            var under = 0;
            var started = TimeProvider.System.GetTimestamp();
            while (TimeProvider.System.GetElapsedTime(started) < duration || !faults.IsCompleted)
            {
                if (Volatile.Read(ref under) < MaxUnderWay)
                {
                    Interlocked.Increment(ref under);
                    lives.Add(LiveAsync(workload.Next()));
                }

                await Task.Delay(TimeSpan.FromSeconds(1 / options.RequestsPerSecond), TimeProvider.System, ct);
            }

            return lives;

            async Task LiveAsync(Plan plan)
            {
                await client.LiveAsync(plan, end.Token);
                Interlocked.Decrement(ref under);
            }
        }

        // Every client has seen its end, no session is open, and nothing is left in the outbox.
        async Task<bool> QuietAsync(Task lives)
        {
            await lives.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (lives.IsFaulted)
            {
                await lives; // a fault of ours
            }

            while (!end.IsCancellationRequested)
            {
                if (await history.TryUnderWayAsync(ct) is { Open: 0, Outbox: 0 })
                {
                    return !lives.IsCanceled;
                }

                await Task.Delay(QuietInterval, TimeProvider.System, ct);
            }

            return false;
        }

        async Task TellAsync()
        {
            var started = TimeProvider.System.GetTimestamp();
            while (!sampling.IsCancellationRequested)
            {
                await Task.Delay(TellInterval, TimeProvider.System, sampling.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                var (now, orders) = (history.Latest, client.Orders.Values);
                Report.Say($"{TimeProvider.System.GetElapsedTime(started).TotalSeconds,4:0} s: {orders.Count} accepted, "
                    + $"{orders.Count(order => order.End is not null)} seen to end, {client.Asking} asking; " +
                    $"{now.Open} open, {now.Processing} with a worker, {now.Calls} calls, {now.Outbox} in the outbox; {injector.Struck.Count} of "
                        + $"{schedule.Count} faults, {injector.Active} at work");
            }
        }
    }
}
