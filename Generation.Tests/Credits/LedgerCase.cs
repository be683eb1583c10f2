using System.Security.Cryptography;
using System.Text;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>
/// One random sequence, done to the real thing and to the model at once, with users of its own. After every step the answers, the
/// accounts, lots, holds, draws, sessions and what was booked are the same, and the ledger, replayed row by row, gives the balances.
/// </summary>
internal sealed class LedgerCase
{
    public const int Users = 3;

    private const int LeaseMinutes = 10;
    private const int WakeMinutes = 10;

    /// <summary>Two that are flat, two that go by tokens: 400 tokens are the four credits that are held.</summary>
    public static readonly ModelPrice[] Prices = [new("flat", 4, null), new("dear", 9, null), new("metered", 4, 0.01m),
        new("metered, fine", 4, 0.0099999m)];

    private readonly LedgerDatabase real;
    private readonly Price[] prices;
    private readonly Guid[] userIds;
    private readonly LedgerModel model = new();
    private readonly List<AdminCommand> adminActions = [];
    private readonly Dictionary<ModelSession, List<ClaimedSession>> claims = [];
    private readonly Dictionary<string, (long Available, long Reserved)> replayed = [];
    private readonly string name;
    private long lastTransactionId;

    private LedgerCase(LedgerDatabase real, Price[] prices, string name, Guid[] userIds)
    {
        (this.real, this.prices, this.name, this.userIds) = (real, prices, name, userIds);
        model.Users.AddRange(Enumerable.Range(0, Users).Select(n => new ModelUser(Handle(name, n))));
    }

    public static async Task<Price[]> AddPricesAsync(LedgerDatabase real)
    {
        var rows = new List<Price>();
        foreach (var price in Prices) rows.Add(await real.AddPriceAsync(
            price.Listed, price.CreditsPerToken is null ? null : "tokens", price.CreditsPerToken));
        return [.. rows];
    }

    /// <summary>Runs the script from new users to the end of all their sessions.</summary>
    public static async Task RunAsync(LedgerDatabase real, Price[] prices, string name, Script script)
    {
        var ids = new Guid[Users];
        for (var n = 0; n < Users; n++) ids[n] = await real.AddUserAsync(Handle(name, n));
        var run = new LedgerCase(real, prices, name, ids);
        foreach (var command in script.Commands)
        {
            await run.DoAsync(command);
            await run.CompareAsync(command);
        }

        // Nothing is left: the deadlines pass, the sweeps do the rest.
        foreach (var command in new Command[] { new Command.Jump(400), new Command.EndOverdue(CostPolicy.Absorb), new Command.ReleaseAbandoned(),
            new Command.ExpireLots() })
        {
            await run.DoAsync(command);
            await run.CompareAsync(command);
        }

        Assert.All(run.model.Users, user => Assert.Equal(0, user.Reserved));
        Assert.All(run.model.Sessions, session => Assert.True(session.IsOver && session.HoldStatus != "held", session.Key));
    }

    private static string Handle(string name, int user) => $"{name}-u{user}";

