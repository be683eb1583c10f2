using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Calls;

/// <summary>Invariant 7 where nobody answers: a call that was sent is never made again, a call that was not sent is.</summary>
[Trait("tier", "slow")]
public sealed class TransportFailureTests
{
    [Theory]
    [InlineData("timeout", "00:00:03", false)]
    [InlineData("malformed", "00:01:00", true)]
    public async Task A_call_of_unknown_outcome_is_recorded_for_the_operator_and_never_made_again(string fault, string callTimeout, bool hasRequestId)
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Providers:Ark:ConnectTimeout"] = "00:00:00.900";
            o.Settings["Providers:Ark:CallTimeout"] = callTimeout;
        });
        var id = await system.SubmitAsync($"silence [fault={fault}]", n: 2);
        var events = await system.AllEventsAsync(id);

        var end = events[^1].Data;
        Assert.Equal(("failed", "outcome_unknown", 0), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
        Assert.Equal([0, 1], end["failedOutputs"]!.AsArray().Select(failed => (int)failed!["ordinal"]!));
        Assert.Equal((0, 8), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));

        var calls = await system.CallsAsync("silence");
        Assert.Equal((2, 2), (calls.Count, calls.Count(call => call.Paid)));
        var records = JsonNode.Parse((await system.ScalarAsync<string>(
            $"SELECT jsonb_agg(detail ORDER BY detail ->> 'ordinal')::text FROM error_events WHERE session_id = '{id}' AND code = 'outcome_unknown' "
                + "AND detail ? 'providerTaskId'"))!)!.AsArray();
        Assert.Equal(2, records.Count);
        Assert.All(records, record => Assert.Equal("ark", (string?)record!["provider"]));
        Assert.Equal(
            hasRequestId ? calls.Select(call => call.RequestId).Order(StringComparer.Ordinal) : [],
            records.Select(record => (string?)record!["requestId"]).OfType<string>().Order(StringComparer.Ordinal));

        // Whatever the user can read, nothing in it is the provider's name of a call.
        using var answers = new StringWriter();
        foreach (var path in new[] { $"/api/generations/{id}", "/api/generations", $"/api/generations/{id}/events", "/api/credits" })
        {
            await answers.WriteLineAsync(await system.Http.GetStringAsync(path));
        }

        var shown = $"{answers}{string.Join('\n', events.Select(e => e.Data.ToJsonString()))}";
        Assert.All(calls, call => Assert.DoesNotContain(call.RequestId, shown, StringComparison.Ordinal));
        Assert.DoesNotContain("requestId", shown, StringComparison.OrdinalIgnoreCase);
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    [Trait("tier", "slow")]
    public async Task A_provider_that_cannot_be_reached_was_not_called_and_is_tried_again()
    {
        using var closed = new TcpListener(IPAddress.Loopback, 0); // bound, so that nobody else gets the port; not listening
        closed.Server.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var port = ((IPEndPoint)closed.Server.LocalEndPoint!).Port;
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Providers:Ark:BaseUrl"] = $"http://127.0.0.1:{port}/api/v3";
            o.Settings["Worker:MaxAttempts"] = "2";
        });
        var id = await system.SubmitAsync("nobody home");
        var end = await system.EndOfAsync(id);

        Assert.Equal(("failed", "provider_unavailable", 1), ((string?)end["status"], (string?)end["error"]!["code"], (int?)end["attempt"]));
        Assert.Equal(4, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM provider_tasks WHERE session_id = '{id}' AND state = 'rejected' AND failure_code = 'ark.not_reached'"));
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'outcome_unknown'"));
        await system.AssertBooksAreCleanAsync();
    }
}
