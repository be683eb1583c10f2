using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Identity;
using Generation.Core.Ordering;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Outbox;
using Generation.Tests.Submit;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Generation.Tests.Ordering;

/// <summary>An operator moves a session among those of its user: decision 0022.</summary>
public sealed class ReprioritizeTests : IAsyncLifetime
{
    private static readonly Model Picture = ModelRegistry.BuiltIn[0] with { TypicalSeconds = 10 };

    private readonly RecordingQueue queue = new();
    private readonly Dictionary<string, (Guid Session, Guid User)> sessions = new(StringComparer.Ordinal);
    private WriterUnderTest writer = null!;
    private ChangeNotifier notifier = null!;
    private QueueAdministration administration = null!;
    private Guid admin;

    public async ValueTask InitializeAsync()
    {
        writer = await WriterUnderTest.CreateAsync();
        await writer.StartAsync();
        notifier = new ChangeNotifier(writer.Service, NullLogger<ChangeNotifier>.Instance);
        administration = new QueueAdministration(writer.Service, notifier, TimeProvider.System);
        admin = await writer.UserAsync();
    }

    public async ValueTask DisposeAsync()
    {
        notifier.Dispose();
        await writer.DisposeAsync();
    }

    [Fact]
    public async Task The_front_is_its_users_first_place_also_where_others_have_the_same_rank()
    {
        await InTurnsAsync(3, "a", "b");
        Assert.Equal(["a0", "b0", "a1", "b1", "a2", "b2"], await OrderAsync());
        await DoneAsync("b2", toFront: true);
        Assert.Equal(["a0", "b2", "b0", "a1", "b1", "a2"], await OrderAsync());
        await DoneAsync("a2", toFront: true);
        Assert.Equal(["a2", "a0", "b2", "b0", "a1", "b1"], await OrderAsync());
        await DoneAsync("b1", toFront: true);
        Assert.Equal(["a2", "a0", "b1", "b2", "b0", "a1"], await OrderAsync());
        Assert.Equal(0, await writer.ScalarAsync<long>(
            "SELECT count(*) FROM outbox JOIN generation_sessions AS s USING (session_id) "
            + $"WHERE outbox.rank <> s.rank AND session_id <> '{Id("b0")}'"));
        await DispatchAsync(rows: 10);
        Assert.Equal(["a2", "a0", "b1", "b2", "b0", "a1"], Dispatched());
    }

    [Fact]
    public async Task The_back_is_behind_its_users_last()
    {
        await InTurnsAsync(3, "a", "b");
        await DoneAsync("a0", toFront: false);
        Assert.Equal(["b0", "a1", "b1", "a2", "b2", "a0"], await OrderAsync());
        await DoneAsync("b0", toFront: false);
        Assert.Equal(["a1", "b1", "a2", "b2", "b0", "a0"], await OrderAsync());
        await DispatchAsync(rows: 10);
        Assert.Equal(["a1", "b1", "a2", "b2", "b0", "a0"], Dispatched());
    }

    [Fact]
    public async Task What_stands_there_already_or_waits_alone_keeps_its_place()
    {
        await InTurnsAsync(2, "a", "b");
        await InTurnsAsync(1, "c");
        var before = await RanksAsync();
        await DoneAsync("a0", toFront: true);
        await DoneAsync("b1", toFront: false);
        await DoneAsync("c0", toFront: true);
        await DoneAsync("c0", toFront: false);
        Assert.Equal(before, await RanksAsync());
    }

