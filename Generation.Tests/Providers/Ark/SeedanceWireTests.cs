using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Ark;

namespace Generation.Tests.Providers.Ark;

/// <summary>What goes over the wire to Ark's video tasks and what comes back.</summary>
public sealed class SeedanceWireTests
{
    /// <summary>The sample of §2.2.</summary>
    private const string Succeeded =
        """
        {"id":"cgt-20260902164158-rqwgv","model":"dreamina-seedance-2-0-260128","status":"succeeded",
         "content":{"video_url":"https://ark-content.volces.com/v.mp4?X-Tos-Signature=s1gned","last_frame_url":"https://ark-content.volces.com/l.png"},
         "usage":{"completion_tokens":108900,"total_tokens":108900},"created_at":1743414619,"updated_at":1743414673,"seed":10,
         "resolution":"720p","ratio":"16:9","duration":5,"framespersecond":24,"service_tier":"default","execution_expires_after":172800,
         "generate_audio":true,"draft":false,"priority":0}
        """;

    private static readonly ArkVideoRequest Boat = ArkVideoRequest.From(JsonNode.Parse(
        """{"prompt":"a boat","resolution":"720p","ratio":"16:9","duration":5,"generate_audio":true,"watermark":false,"providerModel":"dreamina-seedance-2-0-260128"}""")!.AsObject())!;

