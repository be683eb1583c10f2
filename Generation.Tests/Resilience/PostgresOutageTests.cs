using System.Net;
using System.Net.Http.Json;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Resilience;

/// <summary>
/// Whatever happens to Postgres under a little load (promises 1 to 5, 7 and 12): nothing is lost, nothing is done twice, who cannot be
/// served is told so at once, and everything finishes when it is back. What cannot be a test is a drill: docs/drills.md.
/// </summary>
[Trait("tier", "process")]
public sealed class PostgresOutageTests(ResilienceSystem troubled) : IClassFixture<ResilienceSystem>
{
    private readonly TestSystem system = troubled.System;

    [Fact]
    public async Task A_Postgres_that_is_restarted_costs_nothing_but_time()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "restarted");
        await system.Postgres!.StopAsync();
        await load.UntilRefusedAsync(4);
        foreach (var service in troubled.Services) await ResilienceSystem.UntilReadyAsync(service, HttpStatusCode.ServiceUnavailable);
        await system.Postgres.StartAgainAsync();
        await load.UntilAcceptedAsync(4);

        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task A_Postgres_that_is_killed_costs_nothing_but_time()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "killed");
        await system.Postgres!.KillAsync();
        await load.UntilRefusedAsync(4);
        await system.Postgres.StartAgainAsync();
        await load.UntilAcceptedAsync(4);

        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task A_Postgres_whose_connections_others_have_taken_is_waited_for()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "crowded");
        var others = new List<NpgsqlConnection>();
        try
        {
            // What is free is taken, then what our services had: they are cut off, and we are quicker than they are.
            for (var turn = 0; load.Refused < 8; turn++)
            {
                Assert.True(turn < 500, $"{others.Count} connections are taken, and still everybody is served.");
                while (await TakeAsync() is { } taken) others.Add(taken);
                await using var cut = new NpgsqlCommand(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'Generation%'", others[0]);
                await cut.ExecuteNonQueryAsync();
            }
        }
        finally
        {
            foreach (var other in others) await other.DisposeAsync();
        }

        await load.UntilAcceptedAsync(4);
        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task A_Postgres_that_has_become_read_only_is_read_and_waited_for()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "read-only");
        var asked = await system.ScalarAsync<Guid>("SELECT session_id FROM generation_sessions WHERE client_key LIKE 'read-only-%' LIMIT 1");
        var database = await system.ScalarAsync<string>("SELECT current_database()::text");
        await system.ExecuteAsync($"ALTER DATABASE {database} SET default_transaction_read_only = on");
        await CutServicesAsync();
        await load.UntilRefusedAsync(8);

        Assert.Equal(asked, await ReadAsync(asked));
        using var grant = new HttpRequestMessage(HttpMethod.Post, "/api/admin/credits/grants")
        {
            Content = JsonContent.Create(new { user = "user", amount = 1, kind = "bonus", reason = "in vain" }),
            Headers = { { "Idempotency-Key", "a grant in vain" } },
        };
        using var refusal = await troubled.Admin.SendAsync(grant);
        Assert.Equal("ServiceUnavailable database_unavailable", $"{refusal.StatusCode} {(await TestSystem.ReadAsync(refusal))["code"]}");

        await system.ExecuteAsync($"BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE {database} RESET default_transaction_read_only; COMMIT");
        await CutServicesAsync();
        await load.UntilAcceptedAsync(4);
        await load.EndAndAssertNothingIsLostAsync();
    }

    /// <summary>As a client does that was cut off a moment ago.</summary>
    private async Task<Guid> ReadAsync(Guid session)
    {
        for (var tries = 0; ; tries++)
        {
            try
            {
                return (await system.GetAsync(session))["sessionId"]!.GetValue<Guid>();
            }
            catch (HttpRequestException e) when (e.StatusCode == HttpStatusCode.ServiceUnavailable && tries < 30)
            {
                await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, TestContext.Current.CancellationToken);
            }
        }
    }

    [Fact]
    public async Task A_Postgres_that_is_slow_is_waited_for_and_one_that_is_too_slow_is_not()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "slow");
        system.PostgresWay!.Delay = TimeSpan.FromMilliseconds(60);
        await load.UntilAcceptedAsync(4);
        system.PostgresWay.Delay = TimeSpan.FromSeconds(3);
        await load.UntilRefusedAsync(4);
        await AssertRefusedWithinMillisecondsAsync();
        system.PostgresWay.Delay = TimeSpan.Zero;
        await load.UntilAcceptedAsync(4);

        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task A_Postgres_that_does_not_answer_is_noticed_and_everybody_is_refused_within_milliseconds_until_it_does()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "silent");
        system.PostgresWay!.Hold();
        await load.UntilRefusedAsync(4);
        foreach (var service in troubled.Services) await ResilienceSystem.UntilReadyAsync(service, HttpStatusCode.ServiceUnavailable);
        await AssertRefusedWithinMillisecondsAsync();
        system.PostgresWay.Release();
        await load.UntilAcceptedAsync(4);

        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task Every_seventh_answer_of_Postgres_is_lost_and_what_was_committed_is_looked_up_and_not_repeated()
    {
        await using var load = await SteadyLoad.StartAsync(troubled, "unheard");
        system.PostgresWay!.LoseEvery = 7;
        await load.UntilAcceptedAsync(30);
        system.PostgresWay.LoseEvery = 0;

        await load.EndAndAssertNothingIsLostAsync();
    }

    [Fact]
    public async Task A_submit_whose_commit_reply_was_lost_is_looked_up_and_answered_202()
    {
        await system.UntilAsync("NOT EXISTS (SELECT FROM generation_sessions WHERE completed_at IS NULL)");
        while (true) // the test before this one may have left the Api refusing for a moment
        {
            using var warm = await troubled.PostAsync("unconfirmed-warm", isMock: true);
            if (warm.StatusCode == HttpStatusCode.ServiceUnavailable) continue;
            // or its end has the account when the next post wants it
            await system.EndOfAsync((await TestSystem.ReadAsync(warm))["sessionId"]!.GetValue<Guid>());
            break;
        }

        system.PostgresWay!.HoldAnswers();
        var posted = troubled.PostAsync("unconfirmed", isMock: true);
        await system.UntilAsync("EXISTS (SELECT FROM generation_sessions WHERE client_key = 'unconfirmed')");
        system.PostgresWay.Cut();
        system.PostgresWay.Release();

        using var answer = await posted;
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        Assert.False(answer.Headers.Contains("Idempotent-Replayed")); // it is the first answer that anybody gets
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions WHERE client_key = 'unconfirmed'"));
        // Not by its events: the Api may refuse reads for a moment after the cut.
        var id = (await TestSystem.ReadAsync(answer))["sessionId"]!.GetValue<Guid>();
        await system.UntilAsync($"SELECT status = 'completed' FROM generation_sessions WHERE session_id = '{id}'");
        await system.AssertBooksAreCleanAsync();
    }

    private Task CutServicesAsync() => system.ExecuteAsync(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name LIKE 'Generation%'");

    /// <summary>Reads and submits alike.</summary>
    private async Task AssertRefusedWithinMillisecondsAsync()
    {
        var times = new List<TimeSpan>();
        for (var i = 0; i < 20; i++)
        {
            var started = TimeProvider.System.GetTimestamp();
            using var answer = i % 2 == 0
                ? await system.Http.GetAsync(new Uri("/api/generations", UriKind.Relative))
                : await system.Http.PostAsJsonAsync(new Uri("/api/generations", UriKind.Relative),
                    new { model = "seedream-4", @params = new { prompt = "in vain" } });
            times.Add(TimeProvider.System.GetElapsedTime(started));
            Assert.Equal("ServiceUnavailable database_unavailable", $"{answer.StatusCode} {(await TestSystem.ReadAsync(answer))["code"]}");
            Assert.NotNull(answer.Headers.RetryAfter?.Delta);
        }

        times.Sort();
        Assert.True(times[10] < TimeSpan.FromMilliseconds(100), $"The median refusal took {times[10].TotalMilliseconds} ms.");
    }

    private async Task<NpgsqlConnection?> TakeAsync()
    {
        var connection = new NpgsqlConnection(system.Postgres!.ConnectionString + ";Pooling=false;Application Name=others");
        try
        {
            await connection.OpenAsync();
            return connection;
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.TooManyConnections)
        {
            await connection.DisposeAsync();
            return null;
        }
    }
}
