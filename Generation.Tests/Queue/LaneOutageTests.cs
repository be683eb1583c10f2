using System.Collections.Concurrent;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Relay;
using Generation.Relay.Maintenance;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Generation.Tests.Queue;

/// <summary>Which lanes a relay looks at, and whose trouble it is when a lane's queue is unavailable: its own, or everybody's.</summary>
public sealed class LaneOutageTests
{
    private static readonly RelayOptions Settings = new() { PollInterval = TimeSpan.FromMilliseconds(50), WindowSeconds = 0 };

    /// <summary>Looking at all of them at every submit took a relay a millisecond of processor each.</summary>
    [Fact]
    public async Task A_relay_looks_at_the_lanes_it_is_told_of_and_at_all_of_them_once_an_interval()
    {
        var clock = new FakeTimeProvider();
        var queue = new LeavingQueue();
        await using var nowhere = NpgsqlDataSource.Create("Host=127.0.0.1;Port=1"); // not asked: the window is full, or the queue away
        var dispatcher = new OutboxDispatcher(nowhere, queue, new QueueOptions(), clock, NullLogger<OutboxDispatcher>.Instance);
        using var lost = new LostDispatchSweep(dispatcher, Settings, clock, NullLogger<LostDispatchSweep>.Instance);
        using var dispatch = new DispatchService(
            dispatcher, new LaneWindows(null!, Settings, clock, NullLogger<LaneWindows>.Instance), Settings, lost, clock,
            NullLogger<DispatchService>.Instance);

        Assert.Equal(["gpu", "image", "video"], await LookedAtAsync()); // the first time
        Assert.Empty(await LookedAtAsync());
        dispatch.Wake("video");
        Assert.Empty(await LookedAtAsync()); // it had no room a moment ago: what is told does not make any
        clock.Advance(TimeSpan.FromMilliseconds(10));
        Assert.Equal(["gpu", "image", "video"], await LookedAtAsync()); // time for room
        clock.Advance(Settings.PollInterval);
        queue.Unavailable.UnionWith(QueueOptions.Lanes);
        await Assert.ThrowsAsync<QueueException>(LookedAtAsync);
        queue.Unavailable.Clear();
        Assert.Equal(["gpu", "image", "video"], await LookedAtAsync()); // what could not be done is still to be done
        clock.Advance(Settings.PollInterval);
        queue.Unavailable.Add("image");
        Assert.Equal(["gpu", "image", "video"], await LookedAtAsync());
        dispatch.Wake("image,unheard-of");
        Assert.Empty(await LookedAtAsync()); // it pauses, and nobody else was named

        async Task<string[]> LookedAtAsync()
        {
            queue.Requests.Clear();
            await dispatch.RunOnceAsync(CancellationToken.None);
            return [.. queue.Requests.Order(StringComparer.Ordinal)];
        }
    }

    /// <summary>
    /// A Redis that was killed in the middle of a pass was complained about three times, once a lane, because one of them was always pausing.
    /// </summary>
    [Fact]
    public async Task A_queue_that_leaves_lane_after_lane_is_everybodys_trouble_and_one_lane_alone_is_its_own()
    {
        var clock = new FakeTimeProvider();
        var queue = new LeavingQueue();
        await using var nowhere = NpgsqlDataSource.Create("Host=127.0.0.1;Port=1"); // not asked: the window is full
        var dispatcher = new OutboxDispatcher(nowhere, queue, new QueueOptions(), clock, NullLogger<OutboxDispatcher>.Instance);
        using var lost = new LostDispatchSweep(dispatcher, Settings, clock, NullLogger<LostDispatchSweep>.Instance);
        using var dispatch = new DispatchService(
            dispatcher, new LaneWindows(null!, Settings, clock, NullLogger<LaneWindows>.Instance), Settings, lost, clock,
            NullLogger<DispatchService>.Instance);

        queue.Unavailable.Add("image");
        await dispatch.RunOnceAsync(CancellationToken.None); // the other lanes go on
        clock.Advance(TimeSpan.FromMilliseconds(50)); // it pauses
        queue.Unavailable.UnionWith(QueueOptions.Lanes);
        await Assert.ThrowsAsync<QueueException>(() => dispatch.RunOnceAsync(CancellationToken.None));
        await Assert.ThrowsAsync<QueueException>(() => dispatch.RunOnceAsync(CancellationToken.None));

        queue.Unavailable.Remove("video");
        await dispatch.RunOnceAsync(CancellationToken.None);
        queue.Unavailable.Clear();
        clock.Advance(TimeSpan.FromMinutes(1));
        await dispatch.RunOnceAsync(CancellationToken.None);
    }

    private sealed class LeavingQueue : IJobQueue
    {
        public string MessagingSystem => "test";

        public HashSet<string> Unavailable { get; } = new(StringComparer.Ordinal);

        /// <summary>Lanes, every time.</summary>
        public ConcurrentQueue<string> Requests { get; } = [];

        public Task<long> DepthAsync(string lane, CancellationToken ct)
        {
            Requests.Enqueue(lane);
            return Unavailable.Contains(lane) ? throw new QueueException($"{lane} is unavailable") : Task.FromResult((long)Settings.DispatchWindow);
        }

        public Task<Sent> SendAsync(string lane, IReadOnlyList<JobMessage> messages, int window, CancellationToken ct) =>
            throw new NotSupportedException();

        public Task<IReadOnlyList<Delivery>> ReceiveAsync(string lane, int max, TimeSpan wait, CancellationToken ct) =>
            throw new NotSupportedException();

        public Task CompleteAsync(string lane, IReadOnlyList<string> receipts, CancellationToken ct) => throw new NotSupportedException();

        public Task DeadLetterAsync(string lane, Delivery delivery, string reason, CancellationToken ct) => throw new NotSupportedException();

        public Task<IReadOnlyList<string>> FindMissingAsync(string lane, IReadOnlyList<string> messageIds, CancellationToken ct) =>
            throw new NotSupportedException();
    }
}
