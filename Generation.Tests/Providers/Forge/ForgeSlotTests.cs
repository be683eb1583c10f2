using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Npgsql;

namespace Generation.Tests.Providers.Forge;

/// <summary>One job a GPU at a time, over all workers.</summary>
[Trait("tier", "slow")]
public sealed class ForgeSlotTests
{
    [Fact]
    public async Task Two_workers_and_two_GPUs_run_one_job_each_at_a_time()
    {
        await using var second = await TestSim.StartAsync();
        await using var first = await TestSim.StartAsync();
        await using var system = await TestSystem.StartAsync(
            o => (o.Workers, o.Settings["Providers:Forge:Endpoints"]) = (2, $"{first.Address},{second.Address}"));
        var ids = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => system.SubmitForgeAsync($"many {i} [latency=300]", n: i % 2 + 1)));
        var ends = await Task.WhenAll(ids.Select(id => system.EndOfAsync(id)));

        Assert.All(ends, end => Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"])));
        var gpus = new[] { await first.GpuAsync(), await second.GpuAsync() };
        Assert.Equal(12, gpus.Sum(gpu => gpu.Jobs));
        Assert.All(gpus, gpu => Assert.Equal((1, true), (gpu.MostInside, gpu.Jobs > 0)));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }

    /// <summary>Workers claimed them and raced for the slot: eight ended 1, 6, 7, 4, 3, 8, 5, 2.</summary>
    [Fact]
    public async Task Who_waits_for_a_GPU_stays_in_line_unclaimed_and_eight_end_in_the_order_of_their_submits()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 2);
        var first = await system.SubmitForgeAsync("has it [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        var waiting = new List<Guid>();
        for (var i = 0; i < 8; i++)
        {
            waiting.Add(await system.SubmitForgeAsync($"in line {i} [latency=150]"));
        }

        Assert.Equal(Enumerable.Range(0, 8), await PositionsAsync());
        Assert.Equal(8, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE status = 'queued' AND lease_token = 0"));
        await system.Sim.OpenGateAsync("half");
        var ends = await Task.WhenAll(waiting.Prepend(first).Select(id => system.EndOfAsync(id)));

        Assert.All(ends, end => Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"])));
        Assert.Equal(waiting.Prepend(first), await InOrderOfAsync("started_at"));
        Assert.Equal(waiting.Prepend(first), await InOrderOfAsync("completed_at"));
        Assert.Equal(9, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE lease_token = 2")); // a claim and an end
        Assert.Equal((9, 1), await system.Sim.GpuAsync() is var gpu ? (gpu.Jobs, gpu.MostInside) : default);

        async Task<IEnumerable<int>> PositionsAsync()
        {
            var views = await Task.WhenAll(waiting.Select(id => system.GetAsync(id)));
            return views.Select(view => (int)view["queuePosition"]!);
        }

        async Task<Guid[]> InOrderOfAsync(string column) =>
            (await system.ScalarAsync<Guid[]>($"SELECT array_agg(session_id ORDER BY {column}) FROM generation_sessions"))!;
    }

    /// <summary>It was the time so far extrapolated, waiting included, and 20 to 30 times wrong. Aim: within 30 %.</summary>
    [Fact]
    public async Task The_first_estimate_of_the_last_of_eight_is_near_the_truth_once_the_lane_is_known()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 2);
        var before = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => system.SubmitForgeAsync($"before {i} [latency=700]")));
        await Task.WhenAll(before.Select(id => system.EndOfAsync(id)));
        var eight = new List<Guid>();
        for (var i = 0; i < 8; i++)
        {
            eight.Add(await system.SubmitForgeAsync($"one of eight {i} [latency=700]"));
        }

        var told = (double)(await system.GetAsync(eight[^1]))["etaSeconds"]!;
        await Task.WhenAll(eight.Select(id => system.EndOfAsync(id)));
        var truth = await system.ScalarAsync<double>(
            $"SELECT extract(epoch FROM completed_at - created_at)::double precision FROM generation_sessions WHERE session_id = '{eight[^1]}'");
        TestContext.Current.TestOutputHelper?.WriteLine($"told {told} s, took {truth:0.0} s");
        Assert.InRange(told / truth, 0.5, 2);
    }

    [Fact]
    [Trait("tier", "process")]
    public async Task A_GPU_that_a_killed_worker_had_reserved_goes_to_another_when_the_reservation_is_over()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        await system.UntilAsync("SELECT count(*) = 1 FROM gpu_slots WHERE reserved_until > now()");
        await worker.KillAsync();
        await system.AddWorkerAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitForgeAsync("behind a dead one")))["status"]);
        await system.AssertSlotsAreFreeAsync();
    }

    [Fact]
    public async Task A_slot_whose_row_is_locked_is_busy_and_holds_up_no_job_of_another_GPU()
    {
        await using var second = await TestSim.StartAsync();
        await using var first = await TestSim.StartAsync();
        await using var system = await TestSystem.StartAsync(o => o.Settings["Providers:Forge:Endpoints"] = $"{first.Address},{second.Address}");
        await system.UntilAsync("SELECT count(*) = 2 AND count(reserved_by) = 1 FROM gpu_slots");
        await using var connection = await system.Db.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        await using var holdReserved = new NpgsqlCommand("SELECT FROM gpu_slots WHERE reserved_by IS NOT NULL FOR UPDATE", connection, transaction);
        await holdReserved.ExecuteNonQueryAsync();

        Assert.Equal("completed", (string?)(await system.EndOfAsync(await system.SubmitForgeAsync("elsewhere")))["status"]);
        Assert.Equal(1, (await second.GpuAsync()).Jobs);
    }

    [Fact]
    [Trait("tier", "process")]
    public async Task A_killed_workers_slot_is_free_when_its_lease_is_over_and_what_it_left_running_is_stopped()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o => (options = o).Workers = 0);
        var worker = await options.AsProcessAsync(system.AddWorkerAsync);
        var id = await system.SubmitForgeAsync("killed [gate=half]");
        await system.Sim.WaitAtGateAsync("half");
        await worker.KillAsync();
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM gpu_slots WHERE session_id = '{id}'"));
        await system.AddWorkerAsync();
        await system.Sim.UntilGpuAsync(gpu => gpu is { Jobs: 2, Interrupts: 1 });
        await system.Sim.OpenGateAsync("half");

        var end = await system.EndOfAsync(id);
        Assert.Equal(("completed", WebUiSystem.UnitPrice), ((string?)end["status"], (long?)end["receipt"]!["captured"]));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
    }
}
