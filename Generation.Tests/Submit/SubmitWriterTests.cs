using Generation.Core.Submit;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Generation.Tests.Submit;

/// <summary>Submits that come together share a transaction, and none is the worse for its neighbours.</summary>
[Trait("tier", "slow")]
public sealed class SubmitWriterTests
{
    [Fact]
    public async Task Requests_that_wait_together_share_a_transaction()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var users = new List<Guid>();
        for (var i = 0; i < 10; i++) users.Add(await writer.UserAsync());
        var waiting = Enumerable.Range(0, SubmitWriter.MaxBatch).Select(i => writer.SubmitAsync(users[i % users.Count], $"key-{i}")).ToList();
        await writer.StartAsync();

        Assert.All(await Task.WhenAll(waiting), result => Assert.Equal(SubmitOutcome.Accepted, result.Outcome));
        Assert.Equal(SubmitWriter.MaxBatch, await writer.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        Assert.Equal(1, await writer.ScalarAsync<long>(
            """
            SELECT count(DISTINCT xmin::text)
            FROM (SELECT xmin FROM generation_sessions UNION ALL SELECT xmin FROM credit_reservations UNION ALL SELECT xmin
                FROM credit_reservation_draws
                  UNION ALL SELECT xmin FROM credit_transactions WHERE type = 'reservation' UNION ALL SELECT xmin FROM outbox
                  UNION ALL SELECT xmin FROM credit_accounts UNION ALL SELECT xmin FROM credit_lots) AS written
            """));
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_request_that_comes_alone_waits_for_no_timer()
    {
        await using var writer = await WriterUnderTest.CreateAsync(time: new FakeTimeProvider()); // whose timers never ring
        var user = await writer.UserAsync();
        await writer.StartAsync();

        for (var i = 0; i < 3; i++) Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, $"key-{i}")).Outcome);
        Assert.Equal(3, await writer.ScalarAsync<long>("SELECT count(DISTINCT xmin::text) FROM generation_sessions"));
    }

    [Fact]
    public async Task An_account_that_is_locked_elsewhere_does_not_stall_a_neighbour()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var (locked, neighbour) = (await writer.UserAsync(), await writer.UserAsync());
        Task<SubmitResult> held;
        await using (await writer.LockAsync($"SELECT FROM credit_accounts WHERE user_id = '{locked}' FOR UPDATE"))
        {
            held = writer.SubmitAsync(locked, "held up");
            var free = writer.SubmitAsync(neighbour, "in the same batch");
            await writer.StartAsync();
            Assert.Equal(SubmitOutcome.Accepted, (await free).Outcome);
            Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(neighbour, "while it waits")).Outcome);
            Assert.False(held.IsCompleted);
        }

        Assert.Equal(SubmitOutcome.Accepted, (await held).Outcome);
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task An_account_that_stays_locked_is_given_up_and_nothing_is_written()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.StartAsync();
        await using (await writer.LockAsync($"SELECT FROM credit_accounts WHERE user_id = '{user}' FOR UPDATE"))
        {
            Assert.Equal(SubmitOutcome.AccountBusy, (await writer.SubmitAsync(user, "never")).Outcome);
        }

        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "later")).Outcome);
        Assert.Equal("later", await writer.ScalarAsync<string>("SELECT string_agg(client_key, ' ') FROM generation_sessions"));
    }

    [Fact]
    public async Task Overdue_lots_expire_on_the_way_and_pay_for_nothing()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync(credits: 4);
        await writer.ExecuteAsync(
            $"""
            INSERT INTO credit_lots (lot_id, user_id, kind, priority, granted, available, expires_at, reference)
            VALUES ('00000000-0000-7000-8000-000000000001', '{user}', 'bonus', 1, 100, 100, now() - interval '1 second', 'overdue');
            UPDATE credit_accounts SET available = available + 100;
            INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
            VALUES ('{user}', 'bonus', 'external', 'available', 100, 104, 0, '00000000-0000-7000-8000-000000000001')
            """);
        var waiting = new[] { writer.SubmitAsync(user, "first"), writer.SubmitAsync(user, "second") };
        await writer.StartAsync();

        Assert.Equal([SubmitOutcome.Accepted, SubmitOutcome.NotEnoughCredits], (await Task.WhenAll(waiting)).Select(r => r.Outcome));
        Assert.Equal(100, await writer.ScalarAsync<long>("SELECT expired FROM credit_lots WHERE reference = 'overdue'"));
        Assert.Equal(100, await writer.ScalarAsync<long>("SELECT amount FROM credit_transactions WHERE type = 'expiry'"));
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Every_request_of_a_batch_gets_an_outcome_of_its_own()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var (user, poor, frozen) = (await writer.UserAsync(), await writer.UserAsync(credits: 3), await writer.UserAsync());
        await writer.ExecuteAsync($"UPDATE credit_accounts SET frozen_at = now() WHERE user_id = '{frozen}'");
        await writer.StartAsync();
        var first = await writer.SubmitAsync(user, "known");
        var holder = await writer.StallAsync();
        var ahead = writer.SubmitAsync(user, "ahead"); // the others wait behind it, and so together
        await writer.UntilItIsBlockedAsync();
        var waiting = new[]
        {
            writer.SubmitAsync(user, "new"), writer.SubmitAsync(user, "known"), writer.SubmitAsync(user, "known", body: "another"),
            writer.SubmitAsync(poor, "new"), writer.SubmitAsync(frozen, "new"), writer.SubmitAsync(Guid.CreateVersion7(), "new"),
        };
        await holder.DisposeAsync();
        var results = await Task.WhenAll(waiting);

        Assert.Equal(SubmitOutcome.Accepted, (await ahead).Outcome);
        Assert.Equal(
            [SubmitOutcome.Accepted, SubmitOutcome.Replayed, SubmitOutcome.Conflict, SubmitOutcome.NotEnoughCredits, SubmitOutcome.Frozen,
                SubmitOutcome.NoAccount],
            results.Select(r => r.Outcome));
        Assert.Equal((first.SessionId, first.ReservationId, first.HeldCredits),
            (results[1].SessionId, results[1].ReservationId, results[1].HeldCredits));
        Assert.Equal((4L, 3L, 0L), (results[3].HeldCredits, results[3].Available, results[3].Reserved));
        Assert.Equal(3, await writer.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_dear_neighbour_does_not_refuse_a_cheap_one_that_fits()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync(credits: 10);
        var waiting = new[] { writer.SubmitAsync(user, "four"), writer.SubmitAsync(user, "eight", outputs: 2),
            writer.SubmitAsync(user, "four more") };
        await writer.StartAsync();

        Assert.Equal([SubmitOutcome.Accepted, SubmitOutcome.NotEnoughCredits, SubmitOutcome.Accepted],
            (await Task.WhenAll(waiting)).Select(r => r.Outcome));
        Assert.Equal(2, await writer.ScalarAsync<long>("SELECT available FROM credit_accounts"));
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Doubles_that_arrive_together_are_one_session()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        var waiting = Enumerable.Range(0, 5).Select(_ => writer.SubmitAsync(user, "twice")).ToList();
        waiting.Add(writer.SubmitAsync(user, "twice", body: "another"));
        await writer.StartAsync();

        var results = await Task.WhenAll(waiting);
        Assert.Equal(
            [SubmitOutcome.Accepted, .. Enumerable.Repeat(SubmitOutcome.Replayed, 4), SubmitOutcome.Conflict],
            results.Select(r => r.Outcome));
        Assert.Single(results.Select(r => r.SessionId).Distinct());
        Assert.Equal(1, await writer.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
    }

    [Theory]
    [InlineData(1, """{"prompt": "\u0000"}""")] // cannot be converted
    [InlineData(201, "{}")] // breaks a CHECK of the table
    public async Task A_poisoned_request_takes_no_neighbour_along(int keyLength, string @params)
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        var before = Enumerable.Range(0, 10).Select(i => writer.SubmitAsync(user, $"before-{i}")).ToList();
        var poisoned = writer.SubmitAsync(user, new string('k', keyLength), @params: @params);
        var after = Enumerable.Range(0, 10).Select(i => writer.SubmitAsync(user, $"after-{i}")).ToList();
        await writer.StartAsync();

        Assert.All(await Task.WhenAll(before.Concat(after)), result => Assert.Equal(SubmitOutcome.Accepted, result.Outcome));
        await Assert.ThrowsAsync<PostgresException>(() => poisoned);
        Assert.Equal(20, await writer.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        Assert.Equal(80, await writer.ScalarAsync<long>("SELECT reserved FROM credit_accounts"));
        await writer.AssertBooksAreCleanAsync();
    }

    /// <summary>In the batch in which the statement was prepared, a poisoned request cost the next one its answer.</summary>
    [Fact]
    public async Task Poisoned_requests_spoil_nothing_for_those_that_come_after_them()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.StartAsync();
        for (var round = 0; round < 6; round++)
        {
            await Assert.ThrowsAsync<PostgresException>(() => writer.SubmitAsync(user, $"poison-{round}", @params: """{"prompt": "\u0000"}"""));
            Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, $"good-{round}")).Outcome);
        }

        await writer.AssertBooksAreCleanAsync();
    }
}
