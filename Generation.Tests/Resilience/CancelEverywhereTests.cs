using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Resilience;

/// <summary>
/// The rest of the cancel protocol (see <see cref="CancelTests"/>): in the middle of a body, in the last statement, and where nobody holds a session
/// whose task runs on.
/// </summary>
[Trait("tier", "process")]
public sealed class CancelEverywhereTests
{
    [Fact]
    public async Task A_cancel_in_the_middle_of_a_body_keeps_what_was_stored_and_leaves_nothing_of_the_rest()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Providers:Ark:ImageBatch"] = "1");
        var id = await system.SubmitAsync("half a body [download-gate=half]", n: 2);
        await system.Sim.WaitAtGateAsync("half");
        await system.Sim.LetOnePassAsync("half");
        await system.UntilAsync("SELECT count(*) = 1 FROM media");
        await system.Sim.WaitAtGateAsync("half");
        Assert.Equal(HttpStatusCode.Accepted, await CancelAsync(system, id));

        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 4, 4), ((string?)end["status"], (long?)end["receipt"]!["captured"], (long?)end["receipt"]!["adjusted"]));
        Assert.Single(end["media"]!.AsArray());
        Assert.Equal(HttpStatusCode.Conflict, await CancelAsync(system, id));
        await system.AssertAllIsWellAsync();
        await system.AssertNothingIsLeftBehindAsync(); // no half of the second
    }

    [Fact]
    public async Task A_cancel_that_comes_while_the_session_ends_is_too_late_and_says_so()
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:LeaseDuration"] = "00:01:00");
        await using var ending = await StandStill.AtAsync(system, "BEFORE UPDATE ON credit_reservations FOR EACH ROW");
        var id = await system.SubmitAsync("too late");
        await ending.ReachedAsync();
        var cancels = Enumerable.Range(0, 3).Select(_ => CancelAsync(system, id)).ToList();
        await system.UntilAsync("SELECT count(*) >= 3 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND "
            + "query LIKE '%cancel_requested_at = coalesce%'");
        await ending.LetGoAsync();

        Assert.All(await Task.WhenAll(cancels), status => Assert.Equal(HttpStatusCode.Conflict, status));
        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", 4, 0), ((string?)end["status"], (long?)end["receipt"]!["captured"], (long?)end["receipt"]!["released"]));
        Assert.Null(await system.ScalarAsync<DateTime?>("SELECT cancel_requested_at FROM generation_sessions"));
        await system.AssertAllIsWellAsync();
    }

    /// <summary>
    /// A session that was given back, or whose worker died, is queued although its task runs at the provider. It was ended on the spot, and
    /// the provider went on for nobody.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_task_that_runs_for_a_session_that_nobody_holds_is_taken_back_at_the_provider_too(bool dead)
    {
        await using var system = await TestSystem.StartAsync();
        var id = await system.SubmitAsync("seedance-2", new { prompt = "nobody has it [queued=600000]" });
        await system.UntilAsync("SELECT phase = 'awaiting_provider' FROM generation_sessions");
        await system.Workers[0].DisposeAsync();
        system.Workers.Clear();
        await system.ExecuteAsync(dead
            ? "UPDATE generation_sessions SET status = 'processing', phase = 'preparing', wake_at = NULL, lease_owner = 'dead', lease_until = now() "
                + "+ interval '2 s', lease_token = lease_token + 1"
            : "UPDATE generation_sessions SET status = 'queued', phase = 'retrying', lease_owner = NULL, lease_until = NULL, wake_at = now() + "
                + "interval '1 h'");
        await system.ExecuteAsync("DELETE FROM outbox"); // its alarm rings in an hour, or was used up
        Assert.Equal(HttpStatusCode.Accepted, await CancelAsync(system, id));
        await system.AddWorkerAsync();

        var end = await system.EndOfAsync(id);
        Assert.Equal(("canceled", 100), ((string?)end["status"], (int?)end["receipt"]!["released"]));
        using var ark = new HttpClient { BaseAddress = system.Sim.Address, DefaultRequestHeaders = { Authorization = new("Bearer", "sim-ark-key") } };
        var taskId = await system.ScalarAsync<string>("SELECT task_id FROM provider_tasks");
        Assert.Contains("\"cancelled\"", await ark.GetStringAsync($"/api/v3/contents/generations/tasks/{taskId}"), StringComparison.Ordinal);
        Assert.Equal(0, await system.Sim.PaidAsync("nobody has it"));
        await system.AssertAllIsWellAsync();
    }

    /// <summary>
    /// The sweep of dead leases queues again whoever has a task at the provider, and ends the others: a lease that ran out between the two was
    /// ended with its task, which went on for nobody.
    /// </summary>
    [Fact]
    public async Task A_lease_that_runs_out_in_the_middle_of_a_sweep_does_not_cost_the_provider_its_word()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Relays, o.Workers) = (0, 0));
        var id = await system.SubmitAsync("seedance-2", new { prompt = "it has a task" });
        var other = await system.SubmitAsync("this one is dead already");
        const string Taken = "status = 'processing', phase = 'preparing', lease_owner = 'dead', started_at = now()";
        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET {Taken}, lease_until = now() + interval '1 h', cancel_requested_at = now() WHERE session_id = '{id}';
            UPDATE generation_sessions SET {Taken}, lease_until = now() - interval '1 s' WHERE session_id = '{other}';
            INSERT INTO provider_tasks (provider_task_id, session_id, lease_token, provider, first_ordinal, output_count, state, task_id)
            VALUES ('{id}', '{id}', 1, 'ark', 0, 1, 'running', 'cgt-1');
            CREATE FUNCTION time_passes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE generation_sessions SET lease_until = now() - interval '1 s' WHERE session_id = '{id}';
                RETURN NULL;
            END $$;
            CREATE TRIGGER time_passes AFTER UPDATE ON generation_sessions FOR EACH ROW WHEN (old.session_id = '{other}') EXECUTE FUNCTION time_passes()
            """);

        await system.AddRelayAsync();
        await system.UntilAsync($"SELECT lease_until IS NULL FROM generation_sessions WHERE session_id = '{id}'");
        Assert.Equal("queued recovering", await system.ScalarAsync<string>(
            $"SELECT status || ' ' || phase FROM generation_sessions WHERE session_id = '{id}'"));
        Assert.True(await system.ScalarAsync<bool>($"SELECT count(*) > 0 FROM outbox WHERE session_id = '{id}'"));
    }

    private static async Task<HttpStatusCode> CancelAsync(TestSystem system, Guid id)
    {
        using var response = await system.Http.PostAsync(new Uri($"/api/generations/{id}/cancel", UriKind.Relative), null);
        return response.StatusCode;
    }
}
