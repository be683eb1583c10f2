using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Bench.Harness;
using Spectre.Console;

namespace Generation.Bench.Chaos;

/// <summary>
/// The database is restored to a point in time while store, providers and clients are later: a base backup, load, the point in time, more
/// load, the loss of every process and of the database's disk; then the procedure of docs/operations.md, the clients repeat what they had
/// asked, and every promise is checked.
/// </summary>
internal static class RestoreDrill
{
    public const string Usage = "restore [SECONDS_LOST]";

    private const int Seed = 1;
    private const double RequestsPerSecond = 6;
    private const string Backup = "backup";
    private static readonly TimeSpan BeforePoint = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan MaxQuiet = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan QuietInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan ClockTolerance = TimeSpan.FromSeconds(1); // between the intent's transaction and the call that follows it
    private static readonly TimeSpan ArchiveInterval = TimeSpan.FromMilliseconds(500);

    /// <summary>The exit code: 0 when all promises held.</summary>
    /// <param name="lost">How long work went on after the point in time.</param>
    /// <param name="ct">Stops.</param>
    public static async Task<int> RunAsync(TimeSpan lost, CancellationToken ct)
    {
        var options = new ChaosOptions(Seed, (BeforePoint + lost).TotalMinutes, RequestsPerSecond) { IsRestore = true };
        if (Console.IsOutputRedirected)
        {
            AnsiConsole.Profile.Width = ChaosRun.WidthOfFiles;
        }

        var folder = await RunFolder.CreateAsync(ct);
        try
        {
            var report = new ChaosReport(options);
            var archive = folder["archive"];
            Directory.CreateDirectory(archive);
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(archive, (UnixFileMode)0b111_111_111); // the server may run as another user
            }

            await using (var system = await ChaosSystem.StartAsync(
                folder, null, usesSqs: false, ct, "-c", "full_page_writes=on", "-c", "archive_mode=on", "-c", "archive_timeout=2", "-c",
                $"archive_command=cp %p {archive}/%f"))
            {
                report.Lap("start");
                await DrillAsync(system, folder, archive, lost, options, report, ct);
            }

            report.Lap("stop");
            report.Print();
            if (report.Holds)
            {
                return 0;
            }

            var kept = Path.Combine(Path.GetTempPath(), $"generation-restore-{Environment.ProcessId}");
            Directory.CreateDirectory(kept);
            foreach (var log in Directory.GetFiles(folder["logs"]))
            {
                File.Move(log, Path.Combine(kept, Path.GetFileName(log)));
            }

            await report.WriteAsync(Path.Combine(kept, "run.txt"));
            AnsiConsole.WriteLine($"The logs of every process and the run's own story: {kept}");
            return 1;
        }
        finally
        {
            folder.Dispose();
        }
    }

    private static async Task DrillAsync(ChaosSystem system, RunFolder folder, string archive, TimeSpan lost, ChaosOptions options,
        ChaosReport report, CancellationToken ct)
    {
        report.Begin([]);
        var history = new History(system.Db);
        await history.BeginAsync(ct);
        var mockToken = await system.MockTokenAsync(ct);
        await system.Postgres.BackUpAsync(Backup, ct);
        report.Lap("base backup");

        using var before = new Client(system, mockToken);
        var (plans, target) = await LoseAsync(system, history, before, lost, ct);
        await WaitForArchiveAsync(archive, target, ct);
        var restart = TimeProvider.System.GetUtcNow();
        report.Lap("load and loss");

        await system.Postgres.RestoreAsync(Backup, archive, target, ct);
        if (await system.Redis.CommandAsync("FLUSHALL", ct) != "+OK")
        {
            throw new InvalidOperationException("Redis was not wiped.");
        }

        report.Lap("restore");
        var list = folder["unreferenced.csv"];
        foreach (var line in await ServiceChild.RunAsync("Generation.Relay", ["reconcile", list], system.Deployments[1].Settings, folder,
            ct))
        {
            Report.Say(line);
        }

        report.Lap("reconcile");
        var restored = (await history.ReadAsync("SELECT session_id FROM generation_sessions", row => row.GetGuid(0), ct)).ToHashSet();

        foreach (var fleet in system.Fleets)
        {
            await fleet.CompleteAsync();
        }

        using var after = new Client(system, mockToken);
        foreach (var broken in before.Broken)
        {
            after.Broken.Enqueue(broken);
        }
        // Whatever version a client has seen of a session that is still there, what it is shown now is later.
        foreach (var order in before.Orders.Values.Where(order => restored.Contains(order.SessionId)))
        {
            after.Orders[order.SessionId] =
            new Order(order.Plan, order.SessionId) { Version = order.Version, RetryOf = order.RetryOf };
        }

        using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
        end.CancelAfter(MaxQuiet);
        var isQuiet = await QuietAsync(Task.WhenAll(plans.Select(plan => after.LiveAsync(plan, end.Token))), history, end.Token);
        report.Lap("until quiet");

        var injector = new Injector(system, history);
        await new Promises(system, after, history, injector, options,
            report)
        { BilledBesides = await BilledAsync(system, target, restart, ct) }.CheckAsync(isQuiet, ct);
        var listed = (await File.ReadAllLinesAsync(list, ct)).Skip(1).Select(line => line.Split(',')).Where(cells => cells[2] == "lost")
            .Select(cells => Guid.Parse(cells[0])).ToHashSet();
        var made = before.Orders.Values.Where(order => !restored.Contains(order.SessionId) && order is { End: "completed", Plan.IsMock: false })
            .ToList();
        report.Add("what was made in the lost time is listed",
            $"{made.Count} of {before.Orders.Values.Count(order => !restored.Contains(order.SessionId))} lost sessions had completed",
            [.. made.Where(order => !listed.Contains(order.SessionId))
                .Select(order => $"{order.SessionId} ({order.Plan.Tool}) had completed, and its outputs are not listed"), .. made.Count == 0
                ? ["no session had completed in the lost time"] : Array.Empty<string>()]);
        report.Add("what was there is there", $"{restored.Count} sessions of the point in time",
            restored.Count == 0 ? ["none"] : [.. restored.Where(id => !after.Orders.ContainsKey(id))
                .Select(id => $"{id} was answered with another session when it was asked for again")]);
        report.Lap("checks");
    }

    /// <summary>Load until all is lost, and what the point in time was.</summary>
    private static async Task<(IReadOnlyList<Plan> Plans, DateTimeOffset Target)> LoseAsync(
        ChaosSystem system, History history, Client client, TimeSpan lost, CancellationToken ct)
    {
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var workload = new Workload(Seed);
        var (plans, lives) = (new List<Plan>(), new List<Task>());
        await AskAsync(BeforePoint);
        var target = (await history.ReadAsync("SELECT clock_timestamp()", row => row.GetFieldValue<DateTimeOffset>(0), ct))[0];
        await AskAsync(lost);
        foreach (var fleet in system.Fleets)
        {
            await fleet.KillAllAsync();
        }

        await system.Postgres.KillAsync();
        await gone.CancelAsync();
        await Task.WhenAll(lives).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return (plans, target);

        async Task AskAsync(TimeSpan duration)
        {
            var started = TimeProvider.System.GetTimestamp();
            while (TimeProvider.System.GetElapsedTime(started) < duration)
            {
                var plan = workload.Next();
                plans.Add(plan);
                lives.Add(client.LiveAsync(plan, gone.Token));
                await Task.Delay(TimeSpan.FromSeconds(1 / RequestsPerSecond), TimeProvider.System, ct);
            }
        }
    }

    /// <summary>What providers billed for calls of the lost time, by the tag in the prompt: the restored database knows nothing of them.</summary>
    private static async Task<Dictionary<string, int>> BilledAsync(ChaosSystem system, DateTimeOffset target, DateTimeOffset restart,
        CancellationToken ct)
    {
        var log = (await system.Sim.GetFromJsonAsync<JsonObject>("/sim/calls?limit=10000000", ct))!;
        return log["calls"]!.AsArray().Where(call => (DateTimeOffset)call!["at"]! is var at && at > target - ClockTolerance && at < restart)
            .GroupBy(call => Promises.TagOf((string)call!["prompt"]!), StringComparer.Ordinal)
            .ToDictionary(calls => calls.Key, calls => calls.Sum(call => (int)call!["images"]!), StringComparer.Ordinal);
    }

    /// <summary>A killed server archives no more: what came after the point in time must have reached the archive by itself.</summary>
    private static async Task WaitForArchiveAsync(string archive, DateTimeOffset target, CancellationToken ct)
    {
        while (!Directory.EnumerateFiles(archive).Any(segment => File.GetLastWriteTimeUtc(segment) > target.UtcDateTime.AddSeconds(
            5)))
        {
            await Task.Delay(ArchiveInterval, TimeProvider.System, ct);
        }
    }

    private static async Task<bool> QuietAsync(Task lives, History history, CancellationToken end)
    {
        await lives.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (lives.IsFaulted)
        {
            await lives;
        }

        while (!end.IsCancellationRequested)
        {
            if (await history.TryUnderWayAsync(end) is { Open: 0, Outbox: 0 })
            {
                return !lives.IsCanceled;
            }

            await Task.Delay(QuietInterval, TimeProvider.System, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return false;
    }
}
