using Generation.Core.Credits;
using Generation.Core.Sessions;

namespace Generation.Tests.Credits;

/// <summary>How long held credits live: as long as their work, whatever becomes of their lot meanwhile, and no longer.</summary>
public sealed class HoldTests(CostTests.Books books) : IClassFixture<CostTests.Books>
{
    private readonly LedgerDatabase ledger = books.Ledger;

    [Fact]
    public async Task A_lot_that_expires_while_it_is_held_still_pays_and_what_it_does_not_pay_expires_at_once()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 10, expiresIn: TimeSpan.FromMinutes(30));
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        await ledger.JumpAsync(TimeSpan.FromMinutes(31), user);
        await ledger.Holds.ExpireLotsAsync(CancellationToken.None);
        Assert.Equal(["0 8 0 2"], await ledger.LotsAsync(user));
        Assert.NotNull(await ledger.StoreAsync(session, 0, """{"tokens":300}"""));

        var end = await ledger.FinishAsync(session);

        Assert.Equal(("completed", 3, 5), (end.Status, end.Captured, end.Released));
        Assert.Equal(["0 0 3 7"], await ledger.LotsAsync(user));
        Assert.Equal(
            ["expiry available expired 2 0 8", "usage reserved spent 3 0 5", "adjustment reserved available 5 5 0", "expiry available expired 5 0 0"],
            (await ledger.LedgerAsync(user)).Skip(2));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Of_a_released_hold_over_two_lots_only_the_part_of_the_expired_one_expires()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 3, expiresIn: TimeSpan.FromMinutes(30));
        await ledger.GrantAsync(user, 20);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        await ledger.JumpAsync(TimeSpan.FromMinutes(31), user);

        await ledger.FinishAsync(session);

        Assert.Equal(["0 0 0 3", "20 0 0 0"], await ledger.LotsAsync(user));
        Assert.Equal(["refund reserved available 8 23 0", "expiry available expired 3 20 0"], (await ledger.LedgerAsync(user)).TakeLast(2));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_hold_is_extended_while_its_session_waits_three_hours_and_then_it_completes()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 10);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        Assert.True(await ledger.Leases.SuspendAsync(session, TimeSpan.FromMinutes(179), CancellationToken.None));
        var extensions = 0;
        for (var minute = 0; minute < 180; minute += 20)
        {
            await ledger.JumpAsync(TimeSpan.FromMinutes(20), user);
            var before = await LeftAsync(user);
            await ledger.Holds.ExtendAsync(CancellationToken.None);
            var after = await LeftAsync(user);
            extensions += after > before ? 1 : 0;
            Assert.InRange(after, 30, 60);
            Assert.DoesNotContain(session.SessionId, await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));
        }

        Assert.InRange(extensions, 3, 5); // half of an hour is left when it is renewed, not every minute
        var woken = await ledger.ClaimAsync(session.SessionId);
        Assert.NotNull(await ledger.StoreAsync(woken!, 0, """{"tokens":400}"""));
        Assert.NotNull(await ledger.StoreAsync(woken!, 1, """{"tokens":400}"""));
        var end = await ledger.FinishAsync(woken!);

        Assert.Equal(("completed", 8, 0), (end.Status, end.Captured, end.Released));
        Assert.Equal(["2 0 8 0"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task An_overdue_hold_whose_session_lives_is_never_released_only_extended()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 20);
        var working = await ledger.StartWorkAsync(user, books.Metered);
        var suspended = await ledger.StartWorkAsync(user, books.Metered);
        Assert.True(await ledger.Leases.SuspendAsync(suspended, TimeSpan.FromHours(3), CancellationToken.None));
        var queued = await ledger.Writers[0].SubmitAsync(LedgerDatabase.Request(user, "queued", books.Metered, 1), CancellationToken.None);
        await ledger.JumpAsync(TimeSpan.FromMinutes(180), user); // nobody extended: the relays were down

        var released = await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None);
        Assert.All([working.SessionId, suspended.SessionId, queued.SessionId], session => Assert.DoesNotContain(session, released));
        Assert.Equal(["8 12 0 0"], await ledger.LotsAsync(user));

        await ledger.Holds.ExtendAsync(CancellationToken.None);
        Assert.InRange(await LeftAsync(user), 59, 60);
        Assert.NotNull(await ledger.StoreAsync(working, 0, """{"tokens":400}""")); // its lease has lapsed, but nobody has taken the session
        Assert.Equal("completed", (await ledger.FinishAsync(working)).Status);
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_hold_whose_session_is_over_is_released_when_its_time_has_come_and_the_operator_is_told()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 3, expiresIn: TimeSpan.FromMinutes(50));
        await ledger.GrantAsync(user, 20);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        await ledger.ExecuteAsync(
            """
            UPDATE generation_sessions
            SET status = 'canceled', phase = 'canceled', captured_credits = 0, completed_at = now(), lease_owner = NULL, lease_until = NULL
            WHERE session_id = $1
            """,
            session.SessionId);
        await ledger.JumpAsync(TimeSpan.FromMinutes(40), user);
        await ledger.Holds.ExtendAsync(CancellationToken.None);
        Assert.DoesNotContain(session.SessionId, await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));
        await ledger.JumpAsync(TimeSpan.FromMinutes(21), user);

        Assert.Contains(session.SessionId, await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));
        Assert.DoesNotContain(session.SessionId, await ledger.Holds.ReleaseAbandonedAsync(CancellationToken.None));

        Assert.Equal(["0 0 0 3", "20 0 0 0"], await ledger.LotsAsync(user));
        Assert.Equal(["refund reserved available 8 23 0", "expiry available expired 3 20 0"], (await ledger.LedgerAsync(user)).TakeLast(2));
        Assert.Equal(["expired 0 8"], await ledger.LinesAsync("SELECT status, captured, released FROM credit_reservations WHERE session_id = $1",
            session.SessionId));
        Assert.Equal(["hold_abandoned"], await ledger.LinesAsync("SELECT code FROM error_events WHERE user_id = $1", user));
        Assert.Empty(await ledger.Settlement(CostPolicy.ChargeAvailable).SettleAsync([LedgerDatabase.Fenced(session)], CancellationToken.None));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Sweeps_and_finishes_of_the_same_sessions_at_the_same_moment_end_each_once()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 200);
        var sessions = new List<ClaimedSession>();
        for (var n = 0; n < 20; n++)
        {
            sessions.Add(await ledger.StartWorkAsync(user, books.Metered));
            Assert.NotNull(await ledger.StoreAsync(sessions[^1], 0, """{"tokens":500}"""));
        }

        await ledger.JumpAsync(TimeSpan.FromMinutes(200), user); // past the deadline: workers and relays both want to end them
        var sweeps = Enumerable.Repeat(0, 3).Select(_ => ledger.SessionSweeps(CostPolicy.ChargeAvailable).EndOverdueAsync(CancellationToken.None))
            .ToList();
        var finishes = sessions.ConvertAll(session => ledger.Settlement(CostPolicy.ChargeAvailable).SettleAsync(
            [LedgerDatabase.Fenced(session)], CancellationToken.None));

        Assert.Equal(20, (await Task.WhenAll(finishes)).Sum(end => end.Count) + (await Task.WhenAll(sweeps)).Sum());
        Assert.Equal(["100 0 100 0"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    /// <summary>Minutes until the user's open holds end; they are of the same age.</summary>
    private Task<double> LeftAsync(Guid user) => ledger.ScalarAsync<double>(
        "SELECT min(extract(epoch FROM expires_at - now()) / 60)::double precision FROM credit_reservations WHERE user_id = $1 AND status = 'held'",
            user)!;
}
