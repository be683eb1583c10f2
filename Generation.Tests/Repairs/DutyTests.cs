using System.Threading.Channels;
using Generation.Relay.Duties;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Repairs;

/// <summary>The pauses of a duty.</summary>
public sealed class DutyTests
{
    /// <summary>
    /// A duty that was woken in the moment in which its interval ended took its whole relay with it: what a timer's callback throws ends the
    /// process (found by chaos).
    /// </summary>
    [Fact]
    public async Task An_alarm_that_rings_when_the_duty_has_been_woken_already_is_not_heard()
    {
        var ct = TestContext.Current.CancellationToken;
        var clock = new LateClock();
        using var duty = new Counting(clock);
        await duty.StartAsync(ct);
        await duty.Passes.Reader.ReadAsync(ct);
        var alarm = await clock.Alarms.Reader.ReadAsync(ct);
        duty.Wake();
        await duty.Passes.Reader.ReadAsync(ct);

        alarm(); // that of the pause before
        await duty.StopAsync(ct);
    }

    private sealed class Counting(TimeProvider time) : Duty(TimeSpan.FromHours(1), time, NullLogger.Instance)
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
        public Channel<Action> Alarms { get; } = Channel.CreateUnbounded<Action>();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Alarms.Writer.TryWrite(() => callback(state));
            return base.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }
}