    private async Task DoAsync(Command command)
    {
        switch (command)
        {
            case Command.Grant(var user, var amount, var kind, var priority, var expiresIn):
                await DoAsync(new AdminCommand($"{name}-d{adminActions.Count}", user, amount, kind, priority, expiresIn, null));
                break;
            case Command.Adjust(var user, var amount):
                await DoAsync(new AdminCommand($"{name}-d{adminActions.Count}", user, amount, null, 0, null, null));
                break;
            case Command.Freeze(var user, var frozen):
                await DoAsync(new AdminCommand($"{name}-d{adminActions.Count}", user, 0, null, 0, null, frozen));
                break;
            case Command.RepeatAdminAction(var which, var isChanged) when adminActions.Count > 0:
                var adminAction = adminActions[which % adminActions.Count];
                await DoAsync(isChanged ? adminAction with { Amount = adminAction.Amount + 1, IsFrozen = !adminAction.IsFrozen } : adminAction);
                break;
            case Command.Submit(var orders):
                await SubmitAsync(orders.Select(o => new Request(
                    model.Users[o.User], $"{Handle(name, o.User)}.{o.Key}", Prices[o.Price], o.Outputs)));
                break;
            case Command.RepeatSubmit(var which) when Pick(which) is { } session:
                await SubmitAsync([new Request(session.User, session.Key, session.Price, session.Outputs)]);
                break;
            case Command.Claim(var which) when Pick(which) is { } session:
                await ClaimAsync(session);
                break;
            case Command.Store(var which, var isLate, var ordinal, var usage) when Pick(which) is { } session
                && Claimed(session, isLate) is { } claim:
                await StoreAsync(session, claim, ordinal % session.Outputs, usage);
                break;
            case Command.Suspend(var which, var isLate) when Pick(which) is { } session && Claimed(session, isLate) is { } claim:
                Assert.Equal(
                    model.Suspend(session, claim.LeaseToken, WakeMinutes),
                    await real.Leases.SuspendAsync(claim, TimeSpan.FromMinutes(WakeMinutes), CancellationToken.None));
                break;
            case Command.Settle(var endings, var policy):
                await SettleAsync(endings.Select(e => (Session: Pick(e.Session), Ending: e))
                    .Where(e => e.Session is not null && Claimed(e.Session, e.Ending.IsLate) is not null)
                    .Select(e => (e.Session!, Claimed(e.Session!, e.Ending.IsLate)!, e.Ending.IsCanceled)), policy);
                break;
            case Command.Finish(var which, var minutes, var usage, var policy) when Pick(which) is { } session:
                await ClaimAsync(session);
                if (Claimed(session, false) is { } last)
                {
                    await JumpAsync(minutes);
                    for (var ordinal = 0; ordinal < session.Outputs; ordinal++) await StoreAsync(session, last, ordinal, usage);
                    await SettleAsync([(session, last, false)], policy);
                }

                break;
            case Command.Cancel(var which, var policy) when Pick(which) is { } session:
                Assert.Equal(
                    model.Cancel(session, policy),
                    await real.Cancellation(policy).CancelAsync(userIds[model.Users.IndexOf(session.User)], session.Id, CancellationToken.None));
                break;
            case Command.ExtendHolds:
                model.ExtendHolds();
                await real.Holds.ExtendAsync(CancellationToken.None);
                break;
            case Command.ReleaseAbandoned:
                model.ReleaseAbandoned();
                await real.Holds.ReleaseAbandonedAsync(CancellationToken.None);
                break;
            case Command.ExpireLots:
                model.ExpireLots();
                await real.Holds.ExpireLotsAsync(CancellationToken.None);
                break;
            case Command.EndOverdue(var policy):
                model.EndOverdue(policy);
                await real.SessionSweeps(policy).EndOverdueAsync(CancellationToken.None);
                break;
            case Command.RevokeDeadLeases(var policy):
                model.RevokeDeadLeases(policy);
                await real.SessionSweeps(policy).RevokeDeadLeasesAsync(CancellationToken.None);
                break;
            case Command.Jump(var passed):
                await JumpAsync(passed);
                break;
            // of others the audit would say, rightly, that they were not paid
            case Command.Abandon(var which) when Pick(which) is { IsOver: false, Stored.Count: 0 } session:
                LedgerModel.Abandon(session);
                await real.ExecuteAsync(
                    """
                    UPDATE generation_sessions
                    SET status = 'canceled', phase = 'canceled', captured_credits = 0, completed_at = now(), lease_owner = NULL, lease_until = NULL,
                        wake_at = NULL,
                        lease_token = lease_token + 1
                    WHERE session_id = $1
                    """,
                    session.Id);
                break;
        }
    }

