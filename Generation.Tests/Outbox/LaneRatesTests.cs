using Generation.Core.Outbox;
using Generation.Core.Providers;

namespace Generation.Tests.Outbox;

/// <summary>How much work a lane takes a second, from what its workers report.</summary>
public sealed class LaneRatesTests
{
    private static readonly DateTimeOffset Start = DateTimeOffset.UnixEpoch;

    [Fact]
    public void Without_a_history_it_is_the_number_of_slots()
    {
        var rates = new LaneRates();
        Assert.Equal(24, rates.Update("image", [Report("a", 0, 16, 0), Report("b", 0, 8, 1e9)], hasBacklog: true));
        Assert.Equal(0, rates.Update("image", [], hasBacklog: true));
        Assert.Equal(LaneRates.UnknownSlots, rates.Update("image", [new WorkerReport("old", Start, [])], hasBacklog: true));
    }

    [Fact]
    public void After_minutes_it_is_what_is_claimed_and_follows_the_slots()
    {
        var rates = new LaneRates();
        var rate = 0d;
        for (var second = 0; second < 600; second++)
        {
            rate = rates.Update("image", [Report("a", second, 16, second * 32), Report("b", second, 16, second * 32)], hasBacklog: true);
        }

        Assert.InRange(rate, 63, 65); // 2 a slot
        Assert.InRange(rates.Update("image", [Report("a", 600, 16, 600 * 32)], hasBacklog: true), 31, 33);
    }

    [Fact]
    public void A_lane_without_a_backlog_says_nothing_of_what_its_workers_can_do()
    {
        var rates = new LaneRates();
        for (var second = 0; second < 600; second++)
        {
            Assert.Equal(16, rates.Update("image", [Report("a", second, 16, second * 0.1)], hasBacklog: false));
        }
    }

    [Theory]
    [InlineData(-1e9)]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void A_report_that_makes_no_sense_is_passed_over(double work)
    {
        var rates = new LaneRates();
        rates.Update("image", [Report("a", 0, 16, 0)], hasBacklog: true);
        Assert.Equal(16, rates.Update("image", [Report("a", 1, 16, work)], hasBacklog: true));
        Assert.InRange(rates.Update("image", [Report("a", 2, 16, 16)], hasBacklog: true), 0, 17);
    }

    [Fact]
    public void A_worker_that_has_started_anew_under_its_old_name_has_claimed_nothing_meanwhile()
    {
        var rates = new LaneRates();
        rates.Update("image", [Report("a", 0, 16, 1e6)], hasBacklog: true);
        Assert.Equal(16, rates.Update("image", [Report("a", 1, 16, 3)], hasBacklog: true));
        Assert.Equal(16, rates.Update("image", [Report("a", 2, 16, 19)], hasBacklog: true));
    }

    [Fact]
    public void Another_relay_goes_on_from_the_rate_that_was_published()
    {
        var rates = new LaneRates();
        rates.Adopt("image", workRate: 64, slots: 16);
        Assert.Equal(32, rates.Update("image", [Report("a", 0, 8, 0)], hasBacklog: true));
        rates.Adopt("video", workRate: double.NaN, slots: 0);
        Assert.Equal(0, rates.Update("video", [Report("a", 0, 8, 0)], hasBacklog: true)); // serves another lane
    }

    [Fact]
    public void What_was_seen_outweighs_the_expectation_in_seconds()
    {
        var rates = new LaneRates();
        var rate = 0d;
        for (var second = 0; second <= 12; second++)
        {
            rate = rates.Update("image", [Report("a", second, 1, second * 15)], hasBacklog: true);
        }

        Assert.InRange(rate, 12.5, 15);
    }

    [Fact]
    public void A_GPU_that_two_workers_share_is_one_slot()
    {
        var rates = new LaneRates();
        WorkerReport Gpu(string worker, int second, double work) => new(worker, Start.AddSeconds(second), [])
        {
            Lanes = [new LaneReport("gpu", 1, 1, [new LaneProviderReport("forge", 1, 5, work)]) { Gpus = ["http://gpu"] }],
        };
        Assert.Equal(1, rates.Update("gpu", [Gpu("a", 0, 0), Gpu("b", 0, 0)], hasBacklog: true));
        var rate = 0d;
        for (var second = 1; second <= 300; second++)
        {
            rate = rates.Update("gpu", [Gpu("a", second, second * 5), Gpu("b", second, second * 5)], hasBacklog: true);
        }

        Assert.InRange(rate, 9.9, 10.1);
    }

    private static WorkerReport Report(string worker, int second, int slots, double work) => new(worker, Start.AddSeconds(second), [])
    {
        Lanes = [new LaneReport("image", slots, 1, [new LaneProviderReport("ark", 1, 5, work)])],
    };
}
