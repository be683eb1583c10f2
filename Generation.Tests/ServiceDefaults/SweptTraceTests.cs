using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.ServiceDefaults;

/// <summary>What the relay and a cancel do to a session that nobody works on continues its trace too, although one statement serves many.</summary>
[Trait("tier", "process")]
public sealed class SweptTraceTests
{
    [Fact]
    public async Task Every_end_and_every_repair_of_a_session_continues_its_trace()
    {
        await using var collector = await TestCollector.StartAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.AsProcesses, o.Workers) = (true, 0);
            o.Settings["Relay:StrayInterval"] = "00:00:01";
            o.Settings["Relay:LostDispatchInterval"] = "01:00:00"; // it would find the row of the dead lease claimed, and delete it
            o.Settings["Relay:LeaseGrace"] = "00:00:00.100";
            collector.Configure(o.Settings);
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, 6).Select(n => system.SubmitAsync($"swept {n}")));
        var (canceled, overdue, alsoOverdue, dead, deadCanceled, undispatched) = (ids[0], ids[1], ids[2], ids[3], ids[4], ids[5]);
        await system.UntilAsync("SELECT count(*) = 6 FROM outbox WHERE dispatched_at IS NOT NULL");

        using (var cancel = await system.Http.PostAsync(new Uri($"/api/generations/{canceled}/cancel", UriKind.Relative), null))
        {
            cancel.EnsureSuccessStatusCode();
        }

        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET status = 'processing', phase = 'preparing', lease_owner = 'nobody', lease_until = now(),
                started_at = now(),
                   lease_token = lease_token + 1, cancel_requested_at = CASE WHEN session_id = '{deadCanceled}' THEN now() END
            WHERE session_id IN ('{dead}', '{deadCanceled}');
            DELETE FROM outbox WHERE session_id = '{undispatched}';
            UPDATE generation_sessions SET updated_at = now() - interval '1 day' WHERE session_id = '{undispatched}';
            UPDATE generation_sessions SET deadline = now() WHERE session_id IN ('{overdue}', '{alsoOverdue}')
            """);
        await system.UntilAsync($"SELECT count(*) = 4 FROM generation_sessions WHERE completed_at IS NOT NULL");
        await system.UntilAsync($"SELECT count(*) FILTER (WHERE session_id = '{undispatched}') = 1 AND count(*) FILTER (WHERE session_id = "
            + $"'{dead}') = 2 FROM outbox WHERE dispatched_at IS NOT NULL");

        var expected = new (Guid Session, string Name, string? Status)[]
        {
            (canceled, "settle", "canceled"), (overdue, "settle", "failed"), (alsoOverdue, "settle", "failed"), (deadCanceled, "settle", "canceled"),
                (dead, "revoke dead lease", null),
        };
        var spans = await collector.UntilAsync(
            all => expected.All(e => all.Any(s => s.Name == e.Name && s.Session == e.Session.ToString()
                && s["generation.session.status"] == e.Status))
                && all.Count(s => s.Name == "send image" && s.Session == undispatched.ToString()) == 2
                    && all.Count(s => s.Name == "send image" && s.Session == dead.ToString()) == 2,
            s => s.Session is not null);
        foreach (var id in ids)
        {
            var session = await system.GetAsync(id);
            Assert.All(spans.Where(s => s.Session == id.ToString() && s.Service == "Generation.Relay"), s =>
                Assert.Equal((string?)session["traceId"], s.TraceId));
            Assert.Equal((string?)session["traceId"], spans.Single(s => s.Session == id.ToString() && s.Name == "POST /api/generations/").TraceId);
        }

        // The request of the cancel is a trace of its own; so are, for each other, two that end by one statement.
        var settled = spans.Single(s => s.Name == "settle" && s.Session == canceled.ToString());
        Assert.Equal((string?)(await system.GetAsync(canceled))["traceId"], settled.TraceId);
        var asked = spans.Single(s => s.Name == "POST /api/generations/{sessionId:guid}/cancel");
        Assert.Equal(canceled.ToString(), asked.Session);
        Assert.Contains((asked.TraceId, asked.SpanId), settled.Links);
        Assert.All(spans.Where(s => s.Name == "settle" && s["generation.session.status"] == "failed"), s =>
            Assert.Equal((true, "expired"), (s.IsError, s["error.type"])));
    }

    [Fact]
    public async Task A_session_of_before_has_no_trace_id_and_works()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var id = await system.SubmitAsync("of before");
        await system.ExecuteAsync("UPDATE generation_sessions SET traceparent = NULL");
        Assert.Null((await system.GetAsync(id))["traceId"]);
        await system.AddWorkerAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        await system.AssertAllIsWellAsync();
    }
}
