using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Submit;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Generation.Tests.Outbox;

/// <summary>The order in which what waits is dispatched: decision 0022.</summary>
public sealed class FairOrderTests : IAsyncLifetime
{
    private static readonly Model Picture = ModelRegistry.BuiltIn[0] with { TypicalSeconds = 10 };

    private readonly RecordingQueue queue = new();
    private readonly Dictionary<Guid, string> names = [];
    private WriterUnderTest writer = null!;

    public async ValueTask InitializeAsync()
    {
        writer = await WriterUnderTest.CreateAsync();
        await writer.StartAsync();
    }

    public ValueTask DisposeAsync() => writer.DisposeAsync();

    [Fact]
    public async Task A_user_with_600_waiting_delays_anothers_first_by_one_job()
    {
        var (many, one) = (await writer.UserAsync(credits: 10_000), await writer.UserAsync());
        await Task.WhenAll(Enumerable.Range(0, 600).Select(n => SubmitAsync(many, $"many-{n}")));
        await SubmitAsync(one, "one");
        await DispatchAsync(rows: 5);
        Assert.Equal(1, Order().IndexOf("one"));
    }

    [Fact]
    public async Task What_a_user_posts_in_quick_succession_keeps_its_order()
    {
        var user = await writer.UserAsync();
        var posted = new List<Task>();
        for (var n = 0; n < 40; n++)
        {
            posted.Add(SubmitAsync(user, $"{n}")); // some in one batch, some not
        }

        await Task.WhenAll(posted);
        Assert.Equal(40, await writer.ScalarAsync<long>("SELECT count(DISTINCT rank) FROM outbox"));
        await DispatchAsync(rows: 100);
        Assert.Equal([.. Enumerable.Range(0, 40).Select(n => $"{n}")], Order());
    }

    [Fact]
    public async Task Work_counts_and_not_requests()
    {
        var (slow, quick) = (await writer.UserAsync(), await writer.UserAsync());
        for (var n = 0; n < 20; n++)
        {
            await SubmitAsync(slow, $"slow-{n}", Picture with { TypicalSeconds = 30 });
            await SubmitAsync(quick, $"quick-{n}");
        }

        await DispatchAsync(rows: 20);
        Assert.InRange(Order().Count(name => name.StartsWith("slow", StringComparison.Ordinal)), 4, 6); // of 30 s each, beside 15 of 10 s
    }

    [Fact]
    public async Task A_batch_gets_a_quarter_of_what_its_users_own_interactive_work_gets_and_delays_no_other()
    {
        var (user, other) = (await writer.UserAsync(), await writer.UserAsync());
        for (var n = 0; n < 30; n++)
        {
            await SubmitAsync(user, $"batch-{n}", priority: Priority.Batch);
        }

        for (var n = 0; n < 30; n++)
        {
            await SubmitAsync(user, $"interactive-{n}");
        }

        await SubmitAsync(other, "other");
        await DispatchAsync(rows: 25);
        var order = Order();
        Assert.InRange(order.Count(name => name.StartsWith("batch", StringComparison.Ordinal)), 4, 6);
        Assert.InRange(order.IndexOf("other"), 0, 2);
    }

    [Fact]
    public async Task A_share_of_two_is_twice_the_work()
    {
        var (twice, once) = (await writer.UserAsync(), await writer.UserAsync());
        await writer.ExecuteAsync($"UPDATE credit_accounts SET share = 2 WHERE user_id = '{twice}'");
        for (var n = 0; n < 30; n++)
        {
            await SubmitAsync(twice, $"twice-{n}");
            await SubmitAsync(once, $"once-{n}");
        }

        await DispatchAsync(rows: 30);
        Assert.InRange(Order().Count(name => name.StartsWith("twice", StringComparison.Ordinal)), 19, 21);
    }

