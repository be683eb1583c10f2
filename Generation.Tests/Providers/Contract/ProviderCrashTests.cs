using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Forge;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Contract;

/// <summary>
/// Invariant 7, for every provider: whenever the worker dies, nothing is bought twice; what was bought and can be had is fetched by the next
/// worker, and what cannot is of unknown outcome, costs the user nothing and is there to be reconciled. Where running twice is free it is
/// made again.
/// </summary>
[Trait("tier", "process")]
public sealed class ProviderCrashTests
{
    public static TheoryData<string> Calls => ProviderRows.Where(row => row.AfterCall is not null);

    public static TheoryData<string> Tasks => ProviderRows.Where(row => row.Style == CallStyle.Task);

    public static TheoryData<string> Downloads => ProviderRows.Where(row => row.AfterDownload is not null);

    public static TheoryData<string> Uploads => ProviderRows.Where(row => row.AfterUpload is not null);

    public static TheoryData<string> OfSeveral => ProviderRows.Where(row => row.AfterFirst is not null);

    public static TheoryData<string, string> Statements => ProviderRows.Each(row => row.AfterStatement.Keys);

    [Theory]
    [MemberData(nameof(Calls))]
    public async Task A_worker_killed_between_submit_and_record_buys_nothing_twice(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await row.SubmitAsync(crash.System, "lost at sea", "[gate=call]");
        await crash.System.Sim.WaitAtGateAsync("call");
        await crash.Worker.KillAsync();
        await crash.System.Sim.OpenGateAsync("call");
        await crash.System.AddWorkerAsync();

        await AssertEndAsync(crash.System, row, row.AfterCall!, id, "lost at sea");
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public async Task A_worker_killed_while_the_task_runs_is_followed_by_one_that_asks_for_the_same_task(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await row.SubmitAsync(crash.System, "found again", "[latency=3000]");
        await crash.System.UntilAsync("SELECT count(*) = 1 FROM provider_tasks WHERE task_id IS NOT NULL"); // running, unless it has been quick
        await crash.Worker.KillAsync();
        await crash.System.AddWorkerAsync();

        await AssertEndAsync(crash.System, row, new Aftermath(1, 1, 1), id, "found again");
    }

    [Theory]
    [MemberData(nameof(Downloads))]
    public async Task A_worker_killed_in_the_download_is_followed_by_one_that_fetches_the_same_output(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await row.SubmitAsync(crash.System, "half of it", "[download-gate=half]");
        await crash.System.Sim.WaitAtGateAsync("half");
        if (row.AfterDownload!.Stored > 0)
        {
            await crash.System.UntilAsync("SELECT count(*) = 1 FROM provider_tasks WHERE state = 'delivered'");
        }

        await crash.Worker.KillAsync();
        await crash.System.Sim.OpenGateAsync("half");
        await crash.System.AddWorkerAsync();

        await AssertEndAsync(crash.System, row, row.AfterDownload, id, "half of it");
    }

    [Theory]
    [MemberData(nameof(Uploads))]
    public async Task A_worker_killed_in_the_upload_leaves_an_orphan_and_nothing_that_counts(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await crash.KillAtAsync("BEFORE INSERT ON media FOR EACH ROW", row, "uploaded, not recorded", objects: row.Outputs);
        var orphans = crash.Left;

        await AssertEndAsync(crash.System, row, row.AfterUpload!, id, "uploaded, not recorded");
        Assert.Equal(row.Outputs, orphans.Count);
        Assert.Equal(0, await crash.System.ScalarAsync<long>($"SELECT count(*) FROM media WHERE object_key IN ('{string.Join("', '", orphans)}')"));
    }

    [Theory]
    [MemberData(nameof(Statements))]
    public async Task A_worker_killed_at_a_statement_is_followed_by_one_that_makes_only_what_is_missing(string provider, string statement)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await crash.KillAtAsync(statement, row, "cut off");

        await AssertEndAsync(crash.System, row, row.AfterStatement[statement], id, "cut off");
    }

    [Theory]
    [MemberData(nameof(OfSeveral))]
    public async Task A_worker_killed_after_the_first_output_leaves_it_stored_and_paid(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var id = await crash.StoreFirstAsync(row, "one of them");
        var kept = await crash.System.ScalarAsync<string>("SELECT object_key FROM media");
        await crash.Worker.KillAsync();
        await crash.System.Sim.OpenGateAsync("rest");
        await crash.System.AddWorkerAsync();

        await AssertEndAsync(crash.System, row, row.AfterFirst!, id, "one of them", row.Several);
        Assert.Equal(kept, await crash.System.ScalarAsync<string>("SELECT object_key FROM media WHERE ordinal = 0"));
    }