    [Fact]
    public async Task Whatever_is_moved_only_the_order_of_its_own_user_changes_and_nobody_before_the_users_first_is_overtaken()
    {
        await InTurnsAsync(6, "a", "b", "c");
        var chance = new Random(20261201);
        for (var n = 0; n < 120; n++)
        {
            var before = await OrderAsync();
            var (moved, toFront) = (before[chance.Next(before.Count)], chance.Next(2) == 0);
            var own = before.Where(name => name[0] == moved[0] && name != moved).ToList();
            await DoneAsync(moved, toFront);
            var after = await OrderAsync();
            var step = $"{n}: {moved} to the {(toFront ? "front" : "back")}: {string.Join(' ', before)} → {string.Join(' ', after)}";
            Assert.True(after.Where(name => name[0] == moved[0]).SequenceEqual(toFront ? [moved, .. own] : [.. own, moved]), step);
            Assert.True(after.Where(name => name[0] != moved[0]).SequenceEqual(before.Where(name => name[0] != moved[0])), step);
            var first = Math.Min(before.IndexOf(moved), before.IndexOf(own[0]));
            Assert.True(!toFront || before.Take(first).All(name => after.IndexOf(name) < after.IndexOf(moved)), step);
        }

        Assert.Equal(18, await writer.ScalarAsync<long>("SELECT count(DISTINCT (rank, outbox_id)) FROM outbox WHERE rank > -1"));
    }