    [Fact]
    public async Task Nobody_saves_up_while_idle_and_a_newcomer_starts_at_the_lanes_clock()
    {
        var (steady, late) = (await writer.UserAsync(), await writer.UserAsync());
        for (var n = 0; n < 40; n++)
        {
            await SubmitAsync(steady, $"steady-{n}");
        }

        await DispatchAsync(rows: 20);
        for (var n = 0; n < 20; n++)
        {
            await SubmitAsync(late, $"late-{n}");
        }

        await DispatchAsync(rows: 20);
        Assert.InRange(Order().Skip(20).Count(name => name.StartsWith("late", StringComparison.Ordinal)), 9, 12); // half, not all of the twenty
    }

    [Fact]
    public async Task What_was_begun_goes_on_before_new_work_and_a_retry_has_its_place()
    {
        var user = await writer.UserAsync();
        foreach (var name in new[] { "retried", "at the provider", "recovering", "first", "second" })
        {
            await SubmitAsync(user, name);
        }

        // As the workers and sweeps leave them: a row without a rank, due or not.
        await AsTheyLeaveItAsync("retried", "status = 'queued', phase = 'retrying', attempt = 1, wake_at = now()", "now()");
        await AsTheyLeaveItAsync("at the provider",
            "status = 'processing', phase = 'awaiting_provider', started_at = now(), wake_at = now()", "now()");
        await AsTheyLeaveItAsync("recovering", "status = 'queued', phase = 'recovering', lost_leases = 1", "now()");
        await AsTheyLeaveItAsync("second", "status = 'queued', phase = 'retrying', attempt = 1, wake_at = now() + interval '1 hour'",
            "now() + interval '1 hour'");
        await DispatchAsync(rows: 10);
        Assert.Equal(["at the provider", "recovering", "retried", "first"], Order().OrderBy(name => name is "retried" or "first").ToList());
        Assert.Equal(["retried", "first"], Order().TakeLast(2));
    }

    [Fact]
    public async Task A_cancel_of_what_never_started_gives_the_work_back()
    {
        var user = await writer.UserAsync();
        for (var n = 0; n < 5; n++)
        {
            await SubmitAsync(user, $"{n}");
        }

        Assert.Equal(50, await writer.ScalarAsync<double>("SELECT max(image_finish) FROM credit_accounts"));
        using var notifier = new ChangeNotifier(writer.Service, NullLogger<ChangeNotifier>.Instance);
        var settlement = new Settlement(writer.Service, notifier, new CreditOptions(), TimeProvider.System, NullLogger<Settlement>.Instance);
        var canceled = names.First(name => name.Value == "3").Key;
        Assert.Single(await settlement.SettleAsync([new Settle(canceled, SettleGuard.Queued) { Canceled = true }], CancellationToken.None));
        Assert.Equal(40, await writer.ScalarAsync<double>("SELECT max(image_finish) FROM credit_accounts"));
        await SubmitAsync(user, "5");
        await DispatchAsync(rows: 10);
        Assert.Equal(["0", "1", "2", "4", "5"], Order());
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Two_relays_dispatch_in_one_order()
    {
        var users = new List<Guid>();
        for (var u = 0; u < 10; u++)
        {
            users.Add(await writer.UserAsync(credits: 10_000));
        }

        await Task.WhenAll(Enumerable.Range(0, 1_000).Select(n => SubmitAsync(users[n * n % 7 % 10], $"{n}")));
        var expected = await writer.PositionsAsync(names.Keys);
        Assert.Equal([.. Enumerable.Range(0, 1_000).Select(n => (long)n)], expected.Select(place => place.Ahead));
        await Task.WhenAll(Enumerable.Range(0, 2).Select(async _ =>
        {
            while (queue.Sent.Count < 1_000)
            {
                await NewRelay().DispatchAsync("image", 30, 1_000_000, CancellationToken.None);
            }
        }));
        Assert.Equal(expected.Select(place => place.Session), queue.Sent);
    }

    [Fact]
    public async Task A_locked_row_of_the_lane_or_of_a_session_in_line_stops_no_dispatch()
    {
        var user = await writer.UserAsync();
        for (var n = 0; n < 5; n++)
        {
            await SubmitAsync(user, $"{n}");
        }

        await using (await writer.LockAsync("SELECT FROM lanes FOR UPDATE; SELECT FROM outbox ORDER BY rank LIMIT 1 FOR UPDATE"))
        {
            await DispatchAsync(rows: 10);
        }

        Assert.Equal(["1", "2", "3", "4"], Order());
        await DispatchAsync(rows: 10);
        Assert.Equal(["1", "2", "3", "4", "0"], Order());
    }

    [Fact]
    public async Task A_relay_that_stands_still_in_the_middle_of_a_dispatch_loses_the_lane_after_seconds()
    {
        var user = await writer.UserAsync();
        await SubmitAsync(user, "one");
        var (stands, goesOn) = (new TaskCompletionSource(), new TaskCompletionSource());
        queue.BeforeAsync = async () =>
        {
            stands.TrySetResult();
            await goesOn.Task;
        };
        var frozen = NewRelay(writer.Db).DispatchAsync("image", 10, 100, CancellationToken.None); // whose connection sends no keep-alives
        await stands.Task;
        queue.BeforeAsync = () => Task.CompletedTask;
        var started = TimeProvider.System.GetTimestamp();
        while ((await NewRelay().DispatchAsync("image", 10, 100, CancellationToken.None)).Published == 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(10));
        }

        goesOn.SetResult();
        await Assert.ThrowsAnyAsync<Exception>(() => frozen); // its transaction is gone: what it published is published twice
        Assert.Equal(2, queue.Sent.Count);
    }