    [Theory]
    [MemberData(nameof(OfSeveral))]
    public async Task A_worker_that_sleeps_through_its_lease_changes_nothing_when_the_rest_comes(string provider)
    {
        var row = ProviderRows.Of(provider);
        await using var crash = await CrashingWorker.StartAsync(row);
        var system = crash.System;
        var id = await crash.StoreFirstAsync(row, "slept over");
        await crash.Worker.PauseAsync();
        await system.AddWorkerAsync();
        await system.UntilAsync("SELECT lease_token >= 3 FROM generation_sessions");
        await row.UntilTakenOverAsync(system);
        await system.Sim.OpenGateAsync("rest");
        await AssertEndAsync(system, row, row.AfterFirst!, id, "slept over", row.Several);
        var before = await StateAsync(system);

        crash.Worker.Resume();
        Assert.Equal(0, await crash.Worker.StopAsync(Killing.MaxWait)); // it waits for its job first
        Assert.Contains(crash.Worker.Log, line => line.Contains("was lost; stopping the job", StringComparison.Ordinal)
            || line.Contains("was lost to another worker", StringComparison.Ordinal));
        Assert.Equal(before, await StateAsync(system));
        await row.UntilTakenOverAsync(system); // and did not stop the other's
        await system.AssertAllIsWellAsync();
    }

    private static async Task AssertEndAsync(TestSystem system, ProviderRow row, Aftermath after, Guid id, string name, int outputs = 0)
    {
        outputs = outputs == 0 ? row.Outputs : outputs;
        var end = await system.EndOfAsync(id);
        var (receipt, missing) = (end["receipt"]!, outputs - after.Stored);
        Assert.Equal((after.Stored > 0 ? "completed" : "failed", after.Stored > 0 ? null : "outcome_unknown", after.Stored),
            ((string?)end["status"], (string?)end["error"]?["code"], end["media"]!.AsArray().Count));
        Assert.Equal((after.Stored * row.Cost, (outputs * row.UnitPrice) - (after.Stored * row.Cost)),
            ((int?)receipt["captured"], (int)receipt["released"]! + (int)receipt["adjusted"]!));
        if (after.Stored > 0)
        {
            var failed = end["failedOutputs"] as JsonArray ?? [];
            Assert.Equal(missing, failed.Count);
            Assert.All(failed, output => Assert.Equal("outcome_unknown", (string?)output!["code"]));
        }

        Assert.Equal(missing == 0 ? 0L : 1L, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'"));
        var calls = await system.CallsAsync(name);
        Assert.Equal(after.Calls, calls.Count);
        Assert.True(!row.IsBilled || calls.All(call => call.Paid), "A call was made that nobody would bill, and another one is missing.");
        Assert.Equal(after.Objects, system.Objects().Count);
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }

    /// <summary>Everything that a worker may write.</summary>
    private static Task<string?> StateAsync(TestSystem system) => system.ScalarAsync<string>(
        """
        SELECT concat_ws(E'\n',
            (SELECT json_agg(s ORDER BY session_id) FROM generation_sessions AS s),
            (SELECT json_agg(m ORDER BY media_id) FROM media AS m),
            (SELECT json_agg(t ORDER BY provider_task_id) FROM provider_tasks AS t),
            (SELECT json_agg(c ORDER BY transaction_id) FROM credit_transactions AS c),
            (SELECT json_agg(e ORDER BY error_event_id) FROM error_events AS e))
        """);

    /// <summary>A system whose only worker is a process, which can be killed and followed by another.</summary>
    private sealed class CrashingWorker(TestSystem system, ProcessService worker) : IAsyncDisposable
    {
        public TestSystem System => system;

        public ProcessService Worker => worker;

        public static async Task<CrashingWorker> StartAsync(ProviderRow row)
        {
            TestSystemOptions options = null!;
            var system = await TestSystem.StartAsync(o =>
            {
                (options = o).Workers = 0;
                foreach (var (key, value) in row.Settings)
                {
                    o.Settings[key] = value;
                }
            });
            return new CrashingWorker(system, await options.AsProcessAsync(system.AddWorkerAsync));
        }

        /// <summary>Objects that were in the store when the worker was killed.</summary>
        public IReadOnlyList<string> Left { get; private set; } = [];

        /// <summary>Submits, kills the worker where it stands at a statement, and starts another.</summary>
        /// <param name="statement">A trigger without name and function.</param>
        /// <param name="row">Of which provider.</param>
        /// <param name="name">The prompt.</param>
        /// <param name="objects">That must be in the store before.</param>
        public async Task<Guid> KillAtAsync(string statement, ProviderRow row, string name, int objects = 0)
        {
            await using var point = await StandStill.AtAsync(system, statement);
            var id = await row.SubmitAsync(system, name);
            await point.ReachedAsync();
            var started = TimeProvider.System.GetTimestamp();
            while (system.Objects().Count < objects)
            {
                Assert.True(TimeProvider.System.GetElapsedTime(started) < Killing.MaxWait, $"Not {objects} objects are there.");
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, TestContext.Current.CancellationToken);
            }

            await worker.KillAsync();
            Left = system.Objects();
            await point.CutOffAsync();
            await point.LetGoAsync();
            await system.AddWorkerAsync();
            return id;
        }

        /// <summary>Submits a request for several outputs, and comes back when the first is stored and the provider makes the next.</summary>
        public async Task<Guid> StoreFirstAsync(ProviderRow row, string name)
        {
            var id = await row.SubmitAsync(system, name, "[gate=rest]", row.Several);
            await system.Sim.WaitAtGateAsync("rest");
            await system.Sim.LetOnePassAsync("rest");
            await system.UntilAsync("SELECT count(*) = 1 FROM media");
            await system.Sim.WaitAtGateAsync("rest");
            return id;
        }

        public ValueTask DisposeAsync() => system.DisposeAsync();
    }
}