    [Fact]
    public async Task A_delayed_one_gets_its_place_when_its_time_has_come()
    {
        await InTurnsAsync(3, "a");
        await writer.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET phase = 'retrying', attempt = 1, wake_at = now() + interval '1 hour' WHERE session_id = '{Id("a2")}';
            UPDATE outbox SET rank = NULL, available_at = now() + interval '1 hour' WHERE session_id = '{Id("a2")}'
            """);
        await DoneAsync("a2", toFront: true);
        Assert.Equal(["a0", "a1"], await OrderAsync());
        Assert.True(await writer.ScalarAsync<bool>($"SELECT rank > -1 AND rank < 0 FROM generation_sessions WHERE session_id = '{Id("a2")}'"));
        await writer.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET wake_at = now() WHERE session_id = '{Id("a2")}';
            UPDATE outbox SET available_at = now() WHERE session_id = '{Id("a2")}'
            """);
        await DispatchAsync(rows: 10);
        Assert.Equal(["a2", "a0", "a1"], Dispatched());
    }

    [Fact]
    public async Task What_was_dispatched_has_ended_or_goes_on_with_work_that_was_begun_is_not_moved()
    {
        await InTurnsAsync(4, "a");
        await DispatchAsync(rows: 1);
        var settlement = new Settlement(writer.Service, notifier, new CreditOptions(), TimeProvider.System, NullLogger<Settlement>.Instance);
        Assert.Single(await settlement.SettleAsync([new Settle(Id("a1"), SettleGuard.Queued) { Canceled = true }], CancellationToken.None));
        await writer.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET phase = 'recovering', lost_leases = 1 WHERE session_id = '{Id("a2")}';
            UPDATE outbox SET rank = -1 WHERE session_id = '{Id("a2")}'
            """);
        var before = await RanksAsync();
        foreach (var name in new[] { "a0", "a1", "a2" })
        {
            Assert.Equal(AdminActionOutcome.NotWaiting, (await MoveAsync(name, toFront: false)).Outcome);
        }

        await DoneAsync("a3", toFront: true); // nor counted: what goes on keeps its rank, which nobody else gets
        Assert.Equal(before, await RanksAsync());
        Assert.Equal(1, await writer.ScalarAsync<long>("SELECT count(*) FROM admin_actions WHERE action = 'reprioritize'"));
    }

    [Fact]
    public async Task Locked_rows_of_others_and_of_its_users_first_stop_nothing_and_its_own_are_waited_for_only_shortly()
    {
        await InTurnsAsync(3, "a", "b");
        await using (await writer.LockAsync(
            $"""
            SELECT FROM outbox AS o JOIN generation_sessions AS s USING (session_id)
            WHERE s.user_id = '{sessions["a0"].User}' OR s.session_id = '{Id("b0")}' FOR UPDATE;
            SELECT FROM lanes FOR UPDATE; SELECT FROM credit_accounts WHERE user_id = '{sessions["a0"].User}' FOR NO KEY UPDATE
            """))
        {
            await DoneAsync("b2", toFront: true);
        }

        Assert.Equal(["a0", "b0", "b2", "a1", "b1", "a2"], await OrderAsync()); // b0 was locked: it was on its way, and needs no other place
        await using (await writer.LockAsync($"SELECT FROM outbox WHERE session_id = '{Id("a2")}' FOR UPDATE"))
        {
            var refused = await Assert.ThrowsAsync<PostgresException>(() => MoveAsync("a2", toFront: true));
            Assert.Equal(PostgresErrorCodes.LockNotAvailable, refused.SqlState);
        }

        await DoneAsync("a2", toFront: true);
        Assert.Equal("a2", (await OrderAsync())[0]);
    }

    [Fact]
    public async Task A_double_click_is_one_move_and_one_audit_row()
    {
        await InTurnsAsync(3, "a");
        var results = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => MoveAsync("a2", toFront: true, key: "twice")));
        Assert.Single(results, result => result.Outcome == AdminActionOutcome.Done);
        Assert.Equal(7, results.Count(result => result.Outcome == AdminActionOutcome.Replayed));
        Assert.Single(results.Select(result => result.Result.GetRawText()).Distinct());
        Assert.Equal(["a2", "a0", "a1"], await OrderAsync());
        await writer.AssertBooksAreCleanAsync();
    }

    private Guid Id(string name) => sessions[name].Session;

    /// <summary>The users post one after another, each as often: a0, b0, a1, b1 and so on.</summary>
    private async Task InTurnsAsync(int times, params string[] names)
    {
        var users = new List<Guid>();
        foreach (var _ in names)
        {
            users.Add(await writer.UserAsync());
        }

        for (var n = 0; n < times; n++)
        {
            foreach (var (name, user) in names.Zip(users))
            {
                var result = await writer.SubmitAsync(user, $"{name}{n}", model: Picture);
                Assert.Equal(SubmitOutcome.Accepted, result.Outcome);
                sessions[$"{name}{n}"] = (result.SessionId, user);
            }
        }
    }

    private Task<AdminActionResult> MoveAsync(string name, bool toFront, string? key = null) =>
        administration.ReprioritizeAsync(
            new AdminAction(key ?? $"{Guid.NewGuid()}", ApiKeys.Hash($"{name} {toFront}"), admin, sessions[name].User, "a reason"),
            "image", sessions[name].Session, toFront, CancellationToken.None);

    private async Task DoneAsync(string name, bool toFront) => Assert.Equal(AdminActionOutcome.Done, (await MoveAsync(name, toFront)).Outcome);

    /// <summary>What waits with a rank, first to last, by the positions that its users are shown.</summary>
    private async Task<List<string>> OrderAsync()
    {
        var waiting = (await RanksAsync()).Where(row => row.Rank is not null).Select(row => row.Name).ToList();
        var shown = await writer.PositionsAsync(waiting.Select(Id));
        Assert.Equal(Enumerable.Range(0, waiting.Count).Select(n => (long)n), shown.Select(place => place.Ahead));
        Assert.Equal(waiting, shown.Select(place => sessions.Single(known => known.Value.Session == place.Session).Key));
        return waiting;
    }

    private async Task<List<(string Name, double? Rank)>> RanksAsync()
    {
        var rows = new List<(string, double?)>();
        await using var command = writer.Db.CreateCommand(
            "SELECT session_id, rank FROM outbox WHERE dispatched_at IS NULL ORDER BY rank NULLS LAST, outbox_id");
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            var id = reader.GetGuid(0);
            rows.Add((sessions.Single(known => known.Value.Session == id).Key, await reader.IsDBNullAsync(1) ? null : reader.GetDouble(1)));
        }

        return rows;
    }

    private async Task DispatchAsync(int rows) =>
        await new OutboxDispatcher(writer.Service, queue, new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance)
            .DispatchAsync("image", rows, 1_000_000, CancellationToken.None);

    private List<string> Dispatched() => [.. queue.Sent.Select(session => sessions.Single(known => known.Value.Session == session).Key)];
}
