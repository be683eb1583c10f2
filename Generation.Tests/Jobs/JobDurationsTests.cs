using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Worker.Hosting;

namespace Generation.Tests.Jobs;

/// <summary>What a worker says of how long its jobs take.</summary>
public sealed class JobDurationsTests
{
    [Fact]
    public void Percentiles_are_of_the_last_200_of_each_kind()
    {
        var durations = new JobDurations();
        durations.Record("forge-sdxl", "outputs=1", 3);
        for (var n = 0; n < 1_000; n++) durations.Record("seedream-4", "outputs=1", 1_000);
        for (var n = 1; n <= 200; n++) durations.Record("seedream-4", "outputs=1", n);
        Assert.Equal(
            [new DurationReport("seedream-4", "outputs=1", 200, 40, 100, 180), new DurationReport("forge-sdxl", "outputs=1", 1, 3, 3, 3)],
            durations.Report());
    }

    [Fact]
    public void Kinds_are_bounded_and_the_one_that_was_seen_longest_ago_goes()
    {
        var durations = new JobDurations();
        for (var n = 0; n < JobDurations.MaxKinds; n++) durations.Record("model", $"{n}", 1);
        durations.Record("model", "0", 1);
        durations.Record("model", "one more", 1);
        var kinds = durations.Report().Select(report => report.Variant).ToHashSet();
        Assert.Equal(JobDurations.MaxKinds, kinds.Count);
        Assert.Contains("0", kinds);
        Assert.DoesNotContain("1", kinds);
    }

    [Theory]
    [InlineData("""{"prompt":"a hill","size":"2K"}""", 2, false, "size=2K outputs=2")]
    [InlineData("""{"resolution":"720p","duration":5,"generate_audio":true}""", 1, false, "resolution=720p duration=5 outputs=1")]
    [InlineData("""{"size":"1024x1024","quality":"high"}""", 1, true, "size=1024x1024 quality=high outputs=1 mock")]
    [InlineData("""{"size":null,"quality":["high"]}""", 1, false, "outputs=1")]
    [InlineData("{}", 4, false, "outputs=4")]
    public void A_kind_is_what_the_duration_depends_on(string settings, int outputs, bool mock, string name) =>
        Assert.Equal(name, JobVariant.NameOf(JsonNode.Parse(settings)!.AsObject(), outputs, mock));

    [Fact]
    public void The_name_of_a_kind_is_short_whatever_was_sent() =>
        Assert.Equal(80, JobVariant.NameOf(new JsonObject { ["size"] = new string('x', 10_000) }, 1, mock: false).Length);
}