    [Fact]
    public async Task Of_a_paused_lane_only_what_was_begun_is_dispatched_and_all_of_it_afterwards()
    {
        var user = await writer.UserAsync();
        foreach (var name in new[] { "waits", "retried", "at the provider" })
        {
            await SubmitAsync(user, name);
        }

        await AsTheyLeaveItAsync("retried", "status = 'queued', phase = 'retrying', attempt = 1, wake_at = now()", "now()");
        await AsTheyLeaveItAsync("at the provider",
            "status = 'processing', phase = 'awaiting_provider', started_at = now(), wake_at = now()", "now()");
        await writer.ExecuteAsync("UPDATE lanes SET paused_at = now(), paused_by = 'an operator' WHERE lane = 'image'");
        await DispatchAsync(rows: 10);
        Assert.Equal(["at the provider"], Order());
        await writer.ExecuteAsync("UPDATE lanes SET paused_at = NULL, paused_by = NULL");
        await DispatchAsync(rows: 10);
        Assert.Equal(["at the provider", "waits", "retried"], Order());
    }

    private async Task SubmitAsync(Guid user, string name, Model? model = null, Priority priority = Priority.Interactive)
    {
        var result = await writer.SubmitAsync(user, $"{user} {name}", model: model ?? Picture, priority: priority);
        Assert.Equal(SubmitOutcome.Accepted, result.Outcome);
        lock (names)
        {
            names[result.SessionId] = name;
        }
    }

    private OutboxDispatcher NewRelay(NpgsqlDataSource? database = null) =>
        new(database ?? writer.Service, queue, new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance);

    private async Task DispatchAsync(int rows) => await NewRelay().DispatchAsync("image", rows, 1_000_000, CancellationToken.None);

    private List<string> Order() => [.. queue.Sent.Select(session => names[session])];

    private Task AsTheyLeaveItAsync(string name, string session, string availableAt)
    {
        var id = names.First(known => known.Value == name).Key;
        return writer.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET {session} WHERE session_id = '{id}';
            DELETE FROM outbox WHERE session_id = '{id}';
            INSERT INTO outbox (event_type, lane, session_id, available_at) SELECT job_type, lane, session_id, {availableAt} FROM generation_sessions
            WHERE session_id = '{id}';
            """);
    }
}
