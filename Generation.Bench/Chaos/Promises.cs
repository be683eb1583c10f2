using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Generation.Bench.Chaos;

/// <summary>The promises of the design, in its order, and what a run must have done to say anything about them.</summary>
internal enum Promise
{
    AcceptedIsDurable,
    AskingTwiceCostsOnce,
    EndsOnce,
    OnlyWhatMustFails,
    MoneyFollowsTheWork,
    MediaAndObjectsAgree,
    TheLedgerAddsUp,
    OneHolderWrites,
    ACrashNeverBuysTwice,
    LosingTheQueueLosesNothing,
    StateNeverGoesBackwards,
    MemoryIsFlat,
    UsersSeeOnlyTheirOwn,
    OverloadSheds,
    ServicesEndWhenAsked,
    EveryFaultStruck,
}

/// <summary>
/// The look from the outside when all is quiet: by HTTP as the users and an administrator, at the provider's bills, and at the rows.
/// </summary>
internal sealed partial class Promises(ChaosSystem system, Client client, History history, Injector injector, ChaosOptions options,
    ChaosReport report)
{
    private const long MaxResidentBytes = 400_000_000; // a fresh one has a third of it
    private const int Parallel = 8;
    private static readonly TimeSpan ClockTolerance = TimeSpan.FromMilliseconds(500); // between a row's transaction and our look at the clock
    private const int MaxStories = 20;

    /// <summary>How the providers' 500 to a creation is recorded.</summary>
    private static readonly string[] ServerErrors = ["InternalServiceError", "INTERNAL", "500", "server_error"];

    private readonly ConcurrentDictionary<Promise, ConcurrentQueue<string>> broken = new();
    private readonly ConcurrentDictionary<Guid, bool> suspects = new();
    private readonly SortedDictionary<string, int> excuses = new(StringComparer.Ordinal);

    /// <summary>What was billed for calls that the database cannot know of, by tag.</summary>
    public IReadOnlyDictionary<string, int> BilledBesides { get; init; } = new Dictionary<string, int>(StringComparer.Ordinal);

    /// <summary>The part of a prompt that is unique to a plan.</summary>
    public static string TagOf(string prompt) => Tag().Match(prompt).Value;

    private sealed record Row(Guid SessionId, Guid UserId, string Status, long Version, int Requested, int Stored, long Captured, long Charged,
        string? ErrorCode, IReadOnlyList<string> FailedCodes, bool IsCanceled);

    public async Task CheckAsync(bool isQuiet, CancellationToken ct)
    {
        foreach (var (promise, what) in client.Broken)
        {
            Break(promise, what);
        }

        var orders = client.Orders;
        var rows = (await RowsAsync(ct)).ToDictionary(row => row.SessionId);
        await CheckRowsAsync(isQuiet, orders, rows, ct);
        await CheckCallsAsync(orders, ct);
        var (files, bytes) = await CheckMediaAsync(orders, rows, ct);
        await CheckMoneyAsync(rows, ct);
        await CheckHoldersAsync(ct);
        await CheckRightsAsync(orders, ct);
        CheckProcesses();
        CheckFaults();
        foreach (var suspect in suspects.Keys.Take(MaxStories))
        {
            var asked = orders.TryGetValue(suspect, out var order)
                ? $"{order.Plan.Tool} {order.Plan.Params.ToJsonString()} retry of {order.RetryOf}" : "";
            report.Note($"\n{suspect} {asked}");
            foreach (var line in await history.StoryAsync(suspect, ct))
            {
                report.Note("  " + line);
            }
        }

        foreach (var line in system.Events)
        {
            report.Note(line);
        }

        foreach (var cut in system.Fleets.SelectMany(fleet => fleet.Cuts))
        {
            report.Note($"{cut}");
        }

        report.Add([.. injector.Struck], Outcomes(orders, rows), client.Weather);

        var ended = orders.Values.Count(order => order.End is not null);
        Tell(Promise.AcceptedIsDurable, $"{orders.Count} accepted requests are there");
        Tell(Promise.AskingTwiceCostsOnce, "one session and one hold a key");
        Tell(Promise.EndsOnce, $"{ended} sessions ended, each once");
        Tell(Promise.OnlyWhatMustFails,
            "all completed but for scripts, cancels, and paid calls cut off "
            + $"({(excuses.Count == 0 ? "none" : string.Join(", ", excuses.Select(pair => $"{pair.Key} {pair.Value}")))})");
        Tell(Promise.MoneyFollowsTheWork, "no open hold; charged is what is stored; balances follow");
        Tell(Promise.MediaAndObjectsAgree, $"{files} files, {bytes / 1_000_000.0:0.0} MB, same SHA-256");
        Tell(Promise.TheLedgerAddsUp, "the audit is clean");
        Tell(Promise.OneHolderWrites, "no output was written by a lease that was over");
        Tell(Promise.ACrashNeverBuysTwice, "no provider was paid for more than was asked");
        Tell(Promise.LosingTheQueueLosesNothing, "quiet: nothing open, nothing in the outbox");
        Tell(Promise.StateNeverGoesBackwards, "on every stream and in every answer");
        Tell(Promise.MemoryIsFlat,
            $"at most {system.Fleets.Max(fleet => fleet.MostBytes) / 1_000_000} MB now, {system.Fleets.Max(fleet => fleet.PeakBytes) / 1_000_000} "
            + "MB at any time");
        Tell(Promise.UsersSeeOnlyTheirOwn, "404 for everybody else");
        Tell(Promise.OverloadSheds, "429 and 503 came with Retry-After; no 500");
        Tell(Promise.ServicesEndWhenAsked, "no service ended by itself, and each ended in order when it was asked");
        if (options.Faults.Count > 0)
        {
            Tell(Promise.EveryFaultStruck, $"each kind at least {Schedule.TimesAMinute} times while work was in flight");
        }

        void Tell(Promise promise, string detail) => report.Add(Words().Replace(promise.ToString(), " $0").Trim().ToLowerInvariant(), detail,
            [.. broken.GetValueOrDefault(promise) ?? []]);
    }

    private void Break(Promise promise, string what, Guid? session = null)
    {
        if (session is null && SessionId().Match(what) is { Success: true } match)
        {
            session = Guid.Parse(match.Value);
        }

        if (session is { } suspect)
        {
            suspects[suspect] = true;
        }

        broken.GetOrAdd(promise, _ => new ConcurrentQueue<string>()).Enqueue(what);
    }

    private Task<List<Row>> RowsAsync(CancellationToken ct) => history.ReadAsync(
        """
        SELECT s.session_id, s.user_id, s.status, s.version, s.requested_outputs, m.stored::integer, coalesce(s.captured_credits, 0),
            coalesce(m.credits, 0)::bigint, s.error_code,
               ARRAY(SELECT f ->> 'code' FROM jsonb_array_elements(coalesce(s.failed_outputs, '[]')) AS f), s.cancel_requested_at IS NOT NULL
        FROM generation_sessions AS s
        CROSS JOIN LATERAL (SELECT count(*) AS stored, sum(credits) AS credits FROM media AS m WHERE m.session_id = s.session_id) AS m
        """,
        r => new Row(r.GetGuid(0), r.GetGuid(1), r.GetString(2), r.GetInt64(3), r.GetInt32(4), r.GetInt32(5), r.GetInt64(6), r.GetInt64(7),
            r.IsDBNull(8) ? null : r.GetString(8), r.GetFieldValue<string[]>(9), r.GetBoolean(10)), ct);

    private async Task CheckRowsAsync(bool isQuiet, ConcurrentDictionary<Guid, Order> orders, Dictionary<Guid, Row> rows, CancellationToken ct)
    {
        if (!isQuiet)
        {
            Break(Promise.LosingTheQueueLosesNothing,
            $"not quiet after two minutes: {history.Latest}, {client.Asking} requests without an answer");
        }

        foreach (var id in await history.ReadAsync("SELECT session_id::text FROM outbox", r => r.GetString(0), ct))
        {
            Break(
            Promise.LosingTheQueueLosesNothing, $"{id} is still in the outbox");
        }

        foreach (var id in rows.Keys.Where(id => !orders.ContainsKey(id)))
        {
            Break(
            Promise.AskingTwiceCostsOnce, $"{id} is a session that no client was told of");
        }

        foreach (var doubled in await history.ReadAsync(
            "SELECT user_id || ' ' || client_key FROM generation_sessions GROUP BY user_id, client_key HAVING count(*) > 1", r => r.GetString(0), ct))
        {
            Break(Promise.AskingTwiceCostsOnce, $"{doubled} has several sessions");
        }

        foreach (var id in await history.ReadAsync(
            "SELECT s.session_id FROM generation_sessions AS s WHERE (SELECT count(*) FROM credit_reservations AS r WHERE r.session_id = "
                + "s.session_id) <> 1", r => r.GetGuid(0), ct))
        {
            Break(Promise.AskingTwiceCostsOnce, $"{id} does not have one hold");
        }

        foreach (var (id, ends) in await history.ReadAsync(
            """
            SELECT session_id, string_agg(status || ' v' || version, ', ' ORDER BY id) FROM chaos.history
                WHERE status IN ('completed', 'failed', 'canceled')
            GROUP BY session_id HAVING count(*) > 1
            """, r => (r.GetGuid(0), r.GetString(1)), ct))
        {
            Break(Promise.EndsOnce, $"{id} ended as {ends}");
        }

        var excused = await ExcusedAsync(ct);
        foreach (var order in orders.Values)
        {
            if (!rows.TryGetValue(order.SessionId, out var row))
            {
                Break(Promise.AcceptedIsDurable, $"{order.SessionId} was accepted and is not there");
            }
            else if (row.Status is "queued" or "processing")
            {
                Break(Promise.EndsOnce, $"{order.SessionId} ({order.Plan.Tool}) is still {row.Status}");
            }
            else if (order.End is null)
            {
                Break(Promise.EndsOnce, $"{order.SessionId} is {row.Status}, and its client was not told");
            }
            else if (order.End != row.Status || order.EndVersion != row.Version)
            {
                Break(
                Promise.EndsOnce, $"{order.SessionId} was shown as {order.End} in version {order.EndVersion} and is {row.Status} in version "
                + $"{row.Version}");
            }
            else
            {
                JudgeEnd(order, row, excused);
            }
        }
    }

    /// <summary>Whether it had to end so.</summary>
    private void JudgeEnd(Order order, Row row, IReadOnlyDictionary<Guid, int> excused)
    {
        var plan = order.Plan;
        var unexplained = row.FailedCodes.Where(code => code != plan.ScriptedCode).ToList();
        var lostCalls = excused.GetValueOrDefault(row.SessionId);
        var unknown = unexplained.RemoveAll(code => code == "outcome_unknown" && lostCalls > 0);
        if (row.Status == "canceled")
        {
            if (!order.CancelSent)
            {
                Break(Promise.OnlyWhatMustFails, $"{row.SessionId} ({plan.Tool}) is canceled, and nobody asked for it");
            }
        }
        else if (unexplained.Count > 0 || (row.Status == "failed" && row.ErrorCode != plan.ScriptedCode
            && !(row.ErrorCode == "outcome_unknown" && lostCalls > 0)))
        {
            Break(Promise.OnlyWhatMustFails,
                $"{row.SessionId} ({plan.Tool}, {plan.Params["prompt"]}) {row.Status} with {row.ErrorCode} [{string.Join(", ", row.FailedCodes)}], "
                + $"{lostCalls} calls cut off");
        }
        else if (row.Status == "completed" && !plan.IsGroup && row.Stored + row.FailedCodes.Count != row.Requested)
        {
            Break(Promise.OnlyWhatMustFails,
                $"{row.SessionId} ({plan.Tool}) completed with {row.Stored} of {row.Requested}, and {row.FailedCodes.Count} explained ({unknown} "
                + "unknown)");
        }
        else if (row.Status == "completed" && plan.ScriptedCode is not null && !plan.MayBeLookedUp && order.RetryOf is null)
        {
            Break(Promise.OnlyWhatMustFails,
                $"{row.SessionId} ({plan.Tool}, {plan.Params["prompt"]}) was to end with {plan.ScriptedCode} and completed");
        }
    }

    /// <summary>
    /// Calls of unknown outcome, by session, that nobody could have saved: their worker was killed or paused while they were under way, their
    /// session was locked for longer than the lease, or the provider answered a creation with 500 and never called back. A worker
    /// that was asked to stop is no excuse, because it hands its leases back, nor is a database that was unavailable, because it goes on.
    /// </summary>
    private async Task<IReadOnlyDictionary<Guid, int>> ExcusedAsync(CancellationToken ct)
    {
        var cuts = system.Workers.Cuts.ToLookup(cut => $"{Environment.MachineName}:{cut.ProcessId}", StringComparer.Ordinal);
        var unknown = await history.ReadAsync(
            """
            SELECT t.session_id, coalesce(h.lease_owner, ''), t.created_at, t.updated_at, t.failure_code
            FROM provider_tasks AS t
            LEFT JOIN LATERAL (
                SELECT lease_owner FROM chaos.history AS h WHERE h.session_id = t.session_id AND h.lease_token = t.lease_token
                    AND lease_owner IS NOT NULL LIMIT 1) AS h ON true
            WHERE t.state = 'unknown'
            """,
            r => (SessionId: r.GetGuid(0), Owner: r.GetString(1), From: r.GetFieldValue<DateTimeOffset>(2), To: r.GetFieldValue<DateTimeOffset>(3),
                Code: r.GetString(4)), ct);
        var excused = new Dictionary<Guid, int>();
        foreach (var call in unknown)
        {
            var cut = cuts[call.Owner].FirstOrDefault(cut => call.From <= cut.From + ClockTolerance && cut.From <= call.To);
            var isLocked = system.DatabaseFaults.LockedSessions.Any(locked =>
                locked.SessionId == call.SessionId && call.From <= locked.To && locked.From <= call.To + ClockTolerance);
            var excuse = cut is { To: null } ? "killed" : cut is not null ? "paused" : isLocked ? "locked"
                : ServerErrors.Contains(call.Code) ? "answered with 500" : null;
            if (excuse is null)
            {
                continue;
            }

            excuses[excuse] = excuses.GetValueOrDefault(excuse) + 1;
            excused[call.SessionId] = excused.GetValueOrDefault(call.SessionId) + 1;
        }

        return excused;
    }

    /// <summary>What the providers billed, beside what was asked for. Forge costs nothing, and may run twice.</summary>
    private async Task CheckCallsAsync(ConcurrentDictionary<Guid, Order> orders, CancellationToken ct)
    {
        var log = (await system.Sim.GetFromJsonAsync<JsonObject>("/sim/calls?limit=10000000", ct))!;
        var paid = log["calls"]!.AsArray().Select(call => (Tag: TagOf((string)call!["prompt"]!), Images: (int)call["images"]!))
            .GroupBy(call => call.Tag, StringComparer.Ordinal)
            .ToDictionary(calls => calls.Key, calls => calls.Sum(call => call.Images), StringComparer.Ordinal);
        foreach (var same in orders.Values.Where(order => !order.Plan.IsFree).GroupBy(order => order.Plan))
        {
            var wanted = same.Key.IsMock ? 0 : (same.Count() * same.Key.Outputs) + BilledBesides.GetValueOrDefault(same.Key.Tag);
            if (paid.GetValueOrDefault(same.Key.Tag) is var billed && billed > wanted)
            {
                Break(Promise.ACrashNeverBuysTwice,
                    $"{same.First().SessionId} ({same.Key.Tool}, {same.Key.Params["prompt"]}): {billed} billed, {wanted} asked for in "
                    + $"{same.Count()} sessions", same.First().SessionId);
            }
        }
    }

    private async Task<(int Files, long Bytes)> CheckMediaAsync(
        ConcurrentDictionary<Guid, Order> orders, Dictionary<Guid, Row> rows, CancellationToken ct)
    {
        using var store = new HttpClient { BaseAddress = system.Apis.Addresses[0] };
        var (files, total) = (0, 0L);
        await System.Threading.Tasks.Parallel.ForEachAsync(orders.Values,
            new ParallelOptions { MaxDegreeOfParallelism = Parallel, CancellationToken = ct }, async (order, token) =>
        {
            var (status, session) = await client.InsistAsync(
                order.Plan.User, order.Plan.Number, HttpMethod.Get, $"/api/generations/{order.SessionId}", null, [], token);
            if (status != HttpStatusCode.OK || !rows.TryGetValue(order.SessionId, out var row))
            {
                Break(Promise.AcceptedIsDurable, $"{order.SessionId}: {(int)status} at the end");
                return;
            }

            var media = session!["media"]!.AsArray();
            if (media.Count != row.Stored)
            {
                Break(Promise.MediaAndObjectsAgree, $"{order.SessionId}: {media.Count} shown, {row.Stored} stored");
            }

            if (row.Captured != row.Charged || (session["receipt"] is JsonObject receipt && (long)receipt["captured"]! != row.Captured))
            {
                Break(Promise.MoneyFollowsTheWork,
                    $"{order.SessionId}: captured {row.Captured}, stored for {row.Charged}, receipt {session["receipt"]?.ToJsonString()}");
            }

            foreach (var one in media)
            {
                using var answer = await store.GetAsync(new Uri((string)one!["url"]!, UriKind.RelativeOrAbsolute), token);
                var bytes = await answer.Content.ReadAsByteArrayAsync(token);
                if (answer.StatusCode != HttpStatusCode.OK || bytes.LongLength != (long)one["bytes"]!
                    || !string.Equals(Convert.ToHexString(SHA256.HashData(bytes)), (string)one["sha256"]!, StringComparison.OrdinalIgnoreCase))
                {
                    Break(Promise.MediaAndObjectsAgree,
                        $"{order.SessionId}: {one.ToJsonString()} answers {(int)answer.StatusCode} with {bytes.Length} bytes");
                }

                Interlocked.Increment(ref files);
                Interlocked.Add(ref total, bytes.Length);
            }
        });
        return (files, total);
    }

    private async Task CheckMoneyAsync(Dictionary<Guid, Row> rows, CancellationToken ct)
    {
        using var admin = system.Client(0, ChaosSystem.AdminKey, TimeSpan.FromSeconds(60));
        var audit = (await admin.GetFromJsonAsync<JsonObject>("/api/admin/ledger/audit", ct))!;
        if (!(bool)audit["clean"]!)
        {
            foreach (var difference in audit["differences"]!.AsArray())
            {
                Break(Promise.TheLedgerAddsUp, difference!.ToJsonString());
            }
        }

        var spent = rows.Values.GroupBy(row => row.UserId).ToDictionary(own => own.Key, own => own.Sum(row => row.Captured));
        var users = (await history.ReadAsync("SELECT handle, user_id FROM users", r => (Handle: r.GetString(0), Id: r.GetGuid(1)), ct))
            .ToDictionary(user => user.Handle, user => user.Id, StringComparer.Ordinal);
        for (var user = 0; user < ChaosSystem.Users; user++)
        {
            var (_, credits) = await client.InsistAsync(user, 0, HttpMethod.Get, "/api/credits", null, [], ct);
            var (available, reserved) = ((long)credits!["available"]!, (long)credits["reserved"]!);
            if (reserved != 0 || available != ChaosSystem.CreditsPerUser - spent.GetValueOrDefault(users[$"chaos-{user}"]))
            {
                Break(Promise.MoneyFollowsTheWork,
                    $"user {user} has {available} available and {reserved} reserved; {spent.GetValueOrDefault(users[$"chaos-{user}"])} were "
                    + $"captured of {ChaosSystem.CreditsPerUser}");
            }
        }
    }

    /// <summary>Each output stands under its writer's token, and that was the session's token then.</summary>
    private async Task CheckHoldersAsync(CancellationToken ct)
    {
        foreach (var (id, what) in await history.ReadAsync(
            """
            SELECT m.session_id, format('output %s (%s) of token %s, stored %s', m.ordinal, m.object_key, m.lease_token, m.created_at)
            FROM media AS m
            WHERE (m.object_key NOT LIKE 'samples/%' AND m.object_key !~ ('/output-' || m.ordinal || '-' || m.lease_token || '\.'))
               OR EXISTS (SELECT FROM chaos.history AS h WHERE h.session_id = m.session_id AND h.lease_token > m.lease_token AND h.at < m.created_at)
            """, r => (r.GetGuid(0), r.GetString(1)), ct))
        {
            Break(Promise.OneHolderWrites, $"{id}: {what}");
        }
    }

    private async Task CheckRightsAsync(ConcurrentDictionary<Guid, Order> orders, CancellationToken ct)
    {
        foreach (var order in orders.Values.Where(order => order.End == "completed").Take(5))
        {
            var stranger = (order.Plan.User + 1) % ChaosSystem.Users;
            var (_, own) = await client.InsistAsync(order.Plan.User, 0, HttpMethod.Get, $"/api/generations/{order.SessionId}", null, [], ct);
            foreach (var (method, path) in new[]
            {
                (HttpMethod.Get, $"/api/generations/{order.SessionId}"), (HttpMethod.Get, $"/api/generations/{order.SessionId}/events"),
                (HttpMethod.Post, $"/api/generations/{order.SessionId}/cancel"), (HttpMethod.Get, $"/api/media/{own!["media"]![0]!["mediaId"]}"),
            })
            {
                var (status, body) = await client.InsistAsync(stranger, 0, method, path, null, [], ct);
                if (status != HttpStatusCode.NotFound)
                {
                    Break(
                    Promise.UsersSeeOnlyTheirOwn, $"{method} {path} by another user: {(int)status} {body?.ToJsonString()}");
                }
            }
        }
    }

    private void CheckProcesses()
    {
        foreach (var fleet in system.Fleets)
        {
            foreach (var collapse in fleet.Collapses)
            {
                Break(Promise.ServicesEndWhenAsked, collapse);
            }

            if (fleet.MostBytes > MaxResidentBytes)
            {
                Break(Promise.MemoryIsFlat, $"a process has {fleet.MostBytes / 1_000_000} MB at the end");
            }
        }
    }

    private void CheckFaults()
    {
        foreach (var kind in options.Faults)
        {
            var times = injector.Struck.Count(one => one.Injection.Kind == kind && one.HadWork);
            if (times < Schedule.TimesAMinute)
            {
                Break(Promise.EveryFaultStruck,
                $"{kind} struck {times} times with work in flight; try --rate {options.RequestsPerSecond * 2}");
            }
        }
    }

    private static Dictionary<string, Dictionary<string, int>> Outcomes(ConcurrentDictionary<Guid, Order> orders, Dictionary<Guid, Row> rows)
    {
        var outcomes = new Dictionary<string, Dictionary<string, int>>(StringComparer.Ordinal);
        foreach (var order in orders.Values)
        {
            var end = !rows.TryGetValue(order.SessionId, out var row) ? "gone"
                : row.Status == "failed" ? $"failed: {row.ErrorCode}"
                : row.Status == "completed" && row.FailedCodes.Count > 0 ? "completed in part"
                : row.Status;
            var own = outcomes.TryGetValue(order.Plan.Tool, out var known) ? known
                : outcomes[order.Plan.Tool] = new Dictionary<string, int>(StringComparer.Ordinal);
            own[end] = own.GetValueOrDefault(end) + 1;
        }

        return outcomes;
    }

    [GeneratedRegex("chaos-[0-9]+-[0-9]{6}\\.", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Tag();

    [GeneratedRegex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SessionId();

    [GeneratedRegex("[A-Z]", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Words();
}