    private async Task DoAsync(AdminCommand adminAction)
    {
        if (!adminActions.Exists(d => d.Key == adminAction.Key)) adminActions.Add(adminAction);
        var user = model.Users[adminAction.User];
        var request = new AdminAction(adminAction.Key, SHA256.HashData(Encoding.UTF8.GetBytes(adminAction.ToString())), real.AdministratorId,
            userIds[adminAction.User], "test");
        var (expected, answer) = adminAction switch
        {
            { IsFrozen: { } frozen } => (model.Freeze(adminAction.Key, user, frozen),
                await real.Administration.FreezeAsync(request, frozen, CancellationToken.None)),
            { Kind: { } kind } => (
                model.Grant(adminAction.Key, user, adminAction.Amount, kind, adminAction.Priority, adminAction.ExpiresIn),
                await real.Administration.GrantAsync(
                    request, adminAction.Amount, kind, adminAction.Priority,
                    adminAction.ExpiresIn is { } minutes ? TimeProvider.System.GetUtcNow().AddMinutes(minutes) : null, CancellationToken.None)),
            { Amount: 0 } => (AdminActionOutcome.Done, null), // a changed adjustment of -1: asks for nothing, which the API refuses
            _ => (model.Adjust(adminAction.Key, user, adminAction.Amount),
                await real.Administration.AdjustAsync(request, adminAction.Amount, CancellationToken.None)),
        };
        if (answer is not null) Assert.Equal((expected, user.Available, user.Reserved), (answer.Outcome, answer.Available, answer.Reserved));
    }

    /// <summary>
    /// All are sent before the first is answered. A key stands for one body in such a group: which of two would come first is nobody's promise.
    /// </summary>
    private async Task SubmitAsync(IEnumerable<Request> asked)
    {
        var requests = asked.GroupBy(r => r.Key).SelectMany(same => same.Where(r => r == same.First())).ToList();
        var answers = await Task.WhenAll(requests.Select(r => real.Writers[0].SubmitAsync(
            LedgerDatabase.Request(userIds[model.Users.IndexOf(r.User)], r.Key, prices[Array.IndexOf(Prices, r.Price)], r.Outputs, r.Body),
                CancellationToken.None)));
        foreach (var (request, answer) in requests.Zip(answers))
        {
            var expected = model.Submit(request.User, request.Key, request.Body, request.Price, request.Outputs, (
                int)LedgerDatabase.Lifetime.TotalMinutes);
            Assert.Equal(expected, answer.Outcome);
            var session = model.Sessions.Find(s => s.Key == request.Key);
            if (expected == SubmitOutcome.Accepted) session!.Id = answer.SessionId;
            if (session is not null && expected is SubmitOutcome.Accepted or SubmitOutcome.Replayed) Assert.Equal(
                (session!.Id, session.Held), (answer.SessionId, answer.HeldCredits));
        }

        if (requests is [var only]) Assert.Equal((only.User.Available, only.User.Reserved), (answers[0].Available, answers[0].Reserved));
    }

    private async Task JumpAsync(int minutes)
    {
        model.Jump(minutes);
        await real.JumpAsync(TimeSpan.FromMinutes(minutes), userIds);
    }

    private async Task ClaimAsync(ModelSession session)
    {
        var claim = await real.ClaimAsync(session.Id);
        Assert.Equal(model.Claim(session, LeaseMinutes), claim is not null);
        if (claim is not null) claims.TryAdd(session, []);
        if (claim is not null) claims[session].Add(claim);
    }

    private async Task StoreAsync(ModelSession session, ClaimedSession claim, int ordinal, Usage usage) =>
        Assert.Equal(model.Store(session, claim.LeaseToken, ordinal, usage.Counted), await real.StoreAsync(claim, ordinal, usage.Json) is not null);

    private async Task SettleAsync(IEnumerable<(ModelSession Session, ClaimedSession Claim, bool IsCanceled)> endings, CostPolicy policy)
    {
        var list = endings.ToList();
        if (list.Count == 0) return;
        var ended = model.Settle([.. list.Select(e => new ModelSettle(e.Session, SettleGuard.Fenced, e.Claim.LeaseToken, e.IsCanceled))], policy);
        var settled = await real.Settlement(policy).SettleAsync(
            [.. list.Select(e => LedgerDatabase.Fenced(e.Claim) with { Canceled = e.IsCanceled })], CancellationToken.None);
        Assert.Equal(
            ended.Select(s => $"{s.Key} {s.Status} {s.Captured + s.Extra} {s.Released}").Order(StringComparer.Ordinal),
            settled.Select(s => $"{model.Sessions.Single(m => m.Id == s.SessionId).Key} {s.Status} {s.Captured} {s.Released}")
                .Order(StringComparer.Ordinal));
    }

