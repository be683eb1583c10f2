using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Tests.Providers.Ark;
using Generation.Tests.Providers.OpenAi;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Google;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Google;

/// <summary>What goes over the wire to Veo and what comes back, and every documented error.</summary>
public sealed class VeoWireTests
{
    private const string Key = "test-key-0123";
    private const string Operation = "models/veo-3.1-generate-preview/operations/abc123";

    [Fact]
    public async Task A_request_has_the_fields_that_the_SDK_sends_and_seconds_as_a_number()
    {
        await using var server = await LocalArk.StartAsync(200, $$"""{"name":"{{Operation}}"}""");
        using var veo = NewVeo(server);
        var reply = await veo.StartAsync(VeoRequest.From(Settings(
            """{"prompt":"a boat, 船","resolution":"1080p","ratio":"9:16","duration":8,"negative_prompt":"birds","providerModel":"veo-3.1-generate-preview"}"""))!, "c", CancellationToken.None);

        var call = Assert.Single(server.Calls);
        Assert.True(JsonNode.DeepEquals(
            JsonNode.Parse("""{"instances":[{"prompt":"a boat, 船"}],"parameters":{"aspectRatio":"9:16","durationSeconds":8,"resolution":"1080p","negativePrompt":"birds"}}"""), call.Body), call.Body.ToJsonString());
        Assert.Equal(("POST /v1beta/models/veo-3.1-generate-preview:predictLongRunning", Key), (call.Route, call.Headers["x-goog-api-key"]));
        Assert.Equal((Operation, null), (reply.TaskId, reply.Failure));
    }

    [Fact]
    public async Task Another_id_stands_in_the_address_in_place_of_a_retired_one()
    {
        await using var server = await LocalArk.StartAsync(200, $$"""{"name":"{{Operation}}"}""");
        using var veo = NewVeo(server, o => o.Models["veo-3.1-generate-preview"] = "veo-3.1-generate-001");
        await veo.StartAsync(VeoRequest.From(Settings(
            """{"prompt":"p","resolution":"720p","duration":8,"providerModel":"veo-3.1-generate-preview"}"""))!, "c", CancellationToken.None);
        Assert.Equal("POST /v1beta/models/veo-3.1-generate-001:predictLongRunning", Assert.Single(server.Calls).Route);
    }

    [Theory]
    [InlineData("""{"name":"../../admin"}""", FailureKind.OutcomeUnknown, "google.no_operation")]
    [InlineData("{}", FailureKind.OutcomeUnknown, "google.no_operation")]
    [InlineData("""{"name":"mod""", FailureKind.OutcomeUnknown, "google.malformed_reply")]
    [InlineData("""{"error":{"code":500,"message":"m","status":"INTERNAL"}}""", FailureKind.OutcomeUnknown, "INTERNAL")]
    [InlineData("""{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}""", FailureKind.InvalidRequest, "INVALID_ARGUMENT")]
    public async Task A_200_without_an_operation_says_whether_it_may_have_been_billed(string body, FailureKind kind, string code)
    {
        await using var server = await LocalArk.StartAsync(200, body);
        using var veo = NewVeo(server);
        var reply = await veo.StartAsync(VeoRequest.From(Settings("""{"prompt":"p","resolution":"720p","duration":8,"providerModel":"veo"}"""))!, "c",
            CancellationToken.None);
        Assert.Equal((kind, code), (reply.Failure!.Kind, reply.Failure.ProviderCode));
    }

