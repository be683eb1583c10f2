using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Generation.ProviderSim.Faults;

namespace Generation.Tests.ProviderSim;

public class FaultTests(SimApp sim) : IClassFixture<SimApp>
{
    [Theory]
    [InlineData("moderation-input", 400, "InputTextSensitiveContentDetected")]
    [InlineData("moderation-output", 400, "OutputImageSensitiveContentDetected")]
    [InlineData("unauthorized", 401, "AuthenticationError")]
    [InlineData("forbidden", 403, "AccessDenied")]
    [InlineData("overdue", 403, "AccountOverdueError")]
    [InlineData("not-found", 404, "InvalidEndpointOrModel.NotFound")]
    [InlineData("rate-limit", 429, "ModelAccountIpmRateLimitExceeded")]
    [InlineData("overload", 429, "ServerOverloaded")]
    [InlineData("quota", 429, "SetLimitExceeded")]
    [InlineData("server-error", 500, "InternalServiceError")]
    [InlineData("error-200", 200, "InternalServiceError")]
    public async Task A_refusal_has_its_status_and_code_and_is_not_paid(string word, int status, string code)
    {
        using var response = await sim.PromptAsync($"refused-{word} [fault={word}]");
        Assert.Equal((status, code), ((int)response.StatusCode, await SimApp.CodeAsync(response)));
        Assert.Equal((1, 0), await sim.CallsAsync($"refused-{word} "));
    }

    [Fact]
    public async Task A_rate_limit_says_when_to_come_back_unless_it_is_bare()
    {
        using var usual = await sim.PromptAsync("[fault=rate-limit]");
        using var later = await sim.PromptAsync("[fault=rate-limit] [retry-after=7]");
        using var bare = await sim.PromptAsync("[fault=rate-limit-bare]");
        Assert.Equal(TimeSpan.FromSeconds(1), usual.Headers.RetryAfter?.Delta);
        Assert.Equal(TimeSpan.FromSeconds(7), later.Headers.RetryAfter?.Delta);
        Assert.Null(bare.Headers.RetryAfter);
        Assert.Equal(HttpStatusCode.TooManyRequests, bare.StatusCode);
    }

    [Fact]
    public async Task A_gateway_answers_in_html()
    {
        using var response = await sim.PromptAsync("[fault=bad-gateway]");
        Assert.Equal((HttpStatusCode.BadGateway, "text/html"), (response.StatusCode, response.Content.Headers.ContentType?.MediaType));
    }

    [Theory]
    [InlineData("image-error", "OutputImageSensitiveContentDetected")]
    [InlineData("image-500", "InternalServiceError")]
    public async Task One_failed_picture_is_an_error_among_the_data(string word, string code)
    {
        using var response = await sim.PromptAsync($"failed-{word} [fault={word}]");
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(code, json.RootElement.GetProperty("data")[0].GetProperty("error").GetProperty("code").GetString());
        Assert.Equal(0, json.RootElement.GetProperty("usage").GetProperty("generated_images").GetInt32());
        Assert.Equal((1, 0), await sim.CallsAsync($"failed-{word} "));
    }

    [Fact]
    public async Task Empty_data_is_empty_and_free()
    {
        using var response = await sim.PromptAsync("nothing-came [fault=empty-data]");
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(0, json.RootElement.GetProperty("data").GetArrayLength());
        Assert.Equal((1, 0), await sim.CallsAsync("nothing-came"));
    }

    [Fact]
    public async Task Malformed_json_is_a_complete_reply_and_paid()
    {
        using var response = await sim.PromptAsync("broken-json [fault=malformed]");
        var body = await response.Content.ReadAsStringAsync();
        Assert.ThrowsAny<JsonException>(() => JsonDocument.Parse(body));
        Assert.Equal((1, 1), await sim.CallsAsync("broken-json"));
    }

