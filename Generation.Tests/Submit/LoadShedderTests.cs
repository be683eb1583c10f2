using Generation.Core.Submit;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Submit;

/// <summary>Batches of 100 that take 40 ms, and a target of 100 ms: of 300 that wait the last would wait for 160 ms.</summary>
public sealed class LoadShedderTests
{
    private static readonly TimeSpan Batch = TimeSpan.FromMilliseconds(40);

    private readonly FakeTimeProvider time = new();
    private readonly LoadShedder shedder;

    public LoadShedderTests()
    {
        shedder = new LoadShedder(100, TimeSpan.FromMilliseconds(100), time);
        for (var i = 0; i < 30; i++)
        {
            Write(TimeSpan.FromMilliseconds(10));
        }
    }

    [Fact]
    public void A_queue_that_is_never_empty_but_quick_is_not_shed()
    {
        for (var i = 0; i < 100; i++)
        {
            Write(TimeSpan.FromMilliseconds(64)); // 256 clients that wait for their answers
            Assert.False(shedder.WouldWaitTooLong(156));
        }
    }

    [Fact]
    public void A_hiccup_is_not_shed_however_long_it_makes_them_wait()
    {
        time.Advance(TimeSpan.FromMilliseconds(700)); // one batch, while 156 waited
        shedder.Observe(TimeSpan.FromMilliseconds(700));
        Assert.False(shedder.WouldWaitTooLong(156));
        Write(TimeSpan.FromMilliseconds(700));
        Assert.False(shedder.WouldWaitTooLong(200));
        Write(TimeSpan.FromMilliseconds(40)); // newcomers are among them again
        Assert.False(shedder.WouldWaitTooLong(156));
    }

    [Fact]
    public void A_queue_in_which_all_wait_too_long_for_half_a_second_is_shed_until_nobody_was_refused_for_half_a_second()
    {
        for (var waited = 120; waited < 620; waited += 40)
        {
            Assert.False(shedder.WouldWaitTooLong(300));
            Write(TimeSpan.FromMilliseconds(waited));
        }

        Assert.True(shedder.WouldWaitTooLong(300));
        Assert.False(shedder.WouldWaitTooLong(99)); // not a batch: it is written next

        // Those admitted meanwhile wait less than the target, and the flood goes on.
        for (var i = 0; i < 20; i++)
        {
            Write(TimeSpan.FromMilliseconds(80));
            Assert.True(shedder.WouldWaitTooLong(300));
        }

        for (var i = 0; i < 13; i++)
        {
            Write(TimeSpan.FromMilliseconds(80));
            Assert.False(shedder.WouldWaitTooLong(100));
        }

        Assert.False(shedder.WouldWaitTooLong(300));
    }

    private void Write(TimeSpan shortestWait)
    {
        shedder.Take(shortestWait, isLast: false);
        time.Advance(Batch);
        shedder.Observe(Batch);
    }
}