    [Theory]
    [InlineData(200, """{"name":"o"}""", "Running")]
    [InlineData(200, """{"name":"o","done":false}""", "Running")]
    [InlineData(200, """{"name":"o","done":true,"response":{"@type":"t","generateVideoResponse":{"generatedSamples":[{"video":{"uri":"https://generativelanguage.googleapis.com/v1beta/files/f:download?alt=media"}}]}}}""",
        """Delivered https://generativelanguage.googleapis.com/v1beta/files/f:download?alt=media {"seconds":6}""")]
    [InlineData(200, """{"name":"o","done":true,"response":{"generateVideoResponse":{"raiMediaFilteredCount":1,"raiMediaFilteredReasons":["Sorry."]}}}""", "Ended ModerationOutput google.filtered Sorry.")]
    [InlineData(200, """{"name":"o","done":true,"response":{"generateVideoResponse":{"raiMediaFilteredCount":1}}}""",
        "Ended ModerationOutput google.filtered ")]
    [InlineData(200, """{"name":"o","done":true,"response":{}}""", "OutputMissing google.no_video")]
    [InlineData(200, """{"name":"o","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{"uri":"file:///etc/passwd"}}]}}}""", "OutputMissing google.no_video")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":13,"message":"m"}}""", "Ended Unavailable INTERNAL m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":14,"message":"m"}}""", "Ended Unavailable UNAVAILABLE m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":8,"message":"m"}}""", "Ended RateLimited RESOURCE_EXHAUSTED m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":4,"message":"m"}}""", "Ended Unavailable DEADLINE_EXCEEDED m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":1,"message":"m"}}""", "Ended Unavailable CANCELLED m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":3,"message":"m"}}""", "Ended InvalidRequest INVALID_ARGUMENT m")]
    [InlineData(200, """{"name":"o","done":true,"error":{"code":3,"message":"words that violate Gemini API's usage guidelines"}}""",
        "Ended ModerationInput INVALID_ARGUMENT words that violate")]
    [InlineData(200, """{"name":"o",""", "PollFailed Unavailable google.malformed_reply")]
    [InlineData(404, """{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}""", "Ended OutcomeUnknown NOT_FOUND")]
    [InlineData(404, "<html>", "PollFailed Unauthorized http.404")]
    [InlineData(503, """[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]""", "PollFailed Unavailable UNAVAILABLE")]
    public async Task What_is_said_of_an_operation_is_understood(int status, string body, string understood)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var veo = NewVeo(server);
        var report = await veo.RetrieveAsync(Operation, 6, CancellationToken.None);
        Assert.Equal(($"GET /v1beta/{Operation}", Key), (Assert.Single(server.Calls).Route, server.Calls.Single().Headers["x-goog-api-key"]));
        Assert.StartsWith(understood, report switch
        {
            TaskReport.Running => "Running",
            TaskReport.Delivered delivered => $"Delivered {delivered.Url} {delivered.Usage?.ToJsonString()}",
            TaskReport.Ended ended => $"Ended {ended.Failure.Kind} {ended.Failure.ProviderCode} {ended.Failure.Detail}",
            TaskReport.OutputMissing missing => $"OutputMissing {missing.Failure.ProviderCode}",
            TaskReport.PollFailed failure => $"PollFailed {failure.Failure.Kind} {failure.Failure.ProviderCode}",
            _ => "",
        }, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(400, "INVALID_ARGUMENT", FailureKind.InvalidRequest)]
    [InlineData(400, "FAILED_PRECONDITION", FailureKind.QuotaExhausted)]
    [InlineData(400, "OUT_OF_RANGE", FailureKind.InvalidRequest)]
    [InlineData(401, "UNAUTHENTICATED", FailureKind.Unauthorized)]
    [InlineData(403, "PERMISSION_DENIED", FailureKind.Unauthorized)]
    [InlineData(404, "NOT_FOUND", FailureKind.Unauthorized)]
    [InlineData(409, "ABORTED", FailureKind.Unavailable)]
    [InlineData(409, "ALREADY_EXISTS", FailureKind.InvalidRequest)]
    [InlineData(429, "RESOURCE_EXHAUSTED", FailureKind.RateLimited)]
    [InlineData(499, "CANCELLED", FailureKind.Unavailable)]
    [InlineData(500, "INTERNAL", FailureKind.Unavailable)]
    [InlineData(500, "UNKNOWN", FailureKind.Unavailable)]
    [InlineData(500, "DATA_LOSS", FailureKind.Unavailable)]
    [InlineData(501, "UNIMPLEMENTED", FailureKind.Unauthorized)]
    [InlineData(503, "UNAVAILABLE", FailureKind.Unavailable)]
    [InlineData(504, "DEADLINE_EXCEEDED", FailureKind.OutcomeUnknown)]
    [InlineData(418, "SOMETHING_NEW", FailureKind.InvalidRequest)]
    [InlineData(529, "SOMETHING_NEW", FailureKind.Unavailable)]
    public void Every_documented_error_is_sorted_with_and_without_an_array_around_it(int status, string name, FailureKind kind)
    {
        var body = $$$"""{"error":{"code":{{{status}}},"message":"m","status":"{{{name}}}"}}""";
        foreach (var text in new[] { body, $"[{body}]" })
        {
            var failure = Sort(status, text);
            Assert.Equal((kind, name), (failure.Kind, failure.ProviderCode));
        }
    }

    [Theory]
    [InlineData(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
        """{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}""", FailureKind.Unauthorized, null)]
    [InlineData(400, "INVALID_ARGUMENT", "This prompt contains words that violate Gemini API's usage guidelines.", "", FailureKind.ModerationInput,
        null)]
    [InlineData(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan.", "", FailureKind.QuotaExhausted, null)]
    [InlineData(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan.",
        """{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12.5s"}""", FailureKind.RateLimited, 12_500)]
    [InlineData(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.",
        """{"violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]},{"retryDelay":"40s"}""", FailureKind.QuotaExhausted, null)]
    [InlineData(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", """{"retryDelay":"86400s"}""",
        FailureKind.QuotaExhausted, null)]
    [InlineData(503, "UNAVAILABLE", "Overloaded.", """{"retryDelay":"2s"}""", FailureKind.Unavailable, 2_000)]
    public void Where_one_name_stands_for_several_things_words_and_details_decide(
        int status, string name, string message, string details, FailureKind kind, int? delayMs)
    {
        var failure = Sort(status, new JsonObject
        {
            ["error"] = new JsonObject { ["code"] = status, ["message"] = message, ["status"] = name, ["details"] = JsonNode.Parse($"[{details}]") },
        }.ToJsonString());
        Assert.Equal((kind, delayMs), (failure.Kind, (int?)failure.RetryAfter?.TotalMilliseconds));
    }

    [Theory]
    [InlineData(500, "INTERNAL", FailureKind.OutcomeUnknown)]
    [InlineData(503, "UNAVAILABLE", FailureKind.OutcomeUnknown)]
    [InlineData(499, "CANCELLED", FailureKind.OutcomeUnknown)]
    [InlineData(409, "ABORTED", FailureKind.Unavailable)]
    [InlineData(429, "RESOURCE_EXHAUSTED", FailureKind.RateLimited)]
    [InlineData(400, "INVALID_ARGUMENT", FailureKind.InvalidRequest)]
    public void A_breakdown_that_answers_a_start_may_have_left_an_operation(int status, string name, FailureKind kind)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        var body = $$$"""{"error":{"code":{{{status}}},"message":"m","status":"{{{name}}}"}}""";
        Assert.Equal(kind, GoogleFailures.OfRefusal(response, body, DateTimeOffset.UnixEpoch, createsTask: true).Kind);
    }

    [Theory]
    [InlineData(503, "no healthy upstream", FailureKind.Unavailable)]
    [InlineData(503, "<html>Service Unavailable</html>", FailureKind.OutcomeUnknown)]
    [InlineData(521, "<html>", FailureKind.Unavailable)]
    public void A_gateway_that_answers_a_start_is_believed_only_where_it_says_that_it_reached_nobody(int status, string body, FailureKind kind)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        Assert.Equal(kind, GoogleFailures.OfRefusal(response, body, DateTimeOffset.UnixEpoch, createsTask: true).Kind);
    }

    [Theory]
    [InlineData("Providers:Google:BaseUrl", "ftp://a.example")]
    [InlineData("Providers:Google:ApiKey", "a key")]
    [InlineData("Providers:Google:CallTimeout", "00:00:00")]
    [InlineData("Providers:Google:PollInterval", "00:00:00")]
    [InlineData("Providers:Google:SourceHosts", "https://a.example")]
    [InlineData("Providers:Google:Models:veo", "../files")]
    public void A_bad_setting_stops_the_start_and_is_named(string setting, string value) => Assert.Contains(
        string.Join(':', setting.Split(':').Take(3)), OptionsUnderTest.ProblemOf<GoogleOptions>((services, configuration) =>
            services.AddGoogle(configuration), setting, value), StringComparison.Ordinal);

    private static Failure Sort(int status, string body)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status);
        return GoogleFailures.OfRefusal(response, body, DateTimeOffset.UnixEpoch);
    }

    private static JsonObject Settings(string json) => JsonNode.Parse(json)!.AsObject();

    private static VeoVideos NewVeo(LocalArk server, Action<GoogleOptions>? configure = null)
    {
        var options = new GoogleOptions { BaseUrl = $"{server.Address}/v1beta", ApiKey = Key };
        configure?.Invoke(options);
        return new VeoVideos(Options.Create(options), TimeProvider.System, NullLogger<VeoVideos>.Instance);
    }
}
