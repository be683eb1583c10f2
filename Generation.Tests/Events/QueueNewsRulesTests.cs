using Generation.Api.Events;
using Generation.Core.Outbox;

namespace Generation.Tests.Events;

/// <summary>Which news of a place in the queue are told.</summary>
public sealed class QueueNewsRulesTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.UnixEpoch;

    [Theory]
    [InlineData(3, 2, 1, true)]
    [InlineData(3, 3, 600, false)] // nothing to see, however long
    [InlineData(11, 10, 1, true)]
    [InlineData(100, 97, 1, false)]
    [InlineData(100, 95, 1, true)]
    [InlineData(100, 97, 5, true)]
    [InlineData(1_000, 960, 5, false)]
    [InlineData(1_000, 950, 1, true)]
    [InlineData(1_000, 999, 30, true)]
    [InlineData(1_000, 1_100, 1, true)] // it may grow
    public void A_move_is_told_when_it_is_seen(int before, int ahead, int seconds, bool isTold) =>
        Assert.Equal(isTold, Next(before, null, ahead, null, seconds) is not null);

    [Theory]
    [InlineData(100, 10, 90, null)] // as expected
    [InlineData(100, 10, 95, null)] // a rise by less than a fifth
    [InlineData(100, 10, 120, 120)]
    [InlineData(100, 10, 40, 40)]
    [InlineData(3, 1, 4, null)] // a second or two
    public void An_estimate_is_told_when_it_differs_from_the_one_that_ran_down(int told, int seconds, int eta, int? shown) =>
        Assert.Equal(shown, Next(3, told, 3, eta, seconds)?.EtaSeconds);

    [Fact]
    public void With_a_move_an_estimate_that_rose_by_less_than_a_fifth_runs_down_as_it_was_told() =>
        Assert.Equal(90, Next(3, 100, 2, 105, 10)!.EtaSeconds);

    [Fact]
    public void A_reason_that_changes_is_told_and_an_older_index_is_not()
    {
        Assert.NotNull(QueueNewsRules.Next(new QueueNews(View(900, 0), 7), TimeSpan.Zero, View(900, 1) with { Reason = "lane_paused" }, null));
        Assert.Null(QueueNewsRules.Next(new QueueNews(View(9, 5), null), TimeSpan.FromHours(1), View(3, 5), null));
        Assert.NotNull(QueueNewsRules.Next(null, TimeSpan.Zero, View(3, 0), null));
    }

    private static QueueNews? Next(int before, int? told, int ahead, int? eta, int seconds) =>
        QueueNewsRules.Next(new QueueNews(View(before, 0), told), TimeSpan.FromSeconds(seconds), View(ahead, 1), eta);

    private static QueueView View(long ahead, int second) =>
        new() { Ahead = ahead, Exact = true, AsOf = Now.AddSeconds(second), Lane = "image", Reason = "in_line" };
}
