using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>A worker that is asked to stop finishes what it has, hands back what takes too long, and takes nothing new.</summary>
[Trait("tier", "process")]
public sealed class DrainTests
{
    /// <summary>A lane without jobs, done with its drain at once, stopped the jobs of all lanes: every shutdown cut paid calls off.</summary>
    [Fact]
    public async Task A_stopping_worker_finishes_its_paid_calls_takes_nothing_new_and_exits_with_0()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).Workers = 0;
            o.Settings["Worker:DrainTimeout"] = "00:00:40"; // a second worker starts meanwhile
            o.Settings["Worker:LeaseDuration"] = "00:00:30"; // a busy machine must not look like a dead worker
        });
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var running = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync($"begun {i} [gate=call]")));
        await system.UntilAsync("SELECT count(*) = 3 FROM provider_tasks");
        await system.Sim.WaitAtGateAsync("call");
        var leaving = worker.StopAsync(Killing.MaxWait);
        await worker.UntilLoggedAsync("Lane video stopped receiving; 0 jobs are still running");
        await worker.UntilLoggedAsync("Lane gpu stopped receiving; 0 jobs are still running");
        await worker.UntilLoggedAsync("Lane image stopped receiving; 3 jobs are still running");
        await system.AddWorkerAsync();
        var later = await system.SubmitAsync("begun elsewhere");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(later))["status"]);
        Assert.DoesNotContain(worker.Log, line => line.Contains(later.ToString(), StringComparison.Ordinal));
        await system.Sim.OpenGateAsync("call");

        Assert.Equal(0, await leaving);
        Assert.All(await Task.WhenAll(running.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Equal(3, await system.Sim.PaidAsync("[gate=call]"));
        await system.AssertRanOnceAsync(4);
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task Jobs_longer_than_the_drain_time_are_handed_back_at_once_and_count_as_no_failure()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).Workers = 0;
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:StageDelay"] = "00:00:01.500"; // four of them: the drain time is over long before the job
            o.Settings["Worker:DrainTimeout"] = "00:00:00.500";
            o.Settings["Worker:LeaseDuration"] = "00:01:00"; // had they to wait for a lease, the test would not end
        });
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var ids = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => system.SubmitAsync($"long {i}")));
        await system.UntilAsync("SELECT count(*) = 3 FROM generation_sessions WHERE status = 'processing'");
        Assert.Equal(0, await worker.StopAsync(Killing.MaxWait));
        Assert.Equal(3, await system.ScalarAsync<long>(
            "SELECT count(*) FROM generation_sessions WHERE status = 'queued' AND attempt = 0 AND lost_leases = 0"));
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
    }

    /// <summary>
    /// A result to fetch can be fetched by another worker, and a call that has not begun be made by it; the call under way is waited for.
    /// </summary>
    [Fact]
    public async Task What_can_be_asked_for_later_is_handed_over_at_once_and_no_new_call_begins()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).Workers = 0;
            o.Settings["Worker:DrainTimeout"] = "00:10:00"; // were it waited for, the test would not end
            o.Settings["Worker:LeaseDuration"] = "00:01:00";
            o.Settings["Providers:Ark:ImageBatch"] = "1";
        });
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var fetching = await system.SubmitAsync("half of a file [download-gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        var making = await system.SubmitAsync("one after the other [gate=call]", n: 2);
        await system.Sim.WaitAtGateAsync("call");
        var leaving = worker.StopAsync(Killing.MaxWait);
        await system.UntilAsync($"SELECT status = 'queued' AND attempt = 0 AND lost_leases = 0 FROM generation_sessions "
            + $"WHERE session_id = '{fetching}'");
        await system.Sim.OpenGateAsync("half");
        await system.Sim.OpenGateAsync("call");

        Assert.Equal(0, await leaving);
        Assert.Equal("1 queued 0", await system.ScalarAsync<string>(
            $"SELECT (SELECT count(*) FROM media WHERE session_id = '{making}') || ' ' || status || ' ' || attempt FROM generation_sessions "
            + $"WHERE session_id = '{making}'"));
        await system.AddWorkerAsync();
        Assert.All(await Task.WhenAll(system.EndOfAsync(fetching), system.EndOfAsync(making)), end =>
            Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"])));
        Assert.Equal((1, 2), ((await system.CallsAsync("half of a file")).Count, (await system.CallsAsync("one after the other")).Count));
        await system.AssertAllIsWellAsync();
    }

    /// <summary>
    /// The drain time was counted from when the host came to the lanes, behind the drain delay, and until then they took new jobs: with the
    /// default settings the grace period was over before anything was handed back.
    /// </summary>
    [Fact]
    public async Task A_call_longer_than_the_drain_time_is_handed_back_within_the_grace_period_and_is_never_made_again()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).Workers = 0;
            o.Settings["Worker:DrainTimeout"] = "00:00:40";
            o.Settings["Worker:LeaseDuration"] = "00:01:00"; // had they to wait for a lease, the test would not end
            o.Settings["Shutdown:DrainDelay"] = "00:00:04";
            o.Settings["Shutdown:GracePeriod"] = "00:00:08";
        });
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("longer than a deploy [gate=call]");
        await system.Sim.WaitAtGateAsync("call");
        var leaving = worker.StopAsync(Killing.MaxWait);
        await worker.UntilLoggedAsync("Lane image stopped receiving; 1 jobs are still running");
        using (var http = new HttpClient())
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, (await http.GetAsync(new Uri(worker.Address, "readyz"))).StatusCode);
        }

        var later = await system.SubmitAsync("begun elsewhere, too");
        Assert.Equal(0, await leaving);
        Assert.Equal("queued 0", await system.ScalarAsync<string>(
            $"SELECT status || ' ' || lost_leases FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.DoesNotContain(worker.Log, line => line.Contains(later.ToString(), StringComparison.Ordinal));
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("failed", "outcome_unknown", 4), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["receipt"]!["released"]));
        Assert.Equal(1, await system.Sim.PaidAsync("longer than a deploy"));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        Assert.Equal("completed", (string?)(await system.EndOfAsync(later))["status"]);
        await system.AssertAllIsWellAsync();
    }
}
