using System.Threading.Channels;
using Generation.Relay.Maintenance;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Maintenance;

/// <summary>The pauses of a duty.</summary>
public sealed class PeriodicServiceTests
{
    /// <summary>
    /// A duty that was woken in the moment in which its interval ended took its whole relay with it: what a timer's callback throws ends the
    /// process (found by chaos).
    /// </summary>
    [Fact]
    public async Task A_timer_that_fires_after_the_service_was_woken_is_ignored()
    {
        var ct = TestContext.Current.CancellationToken;
        var clock = new LateClock();
        using var service = new Counting(clock);
        await service.StartAsync(ct);
        await service.Passes.Reader.ReadAsync(ct);
        var timer = await clock.Timers.Reader.ReadAsync(ct);
        service.Wake();
        await service.Passes.Reader.ReadAsync(ct);

        timer(); // that of the pause before
        await service.StopAsync(ct);
    }

    private sealed class Counting(TimeProvider time) : PeriodicService(TimeSpan.FromHours(1), time, NullLogger.Instance)
    {
        public Channel<bool> Passes { get; } = Channel.CreateUnbounded<bool>();

        public override Task<bool> RunOnceAsync(CancellationToken ct)
        {
            Passes.Writer.TryWrite(true);
            return Task.FromResult(false);
        }
    }

    /// <summary>Its timers ring when the test says so, also when they have been disposed of, as one does that is ringing at that moment.</summary>
    private sealed class LateClock : TimeProvider
    {
        public Channel<Action> Timers { get; } = Channel.CreateUnbounded<Action>();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Timers.Writer.TryWrite(() => callback(state));
            return base.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }
}
