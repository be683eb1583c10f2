using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Submit;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>The accepted request, and the same request again.</summary>
public sealed class SubmitTests
{
    private const string Lighthouse = """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"2K","n":2}}""";

    [Theory]
    [InlineData("", "interactive")]
    [InlineData(",\"priority\":null", "interactive")]
    [InlineData(",\"priority\":\"interactive\"", "interactive")]
    [InlineData(",\"priority\":\"batch\"", "batch")]
    public async Task A_submit_has_the_priority_it_asks_for(string field, string priority)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var reply = (await user.SubmitAsync(Lighthouse[..^1] + field + "}")).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal($"{priority} 20", await system.ScalarAsync<string>(
            $"SELECT priority || ' ' || work FROM generation_sessions WHERE session_id = '{reply.SessionId}'"));
    }

    [Theory]
    [InlineData("\"urgent\"")]
    [InlineData("1")]
    public async Task A_priority_that_there_is_not_is_refused_by_its_name(string priority)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var reply = (await user.SubmitAsync(Lighthouse[..^1] + $",\"priority\":{priority}}}")).AssertStatus(HttpStatusCode.BadRequest);
        Assert.Equal("must be interactive or batch", (string?)reply.Body["errors"]!["priority"]![0]);
    }

    [Fact]
    public async Task A_202_commits_session_hold_and_outbox_row_together()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var reply = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "7b2c"))).AssertStatus(HttpStatusCode.Accepted);

        var id = reply.SessionId;
        Assert.Equal(7, id.Version);
        Assert.Equal("7b2c", (string?)reply.Body["clientKey"]);
        Assert.Equal("queued", (string?)reply.Body["status"]);
        Assert.Equal(8, (long?)reply.Body["creditsHeld"]);
        Assert.Equal($"/api/generations/{id}", (string?)reply.Body["links"]!["self"]);
        Assert.Equal($"/api/generations/{id}/events", (string?)reply.Body["links"]!["events"]);
        Assert.Equal($"/api/generations/{id}/cancel", (string?)reply.Body["links"]!["cancel"]);
        Assert.Equal($"/api/generations/{id}", reply.Headers.Location?.ToString());
        Assert.False(reply.IsReplay);
        Assert.Equal(
            $"{user.UserId} queued {(string?)reply.Body["reservationId"]} held 8, 8 drawn, 1 outbox row, ledger 8 reservation",
            await system.ScalarAsync<string>(
                $"""
                SELECT format('%s %s %s %s %s, %s drawn, %s outbox row, ledger %s %s', s.user_id, s.status, r.reservation_id, r.status, r.amount,
                    (SELECT sum(amount) FROM credit_reservation_draws AS d WHERE d.reservation_id = r.reservation_id),
                    (SELECT count(*) FROM outbox AS o WHERE o.session_id = s.session_id AND o.event_type = 'gen.seedream4' AND o.lane = 'image'),
                    t.amount, t.type)
                FROM generation_sessions AS s
                JOIN credit_reservations AS r USING (session_id)
                JOIN credit_transactions AS t ON t.reservation_id = r.reservation_id
                WHERE s.session_id = '{id}'
                """));
        Assert.Equal(
            (992L, 8L),
            ((long)(await user.GetAsync("/api/credits")).Body["available"]!, (long)(await user.GetAsync("/api/credits")).Body["reserved"]!));
    }

    [Fact]
    public async Task Without_a_key_every_post_is_a_new_request()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var first = await user.SubmitAsync(Lighthouse);
        var second = await user.SubmitAsync(Lighthouse);
        Assert.NotEqual(first.SessionId, second.SessionId);
        Assert.False(string.IsNullOrEmpty((string?)first.Body["clientKey"]));
        Assert.NotEqual((string?)first.Body["clientKey"], (string?)second.Body["clientKey"]);
    }

    [Theory]
    [InlineData("header", "header")]
    [InlineData("field", "field")]
    [InlineData("both", "both")]
    [InlineData("header", "field")]
    [InlineData("field", "both")]
    public async Task The_same_key_and_body_give_the_first_answer_again(string first, string second)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var key = Guid.NewGuid().ToString();
        Task<Reply> PostAsync(string how) => user.SubmitAsync(
            how == "header" ? Lighthouse : Lighthouse.Insert(1, $"\"clientKey\":\"{key}\","),
            how == "field" ? [] : [("Idempotency-Key", key)]);

        var accepted = (await PostAsync(first)).AssertStatus(HttpStatusCode.Accepted);
        var replayed = (await PostAsync(second)).AssertStatus(HttpStatusCode.Accepted);
        Assert.False(accepted.IsReplay);
        Assert.True(replayed.IsReplay);
        AssertSameButForItsPlace(accepted, replayed);
        Assert.Equal(accepted.Headers.Location, replayed.Headers.Location);
        Assert.Equal(1, await user.SessionsAsync());
        Assert.Equal(8, await system.ScalarAsync<long>($"SELECT reserved FROM credit_accounts WHERE user_id = '{user.UserId}'"));
    }

    /// <summary>A replay says nothing of the queue: where it stands now is another question.</summary>
    private static void AssertSameButForItsPlace(Reply accepted, Reply replayed)
    {
        Assert.Null(replayed.Body["queuePosition"]);
        var (first, again) = (accepted.Body.DeepClone().AsObject(), replayed.Body.DeepClone().AsObject());
        foreach (var body in new[] { first, again })
        {
            Assert.True(body.Remove("queuePosition") && body.Remove("etaSeconds"), $"{body}");
        }

        Assert.True(JsonNode.DeepEquals(first, again), $"{accepted.Body}\n{replayed.Body}");
    }

    [Fact]
    public async Task A_replay_of_an_ended_session_gives_the_first_answer_too()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var accepted = await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"));
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{accepted.SessionId}/cancel")).AssertStatus(HttpStatusCode.OK);
        var replayed = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        Assert.True(replayed.IsReplay);
        AssertSameButForItsPlace(accepted, replayed);
        Assert.Equal(1, await user.SessionsAsync());
    }

    [Theory]
    [InlineData("keys in another order", """{"params":{"n":2,"size":"2K","prompt":"a lighthouse at dusk"},"model":"seedream-4"}""", true)]
    [InlineData("white space",
        "{ \"model\" : \"seedream-4\",\n\t\"params\": { \"prompt\":\"a lighthouse at dusk\", \"size\":\"2K\" , \"n\":2 } }\r\n", true)]
    [InlineData("escapes", """{"model":"seedream\u002d4","params":{"prompt":"a \u006cighthouse at dusk","size":"2K","n":2}}""", true)]
    [InlineData("another number", """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"2K","n":3}}""", false)]
    [InlineData("another prompt", """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk ","size":"2K","n":2}}""", false)]
    [InlineData("another size", """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"4K","n":2}}""", false)]
    [InlineData("another model", """{"model":"seedream-4.5","params":{"prompt":"a lighthouse at dusk","size":"2K","n":2}}""", false)]
    [InlineData("a default left out", """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","n":2}}""", false)]
    [InlineData("a default added", """{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"2K","n":2,"watermark":false}}""",
        false)]
    [InlineData("a body that would be refused", """{"model":"seedream-4","params":{"prompt":"","size":"2K","n":99}}""", false)]
    [InlineData("a model that is not there", """{"model":"seedream-5","params":{"prompt":"x"}}""", false)]
    [InlineData("a retired model", """{"model":"seedream-3","params":{"prompt":"x"}}""", false)]
    public async Task The_fingerprint_knows_the_same_request(string difference, string again, bool same)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var first = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        var second = await user.SubmitAsync(again, ("Idempotency-Key", "k"));
        if (same)
        {
            Assert.True(second.AssertStatus(HttpStatusCode.Accepted).IsReplay, difference);
            Assert.Equal(first.SessionId, second.SessionId);
        }
        else
        {
            second.AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");
        }

        Assert.Equal(1, await user.SessionsAsync());
    }

    [Fact]
    public async Task A_key_belongs_to_its_user()
    {
        var system = await ApiSystem.Queued;
        var (one, other) = (await system.NewUserAsync(), await system.NewUserAsync());
        var first = (await one.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        var second = (await other.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        Assert.False(second.IsReplay);
        Assert.NotEqual(first.SessionId, second.SessionId);
    }

    [Fact]
    public async Task A_replay_is_answered_before_402()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 8);
        var first = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        var replay = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal((first.SessionId, true), (replay.SessionId, replay.IsReplay));
        (await user.SubmitAsync(Lighthouse.Replace("dusk", "dawn"), ("Idempotency-Key", "k")))
            .AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");
        (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "other"))).AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits");
    }

    [Fact]
    public async Task A_replay_is_answered_also_when_its_model_has_retired_and_its_account_is_frozen()
    {
        const string Body = """{"model":"seedream-3","params":{"prompt":"x"}}""";
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var first = (await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        using var parameters = System.Text.Json.JsonDocument.Parse("""{"prompt":"x"}""");
        // As it would stand there had it been accepted while the model was still sold.
        await system.ExecuteAsync(
            $"""
            UPDATE generation_sessions SET model = 'seedream-3', request_hash = '\x{Convert.ToHexString(Fingerprint.Of("seedream-3", parameters.RootElement))}'
            WHERE session_id = '{first.SessionId}'
            """);
        await system.ExecuteAsync($"UPDATE credit_accounts SET frozen_at = now() WHERE user_id = '{user.UserId}'");

        (await user.SubmitAsync(Body)).AssertProblem(HttpStatusCode.Gone, "model_retired");
        var replay = (await user.SubmitAsync(Body, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal((first.SessionId, true), (replay.SessionId, replay.IsReplay));
    }

    [Fact]
    public async Task A_refused_request_leaves_its_key_free()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 8);
        (await user.SubmitAsync(Lighthouse.Replace("2K", "8K"), ("Idempotency-Key", "k")))
            .AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        (await user.SubmitAsync(Lighthouse.Replace("2K", "4K"), ("Idempotency-Key", "k")))
            .AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits");
        Assert.False((await user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted).IsReplay);
    }

    [Fact]
    public async Task A_402_says_what_is_there_what_is_needed_and_what_is_held()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync(credits: 10);
        (await user.SubmitAsync(Lighthouse)).AssertStatus(HttpStatusCode.Accepted);
        var held = (await user.SubmitAsync(Lighthouse)).AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits");
        Assert.Equal((2L, 8L, 8L), ((long)held.Body["available"]!, (long)held.Body["needed"]!, (long)held.Body["held"]!));
        Assert.Contains("held by", (string?)held.Body["detail"], StringComparison.Ordinal);

        var never = (await user.SubmitAsync(Lighthouse.Replace("\"n\":2", "\"n\":15")))
            .AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits");
        Assert.Equal((2L, 60L, 8L), ((long)never.Body["available"]!, (long)never.Body["needed"]!, (long)never.Body["held"]!));
        Assert.DoesNotContain("held by", (string?)never.Body["detail"], StringComparison.Ordinal);
        Assert.Equal(1, await user.SessionsAsync());
    }

    [Theory]
    [InlineData("an empty account")]
    [InlineData("no account")]
    public async Task Who_never_bought_credits_has_none(string account)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync(credits: 0);
        if (account == "no account")
        {
            await system.ExecuteAsync($"DELETE FROM credit_accounts WHERE user_id = '{user.UserId}'");
        }

        var reply = (await user.SubmitAsync(Lighthouse)).AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits");
        Assert.Equal((0L, 8L, 0L), ((long)reply.Body["available"]!, (long)reply.Body["needed"]!, (long)reply.Body["held"]!));
    }

    [Theory]
    [InlineData("seedream-4", "1K", 1, 4)]
    [InlineData("seedream-4", "2K", 3, 12)]
    [InlineData("seedream-4", "4K", 2, 16)]
    [InlineData("seedream-4", "1024x1024", 1, 4)]
    [InlineData("seedream-4", "4096x4096", 1, 8)]
    [InlineData("seedream-4.5", "2K", 1, 5)]
    [InlineData("seedream-4.5", "4K", 15, 150)]
    public async Task The_price_is_the_variants_or_the_models(string model, string size, int n, long credits)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync($$$"""{"model":"{{{model}}}","params":{"prompt":"x","size":"{{{size}}}","n":{{{n}}}}}""");
        Assert.Equal(credits, (long?)reply.AssertStatus(HttpStatusCode.Accepted).Body["creditsHeld"]);
    }

    [Theory]
    [InlineData("/api/images/seedream4/generate", """{"prompt":"x","n":2,"size":"1K","clientKey":"k"}""")]
    [InlineData("/api/images/seedream4/generate", """{"params":{"prompt":"x","n":2,"size":"1K"},"clientKey":"k"}""")]
    [InlineData("/api/images/SEEDREAM4/generate", """{"model":"seedream-4","prompt":"x","n":2,"size":"1K","clientKey":"k"}""")]
    [InlineData("/api/image/generate", """{"prompt":"x","n":2,"size":"1K","clientKey":"k"}""")]
    [InlineData("/api/image/generate", """{"model":"seedream-4","params":{"prompt":"x","n":2,"size":"1K"},"clientKey":"k"}""")]
    public async Task An_alias_means_the_same_request(string path, string body)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var alias = (await user.SendAsync(HttpMethod.Post, path, body)).AssertStatus(HttpStatusCode.Accepted);
        Assert.Equal(("queued", "k", 8L), ((string?)alias.Body["status"], (string?)alias.Body["clientKey"], (long)alias.Body["creditsHeld"]!));

        var replay = await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x","n":2,"size":"1K"}}""", ("Idempotency-Key", "k"));
        Assert.Equal((alias.SessionId, true), (replay.AssertStatus(HttpStatusCode.Accepted).SessionId, replay.IsReplay));
    }

    [Fact]
    public async Task Prompts_in_any_script_come_back_as_they_were_sent()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        const string Prompt = "灯台 🏮 'quoted' \\\\ ж\\u0007 </script> {0} $1 %s";
        var id = await user.AcceptedAsync(Prompt);
        Assert.Equal("灯台 🏮 'quoted' \\ ж\u0007 </script> {0} $1 %s",
            (string?)(await user.GetAsync($"/api/generations/{id}")).Body["params"]!["prompt"]);
    }

    [Fact]
    public async Task An_account_that_is_locked_elsewhere_stalls_nobody_else_and_ends_in_503()
    {
        var system = await ApiSystem.Queued;
        var (locked, neighbour) = (await system.NewUserAsync(), await system.NewUserAsync());
        await using var connection = await system.Db.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        await using (var command = connection.CreateCommand())
        {
            command.CommandText = $"SELECT FROM credit_accounts WHERE user_id = '{locked.UserId}' FOR UPDATE";
            await command.ExecuteNonQueryAsync();
        }

        var waiting = locked.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"));
        (await neighbour.SubmitAsync(Lighthouse)).AssertStatus(HttpStatusCode.Accepted);
        Assert.False(waiting.IsCompleted);
        var refused = (await waiting).AssertProblem(HttpStatusCode.ServiceUnavailable, "database_unavailable");
        Assert.NotNull(refused.Headers.RetryAfter);
        await transaction.RollbackAsync();
        await locked.AssertNothingHappenedAsync();
        Assert.False((await locked.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))).AssertStatus(HttpStatusCode.Accepted).IsReplay);
    }

    [Fact]
    public async Task Two_hundred_posts_with_one_key_at_once_are_one_session_and_one_hold()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var replies = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => user.SubmitAsync(Lighthouse, ("Idempotency-Key", "k"))));
        Assert.All(replies, r => r.AssertStatus(HttpStatusCode.Accepted));
        Assert.Single(replies.Select(r => r.SessionId).Distinct());
        Assert.Single(replies.Select(r => (string?)r.Body["reservationId"]).Distinct());
        Assert.Single(replies, r => !r.IsReplay);
        Assert.Equal(1, await user.SessionsAsync());
        Assert.Equal(
            "992 available, 8 reserved, 1 hold, 1 ledger row",
            await system.ScalarAsync<string>(
                $"""
                SELECT format('%s available, %s reserved, %s hold, %s ledger row', available, reserved,
                    (SELECT count(*) FROM credit_reservations AS r WHERE r.user_id = a.user_id),
                    (SELECT count(*) FROM credit_transactions AS t WHERE t.user_id = a.user_id AND type = 'reservation'))
                FROM credit_accounts AS a WHERE user_id = '{user.UserId}'
                """));
    }

    [Fact]
    public async Task Two_bodies_with_one_key_at_once_have_one_winner()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var replies = await Task.WhenAll(Enumerable.Range(0, 40).Select(
            i => user.SubmitAsync(Lighthouse.Replace("dusk", i % 2 == 0 ? "dusk" : "dawn"), ("Idempotency-Key", "k"))));
        Assert.Equal(20, replies.Count(r => r.Status == HttpStatusCode.Accepted));
        Assert.All(replies.Where(r => r.Status != HttpStatusCode.Accepted), r =>
            r.AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused"));
        Assert.Single(replies, r => r.Status == HttpStatusCode.Accepted && !r.IsReplay);
        Assert.Equal(1, await user.SessionsAsync());
    }

    [Fact]
    public async Task Of_a_thousand_posts_at_once_with_credit_for_300_exactly_300_are_accepted()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync(credits: 1_200);
        var replies = await Task.WhenAll(Enumerable.Range(0, 1_000).Select(i =>
            user.SubmitAsync($$$"""{"model":"seedream-4","params":{"prompt":"picture {{{i}}}"}}""", ("Idempotency-Key", $"k{i}"))));
        Assert.Equal(300, replies.Count(r => r.Status == HttpStatusCode.Accepted));
        Assert.All(replies.Where(r => r.Status != HttpStatusCode.Accepted), r =>
            r.AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits"));
        Assert.Equal(300, await user.SessionsAsync());
        Assert.Equal(
            (0L, 1_200L),
            ((long)(await user.GetAsync("/api/credits")).Body["available"]!, (long)(await user.GetAsync("/api/credits")).Body["reserved"]!));
        await system.AssertBooksAreCleanAsync();
    }
}
