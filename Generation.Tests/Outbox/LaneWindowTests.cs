using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Relay;
using Generation.Relay.Maintenance;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using StackExchange.Redis;

namespace Generation.Tests.Outbox;

/// <summary>The window follows what the workers take (order.md C.5).</summary>
public sealed class LaneWindowTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly FakeTimeProvider clock = new(Start);
    private readonly LaneWindows windows;

    public LaneWindowTests() => windows = new LaneWindows(null!, new RelayOptions { DispatchWindow = 500 }, clock, NullLogger<LaneWindows>.Instance);

    [Fact]
    public void Without_a_rate_it_is_the_free_slots_and_eight() => Assert.Equal(16 - 3 + 16 + 8, After(
        Report("a", Image(slots: 16, running: 3, claimed: 1000)), Report("b", Image(slots: 16, running: 0, claimed: 0))));

    [Fact]
    public void It_is_two_seconds_of_claims_once_these_are_known_and_never_more_than_the_maximum()
    {
        After(Report("a", Image(16, 16, claimed: 100)));
        Assert.Equal(2 * 50, After(Report("a", Image(16, 16, claimed: 150)))); // within a second
        Assert.Equal(500, After(Report("a", Image(16, 16, claimed: 10_150))));
    }

    [Fact]
    public void It_falls_slowly_when_claims_stop_down_to_eight()
    {
        After(Report("a", Image(16, 16, claimed: 0)));
        After(Report("a", Image(16, 16, claimed: 100)));
        var after = Enumerable.Range(0, 30).Select(_ => After(Report("a", Image(16, 16, claimed: 100)))).ToList();
        Assert.Equal(after.OrderDescending(), after);
        Assert.InRange(after[0], 100, 199);
        Assert.Equal(8, after[^1]);
    }

    [Fact]
    public void GPUs_that_workers_share_count_once_and_one_job_waits_behind_them()
    {
        LaneReport Gpu(int running, params string[] gpus) => new("gpu", 16, running, []) { Gpus = gpus };
        Assert.Equal(2 + 1, After("gpu", Report("a", Gpu(1, "x", "y")), Report("b", Gpu(0, "y", "z"))));
        Assert.Equal(1, After("gpu", Report("a", Gpu(2, "x", "y"))));
        Assert.Equal(1, After("gpu", Report("a", Gpu(0))));
    }

    [Fact]
    public void No_worker_is_sent_eight_and_one_of_the_release_before_the_maximum()
    {
        Assert.Equal(8, After());
        Assert.Equal(500, After(Report("a", Image(1, 0, 0)), new WorkerReport("old", clock.GetUtcNow(), [])));
        Assert.Equal(1 + 8, After(Report("a", Image(1, 0, 0))));
    }

    [Theory]
    [InlineData(int.MaxValue, 0, long.MaxValue)]
    [InlineData(int.MinValue, int.MaxValue, long.MinValue)]
    [InlineData(0, int.MinValue, -1)]
    public void Absurd_reports_stay_within_the_limits(int slots, int running, long claimed)
    {
        After(Report("a", Image(1, 1, 5)));
        Assert.InRange(After(Report("a", Image(slots, running, claimed)), Report("a", Image(slots, running, claimed))), 1, 500);
    }

    [Fact]
    public async Task Zero_seconds_turn_it_off() => Assert.Equal(700, await new LaneWindows(
        null!, new RelayOptions { DispatchWindow = 700, WindowSeconds = 0 }, clock, NullLogger<LaneWindows>.Instance).OfAsync("image", default));

    /// <summary>Lanes are dispatched side by side: all but the one that read the reports had the whole window at a relay's start.</summary>
    [Fact]
    public async Task A_relay_that_starts_knows_the_window_of_every_lane_before_its_first_dispatch()
    {
        await using var redis = await ConnectionMultiplexer.ConnectAsync((await TestRedis.Shared).ConnectionString);
        var health = new ProviderHealth(redis, new QueueOptions { Prefix = $"windows-{Guid.NewGuid():N}" });
        var starting = new LaneWindows(health, new RelayOptions(), TimeProvider.System, NullLogger<LaneWindows>.Instance);
        var first = await Task.WhenAll(QueueOptions.Lanes.Select(lane => starting.OfAsync(lane, CancellationToken.None).AsTask()));
        Assert.Equal([8, 8, 1], first); // image, video, gpu, without workers
    }

    /// <summary>One user's 600 pictures made another's single picture wait for all of them.</summary>
    [Fact]
    [Trait("tier", "slow")]
    public async Task Who_posts_one_behind_600_of_another_user_starts_within_the_window_and_a_job()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Settings["Worker:Concurrency"], o.Credits) = ("2", 100_000);
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:StageDelay"] = "00:00:00.020";
        });
        await Task.WhenAll(Enumerable.Range(0, 600).Select(i => system.SubmitAsync($"many {i}")));
        await system.UntilAsync("SELECT count(*) > 20 FROM generation_sessions WHERE completed_at IS NOT NULL");
        using var other = system.Client(system.Apis[0], (await system.AddUserAsync("second", 100)).Key);
        var one = await system.SubmitAsync("one", http: other);
        await system.EndOfAsync(one, other);

        // Two seconds of claims are ahead of it, or ten messages, and what runs; it was behind some 500.
        var before = await system.ScalarAsync<long>(
            $"""
            SELECT count(*) FROM generation_sessions AS s
            WHERE s.started_at BETWEEN (SELECT created_at FROM generation_sessions WHERE session_id = '{one}')
                AND (SELECT started_at FROM generation_sessions WHERE session_id = '{one}')
            """);
        var left = await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE completed_at IS NULL");
        Assert.True(left > before, $"{before} started before it, {left} are left");
        var rate = await system.ScalarAsync<double>(
            "SELECT count(*) / greatest(extract(epoch FROM max(started_at) - min(started_at)), 1)::double precision FROM generation_sessions "
            + "WHERE started_at IS NOT NULL");
        Assert.InRange(before, 0, Math.Max(10, 2 * 2 * rate) + 4); // half a minute of rates differs: twice two seconds
    }

    private int After(params WorkerReport[] reports) => After("image", reports);

    private int After(string lane, params WorkerReport[] reports)
    {
        clock.Advance(ProviderHealth.Interval);
        windows.Follow(reports);
        return windows.Current(lane);
    }

    private WorkerReport Report(string worker, LaneReport lane) => new(worker, clock.GetUtcNow() + ProviderHealth.Interval, []) { Lanes = [lane] };

    private static LaneReport Image(int slots, int running, long claimed) =>
        new("image", slots, running, [new LaneProviderReport("ark", running, claimed, claimed)]);
}
