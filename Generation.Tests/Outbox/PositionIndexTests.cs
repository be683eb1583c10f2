using Generation.Core.Outbox;
using Generation.Core.Providers;

namespace Generation.Tests.Outbox;

/// <summary>The ladder of a lane: what it finds, and what it is as bytes.</summary>
public sealed class PositionIndexTests
{
    private const double EachWork = 10;
    private static readonly DateTimeOffset Now = DateTimeOffset.UnixEpoch;

    [Fact]
    public void Within_the_first_2000_a_place_is_exact_and_behind_them_less_than_500_off()
    {
        var index = Line(waiting: 20_000, queued: 30);
        for (var n = 0; n < 20_000; n++)
        {
            var found = index.Find(Rank(n), Id(n));
            Assert.InRange(found.Count - (30 + n), -499, 499);
            Assert.True(!found.IsExact || found.Count == 30 + n, $"{n}: {found}");
            Assert.True(found.IsExact || n >= PositionIndex.Singles, $"{n}: {found}");
            Assert.InRange(found.Work - ((30 + n) * EachWork), -5_000, 5_000);
        }

        Assert.True(index.Find(Rank(19_999), Id(19_999)).IsExact); // the last one is a rung
    }

    [Fact]
    public void Messages_in_the_queue_stand_in_their_order_before_all_that_waits()
    {
        var index = Line(waiting: 5, queued: 3);
        Assert.Equal([0, 1, 2], Enumerable.Range(0, 3).Select(n => index.Find(1e9, QueuedId(n)).Count));
        Assert.Equal(3, index.Find(Rank(0), Id(0)).Count);
        Assert.Equal(30, index.Find(Rank(0), Id(0)).Work);
    }

    [Theory]
    [InlineData(-1, 0, 2)] // goes on with what was begun
    [InlineData(35, 9_999, 6)] // between the fourth and the fifth
    [InlineData(1e12, 9_999, 12)] // behind all
    public void What_is_newer_than_the_index_stands_where_it_would(double rank, long id, long ahead)
    {
        var found = Line(waiting: 10, queued: 2).Find(rank, id);
        Assert.Equal((ahead, true), (found.Count, found.IsExact));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(499)]
    [InlineData(500)]
    [InlineData(1_999)]
    [InlineData(2_000)]
    [InlineData(2_499)]
    [InlineData(7_777)]
    [InlineData(9_998)]
    [InlineData(9_999)]
    public void From_the_rung_before_a_row_less_than_500_are_to_be_counted(int n)
    {
        var rung = Line(waiting: 10_000, queued: 0).RungBefore(Rank(n), Id(n));
        Assert.Equal(n - (n % PositionIndex.Stride), rung!.Value.Before);
        Assert.Equal((Rank((int)rung.Value.Before), Id((int)rung.Value.Before)), (rung.Value.Rank, rung.Value.OutboxId));
    }

    [Fact]
    public void An_empty_lane_has_an_index_too()
    {
        var index = PositionIndex.Decode(Line(waiting: 0, queued: 0).Encode())!;
        Assert.Equal(new Ahead(0, 0, true, Now), index.Find(5, 5));
        Assert.Null(index.RungBefore(5, 5));
    }

    [Fact]
    public void Equal_ranks_are_told_apart_by_their_ids()
    {
        var rungs = Enumerable.Range(0, 5_000).Select(n => new Rung(0, Id(n), n, n * EachWork))
            .Where(rung => rung.Before < PositionIndex.Singles || rung.Before % PositionIndex.Stride == 0 || rung.Before == 4_999);
        var index = new PositionIndex(State(5_000, 0), [], rungs);
        Assert.Equal(1_234, index.Find(0, Id(1_234)).Count);
        Assert.InRange(index.Find(0, Id(3_777)).Count, 3_700, 3_800);
    }

    [Fact]
    public void As_bytes_100000_rows_are_at_most_60_KB_and_say_the_same()
    {
        var index = Line(waiting: 100_000, queued: 1_000);
        var bytes = index.Encode();
        Assert.InRange(bytes.Length, 20_000, 60_000);
        var read = PositionIndex.Decode(bytes)!;
        Assert.Equal(index.Count, read.Count);
        Assert.Equal(index.State with { Providers = [], Durations = [] }, read.State with { Providers = [], Durations = [] });
        Assert.Equal(index.State.Providers, read.State.Providers);
        Assert.Equal(index.State.Durations, read.State.Durations);
        for (var n = 0; n < 100_000; n += 97)
        {
            Assert.Equal(index.Find(Rank(n), Id(n)).Count, read.Find(Rank(n), Id(n)).Count);
        }
    }

    [Fact]
    public void Bytes_of_something_else_are_no_index()
    {
        var good = Line(waiting: 3_000, queued: 100).Encode();
        Assert.Null(PositionIndex.Decode([]));
        Assert.Null(PositionIndex.Decode([2, .. good[1..]]));
        Assert.Null(PositionIndex.Decode("{\"version\":1}"u8.ToArray()));
        for (var length = 0; length < good.Length; length += 101)
        {
            Assert.Null(PositionIndex.Decode(good[..length]));
        }

        var random = new Random(4);
        for (var round = 0; round < 300; round++)
        {
            var damaged = good.ToArray();
            for (var i = 0; i < 5; i++) damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            if (PositionIndex.Decode(damaged) is { } index) Assert.NotEqual(default, index.Find(12_345, 77) with { IsExact = true }); // no exception
        }
    }

    [Theory]
    [InlineData(0, 1_000)]
    [InlineData(40, 1_000)]
    [InlineData(50, 1_000)]
    [InlineData(60, 1_200)]
    [InlineData(1_000, 20_000)]
    public void An_index_costs_at_most_a_twentieth_of_the_time_and_is_made_once_a_second_at_most(int costMs, int intervalMs) =>
        Assert.Equal(TimeSpan.FromMilliseconds(intervalMs), PositionIndexer.IntervalAfter(TimeSpan.FromMilliseconds(costMs)));

    private static double Rank(int n) => n * EachWork;

    private static long Id(int n) => 50_000 + (n * 3L) + (n % 7);

    private static long QueuedId(int n) => 100 + n;

    private static LaneState State(int waiting, int queued) => new()
    {
        Lane = "image",
        AsOf = Now,
        QueueCount = queued,
        QueueWork = queued * EachWork,
        WaitingCount = waiting,
        WaitingWork = waiting * EachWork,
        WorkRate = 16,
        Slots = 16,
        HasWorkers = true,
        Providers = [new LaneProvider("ark", null, 3), new LaneProvider("kie", Now.AddSeconds(20), 0)],
        Durations = [new DurationReport("seedream-4", "size=2K outputs=1", 200, 5, 8, 14)],
    };

    /// <summary>As <c>waiting_rungs.sql</c> makes it.</summary>
    private static PositionIndex Line(int waiting, int queued) => new(State(waiting, queued), Enumerable.Range(0, queued).Select(QueuedId),
        Enumerable.Range(0, waiting).Select(n => new Rung(Rank(n), Id(n), n, n * EachWork))
            .Where(rung => rung.Before < PositionIndex.Singles || rung.Before % PositionIndex.Stride == 0 || rung.Before == waiting - 1));
}
