using System.Net;
using Generation.Core.Providers;
using Generation.Worker.Providers.OpenAi;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>Every error that OpenAI documents, and what follows from it.</summary>
public sealed class OpenAiFailuresTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 11, 13, 50, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(400, "moderation_blocked", "image_generation_user_error", FailureKind.ModerationInput)]
    [InlineData(400, "content_policy_violation", "invalid_request_error", FailureKind.ModerationInput)]
    [InlineData(400, null, "image_generation_user_error", FailureKind.InvalidRequest)]
    [InlineData(400, null, "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "invalid_value", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "invalid_type", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "unknown_parameter", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "missing_required_parameter", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "string_above_max_length", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "integer_above_max_value", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "integer_below_min_value", "invalid_request_error", FailureKind.InvalidRequest)]
    [InlineData(400, "model_not_found", "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(404, "model_not_found", "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(404, null, "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(401, "invalid_api_key", "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(401, null, "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(403, null, "invalid_request_error", FailureKind.Unauthorized)]
    [InlineData(429, "rate_limit_exceeded", "requests", FailureKind.RateLimited)]
    [InlineData(429, "rate_limit_exceeded", "tokens", FailureKind.RateLimited)]
    [InlineData(429, null, "requests", FailureKind.RateLimited)]
    [InlineData(429, "slow_down", "rate_limit_error", FailureKind.RateLimited)]
    [InlineData(429, null, "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(429, "insufficient_quota", "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(429, "credit_balance_exhausted", "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(429, "organization_usage_limit_exceeded", "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(429, "organization_spend_limit_exceeded", "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(429, "project_spend_limit_exceeded", "insufficient_quota", FailureKind.QuotaExhausted)]
    [InlineData(400, "billing_hard_limit_reached", "invalid_request_error", FailureKind.QuotaExhausted)]
    [InlineData(500, "server_error", "server_error", FailureKind.Unavailable)]
    [InlineData(500, null, "server_error", FailureKind.Unavailable)]
    [InlineData(503, "server_is_overloaded", "service_unavailable_error", FailureKind.Unavailable)]
    [InlineData(200, "server_error", "server_error", FailureKind.Unavailable)] // in an event of a stream
    [InlineData(400, "something_new", "entirely_new", FailureKind.InvalidRequest)]
    [InlineData(409, "something_new", "entirely_new", FailureKind.Unavailable)]
    [InlineData(413, null, "entirely_new", FailureKind.InvalidRequest)]
    [InlineData(429, null, "entirely_new", FailureKind.RateLimited)]
    [InlineData(502, null, "entirely_new", FailureKind.Unavailable)]
    public void Every_documented_error_is_sorted_by_its_code_then_its_type_then_its_status(int status, string? code, string type, FailureKind kind)
    {
        var failure = Sort(status, new OpenAiError(code, type, "m"));
        Assert.Equal((kind, code ?? $"{type}.{status}"), (failure.Kind, failure.ProviderCode));
    }

    [Theory]
    [InlineData(500, "server_error", FailureKind.OutcomeUnknown)]
    [InlineData(200, "server_error", FailureKind.OutcomeUnknown)]
    [InlineData(503, "server_is_overloaded", FailureKind.OutcomeUnknown)]
    [InlineData(500, "something_new", FailureKind.OutcomeUnknown)]
    [InlineData(409, "something_new", FailureKind.Unavailable)]
    [InlineData(429, "slow_down", FailureKind.RateLimited)]
    [InlineData(400, "invalid_value", FailureKind.InvalidRequest)]
    public void A_breakdown_that_answers_a_creation_may_have_left_a_video(int status, string code, FailureKind kind)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        response.Headers.TryAddWithoutValidation("x-should-retry", "false"); // says nothing about the video
        Assert.Equal(kind, OpenAiFailures.Of(response, new OpenAiError(code, "", "m"), Now, createsTask: true).Kind);
    }

    [Theory]
    [InlineData("input", FailureKind.ModerationInput)]
    [InlineData("output", FailureKind.ModerationOutput)]
    public void Moderation_says_which_side_it_was(string stage, FailureKind kind)
    {
        var error = OpenAiError.In(
            """
            {"error":{"message":"Your request was rejected by the safety system. safety_violations=[violence].","type":"image_generation_user_error","param":null,
             "code":"moderation_blocked","moderation_details":{"moderation_stage":"STAGE","categories":["violence"]}}}
            """.Replace("STAGE", stage, StringComparison.Ordinal));
        Assert.Equal(kind, Sort(400, error!).Kind);
    }

    [Theory]
    [InlineData("retry-after-ms", "1500", 1500)]
    [InlineData("Retry-After", "7", 7_000)]
    [InlineData("Retry-After", "Wed, 11 Nov 2026 13:51:30 GMT", 90_000)]
    [InlineData("Retry-After", "86400", 600_000)]
    [InlineData("retry-after-ms", "1e300", 600_000)]
    [InlineData("Retry-After", "0", null)]
    [InlineData("retry-after-ms", "soon", null)]
    public void A_delay_is_honoured_up_to_ten_minutes(string header, string value, int? ms) =>
        Assert.Equal(ms, (int?)Sort(429, new OpenAiError("slow_down", "rate_limit_error", "m"), (header, value)).RetryAfter?.TotalMilliseconds);

    [Fact]
    public void What_OpenAI_says_not_to_retry_is_not_retried()
    {
        var error = new OpenAiError("server_error", "server_error", "m");
        Assert.False(Sort(500, error, ("x-should-retry", "false")).IsRetryable);
        Assert.True(Sort(500, error, ("x-should-retry", "true")).IsRetryable);
    }

    [Theory]
    [InlineData(302, "", FailureKind.Unauthorized)]
    [InlineData(401, "<html>", FailureKind.Unauthorized)]
    [InlineData(402, "", FailureKind.QuotaExhausted)]
    [InlineData(404, "<html>", FailureKind.Unauthorized)]
    [InlineData(408, "", FailureKind.OutcomeUnknown)]
    [InlineData(413, "<html>", FailureKind.InvalidRequest)]
    [InlineData(429, "", FailureKind.RateLimited)]
    [InlineData(500, "", FailureKind.OutcomeUnknown)]
    [InlineData(502, "<html>", FailureKind.OutcomeUnknown)]
    [InlineData(503, "no healthy upstream", FailureKind.Unavailable)]
    [InlineData(503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", FailureKind.OutcomeUnknown)]
    [InlineData(504, "", FailureKind.OutcomeUnknown)]
    [InlineData(520, "<html>", FailureKind.OutcomeUnknown)]
    [InlineData(521, "<html>", FailureKind.Unavailable)]
    [InlineData(524, "<html>", FailureKind.OutcomeUnknown)]
    public void An_answer_that_is_not_OpenAIs_costs_nothing_only_where_that_is_certain(int status, string body, FailureKind kind)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        var failure = OpenAiFailures.OfRefusal(response, body, Now);
        Assert.Equal((kind, $"http.{status}"), (failure.Kind, failure.ProviderCode));
    }

    [Theory]
    [InlineData("moderation_blocked", FailureKind.ModerationOutput)]
    [InlineData("server_error", FailureKind.Unavailable)]
    [InlineData("something_new", FailureKind.Unavailable)]
    [InlineData(null, FailureKind.Unavailable)]
    public void A_video_that_failed_was_not_billed(string? code, FailureKind kind) =>
        Assert.Equal(kind, OpenAiFailures.OfVideo(code, "m", null).Kind);

    [Theory]
    [InlineData("")]
    [InlineData("<html><body>502 Bad Gateway</body></html>")]
    [InlineData("""{"error":{"code":"server_er""")]
    [InlineData("""{"error":"server_error"}""")]
    [InlineData("""{"error":{"message":"m","type":null,"code":null}}""")]
    [InlineData("""["error"]""")]
    [InlineData("null")]
    public void A_body_in_other_words_holds_no_error_of_OpenAIs(string body) => Assert.Null(OpenAiError.In(body));

    [Fact]
    public void A_failure_names_the_request_and_where_to_look_in_bearable_length()
    {
        var failure = Sort(404, new OpenAiError("model_not_found", "invalid_request_error", new string('x', 100_000)), ("x-request-id", "req_1"));
        Assert.Equal("req_1", failure.RequestId);
        Assert.InRange(failure.Detail.Length, 500, 700);
        Assert.Contains("Providers:OpenAi:Models", failure.Detail, StringComparison.Ordinal);
    }

    private static Failure Sort(int status, OpenAiError error, params (string Name, string Value)[] headers)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        foreach (var (name, value) in headers)
        {
            response.Headers.TryAddWithoutValidation(name, value);
        }

        return OpenAiFailures.Of(response, error, Now);
    }
}