    [Theory]
    [InlineData(
        """{"prompt":"a boat, 船","resolution":"720p","ratio":"adaptive","duration":5,"generate_audio":true,"watermark":false,"providerModel":"m-1","size":"2K"}""",
        """
        {"model":"m-1","content":[{"type":"text","text":"a boat, 船"}],"resolution":"720p","ratio":"adaptive","duration":5,"generate_audio":true,"watermark":false}
        """)]
    [InlineData(
        """{"prompt":"p","resolution":"1080p","duration":12,"seed":7,"watermark":true,"first_frame":"https://a.example/1.png","last_frame":"https://a.example/2.png","providerModel":"m-1"}""",
        """
        {"model":"m-1","content":[{"type":"text","text":"p"},
          {"type":"image_url","image_url":{"url":"https://a.example/1.png"},"role":"first_frame"},
          {"type":"image_url","image_url":{"url":"https://a.example/2.png"},"role":"last_frame"}],
         "resolution":"1080p","duration":12,"seed":7,"watermark":true}
        """)]
    [InlineData(
        """{"prompt":"p","resolution":"480p","duration":4,"reference_images":["https://a.example/1.png","https://a.example/2.png"],"providerModel":"m-1"}""",
        """
        {"model":"m-1","content":[{"type":"text","text":"p"},
          {"type":"image_url","image_url":{"url":"https://a.example/1.png"},"role":"reference_image"},
          {"type":"image_url","image_url":{"url":"https://a.example/2.png"},"role":"reference_image"}],
         "resolution":"480p","duration":4,"watermark":false}
        """)]
    [InlineData(
        """{"prompt":"p","resolution":"480p","duration":4,"last_frame_poster":true,"providerModel":"m-1"}""",
        """{"model":"m-1","content":[{"type":"text","text":"p"}],"resolution":"480p","duration":4,"watermark":false,"return_last_frame":true}""")]
    [InlineData(
        """{"prompt":"p","resolution":"480p","duration":4,"last_frame_poster":false,"providerModel":"m-1"}""",
        """{"model":"m-1","content":[{"type":"text","text":"p"}],"resolution":"480p","duration":4,"watermark":false}""")]
    public async Task A_request_has_the_fields_of_the_documentation_and_no_others(string settings, string body)
    {
        await using var server = await LocalArk.StartAsync(200, """{"id":"cgt-20260902164158-rqwgv"}""", ("x-request-id", "0217a"));
        using var ark = ArkUnderTest.NewVideos(server.Address);

        var reply = await ark.CreateAsync(ArkVideoRequest.From(JsonNode.Parse(settings)!.AsObject())!, "0199-0-1", CancellationToken.None);

        var call = Assert.Single(server.Calls);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(body), call.Body), call.Body.ToJsonString());
        Assert.Equal("POST /api/v3/contents/generations/tasks", call.Route);
        Assert.Equal(($"Bearer {ArkUnderTest.ApiKey}", "0199-0-1"), (call.Headers["Authorization"], call.Headers["X-Client-Request-Id"]));
        Assert.Equal(("cgt-20260902164158-rqwgv", "0217a", null), (reply.TaskId, reply.RequestId, reply.Failure));
    }

    [Theory]
    [InlineData("a boat --dur 12", "a boat —dur 12")]
    [InlineData("a boat --resolution 1080p --ratio 1:1 --wm true", "a boat —resolution 1080p —ratio 1:1 —wm true")]
    [InlineData("--rs 1080p a boat", "—rs 1080p a boat")]
    [InlineData("a boat--dur 12", "a boat—dur 12")]
    [InlineData("a boat ---dur 12", "a boat —dur 12")]
    [InlineData("a boat -- dur 12", "a boat — dur 12")]
    [InlineData("a boat --DUR=12", "a boat —DUR=12")]
    [InlineData("a boat\n--dur 12", "a boat\n—dur 12")]
    [InlineData("a boat -\u200b-dur 12", "a boat —dur 12")] // zero-width space
    [InlineData("a boat -\u2060\ufeff-dur 12", "a boat —dur 12")] // word joiner, BOM
    [InlineData("a boat -\ufe0f-dur 12", "a boat —dur 12")] // variation selector
    [InlineData("a boat -\u0007-dur 12", "a boat —dur 12")] // control character
    [InlineData("a boat \u00ad--dur 12", "a boat —dur 12")] // soft hyphen
    [InlineData("a boat －－dur 12", "a boat —dur 12")] // full width
    [InlineData("a boat ﹣-dur 12", "a boat —dur 12")] // small
    [InlineData("a boat –-dur 12", "a boat —dur 12")] // en dash and hyphen
    [InlineData("a boat −‐dur 12", "a boat —dur 12")] // minus and hyphen
    [InlineData("a well-known boat - at sea", "a well-known boat - at sea")]
    [InlineData("a boat - -5 degrees", "a boat - -5 degrees")]
    [InlineData("calm — and wide", "calm — and wide")]
    public void No_flag_is_left_in_a_prompt_and_a_sentence_stays_one(string prompt, string sent) =>
        Assert.Equal(sent, ArkPrompt.WithoutFlags(prompt));

    [Theory]
    [InlineData("""{"prompt":"p","resolution":"720p","duration":5}""")]
    [InlineData("""{"prompt":"p","resolution":"720p","providerModel":"m"}""")]
    [InlineData("""{"prompt":"p","duration":5,"providerModel":"m"}""")]
    [InlineData("""{"prompt":"","resolution":"720p","duration":5,"providerModel":"m"}""")]
    public void Settings_that_lack_what_decides_the_price_make_no_request(string settings) =>
        Assert.Null(ArkVideoRequest.From(JsonNode.Parse(settings)!.AsObject()));

    [Theory]
    [InlineData(200, """{}""", FailureKind.OutcomeUnknown, "ark.no_task_id")]
    [InlineData(200, """{"id":""}""", FailureKind.OutcomeUnknown, "ark.no_task_id")]
    [InlineData(200, """{"id":[7]}""", FailureKind.OutcomeUnknown, "ark.no_task_id")]
    [InlineData(200, """{"id":"cgt-""", FailureKind.OutcomeUnknown, "ark.malformed_reply")]
    [InlineData(200, """{"error":{"code":"InternalServiceError","message":"m"}}""", FailureKind.OutcomeUnknown, "InternalServiceError")]
    // the task may be queued
    [InlineData(500, """{"error":{"code":"InternalServiceError","message":"m"}}""", FailureKind.OutcomeUnknown, "InternalServiceError")]
    [InlineData(400, """{"error":{"code":"ContentSecurityDetectionError","message":"m"}}""", FailureKind.Unavailable,
        "ContentSecurityDetectionError")]
    [InlineData(413, """{"error":{"code":"RequestEntityTooLarge","message":"m"}}""", FailureKind.InvalidRequest, "RequestEntityTooLarge")]
    [InlineData(429, """{"error":{"code":"QuotaExceeded","message":"The request has exceeded the quota: too many queued tasks."}}""",
        FailureKind.RateLimited, "QuotaExceeded")]
    [InlineData(400, """{"error":{"code":"InputImageSensitiveContentDetected.PrivacyInformation","message":"m"}}""", FailureKind.ModerationInput,
        "InputImageSensitiveContentDetected.PrivacyInformation")]
    [InlineData(502, "<html>", FailureKind.OutcomeUnknown, "http.502")]
    public async Task A_creation_that_names_no_task_says_whether_one_may_have_been_made(int status, string body, FailureKind kind, string code)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var ark = ArkUnderTest.NewVideos(server.Address);

        var failure = (await ark.CreateAsync(Boat, "c", CancellationToken.None)).Failure!;

        Assert.Equal((kind, code), (failure.Kind, failure.ProviderCode));
    }

    [Fact]
    public async Task A_creation_without_an_answer_is_of_unknown_outcome_and_one_without_a_connection_is_not()
    {
        await using var server = await LocalArk.StartAsync(context => Task.Delay(
            Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted));
        using var silent = ArkUnderTest.NewVideos(server.Address, o => o.VideoCallTimeout = TimeSpan.FromSeconds(1));
        using var unreachable = ArkUnderTest.NewVideos("http://127.0.0.1:1");

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.timeout"), KindOf((await silent.CreateAsync(Boat, "c", CancellationToken.None)).Failure!));
        Assert.Equal((FailureKind.Unavailable, "ark.not_reached"),
            KindOf((await unreachable.CreateAsync(Boat, "c", CancellationToken.None)).Failure!));
    }

    [Fact]
    public async Task A_task_that_succeeded_comes_back_as_its_address_and_what_it_cost()
    {
        await using var server = await LocalArk.StartAsync(200, Succeeded);
        using var ark = ArkUnderTest.NewVideos(server.Address);

        var report = Assert.IsType<TaskReport.Delivered>(await ark.RetrieveAsync("cgt-20260902164158-rqwgv", CancellationToken.None));

        Assert.Equal("GET /api/v3/contents/generations/tasks/cgt-20260902164158-rqwgv", Assert.Single(server.Calls).Route);
        Assert.Equal("https://ark-content.volces.com/v.mp4?X-Tos-Signature=s1gned", report.Url.AbsoluteUri);
        Assert.Equal("https://ark-content.volces.com/l.png", report.Poster!.AbsoluteUri);
        Assert.Equal("""{"completion_tokens":108900,"total_tokens":108900}""", report.Usage!.ToJsonString());
    }

    [Fact]
    public async Task Where_to_call_back_goes_over_the_wire_as_it_is()
    {
        await using var server = await LocalArk.StartAsync(200, """{"id":"cgt-1"}""");
        using var ark = ArkUnderTest.NewVideos(server.Address);

        await ark.CreateAsync(Boat with { CallbackUrl = new Uri("https://us.example/api/webhooks/ark/t0ken_-") }, "c", CancellationToken.None);

        Assert.Equal("https://us.example/api/webhooks/ark/t0ken_-", (string?)Assert.Single(server.Calls).Body["callback_url"]);
    }

    [Theory]
    [InlineData(5, false, 10)]
    [InlineData(120, false, 10)]
    [InlineData(240, false, 20)]
    [InlineData(3_600, false, 60)]
    [InlineData(5, true, 30)]
    [InlineData(480, true, 40)]
    [InlineData(3_600, true, 60)]
    public void The_older_a_task_the_less_often_it_is_asked_for(int ageSeconds, bool takesCallbacks, int seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), new ArkOptions().PollAfter(TimeSpan.FromSeconds(ageSeconds), takesCallbacks));

    [Theory]
    // It goes on, whatever became of the question.
    [InlineData(200, """{"status":"queued"}""", "Running", null, null)]
    [InlineData(200, """{"status":"running"}""", "Running", null, null)]
    [InlineData(200, """{"status":"dreaming"}""", "PollFailed", FailureKind.Unavailable, "ark.unknown_status")]
    [InlineData(200, """{"status":"succ""", "PollFailed", FailureKind.Unavailable, "ark.malformed_reply")]
    [InlineData(500, """{"error":{"code":"InternalServiceError","message":"m"}}""", "PollFailed", FailureKind.Unavailable, "InternalServiceError")]
    [InlineData(429, """{"error":{"code":"AccountRateLimitExceeded","message":"m"}}""", "PollFailed", FailureKind.RateLimited,
        "AccountRateLimitExceeded")]
    [InlineData(401, """{"error":{"code":"AuthenticationError","message":"m"}}""", "PollFailed", FailureKind.Unauthorized, "AuthenticationError")]
    [InlineData(404, "<html>", "PollFailed", FailureKind.Unauthorized, "http.404")]
    [InlineData(502, "<html>", "PollFailed", FailureKind.OutcomeUnknown, "http.502")]
    // It is over.
    [InlineData(404, """{"error":{"code":"NotFound.Task","message":"m"}}""", "Ended", FailureKind.OutcomeUnknown, "NotFound.Task")]
    [InlineData(200, """{"status":"failed","error":{"code":"OutputVideoSensitiveContentDetected.PolicyViolation","message":"m"}}""", "Ended",
        FailureKind.ModerationOutput, "OutputVideoSensitiveContentDetected.PolicyViolation")]
    [InlineData(200, """{"status":"failed","error":{"code":"InternalServiceError","message":"m"}}""", "Ended", FailureKind.Unavailable,
        "InternalServiceError")]
    [InlineData(200, """{"status":"failed","error":{"code":"InvalidParameter.TaskTypeMismatch","message":"m"}}""", "Ended",
        FailureKind.InvalidRequest, "InvalidParameter.TaskTypeMismatch")]
    [InlineData(200, """{"status":"failed"}""", "Ended", FailureKind.Unavailable, "ark.task_failed")]
    [InlineData(200, """{"status":"expired"}""", "Ended", FailureKind.Unavailable, "ark.task_expired")]
    [InlineData(200, """{"status":"cancelled"}""", "Ended", FailureKind.Unavailable, "ark.task_cancelled")]
    [InlineData(200, """{"status":"succeeded","content":{}}""", "OutputMissing", FailureKind.OutputUnusable, "ark.no_video")]
    [InlineData(200, """{"status":"succeeded","content":{"video_url":"file:///etc/passwd"}}""", "OutputMissing", FailureKind.OutputUnusable, "ark.no_video")]
    public async Task A_question_about_a_task_tells_its_own_failure_from_the_tasks(
        int status, string body, string report, FailureKind? kind, string? code)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var ark = ArkUnderTest.NewVideos(server.Address);

        var answer = await ark.RetrieveAsync("cgt-1", CancellationToken.None);

        Assert.Equal(report, answer.GetType().Name);
        var failure = (answer as TaskReport.Ended)?.Failure ?? (answer as TaskReport.PollFailed)?.Failure
            ?? (answer as TaskReport.OutputMissing)?.Failure;
        Assert.Equal((kind, code), (failure?.Kind, failure?.ProviderCode));
    }

    [Theory]
    [InlineData(200, true)]
    [InlineData(400, false)]
    [InlineData(404, false)]
    [InlineData(409, false)]
    public async Task A_refused_cancel_is_no_error(int status, bool deleted)
    {
        await using var server = await LocalArk.StartAsync(status, "{}");
        using var ark = ArkUnderTest.NewVideos(server.Address);

        Assert.Equal(deleted, await ark.DeleteAsync("cgt-1", CancellationToken.None));
        Assert.Equal("DELETE /api/v3/contents/generations/tasks/cgt-1", Assert.Single(server.Calls).Route);
    }

    private static (FailureKind, string) KindOf(Failure failure) => (failure.Kind, failure.ProviderCode);
}
