using System.Net;
using Generation.Core.Submit;
using Generation.Tests.Harness;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Submit;

/// <summary>Invariant 12: overload and a database in trouble are answered at once, never by a queue of hung requests.</summary>
[Trait("tier", "slow")]
public sealed class BackpressureTests
{
    private static readonly SubmitOptions Hasty = new()
    {
        StatementTimeoutSeconds = 1,
        MaxWait = TimeSpan.FromSeconds(2),
        Pause =
        TimeSpan.FromMilliseconds(200)
    };

    [Fact]
    public async Task A_full_queue_answers_503_with_Retry_After_and_stores_nothing()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Relays, o.Workers, o.Settings["Submit:QueueLength"]) = (0, 0, "2"));
        var body = new { model = "seedream-4", @params = new { prompt = "one too many" } };
        List<Task<HttpResponseMessage>> waiting;
        await using (var holder = await system.Db.OpenConnectionAsync())
        {
            await Stall.AtAsync(holder, "BEFORE INSERT ON outbox FOR EACH STATEMENT");
            waiting = [system.PostAsync(body, "in the database")];
            await system.UntilAsync("EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')");
            waiting.AddRange(Enumerable.Range(0, 10).Select(i => system.PostAsync(body, $"key-{i}")));
            for (var refused = 0; refused < 8; refused++)
            {
                var answer = await await Task.WhenAny(waiting);
                waiting.RemoveAll(w => w.IsCompletedSuccessfully && w.Result == answer);
                Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
                Assert.Equal("overloaded", (string?)(await TestSystem.ReadAsync(answer))["code"]);
                Assert.NotNull(answer.Headers.RetryAfter?.Delta);
            }

            await Stall.LetGoAsync(holder);
        }

        Assert.All(await Task.WhenAll(waiting), answer => Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode));
        Assert.Equal(3, waiting.Count);
        Assert.Equal(3, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_burst_waits_but_who_would_wait_long_in_a_standing_queue_is_refused_at_once()
    {
        var clock = new FakeTimeProvider();
        await using var writer = await WriterUnderTest.CreateAsync(new SubmitOptions { StandingWait = TimeSpan.FromMilliseconds(100) }, clock);
        var user = await writer.UserAsync(credits: 10_000);
        await writer.StartAsync();
        var burst = new List<Task<SubmitResult>>();
        await using (await writer.StallAsync())
        {
            burst.Add(writer.SubmitAsync(user, "slow"));
            await writer.UntilItIsBlockedAsync();
            burst.AddRange(Enumerable.Range(0, 3 * SubmitWriter.MaxBatch).Select(i => writer.SubmitAsync(user, $"burst-{i}")));
            clock.Advance(TimeSpan.FromSeconds(1)); // this batch takes a second, and the queue stands as long
        }

        Assert.All(await Task.WhenAll(burst), result => Assert.Equal(SubmitOutcome.Accepted, result.Outcome));
        List<Task<SubmitResult>> queue;
        await using (await writer.StallAsync())
        {
            queue = [writer.SubmitAsync(user, "slow again")];
            await writer.UntilItIsBlockedAsync();
            queue.AddRange(Enumerable.Range(0, SubmitWriter.MaxBatch).Select(i => writer.SubmitAsync(user, $"queue-{i}")));
            clock.Advance(TimeSpan.FromSeconds(3)); // more than a hiccup
            Assert.Equal(SubmitOutcome.Overloaded, (await writer.SubmitAsync(user, "one too many")).Outcome);
        }

        Assert.All(await Task.WhenAll(queue), result => Assert.Equal(SubmitOutcome.Accepted, result.Outcome));
        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "one too many")).Outcome);
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task While_the_queue_stands_submits_are_shed_and_reads_are_not()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Relays, o.Workers, o.Credits) = (0, 0, 100_000);
            o.Settings["Submit:StandingWait"] = "00:00:00.005";
            (o.Settings["Submit:StatementTimeoutSeconds"], o.Settings["Submit:Patience"]) = ("30", "00:01:00");
        });
        var body = new { model = "seedream-4", @params = new { prompt = "a standing queue" } };
        using var stranger = system.Client(system.Apis[0], "gk_nobody_knows_it");
        Assert.Equal(HttpStatusCode.Unauthorized, (await system.PostAsync(body, http: stranger)).StatusCode);
        List<Task<HttpResponseMessage>> waiting = [];
        // a batch takes its time
        await WhileStandingAsync(async () => await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System,
            TestContext.Current.CancellationToken));
        await WhileStandingAsync(async () =>
        {
            waiting.AddRange(Enumerable.Range(0, SubmitWriter.MaxBatch + 20).Select(i => system.PostAsync(body, $"key-{i}")));
            for (var tries = 0; ; tries++)
            {
                var answer = await system.PostAsync(body, http: stranger);
                if (answer.StatusCode != HttpStatusCode.Unauthorized)
                {
                    Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
                    Assert.Equal("overloaded", (string?)(await TestSystem.ReadAsync(answer))["code"]);
                    Assert.NotNull(answer.Headers.RetryAfter?.Delta);
                    break;
                }

                Assert.True(tries < 500);
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, TestContext.Current.CancellationToken);
            }

            Assert.Equal(HttpStatusCode.OK, (await system.Http.GetAsync(new Uri("/api/generations", UriKind.Relative))).StatusCode);
        });

        var answers = await Task.WhenAll(waiting);
        Assert.All(answers, answer => Assert.True(answer.StatusCode is HttpStatusCode.Accepted or HttpStatusCode.ServiceUnavailable));
        Assert.Equal(answers.Count(a => a.StatusCode == HttpStatusCode.Accepted),
            await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        Assert.Equal(HttpStatusCode.Accepted, (await system.PostAsync(body, "afterwards")).StatusCode);
        await system.AssertBooksAreCleanAsync();

        async Task WhileStandingAsync(Func<Task> act)
        {
            await using var holder = await system.Db.OpenConnectionAsync();
            await Stall.AtAsync(holder, "BEFORE INSERT ON outbox FOR EACH STATEMENT");
            waiting.Add(system.PostAsync(body));
            await system.UntilAsync("EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')");
            await act();
            await Stall.LetGoAsync(holder);
            await Task.WhenAll(waiting); // none still asks whether it may go on when the next stall begins
        }
    }

    [Fact]
    public async Task A_database_that_does_not_move_is_told_to_all_at_once_and_nothing_is_written_later()
    {
        await using var writer = await WriterUnderTest.CreateAsync(Hasty);
        var user = await writer.UserAsync();
        await writer.StartAsync();
        await using (await writer.StallAsync())
        {
            var started = TimeProvider.System.GetTimestamp();
            var ahead = writer.SubmitAsync(user, "ahead");
            await writer.UntilItIsBlockedAsync();
            var behind = Enumerable.Range(0, 250).Select(i => writer.SubmitAsync(user, $"key-{i}")).ToList();
            Assert.All(await Task.WhenAll(behind.Append(ahead)), result => Assert.Equal(SubmitOutcome.Unavailable, result.Outcome));
            var took = TimeProvider.System.GetElapsedTime(started); // each on its own would have taken minutes
            Assert.True(took < TimeSpan.FromSeconds(10), $"It took {took}.");
        }

        Assert.Equal(SubmitOutcome.Accepted, (await AskUntilLetInAsync(writer, user, "afterwards")).Outcome);
        Assert.Equal("afterwards", await writer.ScalarAsync<string>("SELECT string_agg(client_key, ' ') FROM generation_sessions"));
        await writer.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_database_that_is_gone_is_told_to_all_at_once_and_its_return_is_noticed()
    {
        await using var writer = await WriterUnderTest.CreateAsync(Hasty);
        var user = await writer.UserAsync();
        await writer.StartAsync();
        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "before")).Outcome);
        await writer.DisconnectAsync();

        var started = TimeProvider.System.GetTimestamp();
        var refused = await Task.WhenAll(Enumerable.Range(0, 200).Select(i => writer.SubmitAsync(user, $"key-{i}")));
        var took = TimeProvider.System.GetElapsedTime(started);
        Assert.All(refused, result => Assert.Equal(SubmitOutcome.Unavailable, result.Outcome));
        Assert.True(took < TimeSpan.FromSeconds(10), $"It took {took}.");

        await writer.GiveBackAsync();
        Assert.Equal(SubmitOutcome.Accepted, (await AskUntilLetInAsync(writer, user, "key-0")).Outcome);
        Assert.Equal(2, await writer.SessionsAsync());
    }

    [Fact]
    public async Task A_connection_that_died_while_idle_costs_nobody_a_503()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.StartAsync();
        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "before")).Outcome);
        await writer.ExecuteAsync(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'writer'");

        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "after")).Outcome);
    }

    /// <summary>A server that restarts cuts the connection of the repetition too.</summary>
    [Theory]
    [InlineData(2, SubmitOutcome.Accepted, 1)]
    [InlineData(1_000, SubmitOutcome.Unavailable, 0)]
    public async Task A_batch_whose_connection_is_cut_is_repeated_and_in_the_end_everybody_hears_of_it(int cuts, SubmitOutcome outcome, long sessions)
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.ExecuteAsync( // a sequence counts on, whatever is rolled back
            $"""
            CREATE SEQUENCE cuts;
            CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                BEGIN
                    IF nextval('cuts') <= {cuts} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                    RETURN NEW;
                END $$;
            CREATE TRIGGER cut BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION cut();
            """);
        await writer.StartAsync();

        Assert.Equal(outcome, (await writer.SubmitAsync(user, "cut off")).Outcome);
        Assert.Equal(sessions, await writer.SessionsAsync());
        // more than three when a dying backend still has the account
        Assert.InRange(await writer.ScalarAsync<long>("SELECT last_value FROM cuts"), 3, 300);
    }

    [Fact]
    public async Task A_connection_whose_death_its_keep_alive_has_noticed_costs_nobody_an_answer()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.StartAsync();
        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "before")).Outcome);
        await writer.ExecuteAsync(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'writer'");
        await Task.Delay(TimeSpan.FromSeconds(2.5), TimeProvider.System, TestContext.Current.CancellationToken); // it asks once a second

        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "after")).Outcome);
    }

    [Fact]
    public async Task Who_hangs_up_while_waiting_is_not_written()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        var user = await writer.UserAsync();
        await writer.StartAsync();
        Task<SubmitResult> ahead;
        await using (await writer.StallAsync())
        {
            ahead = writer.SubmitAsync(user, "ahead");
            await writer.UntilItIsBlockedAsync();
            using var hangUp = new CancellationTokenSource();
            var gone = writer.SubmitAsync(user, "gone", ct: hangUp.Token);
            await hangUp.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gone);
        }

        Assert.Equal(SubmitOutcome.Accepted, (await ahead).Outcome);
        Assert.Equal(SubmitOutcome.Accepted, (await writer.SubmitAsync(user, "behind")).Outcome);
        Assert.Equal("ahead behind", await writer.ScalarAsync<string>(
            "SELECT string_agg(client_key, ' ' ORDER BY client_key) FROM generation_sessions"));
        await writer.AssertBooksAreCleanAsync();
    }

    /// <summary>What a client does that believes Retry-After.</summary>
    private static async Task<SubmitResult> AskUntilLetInAsync(WriterUnderTest writer, Guid user, string key)
    {
        while (true)
        {
            var result = await writer.SubmitAsync(user, key);
            if (result.Outcome != SubmitOutcome.Unavailable) return result;
            await Task.Delay(Hasty.Pause / 4, TimeProvider.System, CancellationToken.None);
        }
    }
}
