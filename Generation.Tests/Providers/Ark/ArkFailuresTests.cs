using System.Net;
using Generation.Core.Providers;
using Generation.Worker.Providers.Ark;

namespace Generation.Tests.Providers.Ark;

/// <summary>Every error that Ark documents, and what follows from it.</summary>
public sealed class ArkFailuresTests
{
    private static readonly DateTimeOffset Now = new(2026, 5, 11, 13, 50, 0, TimeSpan.Zero);

    public static TheoryData<int, string, FailureKind> Documented
    {
        get
        {
            var rows = new TheoryData<int, string, FailureKind>();
            void Add(int status, FailureKind kind, params string[] codes) => Array.ForEach(codes, code => rows.Add(status, code, kind));
            string[] Of(string pattern, params string[] words) =>
                Array.ConvertAll(words, word => pattern.Replace("*", word, StringComparison.Ordinal));

            Add(400, FailureKind.InvalidRequest,
                "MissingParameter", "MissingParameter.prompt", "InvalidParameter", "InvalidParameter.size", "InvalidParameter.UnsupportedParameter",
                "InvalidParameter.TaskTypeConstraint", "InvalidParameter.TaskTypeMismatch", "InvalidImageURL.EmptyURL",
                    "InvalidImageURL.InvalidFormat");
            Add(400, FailureKind.Unauthorized, "InvalidEndpoint.ClosedEndpoint");
            Add(400, FailureKind.ModerationInput, "SensitiveContentDetected", "SensitiveContentDetected.SevereViolation",
                "SensitiveContentDetected.Violence");
            Add(400, FailureKind.ModerationInput, Of("Input*SensitiveContentDetected", "Text", "Image", "Video", "Audio"));
            Add(400, FailureKind.ModerationInput, Of("Input*SensitiveContentDetected.PolicyViolation", "Text", "Image", "Video", "Audio"));
            Add(400, FailureKind.ModerationInput, Of("Input*SensitiveContentDetected.PrivacyInformation", "Image", "Video"));
            Add(400, FailureKind.ModerationInput, Of("Input*RiskDetection", "Text", "Image"));
            Add(400, FailureKind.ModerationOutput, Of("Output*SensitiveContentDetected", "Text", "Image", "Video", "Audio"));
            Add(400, FailureKind.ModerationOutput, Of("Output*SensitiveContentDetected.PolicyViolation", "Text", "Image", "Video", "Audio"));
            Add(400, FailureKind.ModerationOutput, "OutputImageSensitiveContentDetected.DeepFake");
            Add(400, FailureKind.ModerationOutput, Of("Output*RiskDetection", "Text", "Image"));
            Add(400, FailureKind.Unavailable, "ContentSecurityDetectionError");
            Add(401, FailureKind.Unauthorized, "AuthenticationError", "InvalidAccountStatus");
            Add(403, FailureKind.Unauthorized, "AccessDenied", "OperationDenied.ServiceNotOpen");
            Add(403, FailureKind.QuotaExhausted, "AccountOverdueError", "OperationDenied.ServiceOverdue");
            Add(404, FailureKind.Unauthorized, "InvalidEndpointOrModel.NotFound", "ModelNotOpen", "InvalidEndpointOrModel.ModelIDAccessDisabled");
            Add(404, FailureKind.InvalidRequest, "NotFound.Task");
            Add(429, FailureKind.RateLimited,
                "RateLimitExceeded.EndpointRPMExceeded", "RateLimitExceeded.EndpointTPMExceeded", "ModelAccountRpmRateLimitExceeded",
                "ModelAccountTpmRateLimitExceeded", "APIAccountRpmRateLimitExceeded", "AccountRateLimitExceeded", "ModelAccountIpmRateLimitExceeded");
            Add(429, FailureKind.RateLimited, "ServerOverloaded", "RequestBurstTooFast", "InflightBatchsizeExceeded", "QuotaExceeded");
            Add(429, FailureKind.QuotaExhausted, "SetLimitExceeded");
            Add(500, FailureKind.Unavailable, "InternalServiceError");
            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Documented))]
    public void Every_documented_error_is_sorted_by_its_code(int status, string code, FailureKind kind)
    {
        var failure = Sort(status, code);

        Assert.Equal((kind, code), (failure.Kind, failure.ProviderCode));
    }

    [Theory]
    [MemberData(nameof(Documented))]
    public void A_picture_inside_a_200_fails_for_the_same_reasons_as_a_whole_call(int status, string code, FailureKind kind)
    {
        Assert.NotEqual(200, status);
        Assert.Equal(kind, Sort(200, code).Kind);
    }

    [Theory]
    [InlineData(200, FailureKind.Unavailable)]
    [InlineData(302, FailureKind.Unauthorized)]
    [InlineData(400, FailureKind.InvalidRequest)]
    [InlineData(401, FailureKind.Unauthorized)]
    [InlineData(402, FailureKind.QuotaExhausted)]
    [InlineData(403, FailureKind.Unauthorized)]
    [InlineData(404, FailureKind.Unauthorized)]
    [InlineData(408, FailureKind.Unavailable)]
    [InlineData(409, FailureKind.Unavailable)]
    [InlineData(413, FailureKind.InvalidRequest)]
    [InlineData(429, FailureKind.RateLimited)]
    [InlineData(500, FailureKind.Unavailable)]
    [InlineData(502, FailureKind.Unavailable)]
    [InlineData(503, FailureKind.Unavailable)]
    public void An_unknown_code_in_Arks_words_is_sorted_by_its_status(int status, FailureKind kind) =>
        Assert.Equal(kind, Sort(status, "SomethingNew.Entirely").Kind);

    [Theory]
    [MemberData(nameof(Documented))]
    public void An_error_of_the_creation_of_a_task_means_the_same_but_a_breakdown_may_have_left_a_task(int status, string code, FailureKind kind)
    {
        var expected = status == 500 && kind == FailureKind.Unavailable ? FailureKind.OutcomeUnknown : kind;

        Assert.Equal((expected, code), (SortCreation(status, code).Kind, SortCreation(status, code).ProviderCode));
    }

    [Theory]
    [InlineData(408, FailureKind.OutcomeUnknown)]
    [InlineData(409, FailureKind.Unavailable)]
    [InlineData(413, FailureKind.InvalidRequest)]
    [InlineData(429, FailureKind.RateLimited)]
    [InlineData(500, FailureKind.OutcomeUnknown)]
    [InlineData(502, FailureKind.OutcomeUnknown)]
    [InlineData(503, FailureKind.OutcomeUnknown)]
    public void An_unknown_code_of_a_creation_is_sorted_by_its_status(int status, FailureKind kind) =>
        Assert.Equal(kind, SortCreation(status, "SomethingNew.Entirely").Kind);

    [Theory]
    [InlineData("true")]
    [InlineData("false")]
    public void What_Ark_says_of_retrying_does_not_make_a_lost_task_known(string should) =>
        Assert.Equal(FailureKind.OutcomeUnknown, SortCreation(500, "InternalServiceError", ("x-should-retry", should)).Kind);

    [Theory]
    [InlineData(302, "", FailureKind.Unauthorized)]
    [InlineData(400, "<html>", FailureKind.InvalidRequest)]
    [InlineData(401, "", FailureKind.Unauthorized)]
    [InlineData(404, "<html>", FailureKind.Unauthorized)]
    [InlineData(408, "", FailureKind.OutcomeUnknown)]
    [InlineData(413, "<html>", FailureKind.InvalidRequest)]
    [InlineData(429, "", FailureKind.RateLimited)]
    [InlineData(500, "", FailureKind.OutcomeUnknown)]
    [InlineData(502, "<html>", FailureKind.OutcomeUnknown)]
    [InlineData(504, "upstream request timeout", FailureKind.OutcomeUnknown)]
    [InlineData(503, "no healthy upstream", FailureKind.Unavailable)]
    [InlineData(503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure", FailureKind.Unavailable)]
    [InlineData(503, "upstream connect error or disconnect/reset before headers. reset reason: overflow", FailureKind.Unavailable)]
    [InlineData(503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", FailureKind.OutcomeUnknown)]
    public void An_answer_that_is_not_Arks_costs_nothing_only_where_that_is_certain(int status, string body, FailureKind kind)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);

        var failure = ArkFailures.OfUnrecognized(response, body, Now);

        Assert.Equal((kind, $"http.{status}"), (failure.Kind, failure.ProviderCode));
    }

    [Theory]
    [InlineData("Your account [2100000000] has exhausted its free trial quota for the [seedream-4-0] model.", FailureKind.QuotaExhausted, null)]
    [InlineData("The request has exceeded the quota.", FailureKind.RateLimited, null)]
    [InlineData("You have exceeded the 5-hour usage quota. It will reset at 2026-05-11 21:57:42 +0800 CST.", FailureKind.RateLimited, 462)]
    [InlineData("You have exceeded the 5-hour usage quota. It will reset at 2026-05-11 23:57:42 +0800 CST.", FailureKind.QuotaExhausted, null)]
    [InlineData("You have exceeded the 5-hour usage quota. It will reset at 2026-05-11 21:49:59 +0800 CST.", FailureKind.RateLimited, null)]
    [InlineData("You have exceeded the weekly usage quota.", FailureKind.QuotaExhausted, null)]
    public void QuotaExceeded_means_three_things(string message, FailureKind kind, int? waitSeconds)
    {
        foreach (var code in new[] { "QuotaExceeded", "AccountQuotaExceeded" })
        {
            var failure = Sort(429, code, message);

            Assert.Equal((kind, waitSeconds), (failure.Kind, (int?)failure.RetryAfter?.TotalSeconds));
        }
    }

    [Theory]
    [InlineData("7", 7)]
    [InlineData("0", null)]
    [InlineData("86400", 600)]
    [InlineData("Mon, 11 May 2026 13:51:30 GMT", 90)]
    [InlineData("Mon, 11 May 2026 13:49:00 GMT", null)]
    [InlineData("Tue, 12 May 2026 13:50:00 GMT", 600)]
    [InlineData("soon", null)]
    public void Retry_After_is_honoured_in_seconds_and_as_a_date_up_to_ten_minutes(string header, int? seconds)
    {
        foreach (var (status, code) in new[] { (429, "ServerOverloaded"), (500, "InternalServiceError") })
        {
            Assert.Equal(seconds, (int?)Sort(status, code, "", ("Retry-After", header)).RetryAfter?.TotalSeconds);
        }

        Assert.Null(Sort(401, "AuthenticationError", "", ("Retry-After", header)).RetryAfter);
    }

    [Theory]
    [InlineData(429, "ServerOverloaded", "false", FailureKind.QuotaExhausted)]
    [InlineData(500, "InternalServiceError", "false", FailureKind.InvalidRequest)]
    [InlineData(500, "InternalServiceError", "true", FailureKind.Unavailable)]
    [InlineData(401, "AuthenticationError", "true", FailureKind.Unauthorized)]
    [InlineData(400, "InputTextSensitiveContentDetected", "false", FailureKind.ModerationInput)]
    public void What_Ark_says_not_to_retry_is_not_retried(int status, string code, string should, FailureKind kind) =>
        Assert.Equal(kind, Sort(status, code, "", ("x-should-retry", should)).Kind);

    [Fact]
    public void An_unknown_outcome_stays_unknown_when_a_gateway_suggests_a_retry()
    {
        using var response = new HttpResponseMessage(HttpStatusCode.BadGateway);
        response.Headers.Add("x-should-retry", "true");
        response.Headers.Add("Retry-After", "1");

        var failure = ArkFailures.OfUnrecognized(response, "<html>", Now);

        Assert.Equal((FailureKind.OutcomeUnknown, null), (failure.Kind, failure.RetryAfter));
    }

    [Theory]
    [InlineData("the API key or AK/SK in the request is missing or invalid. request id: 0217abc-1",
        "the API key or AK/SK in the request is missing or invalid.", "0217abc-1")]
    [InlineData("The request failed because the input text may contain sensitive information.Request ID: 0217f",
        "The request failed because the input text may contain sensitive information.", "0217f")]
    [InlineData("Operation is denied. Request id: 0217a. Try later.", "Operation is denied. Try later.", "0217a")]
    [InlineData("The request failed. Request ID:", "The request failed.", null)]
    [InlineData("", "", null)]
    public void The_request_id_is_taken_out_of_the_message(string message, string detail, string? id)
    {
        var failure = Sort(400, "InvalidParameter", message);

        Assert.Equal((detail, id), (failure.Detail, failure.RequestId));
    }

    [Fact]
    public void The_header_names_the_request_before_the_message_does()
    {
        var failure = Sort(400, "InvalidParameter", "No. request id: 0217b", ("x-request-id", "0217a"));

        Assert.Equal(("No.", "0217a"), (failure.Detail, failure.RequestId));
    }

    [Fact]
    public void A_message_of_any_length_leaves_a_short_detail_that_says_where_to_look()
    {
        var failure = Sort(404, "ModelNotOpen", new string('x', 100_000));

        Assert.InRange(failure.Detail.Length, 500, 700);
        Assert.Contains("Providers:Ark:Models", failure.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"error":{"code":"InternalServiceError","message":"m"}}""", "InternalServiceError", "m")]
    [InlineData("""{"error":{"code":"InternalServiceError"}}""", "InternalServiceError", "")]
    [InlineData("""{"error":{"type":"Unauthorized","code":null,"message":"m"}}""", "Unauthorized", "m")]
    [InlineData("""{"error":{"code":"\ud800","type":"BadRequest","message":7}}""", "\uFFFD", "7")]
    public void An_error_is_read_from_whatever_part_of_it_came(string body, string code, string message) =>
        Assert.Equal(new ArkError(code, message), ArkError.In(body));

    [Theory]
    [InlineData("")]
    [InlineData("<html><body>502 Bad Gateway</body></html>")]
    [InlineData("""{"error":{"code":"InternalServ""")]
    [InlineData("""{"error":"InternalServiceError"}""")]
    [InlineData("""{"error":{"code":"","message":"m"}}""")]
    [InlineData("""{"message":"no route"}""")]
    [InlineData("""["error"]""")]
    [InlineData("null")]
    public void A_body_in_other_words_holds_no_error_of_Arks(string body) => Assert.Null(ArkError.In(body));

    private static Failure Sort(int status, string code, string message = "m", params (string Name, string Value)[] headers) =>
        Sort(status, code, message, false, headers);

    private static Failure SortCreation(int status, string code, params (string Name, string Value)[] headers) =>
        Sort(status, code, "m", true, headers);

    private static Failure Sort(int status, string code, string message, bool createsTask, (string Name, string Value)[] headers)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        foreach (var (name, value) in headers)
        {
            response.Headers.TryAddWithoutValidation(name, value);
        }

        return ArkFailures.Of(response, new ArkError(code, message), Now, createsTask);
    }
}
