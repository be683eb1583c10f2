using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>
/// Everything that touches credits at once, by 64 hands on as many connections, over few users (whom all want) and many. It runs for
/// <c>LEDGER_CONCURRENCY_SECONDS</c> (default 10; 60 with <c>GENERATION_FULL=1</c>); what each hand does follows from the seed, who comes first does
/// not.
/// </summary>
[Trait("tier", "slow")]
public sealed class LedgerConcurrencyTests
{
    private const int Hands = 64;
    private const int Apis = 3;
    private const int HotUsers = 3;
    private const int ColdUsers = 40;
    private const int Keys = 400; // a user's, so that they are repeated

    private static readonly TimeSpan Duration =
        TimeSpan.FromSeconds(int.Parse(Environment.GetEnvironmentVariable("LEDGER_CONCURRENCY_SECONDS") ?? (FullTier.IsOn ? "60" : "10"),
            CultureInfo.InvariantCulture));

    private readonly ConcurrentDictionary<Guid, ClaimedSession> claims = new();
    private readonly ConcurrentDictionary<Guid, Guid> open = new(); // session, user
    private readonly ConcurrentDictionary<Guid, Settled> ends = new();
    private readonly ConcurrentDictionary<(Guid User, string Key), Guid> accepted = new();
    private readonly ConcurrentDictionary<string, int> done = new();

    private LedgerDatabase ledger = null!;
    private Guid[] users = [];
    private Price[] prices = [];

    [Fact]
    public async Task Sixty_four_hands_on_the_same_credits_meet_no_deadlock_and_leave_clean_books()
    {
        await using var database = ledger = await LedgerDatabase.StartAsync(Hands + (2 * Apis) + 2, Apis);
        prices = [await ledger.AddPriceAsync(4), await ledger.AddPriceAsync(4, "tokens", 0.01m)];
        users = new Guid[HotUsers + ColdUsers];
        for (var n = 0; n < users.Length; n++)
        {
            users[n] = await ledger.AddUserAsync($"user-{n}");
            await ledger.GrantAsync(users[n], 200);
        }

        using var time = new CancellationTokenSource(Duration, TimeProvider.System);
        await Task.WhenAll(Enumerable.Range(0, Hands).Select(hand => WorkAsync(new Random(20_261 + hand), time.Token)));

        Assert.Equal(0, await ledger.ScalarAsync<long>("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", ledger.Name));
        Assert.Empty(ledger.Errors.Lines);
        await ledger.AssertBooksAreCleanAsync();

        // Then all sessions end, and nothing is held.
        await ledger.JumpAsync(TimeSpan.FromHours(4), users);
        while (await ledger.SessionSweeps(CostPolicy.ChargeAvailable).EndOverdueAsync(CancellationToken.None) > 0)
        {
        }

        Assert.Empty(await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));
        Assert.Equal(0, await ledger.ScalarAsync<decimal>("SELECT sum(reserved) FROM credit_accounts"));
        Assert.Equal(0, await ledger.ScalarAsync<decimal>("SELECT sum(held) FROM credit_lots"));
        Assert.Equal(0, await ledger.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE completed_at IS NULL"));
        await ledger.AssertBooksAreCleanAsync();
        await AssertAnEndStayedAnEndAsync();

        // Nobody's call was for nothing.
        TestContext.Current.TestOutputHelper!.WriteLine(string.Join(
            ", ", done.OrderBy(d => d.Key, StringComparer.Ordinal).Select(d => $"{d.Key} {d.Value}")));
        Assert.All(["granted", "adjusted", "accepted", "replayed", "claimed", "stored", "completed", "failed", "canceled", "expired"], what =>
            Assert.True(done.ContainsKey(what), what));
    }

