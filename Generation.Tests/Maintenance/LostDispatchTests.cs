using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Tests.Maintenance;

/// <summary>Invariant 8 at its edges: what was lost with the queue is dispatched again, and nothing else is.</summary>
[Trait("tier", "slow")]
public sealed class LostDispatchTests : IAsyncLifetime
{
    private const string Lane = "image";

    private readonly QueueOptions options = new() { Prefix = $"lost-{Guid.NewGuid():N}", SendTimeout = TimeSpan.FromSeconds(30) };
    private TestDatabase database = null!;
    private NpgsqlDataSource db = null!;
    private ConnectionMultiplexer redis = null!;

    private RedisKey Stream => $"{options.Prefix}:{{{Lane}}}:jobs";

    public async ValueTask InitializeAsync()
    {
        TestPostgres.Migrate = connectionString => Core.Database.DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        database = await TestPostgres.CreateDatabaseAsync();
        db = NpgsqlDataSource.Create(database.ConnectionString);
        redis = await ConnectionMultiplexer.ConnectAsync((await TestRedis.Shared).ConnectionString);
        await db.AddUserAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await redis.GetDatabase().KeyDeleteAsync([Stream, $"{options.Prefix}:{{{Lane}}}:marker"]);
        await redis.CloseAsync(allowCommandsToComplete: false);
        await db.DisposeAsync();
        NpgsqlConnection.ClearAllPools();
        await database.DisposeAsync();
    }

    [Fact]
    public async Task Of_a_backlog_of_hours_only_what_was_in_the_wiped_queue_goes_out_again_in_its_order_whoever_repairs()
    {
        const int window = 1_000;
        await db.AddBacklogAsync(5_000, TimeSpan.FromHours(6));
        await FillAsync(window);
        var before = await InStreamAsync();
        Assert.Equal(window, before.Count);
        var waiting = await WaitingAsync();

        await redis.GetDatabase().KeyDeleteAsync([Stream, $"{options.Prefix}:{{{Lane}}}:marker"]);
        await SettleAsync();
        var repairs = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => NewRelay().RedispatchLostAsync(Lane, default))));
        Assert.Equal(window, repairs.Sum());
        Assert.Equal(waiting, await WaitingAsync(sinceFirst: window));

        await FillAsync(window);
        Assert.Equal(before, await InStreamAsync());
        Assert.Equal(waiting, await WaitingAsync());
        await SettleAsync();
        Assert.Equal(0, await NewRelay().RedispatchLostAsync(Lane, default)); // and now everything is where it should be
    }

    [Fact]
    public async Task A_queue_that_fell_back_to_an_older_copy_gets_back_what_the_copy_does_not_have_however_much_it_has()
    {
        const int window = 11_000; // more than the queue is asked for at once
        const int lost = 3_000; // more than a quarter of the window: it is not refilled for less
        await db.AddBacklogAsync(12_000, TimeSpan.FromHours(6));
        await FillAsync(window);
        var before = await InStreamAsync();

        // The copy has the marker, the group and all but the latest messages; it never heard of these.
        var entries = await redis.GetDatabase().StreamRangeAsync(Stream, count: lost, messageOrder: Order.Descending);
        await redis.GetDatabase().StreamDeleteAsync(Stream, [.. entries.Select(entry => entry.Id)]);
        await SettleAsync();

        Assert.Equal(lost, await NewRelay().RedispatchLostAsync(Lane, default));
        Assert.Equal(before.TakeLast(lost), await NextAsync(lost));
        await FillAsync(window);
        Assert.Equal(before, await InStreamAsync());
    }

    [Fact]
    [Trait("tier", "slow")]
    public async Task A_queue_that_is_wiped_again_and_again_under_load_loses_no_job_and_runs_each_once()
    {
        const int jobs = 240;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.OwnRedis, o.Relays, o.Credits) = (true, 2, 2_000);
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Worker:LeaseDuration"] = "00:00:30"; // a busy machine must not look like a dead worker
            o.Settings["Worker:Concurrency"] = "4";
            o.Settings["Relay:DispatchWindow"] = "50"; // most of them wait in the outbox when it happens
        });
        var load = Task.WhenAll(Enumerable.Range(0, 8).Select(async client =>
        {
            for (var n = 0; n < jobs / 8; n++)
            {
                await system.SubmitAsync($"wiped under load {client} {n}");
            }
        }));
        for (var wipe = 1; wipe <= 5; wipe++)
        {
            await system.UntilAsync($"SELECT count(*) >= {wipe * 30} FROM generation_sessions WHERE completed_at IS NOT NULL");
            Assert.True(await system.ScalarAsync<bool>("SELECT count(*) < 240 FROM generation_sessions WHERE completed_at IS NOT NULL"));
            await system.Redis.WipeAsync();
        }

        await load;
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(jobs);
        Assert.Equal(jobs, await system.ScalarAsync<long>("SELECT count(*) FROM media"));
    }

    private OutboxDispatcher NewRelay()
    {
        var queue = new RedisJobQueue(
            redis, () => throw new InvalidOperationException("A relay receives nothing."), options, TimeProvider.System,
                NullLogger<RedisJobQueue>.Instance);
        return new OutboxDispatcher(db, queue, options, TimeProvider.System, NullLogger<OutboxDispatcher>.Instance);
    }

    /// <summary>Dispatches until the window is full.</summary>
    private async Task FillAsync(int window)
    {
        var relay = NewRelay();
        while ((await relay.DispatchAsync(Lane, 500, window, default)).Published > 0)
        {
        }
    }

    /// <summary>What was sent a moment ago is not asked for yet; here the moment is over.</summary>
    private Task SettleAsync() => db.ExecuteAsync(
        "UPDATE outbox SET dispatched_at = dispatched_at - interval '10 s' WHERE dispatched_at IS NOT NULL");

    /// <summary>The outbox rows behind the messages, in the queue's order.</summary>
    private async Task<List<long>> InStreamAsync() =>
        [.. (await redis.GetDatabase().StreamRangeAsync(Stream)).Select(entry => (long)entry["o"])];

    /// <summary>The rows that go out next.</summary>
    private async Task<List<long>> NextAsync(int count) => [.. await db.ScalarAsync<long[]>(
        "SELECT array_agg(outbox_id ORDER BY rank, outbox_id) FROM (SELECT * FROM outbox WHERE dispatched_at IS NULL ORDER BY "
            + $"rank, outbox_id LIMIT {count}) AS o")];

    /// <summary>The very versions of the rows that wait: nobody has written to one while this stays the same.</summary>
    private Task<string> WaitingAsync(int sinceFirst = 0) => db.ScalarAsync<string>(
        "SELECT md5(string_agg(concat(outbox_id, ' ', ctid, ' ', xmin), ',' ORDER BY outbox_id)) FROM outbox WHERE dispatched_at IS NULL AND "
            + $"outbox_id > {sinceFirst}");
}
