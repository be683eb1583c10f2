using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>The cancel protocol (docs/state-machine.md), wherever the session is when the request comes.</summary>
[Trait("tier", "process")]
public sealed class CancelTests
{
    [Fact]
    public async Task A_queued_session_ends_at_once_and_never_starts()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var id = await system.SubmitAsync("not wanted");
        await system.UntilAsync("SELECT count(*) = 1 FROM outbox WHERE dispatched_at IS NOT NULL");
        Assert.Equal(HttpStatusCode.OK, await CancelAsync(system, id));
        Assert.Equal(HttpStatusCode.Conflict, await CancelAsync(system, id));

        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 4), ((string?)end["status"], (long?)end["receipt"]!["released"]));
        await system.AddWorkerAsync();
        using var stream = await ImageStream.OpenAsync(system);
        while (await stream.LengthAsync() > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }

        Assert.Equal(0, await system.Sim.PaidAsync("not wanted"));
        Assert.Null(await system.ScalarAsync<DateTime?>("SELECT started_at FROM generation_sessions"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_of_a_dead_workers_session_is_settled_by_the_sweep()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitAsync("held by the dead [gate=call]");
        await system.Sim.WaitAtGateAsync("call");
        await worker.KillAsync();
        Assert.Equal(HttpStatusCode.Accepted, await CancelAsync(system, id));

        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 4), ((string?)end["status"], (long?)end["receipt"]!["released"]));
        Assert.Equal(1, await system.ScalarAsync<long>(
            "SELECT count(*) FROM error_events WHERE code = 'outcome_unknown' AND detail ? 'providerTaskId'"));
        await system.AssertAllIsWellAsync();
    }

    [Fact]
    public async Task A_cancel_that_races_the_finish_has_exactly_one_outcome()
    {
        const int Sessions = 60;
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:UploadOutputs"] = "false";
            o.Settings["Mock:StageDelay"] = "00:00:00.010";
            o.Settings["Worker:Concurrency"] = "8"; // some wait, some run, some have ended when the wish comes
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, Sessions).Select(i => system.SubmitAsync($"raced {i}", n: 1 + (i % 2))));
        var answers = await Task.WhenAll(ids.Select(async (id, i) =>
        {
            await system.UntilAsync($"SELECT count(*) >= {i / 2} FROM generation_sessions WHERE completed_at IS NOT NULL");
            return await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => CancelAsync(system, id)));
        }));
        var ends = await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));

        // Of three who ask at once, one at most is told that it has ended now; the others come too late or are one wish with it.
        Assert.All(answers.Zip(ends), pair => Assert.Contains(
            $"{(string?)pair.Second["status"]} {string.Join(' ', pair.First.Select(status => (int)status).Distinct().Order())}",
            new[] { "canceled 200 409", "canceled 200 202", "canceled 200 202 409", "canceled 202", "canceled 202 409", "completed 202",
                "completed 202 409", "completed 409" }));
        Assert.All(answers, three => Assert.True(three.Count(status => status == HttpStatusCode.OK) <= 1));
        Assert.Equal(Sessions, await system.ScalarAsync<long>("SELECT count(*) FROM credit_reservations WHERE status <> 'held'"));
        await system.AssertAllIsWellAsync();
    }

    private static async Task<HttpStatusCode> CancelAsync(TestSystem system, Guid id)
    {
        using var response = await system.Http.PostAsync(new Uri($"/api/generations/{id}/cancel", UriKind.Relative), null);
        return response.StatusCode;
    }
}
