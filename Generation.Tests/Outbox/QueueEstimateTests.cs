using Generation.Core.Outbox;
using Generation.Core.Providers;

namespace Generation.Tests.Outbox;

/// <summary>When a generation starts and ends, over a table of lanes.</summary>
public sealed class QueueEstimateTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.UnixEpoch.AddYears(56);

    private static readonly OpenJob Job = new()
    {
        Lane = "image",
        Provider = "ark",
        Model = "seedream-4",
        Variant = "size=2K outputs=1",
        Work = 10,
        Phase = "queued",
        Place = new QueuePlace(7, 30, false, Now),
    };

    private static readonly LaneState Lane = new()
    {
        Lane = "image",
        AsOf = Now,
        WorkRate = 20,
        Slots = 16,
        HasWorkers = true,
        Durations = [new DurationReport("seedream-4", "size=2K outputs=1", 200, 4, 6, 15)],
    };

    private static readonly Ahead Three = new(3, 100, true, Now);

    [Fact]
    public void The_work_ahead_at_the_lanes_rate_is_when_it_starts_and_the_measured_median_more_is_when_it_ends()
    {
        var (view, eta) = QueueEstimate.Of(Job, Lane, Three, Now);
        Assert.Equal((3, true, "in_line", 5, 9, 20, 11),
            (view!.Ahead, view.Exact, view.Reason, view.StartsInSeconds, view.EtaLow, view.EtaHigh, eta));
    }

    [Fact]
    public void Without_a_measurement_of_its_kind_the_expected_work_counts()
    {
        var (view, eta) = QueueEstimate.Of(Job with { Variant = "size=4K outputs=1" }, Lane, Three, Now);
        Assert.Equal((5, 10, 25, 15), (view!.StartsInSeconds, view.EtaLow, view.EtaHigh, eta));
    }

    [Fact]
    public void Without_a_rate_every_slot_does_a_second_of_work_a_second() =>
        Assert.Equal(7, QueueEstimate.Of(Job, Lane with { WorkRate = 0 }, Three, Now).View!.StartsInSeconds);

    public static TheoryData<string, string, bool> Reasons => new()
    {
        { "paused", "lane_paused", false },
        { "paused without workers", "lane_paused", false },
        { "no workers", "no_workers", false },
        { "breaker open", "provider_unavailable", true },
        { "another's breaker open", "in_line", true },
        { "next for a busy gpu", "gpu_busy", true },
        { "second for a busy gpu", "in_line", true },
        { "next for a free gpu", "in_line", true },
        { "a retry that waits", "retry_backoff", true },
        { "a limit that is waited for", "provider_limit", true },
        { "a gpu that is waited for", "gpu_busy", true },
    };

    [Theory]
    [MemberData(nameof(Reasons))]
    public void A_reason_says_why_it_waits_and_without_anybody_to_take_it_there_is_no_estimate(string what, string reason, bool hasEta)
    {
        var delayed = Job with { Place = new QueuePlace(7, null, false, Now.AddSeconds(12)), Phase = "retrying" };
        var gpu = Job with { Lane = "gpu", Provider = "forge" };
        var busy = Lane with { Lane = "gpu", Slots = 2, Running = 2 };
        var (job, lane, ahead) = what switch
        {
            "paused" => (Job, Lane with { IsPaused = true }, Three),
            "paused without workers" => (Job, Lane with { IsPaused = true, HasWorkers = false, Slots = 0, WorkRate = 0 }, Three),
            "no workers" => (Job, Lane with { HasWorkers = false, Slots = 0, WorkRate = 0 }, Three),
            "breaker open" => (Job, Lane with { Providers = [new LaneProvider("ark", Now.AddSeconds(30), 0)] }, Three),
            "another's breaker open" => (Job, Lane with { Providers = [new LaneProvider("kie", Now.AddSeconds(30), 0)] }, Three),
            "next for a busy gpu" => (gpu, busy, new Ahead(0, 0, true, Now)),
            "second for a busy gpu" => (gpu, busy, new Ahead(1, 10, true, Now)),
            "next for a free gpu" => (gpu, busy with { Running = 1 }, new Ahead(0, 0, true, Now)),
            "a retry that waits" => (delayed, Lane, default),
            "a limit that is waited for" => (delayed with { Phase = "waiting" }, Lane, default),
            _ => (delayed with { Phase = "waiting", Lane = "gpu" }, Lane, default(Ahead)),
        };
        var (view, eta) = QueueEstimate.Of(job, lane, job.Place!.Value.IsInLine ? ahead : null, Now);
        Assert.Equal((reason, hasEta, hasEta), (view!.Reason, eta is not null, view.StartsInSeconds is not null));
        Assert.Equal(job.Place.Value.IsInLine, view.Ahead is not null);
    }

    [Fact]
    public void An_open_breaker_is_waited_for_and_so_is_the_time_of_a_retry()
    {
        var open = Lane with { Providers = [new LaneProvider("ark", Now.AddSeconds(30), 0)] };
        Assert.Equal((30, 36), Starts(QueueEstimate.Of(Job, open, Three, Now)));
        var retry = Job with { Place = new QueuePlace(7, null, false, Now.AddSeconds(12)), Phase = "retrying" };
        Assert.Equal((12, 18), Starts(QueueEstimate.Of(retry, Lane, null, Now)));

        static (int?, int?) Starts((QueueView? View, int? Eta) answer) => (answer.View!.StartsInSeconds, answer.Eta);
    }

    [Theory]
    [InlineData(0, 0, 6, null)]
    [InlineData(2, 0, 5, null)]
    [InlineData(14, 0, 1, null)]
    [InlineData(16, 0, 1, "longer_than_usual")]
    [InlineData(1_000_000, 0, 1, "longer_than_usual")]
    [InlineData(-50, 0, 6, null)] // another machine's clock
    public void What_runs_has_the_rest_of_its_time_left(int elapsed, int progress, int eta, string? reason)
    {
        var running = Job with { IsProcessing = true, Place = null, StartedAt = Now.AddSeconds(-elapsed), Progress = progress };
        var (view, left) = QueueEstimate.Of(running, Lane, null, Now);
        Assert.Equal((null, 0, reason), (view!.Ahead, view.StartsInSeconds, view.Reason));
        Assert.Equal(eta, left);
    }

    [Fact]
    public void A_percentage_that_the_provider_counts_is_half_of_the_estimate_and_a_stage_is_not()
    {
        var running = Job with { IsProcessing = true, Place = null, StartedAt = Now.AddSeconds(-5), Progress = 20 };
        Assert.Equal(4, QueueEstimate.Of(running, Lane, null, Now).EtaSeconds);
        Assert.Equal(12, QueueEstimate.Of(running with { Provider = "kie" }, Lane, null, Now).EtaSeconds); // (3.5 + 20) / 2
        Assert.Equal(4, QueueEstimate.Of(running with { Provider = "kie", Progress = 9 }, Lane, null, Now).EtaSeconds);
    }

    [Fact]
    public void Whatever_the_numbers_the_answers_are_seconds_in_order()
    {
        double[] hostile =
            [double.NaN, double.PositiveInfinity, double.NegativeInfinity, double.MaxValue, double.MinValue, double.Epsilon, -1, 0, 1e300];
        foreach (var bad in hostile)
        {
            foreach (var other in hostile)
            {
                var lane = Lane with
                {
                    WorkRate = bad,
                    Slots = bad is > 0 and < 100 ? 1 : 0,
                    Durations = [new DurationReport(Job.Model, Job.Variant, 1, other, bad, other)],
                };
                foreach (var job in new[]
                {
                    Job with { Work = other },
                    Job with { Work = bad, IsProcessing = true, StartedAt = DateTimeOffset.MinValue, Progress = 1 },
                    Job with { Work = bad, IsProcessing = true, StartedAt = DateTimeOffset.MaxValue, Progress = 50, Provider = "forge" },
                    Job with { Work = bad, Place = new QueuePlace(1, null, false, DateTimeOffset.MaxValue) },
                })
                {
                    var (view, eta) = QueueEstimate.Of(job, lane, new Ahead(long.MaxValue, other, true, Now), Now);
                    Assert.NotNull(view);
                    foreach (var seconds in new[] { view.StartsInSeconds, view.EtaLow, view.EtaHigh, eta })
                    {
                        Assert.True(seconds is null or (>= 0 and <= QueueEstimate.MaxSeconds), $"{bad}, {other}: {view}");
                    }

                    Assert.True(view.EtaLow is null || (view.EtaLow <= eta && eta <= view.EtaHigh), $"{bad}, {other}: {view} {eta}");
                }
            }
        }
    }

    [Fact]
    public void Without_an_index_what_waits_has_a_place_and_no_time_and_what_has_no_row_has_neither()
    {
        var (view, eta) = QueueEstimate.Of(Job, null, Three, Now);
        Assert.Equal((3, "in_line", null, null), (view!.Ahead, view.Reason, view.StartsInSeconds, eta));
        Assert.Equal((null, null), QueueEstimate.Of(Job with { Place = null }, Lane, null, Now));
    }
}
