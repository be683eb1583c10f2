using System.Net;
using Generation.Core.Providers;
using Generation.Worker.Providers.Kie;

namespace Generation.Tests.Providers.Kie;

/// <summary>Every code that Kie documents, and what follows from it.</summary>
public sealed class KieFailuresTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 22, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(400, "Invalid parameters", FailureKind.InvalidRequest, null)]
    [InlineData(401, "You do not have access permissions", FailureKind.Unauthorized, null)]
    [InlineData(402, "Credits insufficient", FailureKind.QuotaExhausted, null)]
    [InlineData(404, "Not Found", FailureKind.Unauthorized, null)]
    [InlineData(422, "duration must be one of 5, 10", FailureKind.InvalidRequest, null)]
    [InlineData(422, "Invalid prompt: prompt contains prohibited content", FailureKind.ModerationInput, null)]
    [InlineData(400, "Your prompt was flagged by the content policy", FailureKind.ModerationInput, null)]
    [InlineData(422, "The model name you specified is not supported. Please verify it.", FailureKind.Unauthorized, null)]
    [InlineData(429, "Your call frequency is too high", FailureKind.RateLimited, 10)]
    [InlineData(455, "Service Unavailable", FailureKind.Unavailable, 60)]
    [InlineData(500, "Server Error", FailureKind.Unavailable, null)]
    [InlineData(505, "Feature Disabled", FailureKind.Unauthorized, null)]
    [InlineData(451, "something new", FailureKind.InvalidRequest, null)]
    [InlineData(599, "something new", FailureKind.Unavailable, null)]
    public void A_refusal_is_sorted_by_the_code_in_its_body(int code, string text, FailureKind kind, int? pauseSeconds)
    {
        using var response = new HttpResponseMessage();
        var failure = KieFailures.Of(new KieReply(code, text, null), response.Headers, Now);

        Assert.Equal((kind, $"{code}", pauseSeconds, false),
            (failure.Kind, failure.ProviderCode, (int?)failure.RetryAfter?.TotalSeconds, failure.IsFinal));
    }

    [Theory]
    [InlineData(500, FailureKind.OutcomeUnknown)]
    [InlineData(599, FailureKind.OutcomeUnknown)]
    [InlineData(408, FailureKind.OutcomeUnknown)]
    [InlineData(455, FailureKind.Unavailable)] // maintenance: it has taken nothing
    [InlineData(501, FailureKind.Unavailable)] // it says itself that the generation failed, and is not tried again
    [InlineData(429, FailureKind.RateLimited)]
    [InlineData(422, FailureKind.InvalidRequest)]
    public void A_breakdown_that_answers_a_creation_may_have_left_a_task(int code, FailureKind kind)
    {
        using var response = new HttpResponseMessage();

        Assert.Equal(kind, KieFailures.Of(new KieReply(code, "m", null), response.Headers, Now, createsTask: true).Kind);
    }

    [Theory]
    [InlineData("422", "Invalid prompt: prompt contains prohibited content", 0, FailureKind.ModerationInput, false)]
    [InlineData("422", "CONTENT_POLICY_BLOCKED: the content was blocked", 0, FailureKind.ModerationOutput, false)]
    [InlineData("501", "The output may contain sensitive content", 0, FailureKind.ModerationOutput, false)]
    [InlineData("500", "CONTENT_POLICY_BLOCKED", 0, FailureKind.ModerationOutput, false)]
    [InlineData("422", "image_urls could not be fetched", 0, FailureKind.InvalidRequest, false)]
    [InlineData("400", "bad", 0, FailureKind.InvalidRequest, false)]
    [InlineData("500", "Internal Error, Please try again later.", 0, FailureKind.Unavailable, true)]
    [InlineData("500", "Internal Error, Please try again later.", 4, FailureKind.Unavailable, false)] // it was billed: another would be paid twice
    [InlineData("500", "Internal Error, Please try again later.", null, FailureKind.Unavailable, false)] // it may have been
    [InlineData("455", "maintenance", 0, FailureKind.Unavailable, true)]
    [InlineData("501", "Generation Failed", 0, FailureKind.Unavailable, false)]
    [InlineData("", "", 0, FailureKind.Unavailable, true)]
    [InlineData("MODEL_ERROR", "broken", 0, FailureKind.Unavailable, true)]
    [InlineData("", "", null, FailureKind.Unavailable, false)]
    public void A_failed_task_is_made_again_only_where_it_demonstrably_cost_nothing(
        string code, string text, int? credits, FailureKind kind, bool isMadeAgain)
    {
        var failure = KieFailures.OfTask(new KieTask("fail", null, code, text, null, credits));

        Assert.Equal((kind, isMadeAgain), (failure.Kind, failure.IsRetryable));
        Assert.Equal(code.Length > 0 ? code : "kie.task_failed", failure.ProviderCode);
    }

    [Theory]
    [InlineData(200, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "kie.malformed_reply")]
    [InlineData(302, FailureKind.Unauthorized, FailureKind.Unauthorized, "http.302")]
    [InlineData(400, FailureKind.InvalidRequest, FailureKind.InvalidRequest, "http.400")]
    [InlineData(403, FailureKind.Unauthorized, FailureKind.Unauthorized, "http.403")]
    [InlineData(404, FailureKind.Unauthorized, FailureKind.Unauthorized, "http.404")]
    [InlineData(408, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "http.408")]
    [InlineData(413, FailureKind.InvalidRequest, FailureKind.InvalidRequest, "http.413")]
    [InlineData(429, FailureKind.RateLimited, FailureKind.RateLimited, "http.429")]
    [InlineData(500, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "http.500")]
    [InlineData(502, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "http.502")]
    [InlineData(503, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "http.503")]
    [InlineData(504, FailureKind.OutcomeUnknown, FailureKind.Unavailable, "http.504")]
    public void An_answer_that_is_not_Kies_says_nothing_about_a_creation_and_costs_nothing_as_a_question(
        int status, FailureKind created, FailureKind asked, string code)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);

        Assert.Equal((created, code), KindOf(KieFailures.OfUnrecognized(response, mayHaveCost: true, Now)));
        Assert.Equal((asked, code), KindOf(KieFailures.OfUnrecognized(response, mayHaveCost: false, Now)));
    }

    [Theory]
    [InlineData("7", 7)]
    [InlineData("0", 10)]
    [InlineData("86400", 600)]
    [InlineData("Sun, 22 Nov 2026 12:01:30 GMT", 90)]
    [InlineData("soon", 10)]
    public void Retry_After_is_honoured_up_to_ten_minutes_and_else_a_whole_window_is_waited_for(string header, int seconds)
    {
        using var response = new HttpResponseMessage();
        response.Headers.TryAddWithoutValidation("Retry-After", header);

        Assert.Equal(seconds, (int?)KieFailures.Of(new KieReply(429, "", null), response.Headers, Now).RetryAfter?.TotalSeconds);
        Assert.Null(KieFailures.Of(new KieReply(401, "", null), response.Headers, Now).RetryAfter);
    }

    [Fact]
    public void A_message_of_any_length_leaves_a_short_detail_that_says_where_to_look()
    {
        using var response = new HttpResponseMessage();
        var failure = KieFailures.Of(new KieReply(402, new string('x', 100_000), null), response.Headers, Now);

        Assert.InRange(failure.Detail.Length, 500, 600);
        Assert.Contains("credits at Kie", failure.Detail, StringComparison.Ordinal);
    }

    private static (FailureKind, string) KindOf(Failure failure) => (failure.Kind, failure.ProviderCode);
}