    [Theory]
    [InlineData("cut-reply")]
    [InlineData("cut-reply-half")]
    public async Task A_cut_reply_is_paid_and_the_caller_learns_nothing(string word)
    {
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => sim.PromptAsync($"lost-{word} [fault={word}]"));
        Assert.Equal((1, 1), await sim.CallsAsync($"lost-{word} "));
    }

    [Fact]
    public async Task A_500_can_come_after_the_work_was_billed()
    {
        using var response = await sim.PromptAsync("billed-500 [fault=server-error-paid]");
        Assert.Equal(HttpStatusCode.InternalServerError, response.StatusCode);
        Assert.Equal((1, 1), await sim.CallsAsync("billed-500"));
    }

    [Fact]
    public async Task A_call_without_an_answer_is_paid_although_the_caller_disconnects()
    {
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        var call = sim.PromptAsync("no-answer [gate=no-answer] [fault=timeout]", cancellation: gone.Token);
        Assert.Equal(1, await WaitingAsync("no-answer"));
        await sim.Http.PostAsync("/sim/gates/no-answer", null);
        Assert.Equal((1, 1), await sim.CallsAsync("no-answer"));
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
    }

    [Fact]
    public async Task A_limited_fault_strikes_so_many_calls_of_one_prompt_and_then_the_next_word_has_its_turn()
    {
        const string Prompt = "flaky [fault=rate-limit:times=2] [fault=server-error:times=1]";
        var seen = new List<int>();
        for (var n = 0; n < 5; n++)
        {
            using var response = await sim.PromptAsync(Prompt);
            seen.Add((int)response.StatusCode);
        }

        Assert.Equal([429, 429, 500, 200, 200], seen);
        using var other = await sim.PromptAsync(Prompt + "!");
        Assert.Equal(429, (int)other.StatusCode);
    }

    [Fact]
    public async Task Unknown_brackets_belong_to_the_prompt()
    {
        var words = PromptWords.Parse("a [blue=sky] house [fault=nonsense] [fault=cut-reply:times=x] [latency=5]");
        Assert.Equal("a [blue=sky] house [fault=nonsense] [fault=cut-reply:times=x]", words.Text);
        Assert.Equal(5, words.LatencyMs);
        using var response = await sim.PromptAsync("a [blue=sky] house [fault=nonsense]");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Fact]
    public async Task A_rule_strikes_so_many_calls_whose_prompt_matches()
    {
        using var made = await sim.Http.PostAsJsonAsync("/sim/faults", new { fault = "overload", count = 2, prompt = "ruled" });
        made.EnsureSuccessStatusCode();
        var seen = new List<int>();
        foreach (var prompt in (string[])["ruled 1", "free", "ruled 2", "ruled 3"])
        {
            using var response = await sim.PromptAsync(prompt);
            seen.Add((int)response.StatusCode);
        }

        Assert.Equal([429, 200, 429, 200], seen);
        using var refused = await sim.Http.PostAsJsonAsync("/sim/faults", new { fault = "nonsense", count = 2 });
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
    }

    [Fact]
    public async Task A_gate_holds_a_paid_call_until_it_is_opened()
    {
        var call = sim.PromptAsync("held [gate=held]", clientRequestId: "my-call-1");
        Assert.Equal(1, await WaitingAsync("held"));
        Assert.False(call.IsCompleted);
        using (var json = JsonDocument.Parse(await sim.Http.GetStringAsync("/sim/calls?clientRequestId=my-call-1")))
        {
            var only = Assert.Single(json.RootElement.GetProperty("calls").EnumerateArray());
            Assert.True(only.GetProperty("paid").GetBoolean());
            Assert.Equal(0, only.GetProperty("status").GetInt32());
        }

        await sim.Http.PostAsync("/sim/gates/held", null);
        using var response = await call;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Fact(Timeout = 20_000)]
    public async Task The_work_is_billed_although_the_caller_left_before_it_was_done()
    {
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        var call = sim.PromptAsync("left-early [latency=400]", cancellation: gone.Token);
        while ((await sim.CallsAsync("left-early")).Total == 0) await Task.Yield();
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
        Assert.Equal((1, 0), await sim.CallsAsync("left-early"));
        while ((await sim.CallsAsync("left-early")).Paid == 0) await Task.Yield();
    }

    [Fact]
    public void Every_fault_word_is_described_and_unique()
    {
        Assert.Equal(Fault.All.Count, Fault.All.Select(fault => fault.Word).Distinct().Count());
        Assert.All(Fault.All, fault => Assert.Equal(fault, Fault.Find(fault.Word)));
    }

    private async Task<int> WaitingAsync(string gate)
    {
        using var json = JsonDocument.Parse(await sim.Http.GetStringAsync($"/sim/gates/{gate}/waiting"));
        return json.RootElement.GetProperty("waiting").GetInt32();
    }
}