    private async Task WorkAsync(Random random, CancellationToken time)
    {
        while (!time.IsCancellationRequested)
        {
            try
            {
                await WorkOnceAsync(random);
            }
            catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.LockNotAvailable)
            {
                Count("locked"); // as a service would, it comes again
            }
        }
    }

    private async Task WorkOnceAsync(Random random)
    {
        var user = random.Next(2) == 0 ? users[random.Next(HotUsers)] : users[HotUsers + random.Next(ColdUsers)];
        var policy = random.Next(2) == 0 ? CostPolicy.Absorb : CostPolicy.ChargeAvailable;
        switch (random.Next(100))
        {
            case < 6:
                await AdministerAsync(random, user);
                break;
            case < 40:
                await SubmitAsync(random, user);
                break;
            case < 70:
                await FinishAsync(random, policy);
                break;
            case < 80:
                await SettleSeveralAsync(random, policy);
                break;
            case < 86 when Any(random) is { } session:
                var outcome = await ledger.Cancellation(policy).CancelAsync(session.Value, session.Key, CancellationToken.None);
                Count($"cancel: {outcome}");
                if (outcome is CancelOutcome.Canceled or CancelOutcome.AlreadyEnded)
                {
                    open.TryRemove(session.Key, out _);
                }

                break;
            case < 89 when Any(random) is { } session && claims.TryGetValue(session.Key, out var claim):
                Count(await ledger.Leases.SuspendAsync(claim, TimeSpan.Zero, CancellationToken.None) ? "suspended" : "not suspended");
                break;
            case < 91 when Any(random) is { } session: // its worker dies, or it runs out of time
                await ledger.ExecuteAsync(
                    random.Next(2) == 0
                        ? "UPDATE generation_sessions SET lease_until = now() - interval '1 second' WHERE session_id = $1 AND lease_until IS "
                            + "NOT NULL"
                        : "UPDATE generation_sessions SET deadline = now() WHERE session_id = $1 AND completed_at IS NULL",
                    session.Key);
                break;
            case < 93: // a lot expires; lots change under the lock of their account
                await ledger.ExecuteAsync(
                    """
                    WITH account AS MATERIALIZED (SELECT user_id FROM credit_accounts WHERE user_id = $1 FOR NO KEY UPDATE)
                    UPDATE credit_lots SET expires_at = now()
                    WHERE lot_id = (SELECT lot_id FROM credit_lots WHERE user_id = (SELECT user_id FROM account) AND expires_at > now() LIMIT 1)
                    """,
                    user);
                break;
            case < 95:
                Count("expired", await ledger.Holds.ExpireLotsAsync(CancellationToken.None));
                break;
            case < 96:
                await ledger.ExecuteAsync(
                    "UPDATE credit_reservations SET expires_at = now() WHERE session_id = (SELECT session_id FROM generation_sessions WHERE "
                    + "completed_at IS NULL LIMIT 1)");
                Count("extended", await ledger.Holds.ExtendAsync(CancellationToken.None));
                Assert.Empty(await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));
                break;
            case < 98:
                Count("overdue", await ledger.SessionSweeps(policy).EndOverdueAsync(CancellationToken.None));
                break;
            default:
                Count("revoked", await ledger.SessionSweeps(policy).RevokeDeadLeasesAsync(CancellationToken.None));
                break;
        }
    }

    private async Task AdministerAsync(Random random, Guid user)
    {
        var key = $"deed {random.Next(2_000)}"; // everybody's: sometimes of two users at the same moment
        var amount = random.Next(1, 60);
        var isGrant = random.Next(3) > 0;
        var adminAction = new AdminAction(key, SHA256.HashData(Encoding.UTF8.GetBytes($"{user} {isGrant} {amount}")), ledger.AdministratorId, user,
            "load");
        var answer = isGrant
            ? await ledger.Administration.GrantAsync(
                adminAction, amount, "bonus", 50 * random.Next(1, 4), random.Next(2) == 0 ? null : TimeProvider.System.GetUtcNow()
                    + TimeSpan.FromHours(1), CancellationToken.None)
            : await ledger.Administration.AdjustAsync(adminAction, -amount, CancellationToken.None);
        Count(answer.Outcome == AdminActionOutcome.Done ? isGrant ? "granted" : "adjusted" : answer.Outcome.ToString());
    }

    /// <summary>One request, or the same one through two Apis at once.</summary>
    private async Task SubmitAsync(Random random, Guid user)
    {
        var key = random.Next(Keys);
        var request = LedgerDatabase.Request(user, $"key {key}", prices[key % 2], 1 + (key % 3), body: $"{key}");
        var results = await Task.WhenAll(Enumerable.Range(0, random.Next(4) == 0 ? 2 : 1).Select(
            _ => ledger.Writers[random.Next(Apis)].SubmitAsync(request, CancellationToken.None)));
        foreach (var result in results)
        {
            Assert.Contains(
                result.Outcome,
                new[] { SubmitOutcome.Accepted, SubmitOutcome.Replayed, SubmitOutcome.NotEnoughCredits,
                    SubmitOutcome.AccountBusy /* locked elsewhere for two seconds */ });
            Count(result.Outcome.ToString().ToLowerInvariant());
            if (result.Outcome is SubmitOutcome.Accepted or SubmitOutcome.Replayed)
            {
                Assert.Equal(result.SessionId, accepted.GetOrAdd((user, request.ClientKey), result.SessionId));
            }

            if (result.Outcome == SubmitOutcome.Accepted)
            {
                open[result.SessionId] = user;
            }
        }

        Assert.InRange(results.Count(r => r.Outcome == SubmitOutcome.Accepted), 0, 1);
    }

    /// <summary>A worker's way with a session that others may be at, too.</summary>
    private async Task FinishAsync(Random random, CostPolicy policy)
    {
        if (Any(random) is not { } session || await ledger.ClaimAsync(session.Key) is not { } claim)
        {
            return;
        }

        claims[session.Key] = claim;
        Count("claimed");
        for (var ordinal = 0; ordinal < claim.RequestedOutputs && random.Next(6) > 0; ordinal++)
        {
            if (await ledger.StoreAsync(claim, ordinal, $$"""{"tokens":{{random.Next(50, 1_200)}}}""") is null)
            {
                break;
            }

            Count("stored");
        }

        if (random.Next(4) > 0)
        {
            await SettleAsync([LedgerDatabase.Fenced(claim)], policy);
        }
    }

    private Task SettleSeveralAsync(Random random, CostPolicy policy)
    {
        var some = Enumerable.Range(0, random.Next(2, 12)).Select(_ => Any(random)).OfType<KeyValuePair<Guid, Guid>>().Select(session => session.Key);
        return SettleAsync([.. some.Where(claims.ContainsKey)
            .Select(session => LedgerDatabase.Fenced(claims[session]) with { Canceled = random.Next(3) == 0 })], policy);
    }

    private async Task SettleAsync(IReadOnlyList<Settle> requests, CostPolicy policy)
    {
        foreach (var end in await ledger.Settlement(policy).SettleAsync(requests, CancellationToken.None))
        {
            Assert.True(ends.TryAdd(end.SessionId, end), $"{end.SessionId} ended twice: {ends[end.SessionId]}, {end}");
            Count(end.Status);
            open.TryRemove(end.SessionId, out _);
        }
    }

    private async Task AssertAnEndStayedAnEndAsync()
    {
        var rows = (await ledger.LinesAsync("SELECT session_id, status, captured_credits FROM generation_sessions")).Select(line => line.Split(' '))
            .ToDictionary(row => Guid.Parse(row[0]), row => row[1..]);
        Assert.All(ends, end => Assert.Equal([end.Value.Status, end.Value.Captured.ToString(CultureInfo.InvariantCulture)], rows[end.Key]));
        Assert.Equal(accepted.Values.Order(), rows.Keys.Order());
    }

    private KeyValuePair<Guid, Guid>? Any(Random random)
    {
        var sessions = open.Take(200).ToArray();
        return sessions.Length == 0 ? null : sessions[random.Next(sessions.Length)];
    }

    private void Count(string what, int times = 1) => done.AddOrUpdate(what, times, (_, sofar) => sofar + times);
}
