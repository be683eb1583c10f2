using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Resilience;

/// <summary>
/// One user's trouble is nobody else's: with one row locked, unreadable or refused in any table on a job's way, the sessions of other users complete
/// in their normal time, no lease is lost and no outcome becomes unknown. What the row's own session does, it does when the trouble is over.
/// </summary>
[Trait("tier", "process")]
public sealed class HostileNeighbourTests
{
    private static readonly bool IsFull = Environment.GetEnvironmentVariable("GENERATION_FULL") == "1";
    private static readonly int Others = IsFull ? 50 : 12;

    /// <summary>With <c>{0}</c>: the victim's running session, and the user's other rows.</summary>
    public static TheoryData<string, string> Rows => new()
    {
        { "the running session", "generation_sessions WHERE session_id = '{0}'" },
        { "all sessions of the user", "generation_sessions WHERE user_id = '{1}'" },
        { "the account", "credit_accounts WHERE user_id = '{1}'" },
        { "the lots", "credit_lots WHERE user_id = '{1}'" },
        { "the hold", "credit_reservations WHERE session_id = '{0}'" },
        { "the draws", "credit_reservation_draws WHERE reservation_id = (SELECT reservation_id FROM credit_reservations WHERE session_id = '{0}')" },
        { "the paid call", "provider_tasks WHERE session_id = '{0}'" },
        { "the user", "users WHERE user_id = '{1}'" },
    };

    [Theory]
    [MemberData(nameof(Rows))]
    [Trait("tier", "slow")]
    public async Task A_locked_row_costs_its_own_user_some_time_and_others_none(string what, string rows)
    {
        await using var system = await StartAsync();
        var (victim, key) = await system.AddUserAsync("victim", 100_000);
        using var victims = system.Client(system.Apis[0], key);
        var normal = await CompleteAsync(system, "before");

        var running = await system.SubmitAsync($"{what} [download-gate=mine]", http: victims);
        await system.Sim.WaitAtGateAsync("mine");
        var began = TimeProvider.System.GetTimestamp();
        TimeSpan taken;
        Task<List<Guid>> own;
        await using (var holder = await system.Db.OpenConnectionAsync())
        await using (var transaction = await holder.BeginTransactionAsync())
        {
            var locked = string.Format(System.Globalization.CultureInfo.InvariantCulture, rows, running, victim);
            await using (var take = new NpgsqlCommand($"SELECT FROM {locked} FOR UPDATE", holder, transaction))
            {
                await take.ExecuteNonQueryAsync();
            }

            await system.Sim.OpenGateAsync("mine"); // it ends while its rows are locked
            own = SubmitAsync(system, victims, 4, "the user's own", mayBeRefused: true); // and more is asked for
            taken = await CompleteAsync(system, "during");
            var twoLeases = TimeSpan.FromSeconds(IsFull ? 60 : 8);
            if (TimeProvider.System.GetElapsedTime(began) is var passed && passed < twoLeases)
            {
                await Task.Delay(twoLeases - passed, TimeProvider.System, TestContext.Current.CancellationToken);
            }

            Assert.Equal(0, await system.ScalarAsync<long>(
                $"SELECT count(*) FROM generation_sessions WHERE user_id <> '{victim}' AND (lost_leases > 0 OR status <> 'completed')"));
        }

        Assert.True(taken < (2 * normal) + TimeSpan.FromSeconds(2), $"{Others} sessions took {taken}, and {normal} before.");
        foreach (var session in (await own).Prepend(running))
        {
            Assert.Equal("completed", (string?)(await system.EndOfAsync(session, victims))["status"]);
        }

        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'outcome_unknown'"));
        await system.AssertAllIsWellAsync();
    }

