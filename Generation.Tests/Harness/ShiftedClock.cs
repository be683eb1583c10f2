namespace Generation.Tests.Harness;

/// <summary>
/// Right about how long something lasts, wrong about what time it is, by an offset that a test may move. Unlike those of a
/// FakeTimeProvider its timers are the system's: it is for what waits by itself, a service or a client of a real server.
/// </summary>
public sealed class ShiftedClock(TimeSpan offset = default) : TimeProvider
{
    private long offsetTicks = offset.Ticks;

    public void Advance(TimeSpan by) => Interlocked.Add(ref offsetTicks, by.Ticks);

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddTicks(Interlocked.Read(ref offsetTicks));
}