    /// <summary>Four in five mean one that is not over, if there is one.</summary>
    private ModelSession? Pick(int number)
    {
        var open = model.Sessions.Where(s => !s.IsOver).ToList();
        var from = number % 5 == 0 || open.Count == 0 ? model.Sessions : open;
        return from.Count == 0 ? null : from[number / 5 % from.Count];
    }

    private ClaimedSession? Claimed(ModelSession session, bool isLate) => claims.TryGetValue(session, out var all) ? isLate ? all[0] : all[^1] : null;

    private async Task CompareAsync(Command command)
    {
        await using var batch = real.Db.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand(StateSql) { Parameters = { new() { Value = userIds } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(LedgerSql)
        {
            Parameters =
            { new() { Value = userIds }, new() { Value = lastTransactionId } }
        });
        await using var reader = await batch.ExecuteReaderAsync();
        var state = new List<string>();
        while (await reader.ReadAsync()) state.Add(reader.GetString(0));
        await reader.NextResultAsync();
        var booked = new List<string>();
        while (await reader.ReadAsync())
        {
            booked.Add(reader.GetString(0));
            lastTransactionId = reader.GetInt64(1);
            var (user, from, to, amount) = (reader.GetString(2), reader.GetString(3), reader.GetString(4), reader.GetInt64(5));
            var (available, reserved) = replayed.GetValueOrDefault(user);
            replayed[user] = (available + Delta("available"), reserved + Delta("reserved"));
            Assert.True(
                replayed[user] == (reader.GetInt64(6), reader.GetInt64(7)),
                $"After {command} the ledger says {booked[^1]} leaves {reader.GetInt64(6)} available, {reader.GetInt64(7)} reserved; replayed it is "
                    + $"{replayed[user]}.");

            long Delta(string bucket) => (to == bucket ? amount : 0) - (from == bucket ? amount : 0);
        }

        Same(command, "state", Describe(), state);
        Same(command, "booked", model.TakeEntries().Select(e => $"{e.User} {e.Type} {e.From} {e.To} {e.Amount} {e.Session ?? "-"} {e.Lot ?? "-"}"),
            booked);
        foreach (var user in model.Users) Assert.Equal((user.Available, user.Reserved), replayed.GetValueOrDefault(user.Name));
    }

    private static void Same(Command command, string what, IEnumerable<string> expected, IEnumerable<string> actual)
    {
        var (model, real) = (expected.Order(StringComparer.Ordinal).ToList(), actual.Order(StringComparer.Ordinal).ToList());
        if (model.SequenceEqual(real)) return;
        var missing = model.ToList();
        missing.RemoveAll(real.Contains);
        real.RemoveAll(line => model.Remove(line));
        Assert.Fail(
            $"After {command}, {what}:\nexpected  "
                + $"{string.Join("\n          ", missing.Concat(model.Where(line => !missing.Contains(line))).Distinct())}\n"
            + $"found     {string.Join("\n          ", real)}");
    }

    private IEnumerable<string> Describe()
    {
        foreach (var user in model.Users.Where(u => u.HasAccount))
        {
            yield return $"account {user.Name} available {user.Available} reserved {user.Reserved} frozen {(user.Frozen ? "t" : "f")}";
            foreach (var lot in user.Lots)
            {
                yield return $"lot {lot.Name} available {lot.Available} held {lot.Held} spent {lot.Spent} expired {lot.Expired} withdrawn "
                    + $"{lot.Withdrawn} of {lot.Granted}";
            }
        }

        foreach (var session in model.Sessions)
        {
            var status = session.Status ?? (session.Phase == ModelPhase.Queued ? "queued" : "processing");
            var charged = session.IsOver ? $"{session.Captured + session.Extra}" : "-";
            yield return $"session {session.Key} {status} captured {charged} extra {session.Extra} shortfall {session.Shortfall} token "
                + $"{session.Token}";
            var left = session.HoldStatus == "held" ? $" for {session.HoldUntil - model.Now}" : "";
            yield return $"hold {session.Key} {session.HoldStatus} {session.Held} captured {session.Captured} released {session.Released} extra "
                + $"{session.Extra}{left}";
            if (session.Shortfall > 0) yield return $"shortfall {session.Key} {session.Shortfall} charged {session.Captured + session.Extra}";
            foreach (var (ordinal, cost) in session.Stored) yield return $"output {session.Key} {ordinal} costs {cost}";
            foreach (var (draw, n) in session.Draws.Select((draw, n) => (draw, n + 1)))
            {
                yield return $"draw {session.Key} {n} lot {draw.Lot.Name} {draw.Amount} captured {draw.Captured} released "
                    + $"{draw.Released}{(draw.IsExtra ? " extra" : "")}";
            }
        }
    }

    private const string StateSql =
        """
        SELECT format('account %s available %s reserved %s frozen %s', u.handle, a.available, a.reserved, a.frozen_at IS NOT NULL)
        FROM credit_accounts AS a JOIN users AS u USING (user_id) WHERE a.user_id = ANY ($1)
        UNION ALL
        SELECT format('lot %s available %s held %s spent %s expired %s withdrawn %s of %s', substr(reference, 7), available, held, spent, expired,
            withdrawn, granted)
        FROM credit_lots WHERE user_id = ANY ($1)
        UNION ALL
        SELECT format('session %s %s captured %s extra %s shortfall %s token %s', client_key, status, coalesce(captured_credits::text, '-'),
            extra_credits, shortfall_credits, lease_token)
        FROM generation_sessions WHERE user_id = ANY ($1)
        UNION ALL
        SELECT format('hold %s %s %s captured %s released %s extra %s', s.client_key, v.status, v.amount, v.captured, v.released, v.extra)
               || CASE v.status WHEN 'held' THEN format(' for %s', 20 * round(extract(epoch FROM v.expires_at - now()) / 1200)::integer) ELSE '' END
        FROM credit_reservations AS v JOIN generation_sessions AS s USING (session_id) WHERE s.user_id = ANY ($1)
        UNION ALL
        SELECT format('shortfall %s %s charged %s', s.client_key, e.detail ->> 'shortfall', e.detail ->> 'charged')
        FROM error_events AS e JOIN generation_sessions AS s USING (session_id) WHERE s.user_id = ANY ($1) AND e.code = 'cost_shortfall'
        UNION ALL
        SELECT format('output %s %s costs %s', s.client_key, m.ordinal, m.credits)
        FROM media AS m JOIN generation_sessions AS s USING (session_id) WHERE s.user_id = ANY ($1)
        UNION ALL
        SELECT format('draw %s %s lot %s %s captured %s released %s', s.client_key, d.ordinal, substr(l.reference, 7), d.amount, d.captured,
            d.released)
               || CASE WHEN d.extra THEN ' extra' ELSE '' END
        FROM credit_reservation_draws AS d
        JOIN credit_reservations AS v USING (reservation_id)
        JOIN generation_sessions AS s USING (session_id)
        JOIN credit_lots AS l USING (lot_id)
        WHERE s.user_id = ANY ($1)
        """;

    private const string LedgerSql =
        """
        SELECT concat_ws(' ', u.handle, t.type, t.from_bucket, t.to_bucket, t.amount, coalesce(s.client_key, '-'),
            coalesce(substr(l.reference, 7), '-')), t.transaction_id,
               u.handle, t.from_bucket, t.to_bucket, t.amount, t.available_after, t.reserved_after
        FROM credit_transactions AS t
        JOIN users AS u USING (user_id)
        LEFT JOIN credit_reservations AS v ON v.reservation_id = t.reservation_id
        LEFT JOIN generation_sessions AS s ON s.session_id = v.session_id AND s.session_id = t.session_id
        LEFT JOIN credit_lots AS l ON l.lot_id = t.lot_id
        WHERE t.user_id = ANY ($1) AND t.transaction_id > $2
        ORDER BY t.transaction_id
        """;

    /// <summary>What an administrator asked for: a grant has a kind, a freeze its wish, an adjustment neither.</summary>
    private sealed record AdminCommand(string Key, int User, int Amount, string? Kind, int Priority, int? ExpiresIn, bool? IsFrozen);

    private sealed record Request(ModelUser User, string Key, ModelPrice Price, int Outputs)
    {
        public string Body => $"{Outputs} {Price.Name}";
    }
}
