using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Npgsql;

namespace Generation.Tests.Ledger;

/// <summary>Ends, outputs and claims that come together share a transaction, and none is the worse for its neighbours.</summary>
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
        await ledger.ExecuteAsync("UPDATE generation_sessions SET cancel_requested_at = now() WHERE session_id = $1", sessions[1].SessionId); // too late
        await ledger.ExecuteAsync("UPDATE generation_sessions SET lease_token = lease_token + 1 WHERE session_id = $1", sessions[2].SessionId);

        var ends = await Task.WhenAll(sessions.Select(session => ledger.Settlement().EndAsync(LedgerDatabase.Fenced(session), CancellationToken.None)));

        Assert.Equal(("failed", 0L), (ends[0]!.Status, ends[0]!.Captured));
        Assert.Equal("completed", ends[1]!.Status);
        Assert.Null(ends[2]);
        Assert.All(ends.Index().Skip(3), end => Assert.Equal((sessions[end.Index].SessionId, "completed", 4L), (end.Item!.SessionId, end.Item.Status, end.Item.Captured)));
        Assert.Equal("processing", await ledger.ScalarAsync<string>("SELECT status FROM generation_sessions WHERE session_id = $1", sessions[2].SessionId));
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
            await using (var command = new NpgsqlCommand($"SELECT FROM generation_sessions WHERE session_id = '{locked.SessionId}' FOR UPDATE", connection)) await command.ExecuteNonQueryAsync();
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
    public async Task An_output_whose_commit_was_not_heard_of_is_no_duplicate_of_itself()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("twice"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var session = await ledger.StartWorkAsync(user, price);
        Assert.Equal((false, 3L), await StoreAsync("png"));
        Assert.Equal((false, 4L), await StoreAsync("png"));
        Assert.Equal((true, 5L), await StoreAsync("jpg"));
        Assert.EndsWith(".png", await ledger.ScalarAsync<string>("SELECT string_agg(object_key, ' ') FROM media"), StringComparison.Ordinal);

        async Task<(bool IsDuplicate, long? Version)> StoreAsync(string extension)
        {
            var isDuplicate = false;
            var media = new StoredMedia(
                MediaKey.Output(user, session.CreatedAt, session.SessionId, 0, session.LeaseToken, extension), "image/png", 1_024, new byte[32], 1_024, 1_024, null);
            var version = await ledger.Leases.StoreMediaAsync(session, 0, media, null, null, () => Task.FromResult(isDuplicate = true), CancellationToken.None);
            return (isDuplicate, version);
        }
    }

    [Fact]
    public async Task Of_messages_that_come_together_only_those_are_claimed_that_may_be()
    {
        await using var ledger = await LedgerDatabase.StartAsync();
        var (user, price) = (await ledger.AddUserAsync("some"), await ledger.AddPriceAsync(4));
        await ledger.GrantAsync(user, 1_000);
        var sessions = new List<Guid>();
        for (var i = 0; i < 5; i++) sessions.Add((await ledger.Writers[0].SubmitAsync(LedgerDatabase.Request(user, $"key-{i}", price, 1), CancellationToken.None)).SessionId);
        Assert.NotNull(await ledger.ClaimAsync(sessions[1]));
        await ledger.ExecuteAsync("UPDATE generation_sessions SET wake_at = now() + interval '1 hour' WHERE session_id = $1", sessions[2]);
        await ledger.Settlement().EndAsync(new Settle(sessions[3], SettleGuard.Queued) { Canceled = true }, CancellationToken.None);

        var claimed = await ledger.Leases.ClaimAsync(sessions, [], "other", LedgerDatabase.Lease, CancellationToken.None);

        Assert.Equal([sessions[0], sessions[4]], claimed.Select(c => c.SessionId).Order());
        Assert.All(claimed, c => Assert.Equal(1, c.LeaseToken));
    }
}

/// <summary>The rules of a group, without a database.</summary>
public sealed class GroupCommitRulesTests
{
    private readonly List<string> written = [];
    private readonly SemaphoreSlim turns = new(0);
    private readonly TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Func<string, Exception?> fault = _ => null;

    [Fact]
    public async Task The_first_goes_alone_and_who_comes_meanwhile_goes_together_up_to_the_limit()
    {
        var group = Group(maxGroup: 3);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcdef".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(10);

        Assert.Equal("a!", await first);
        Assert.Equal(["b!", "c!", "d!", "e!", "f!"], await Task.WhenAll(others));
        Assert.Equal(["a", "bcd", "ef"], written);
        Assert.Equal("g!", await group.WriteAsync("g", CancellationToken.None));
    }

    [Fact]
    public async Task Who_gives_up_while_waiting_is_not_written_and_nobody_else_notices()
    {
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        using var cancel = new CancellationTokenSource();
        var (second, third) = (group.WriteAsync("b", cancel.Token), group.WriteAsync("c", CancellationToken.None));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        turns.Release(10);

        Assert.Equal(("a!", "c!"), (await first, await third));
        Assert.Equal(["a", "c"], written);
    }

    [Fact]
    public async Task Who_gives_up_while_the_database_has_it_leaves_the_others_their_answers()
    {
        var group = Group(maxGroup: 10);
        using var cancel = new CancellationTokenSource();
        var first = group.WriteAsync("a", cancel.Token);
        await begun.Task;
        var second = group.WriteAsync("b", CancellationToken.None);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        turns.Release(10);

        Assert.Equal("b!", await second);
        Assert.Equal(["a", "b"], written);
    }

    [Fact]
    public async Task What_is_refused_for_its_content_is_written_one_by_one()
    {
        fault = text => text.Contains('c', StringComparison.Ordinal) ? new PostgresException("bad", "ERROR", "ERROR", PostgresErrorCodes.CheckViolation) : null;
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcd".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(10);

        Assert.Equal(("a!", "b!", "d!"), (await first, await others[0], await others[2]));
        await Assert.ThrowsAsync<PostgresException>(() => others[1]);
        Assert.Equal(["a", "b", "bcd", "c", "d"], written.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Trouble_with_the_database_is_told_to_all_and_is_not_multiplied()
    {
        fault = text => text == "bcd" ? new NpgsqlException("away", new TimeoutException()) : null;
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcd".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(10);

        Assert.Equal("a!", await first);
        foreach (var other in others) Assert.True((await Assert.ThrowsAsync<NpgsqlException>(() => other)).IsTransient);
        Assert.Equal(["a", "bcd"], written);
        Assert.Equal("b!", await group.WriteAsync("b", CancellationToken.None));
    }

    private GroupCommit<string, string> Group(int maxGroup) => new(maxGroup, async (requests, _) =>
    {
        var text = string.Concat(requests);
        lock (written) written.Add(text);
        begun.TrySetResult();
        await turns.WaitAsync(TimeSpan.FromSeconds(30));
        return fault(text) is { } e ? throw e : [.. requests.Select(request => request + "!")];
    });
}
