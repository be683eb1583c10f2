using Generation.Tests.Harness;

namespace Generation.Tests.Jobs;

/// <summary>
/// A result that was paid for and cannot be fetched. It is asked for again where that may help; it is never bought again, and never charged.
/// </summary>
[Trait("tier", "slow")]
public sealed class DownloadTests
{
    [Fact]
    public async Task A_private_host_opens_itself_and_no_other_address_also_when_the_providers_list_allows_it()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Media:AllowPrivateAddresses"] = "false";
            o.Settings["Media:PrivateHosts:0"] = "127.0.0.1";
            o.Settings["Providers:Ark:SourceHosts"] = "127.0.0.1,169.254.169.254";
        });
        var allowed = await system.EndOfAsync(await system.SubmitAsync("from next door"));
        var refused = await system.EndOfAsync(await system.SubmitAsync("from the metadata server [fault=redirect-private]"));

        Assert.Equal("completed", (string?)allowed["status"]);
        Assert.Equal(("failed", "output_unusable"), ((string?)refused["status"], (string?)refused["error"]!["code"]));
        Assert.Equal("media.SourceRefused", await FailureOfTheBoughtOneAsync(system));
        Assert.Equal(1, await system.Sim.PaidAsync("metadata server"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Theory]
    [InlineData("slow-body", "00:00:00.500", "00:00:00.500")] // drips for four seconds
    [InlineData("oversized", "00:00:02", "00:00:30")] // never silent, never over: the cap ends it
    public async Task A_body_that_takes_too_long_or_never_ends_is_cut_off(string fault, string idleTimeout, string downloadTimeout)
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Worker:MaxAttempts"] = "2";
            o.Settings["Media:IdleTimeout"] = idleTimeout;
            o.Settings["Media:DownloadTimeout"] = downloadTimeout;
            o.Settings["Media:MaxImageDownloadBytes"] = "3000000";
        });
        var end = await system.EndOfAsync(await system.SubmitAsync($"long [fault={fault}]"));

        Assert.Equal(("failed", fault == "oversized" ? "output_unusable" : "provider_unavailable"),
            ((string?)end["status"], (string?)end["error"]!["code"]));
        Assert.Equal((0, 4), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        Assert.Equal(1, await system.Sim.PaidAsync("long"));
        Assert.Single(await system.CallsAsync("long"));
        Assert.Empty(system.StoredFiles());
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_silent_body_is_given_up_and_fetched_again_without_a_second_call()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Media:IdleTimeout"] = "00:00:01");
        var id = await system.SubmitAsync("half and then nothing [download-gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        await system.UntilAsync($"SELECT attempt >= 1 FROM generation_sessions WHERE session_id = '{id}'");
        Assert.Empty(system.StoredFiles());
        await system.Sim.OpenGateAsync("half");
        var end = await system.EndOfAsync(id);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Single(await system.CallsAsync("half and then nothing"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task Of_several_pictures_only_the_one_with_a_bad_file_is_not_charged()
    {
        await using var system = await TestSystem.StartAsync();
        var end = await system.EndOfAsync(await system.SubmitAsync("three files [fault=zip-as-png:times=1]", n: 3));

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal("output_unusable", (string?)Assert.Single(end["failedOutputs"]!.AsArray())!["code"]);
        Assert.Equal((8, 4), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        Assert.Equal(3, await system.Sim.PaidAsync("three files"));
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    private static Task<string?> FailureOfTheBoughtOneAsync(TestSystem system) =>
        system.ScalarAsync<string>("SELECT failure_code FROM provider_tasks WHERE state = 'failed'");
}
