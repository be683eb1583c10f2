using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Submit;

/// <summary>Promises 1, 2 and 5 under many hands at once. No worker runs: what is accepted stays held.</summary>
[Trait("tier", "slow")]
public sealed class ConcurrencyTests
{
    [Fact]
    public async Task Two_hundred_posts_with_one_key_are_one_session_and_one_hold()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Apis, o.Workers) = (2, 0));
        using var other = system.Client(system.Apis[1]);
        var body = new { model = "seedream-4", @params = new { prompt = "one of many", n = 2 } };
        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(
            i => system.PostAsync(body, "the-same-key", i % 2 == 0 ? system.Http : other)));

        Assert.All(answers, a => Assert.Equal(HttpStatusCode.Accepted, a.StatusCode));
        var ids = await Task.WhenAll(answers.Select(async a => (string)(await TestSystem.ReadAsync(a))["sessionId"]!));
        Assert.Single(ids.Distinct());
        Assert.Equal(199, answers.Count(a => a.Headers.Contains("Idempotent-Replayed")));
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM outbox"));
        Assert.Equal(8, await system.ScalarAsync<long>("SELECT reserved FROM credit_accounts"));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_thousand_posts_with_credit_for_three_hundred_are_three_hundred_sessions()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Apis, o.Workers, o.Credits) = (2, 0, 1_200));
        using var other = system.Client(system.Apis[1]);
        var body = new { model = "seedream-4", @params = new { prompt = "a flood" } };
        var answers = await Task.WhenAll(Enumerable.Range(0, 1_000).Select(i => AnswerAsync($"key-{i}", i % 2 == 0 ? system.Http : other)));

        Assert.Equal(300, answers.Count(a => a.StatusCode == HttpStatusCode.Accepted));
        Assert.Equal(700, answers.Count(a => a.StatusCode == HttpStatusCode.PaymentRequired));
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT available FROM credit_accounts"));
        Assert.Equal(1_200, await system.ScalarAsync<long>("SELECT reserved FROM credit_accounts"));
        Assert.Equal(300, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        await system.AssertBooksAreCleanAsync();

        async Task<HttpResponseMessage> AnswerAsync(string key, HttpClient api)
        {
            while (true) // on a busy machine a thousand posts for one account may take longer than the Api's patience
            {
                var answer = await system.PostAsync(body, key, api);
                if (answer.StatusCode != HttpStatusCode.ServiceUnavailable) return answer;
                answer.Dispose();
            }
        }
    }

    [Fact]
    public async Task A_dear_request_does_not_take_its_cheap_neighbours_along()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Credits) = (0, 40));
        var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(i =>
            system.PostAsync(new { model = "seedream-4", @params = new { prompt = "mixed", n = i % 4 == 0 ? 15 : 1 } }, $"key-{i}")));

        // 60 credits never fit; of those for 4, ten do.
        Assert.Equal(10, answers.Count(a => a.StatusCode == HttpStatusCode.Accepted));
        Assert.All(answers.Where(a => a.StatusCode != HttpStatusCode.Accepted), a => Assert.Equal(HttpStatusCode.PaymentRequired, a.StatusCode));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Holds_draw_lots_by_priority_expiry_and_age_and_captures_consume_them_in_that_order()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Credits, o.Settings["Mock:Enabled"]) = (10, "true"));
        await system.ExecuteAsync(
            $"""
            INSERT INTO credit_lots (lot_id, user_id, kind, priority, granted, available, expires_at, reference) VALUES
                ('00000000-0000-7000-8000-000000000001', '{system.UserId}', 'bonus', 100, 3, 3, now() + interval '1 day', 'soon'),
                ('00000000-0000-7000-8000-000000000002', '{system.UserId}', 'plan', 1, 2, 2, NULL, 'first'),
                ('00000000-0000-7000-8000-000000000003', '{system.UserId}', 'grant', 1, 5, 5, now() - interval '1 second', 'overdue');
            UPDATE credit_accounts SET available = available + 10;
            INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
            SELECT user_id, 'bonus', 'external', 'available', granted, 10 + sum(granted) OVER (ORDER BY lot_id), 0, lot_id
            FROM credit_lots WHERE reference <> 'opening' ORDER BY lot_id
            """);
        await system.EndOfAsync(await system.SubmitAsync("two of them", n: 2));

        Assert.Equal("first=2 soon=3 opening=3", await system.ScalarAsync<string>(
            "SELECT string_agg(reference || '=' || amount, ' ' ORDER BY ordinal) FROM credit_reservation_draws JOIN credit_lots USING (lot_id)"));
        Assert.Equal("first=2 opening=3 overdue=0 soon=3", await system.ScalarAsync<string>(
            "SELECT string_agg(reference || '=' || spent, ' ' ORDER BY reference) FROM credit_lots"));
        Assert.Equal(5, await system.ScalarAsync<long>("SELECT expired FROM credit_lots WHERE reference = 'overdue'"));
        Assert.Equal(7, await system.ScalarAsync<long>("SELECT available FROM credit_accounts"));
        await system.AssertBooksAreCleanAsync();
    }
}