    /// <summary>
    /// A row that this version cannot read was claimed with its neighbours, and all of them were claimed again every lease, without end.
    /// </summary>
    [Fact]
    public async Task A_session_that_cannot_be_read_fails_alone_with_a_record()
    {
        await using var system = await StartAsync();
        await system.Workers[0].DisposeAsync();
        system.Workers.Clear();
        var sessions = await SubmitAsync(system, system.Http, 5, "together");
        await system.ExecuteAsync($"UPDATE generation_sessions SET input_settings = '[]' WHERE session_id = '{sessions[2]}'");
        await system.AddWorkerAsync();

        foreach (var session in sessions.Where(id => id != sessions[2]))
        {
            Assert.Equal("completed", (string?)(await system.EndOfAsync(session))["status"]);
        }

        await system.UntilAsync(
            $"SELECT status = 'failed' AND error_code = 'internal_error' FROM generation_sessions WHERE session_id = '{sessions[2]}'");
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT sum(lost_leases) FROM generation_sessions"));
        Assert.Equal(1, await system.ScalarAsync<long>(
            $"SELECT count(*) FROM error_events WHERE session_id = '{sessions[2]}' AND code = 'internal_error'"));
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>The deadlines of all users stood still for as long as one session could not be ended.</summary>
    [Fact]
    public async Task A_session_that_cannot_be_ended_holds_up_no_sweep_and_is_recorded()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Relay:DeadlineInterval"] = "00:00:00.200";
        });
        var sessions = await SubmitAsync(system, system.Http, 5, "overdue");
        await system.ExecuteAsync(
            $"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON credit_reservations FOR EACH ROW WHEN (NEW.session_id = '{sessions[2]}')
                EXECUTE FUNCTION refuse();
            UPDATE generation_sessions SET deadline = now()
            """);

        await system.UntilAsync("SELECT count(*) = 4 FROM generation_sessions WHERE status = 'failed' AND error_code = 'expired'");
        await system.UntilAsync($"SELECT count(*) = 1 FROM error_events WHERE session_id = '{sessions[2]}' AND code = 'sweep_failed'");
        await system.ExecuteAsync("DROP TRIGGER refuse ON credit_reservations; UPDATE sweep_failures SET next_try_at = now()");
        await system.UntilAsync("SELECT count(*) = 5 FROM generation_sessions WHERE status = 'failed'");
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>
    /// An administrator's <c>pg_cancel_backend</c>, or a <c>statement_timeout</c>, stopped the whole worker, or threw a paid answer away.
    /// </summary>
    [Fact]
    public async Task Canceled_statements_cost_nobody_anything()
    {
        await using var system = await StartAsync();
        using var stop = new CancellationTokenSource();
        var canceling = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await system.ExecuteAsync(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'generation_worker' "
                    + "AND state = 'active'");
                await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, CancellationToken.None);
            }
        });
        await CompleteAsync(system, "canceled again and again");
        await stop.CancelAsync();
        await canceling;

        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'outcome_unknown'"));
        await system.AssertAllIsWellAsync();
    }

    private static Task<TestSystem> StartAsync() => TestSystem.StartAsync(o =>
    {
        o.Credits = 100_000;
        if (!IsFull)
        {
            (o.Settings["Worker:LeaseDuration"], o.Settings["Worker:RenewInterval"]) = ("00:00:04", "00:00:00.300");
        }
    });

    private static async Task<List<Guid>> SubmitAsync(
        TestSystem system, HttpClient http, int count, string prompt, bool mayBeRefused = false) =>
        [.. await Task.WhenAll(Enumerable.Range(0, count).Select(async i =>
        {
            for (var tries = 0; ; tries++)
            {
                using var answer = await system.PostAsync(
                    new { model = "seedream-4", @params = new { prompt = $"{prompt} {i}" } }, $"{prompt}-{i}", http);
                if (answer.StatusCode == System.Net.HttpStatusCode.Accepted)
                {
                    return (await TestSystem.ReadAsync(answer))["sessionId"]!.GetValue<Guid>();
                }

                Assert.True(mayBeRefused && answer.StatusCode == System.Net.HttpStatusCode.ServiceUnavailable && tries < 500, $"{answer.StatusCode}");
                await Task.Delay(TimeSpan.FromMilliseconds(250), TimeProvider.System, CancellationToken.None);
            }
        }))];

    /// <summary>How long other users' sessions take from the first request to the last end.</summary>
    private static async Task<TimeSpan> CompleteAsync(TestSystem system, string prompt)
    {
        var began = TimeProvider.System.GetTimestamp();
        var sessions = await SubmitAsync(system, system.Http, Others, prompt);
        await system.UntilAsync(
            $"SELECT count(*) = {Others} FROM generation_sessions WHERE status = 'completed' AND session_id IN ('{string.Join("','", sessions)}')");
        return TimeProvider.System.GetElapsedTime(began);
    }
}
