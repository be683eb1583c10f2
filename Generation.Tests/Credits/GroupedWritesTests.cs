using Generation.Core.Sessions;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>Ends, outputs and claims that come together share a transaction, and none is the worse for its neighbours.</summary>
[Trait("tier", "slow")]
public sealed class GroupedWritesTests
{
    [Fact]
    public async Task Ends_that_come_together_share_a_transaction_and_each_gets_its_own_answer()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("many"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var sessions = new List<ClaimedSession>();
        for (var i = 0; i < 24; i++) sessions.Add(await ledger.StartWorkAsync(user, price));
        await Task.WhenAll(sessions.Skip(1).Select(session => ledger.StoreAsync(session, 0))); // all but the first: it fails
        // too late
        await ledger.ExecuteAsync("UPDATE generation_sessions SET cancel_requested_at = now() WHERE session_id = $1", sessions[1].SessionId);
        await ledger.ExecuteAsync("UPDATE generation_sessions SET lease_token = lease_token + 1 WHERE session_id = $1", sessions[2].SessionId);

        var ends = await Task.WhenAll(sessions.Select(
            session => ledger.Settlement().EndAsync(LedgerDatabase.Fenced(session), CancellationToken.None)));

        Assert.Equal(("failed", 0L), (ends[0]!.Status, ends[0]!.Captured));
        Assert.Equal("completed", ends[1]!.Status);
        Assert.Null(ends[2]);
        Assert.All(ends.Index().Skip(3), end => Assert.Equal((sessions[end.Index].SessionId, "completed", 4L),
            (end.Item!.SessionId, end.Item.Status, end.Item.Captured)));
        Assert.Equal("processing", await ledger.ScalarAsync<string>("SELECT status FROM generation_sessions WHERE session_id = $1",
            sessions[2].SessionId));
        Assert.InRange(await ledger.ScalarAsync<long>("SELECT count(DISTINCT xmin::text) FROM credit_reservations WHERE status <> 'held'"), 1, 12);
        Assert.InRange(await ledger.ScalarAsync<long>("SELECT count(DISTINCT xmin::text) FROM media"), 1, 12);
        await ledger.AssertBooksAreCleanAsync();

        Assert.All(
            await Task.WhenAll(sessions.Select(session => ledger.Settlement().EndAsync(LedgerDatabase.Fenced(session), CancellationToken.None))),
            Assert.Null); // an end stays an end
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task An_end_that_the_database_refuses_takes_no_neighbour_along()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("poisoned"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var sessions = new List<ClaimedSession>();
        for (var i = 0; i < 6; i++) sessions.Add(await ledger.StartWorkAsync(user, price));
        await Task.WhenAll(sessions.Select(session => ledger.StoreAsync(session, 0)));

        var ends = sessions.ConvertAll(session => ledger.Settlement().EndAsync(
            LedgerDatabase.Fenced(session) with { ProviderUsage = session == sessions[3] ? "no json" : null }, CancellationToken.None));
        var refused = await Assert.ThrowsAsync<PostgresException>(() => ends[3]);

        Assert.Equal(PostgresErrorCodes.InvalidTextRepresentation, refused.SqlState);
        foreach (var end in ends.Where(end => end != ends[3])) Assert.Equal("completed", (await end)!.Status);
        Assert.Equal("completed", (await ledger.Settlement().EndAsync(LedgerDatabase.Fenced(sessions[3]), CancellationToken.None))!.Status);
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_session_that_somebody_else_has_locked_stalls_no_neighbour()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("locked"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var (locked, free) = (await ledger.StartWorkAsync(user, price), await ledger.StartWorkAsync(user, price));
        Task<long?> held;
        await using (var connection = await ledger.Db.OpenConnectionAsync())
        await using (var transaction = await connection.BeginTransactionAsync())
        {
            await using (var command = new NpgsqlCommand($"SELECT FROM generation_sessions WHERE session_id = '{locked.SessionId}' FOR UPDATE",
                connection)) await command.ExecuteNonQueryAsync();
            held = ledger.StoreAsync(locked, 0);
            Assert.NotNull(await ledger.StoreAsync(free, 0));
            Assert.Equal("completed", (await ledger.Settlement().EndAsync(LedgerDatabase.Fenced(free), CancellationToken.None))!.Status);
            Assert.False(held.IsCompleted);
        }

        Assert.NotNull(await held);
        await ledger.FinishAsync(locked);
        await ledger.AssertBooksAreCleanAsync();
    }

    /// <summary>A repeated statement took its own object for a stranger's, and the worker deleted what the user had been charged for.</summary>
    [Fact]
    public async Task An_output_whose_commit_reply_was_lost_is_no_duplicate_of_itself()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("twice"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var session = await ledger.StartWorkAsync(user, price);
        Assert.Equal((false, 3L), await StoreAsync("png"));
        Assert.Equal((false, 4L), await StoreAsync("png"));
        Assert.Equal((true, 5L), await StoreAsync("jpg"));
        Assert.EndsWith(".png", await ledger.ScalarAsync<string>("SELECT string_agg(object_key, ' ') FROM media"), StringComparison.Ordinal);

        async Task<(bool IsDuplicate, long Version)> StoreAsync(string extension)
        {
            var stored = Assert.NotNull(await ledger.Leases.StoreMediaAsync(
                LedgerDatabase.OutputOf(session, 0, extension: extension), CancellationToken.None));
            return (stored.IsDuplicate, stored.Version);
        }
    }

    [Fact]
    public async Task A_last_output_is_written_with_the_end_or_not_at_all()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("last"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var settlement = ledger.Settlement();

        // One of one, one of two whose first is there, and one that was canceled meanwhile: all are whole, and so they completed.
        var single = await ledger.StartWorkAsync(user, price);
        var second = await ledger.StartWorkAsync(user, price, outputs: 2);
        Assert.NotNull(await ledger.StoreAsync(second, 0));
        var late = await ledger.StartWorkAsync(user, price);
        await ledger.ExecuteAsync("UPDATE generation_sessions SET cancel_requested_at = now() WHERE session_id = $1", late.SessionId);
        var ends = await Task.WhenAll(
            EndAsync(single, LedgerDatabase.OutputOf(single, 0)), EndAsync(second, LedgerDatabase.OutputOf(second, 1)),
                EndAsync(late, LedgerDatabase.OutputOf(late, 0)));
        Assert.Equal([("completed", 4, 0), ("completed", 8, 0), ("completed", 4, 0)], ends.Select(e => (e!.Status, e.Captured, e.Released)));
        Assert.Equal(4, ends[0]!.Version); // submitted, claimed, stored, ended: whoever watches sees each
        Assert.Equal(3L, await ledger.ScalarAsync<long>("SELECT session_version FROM media WHERE session_id = $1", single.SessionId));
        Assert.Equal(3L, await ledger.ScalarAsync<long>(
            "SELECT count(*) FROM media AS m JOIN generation_sessions AS s USING (session_id) WHERE m.xmin = s.xmin"));

        // A reply that was lost: the same again changes nothing, and no second row is written.
        Assert.Null(await EndAsync(single, LedgerDatabase.OutputOf(single, 0)));

        // Who has lost the lease writes neither; who finds the place taken ends with what is there.
        var lost = await ledger.StartWorkAsync(user, price);
        await ledger.ExecuteAsync("UPDATE generation_sessions SET lease_token = lease_token + 1 WHERE session_id = $1", lost.SessionId);
        Assert.Null(await EndAsync(lost, LedgerDatabase.OutputOf(lost, 0)));
        Assert.Equal(0L, await ledger.ScalarAsync<long>("SELECT count(*) FROM media WHERE session_id = $1", lost.SessionId));
        var taken = await ledger.StartWorkAsync(user, price);
        Assert.NotNull(await ledger.StoreAsync(taken, 0));
        var other = await EndAsync(taken, LedgerDatabase.OutputOf(taken, 0, extension: "jpg"));
        Assert.Equal(("completed", true, false), (other!.Status, other.LastOutputIsDuplicate, ends[0]!.LastOutputIsDuplicate));
        Assert.EndsWith(".png", await ledger.ScalarAsync<string>("SELECT object_key FROM media WHERE session_id = $1", taken.SessionId),
            StringComparison.Ordinal);

        // What the database refuses about the output is no end either; and its neighbours in the group are none the worse.
        var (bad, good) = (await ledger.StartWorkAsync(user, price), await ledger.StartWorkAsync(user, price));
        var refused = EndAsync(bad, LedgerDatabase.OutputOf(bad, 0) with { Usage = "no JSON" });
        Assert.Equal("completed", (await EndAsync(good, LedgerDatabase.OutputOf(good, 0)))!.Status);
        await Assert.ThrowsAsync<PostgresException>(() => refused);
        Assert.Equal("processing", await ledger.ScalarAsync<string>("SELECT status FROM generation_sessions WHERE session_id = $1", bad.SessionId));

        Task<Settled?> EndAsync(ClaimedSession session, StoredOutput output) =>
            settlement.EndAsync(LedgerDatabase.Fenced(session) with { LastOutput = output }, CancellationToken.None);
    }

    /// <summary>
    /// In the round trip in which its statement was prepared, a refusal spoilt the connection: the next end on it, an innocent one, was
    /// answered with "Received unexpected backend message DataRow". Whichever use it is that prepares, one of these rounds meets it.
    /// </summary>
    [Fact]
    public async Task A_refused_output_spoils_no_connection_for_those_that_come_after_it()
    {
        await using var ledger = await LedgerDatabase.StartAsync(connections: 2); // one is the writer's
        var (user, price) = (await ledger.AddUserAsync("refused"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var settlement = ledger.Settlement();
        for (var round = 0; round < 6; round++)
        {
            var (bad, good, other) = (await ledger.StartWorkAsync(user, price), await ledger.StartWorkAsync(user, price), await ledger.StartWorkAsync(
                user, price));
            var unusable = LedgerDatabase.OutputOf(bad, 0) with { Usage = "no JSON" };
            await Assert.ThrowsAsync<PostgresException>(() => settlement.EndAsync(
                LedgerDatabase.Fenced(bad) with { LastOutput = unusable }, CancellationToken.None));
            var end = await settlement.EndAsync(LedgerDatabase.Fenced(good) with { LastOutput = LedgerDatabase.OutputOf(good, 0) },
                CancellationToken.None);
            Assert.Equal("completed", end?.Status);
            await Assert.ThrowsAsync<PostgresException>(() => ledger.Leases.StoreMediaAsync(unusable, CancellationToken.None));
            Assert.NotNull(await ledger.StoreAsync(other, 0));
        }
    }

    [Fact]
    public async Task Of_messages_that_come_together_only_those_are_claimed_that_may_be()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("some"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var sessions = new List<Guid>();
        for (var i = 0; i < 5; i++) sessions.Add((
            await ledger.Writers[0].SubmitAsync(LedgerDatabase.Request(user, $"key-{i}", price, 1), CancellationToken.None)).SessionId);
        Assert.NotNull(await ledger.ClaimAsync(sessions[1]));
        await ledger.ExecuteAsync("UPDATE generation_sessions SET wake_at = now() + interval '1 hour' WHERE session_id = $1", sessions[2]);
        await ledger.Settlement().EndAsync(new Settle(sessions[3], SettleGuard.Queued) { Canceled = true }, CancellationToken.None);

        var claimed = (await ledger.Leases.ClaimAsync(sessions, [], "other", LedgerDatabase.Lease, CancellationToken.None)).Sessions;

        Assert.Equal([sessions[0], sessions[4]], claimed.Select(c => c.SessionId).Order());
        Assert.All(claimed, c => Assert.Equal(1, c.LeaseToken));
    }
}
