using System.Diagnostics;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Ark;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Providers.Ark;

/// <summary>What goes over the wire to Ark and what comes back.</summary>
public sealed partial class ArkImagesTests
{
    /// <summary>The sample of §1.2: its first picture.</summary>
    private const string Delivered =
        """
        {"model":"seedream-4-5-251128","created":1757388756,
         "data":[{"url":"https://ark-content-generation-v2-ap-southeast-1.tos-ap-southeast-1.volces.com/seedream-4-5/0217_0.jpeg?X-Tos-Expires=86400&X-Tos-Signature=s1gned","size":"2720x1536"}],
         "usage":{"generated_images":1,"output_tokens":16320,"total_tokens":16320}}
        """;

    private static readonly ArkImageRequest Lighthouse = new() { Model = "seedream-4-0-250828", Prompt = "a lighthouse at dusk", Size = "2K" };

    [Fact]
    public async Task A_request_has_the_fields_of_the_documentation_and_no_others()
    {
        await using var server = await LocalArk.StartAsync(200, Delivered);
        using var ark = ArkUnderTest.NewArk(server.Address);
        var settings = JsonNode.Parse(
            """
            {"prompt":"a lighthouse at dusk, 灯塔","size":"2304x1728","n":3,"group":false,"watermark":true,"optimize_prompt":"fast",
             "seed":7,"guidance_scale":2.5,"providerModel":"seedream-4-0-250828"}
            """)!.AsObject();

        await ark.GenerateAsync(ArkImageRequest.From(settings)!, "0199-0-3", CancellationToken.None);

        var call = Assert.Single(server.Calls);
        var expected = JsonNode.Parse(
            """
            {"model":"seedream-4-0-250828","prompt":"a lighthouse at dusk, 灯塔","size":"2304x1728","sequential_image_generation":"disabled",
             "stream":false,"response_format":"url","watermark":true,"optimize_prompt_options":{"mode":"fast"}}
            """);
        Assert.True(JsonNode.DeepEquals(expected, call.Body), call.Body.ToJsonString());
        Assert.Equal("POST /api/v3/images/generations", call.Route);
        Assert.Equal($"Bearer {ArkUnderTest.ApiKey}", call.Headers["Authorization"]);
        Assert.Equal("application/json", call.Headers["Content-Type"]);
        Assert.Equal("0199-0-3", call.Headers["X-Client-Request-Id"]);
    }

    [Fact]
    public async Task What_the_settings_leave_out_is_left_out_but_the_watermark_is_always_said()
    {
        await using var server = await LocalArk.StartAsync(200, Delivered);
        using var ark = ArkUnderTest.NewArk(server.Address);

        await ark.GenerateAsync(
            ArkImageRequest.From(JsonNode.Parse("""{"prompt":"p","providerModel":"seedream-4-5-251128"}""")!.AsObject())!, "c",
                CancellationToken.None);

        var expected = JsonNode.Parse(
            """
            {"model":"seedream-4-5-251128","prompt":"p","response_format":"url","watermark":false}
            """);
        Assert.True(JsonNode.DeepEquals(expected, Assert.Single(server.Calls).Body));
    }

    [Theory]
    [InlineData("""{"prompt":"p"}""")]
    [InlineData("""{"providerModel":"m"}""")]
    [InlineData("""{"prompt":"","providerModel":"m"}""")]
    [InlineData("""{"prompt":7,"providerModel":"m"}""")]
    public void Settings_without_a_prompt_or_a_model_make_no_request(string settings) =>
        Assert.Null(ArkImageRequest.From(JsonNode.Parse(settings)!.AsObject()));

    [Fact]
    public async Task A_model_that_is_bound_to_an_endpoint_is_called_there()
    {
        await using var server = await LocalArk.StartAsync(200, Delivered);
        using var ark = ArkUnderTest.NewArk(server.Address, options => options.Models["seedream-4-0-250828"] = "ep-20260101-abc");

        await GenerateAsync(ark);

        Assert.Equal("ep-20260101-abc", (string?)Assert.Single(server.Calls).Body["model"]);
    }

    [Fact]
    public async Task A_picture_comes_back_as_its_address_what_it_cost_and_Arks_name_for_the_call()
    {
        var log = new KeptLog();
        await using var server = await LocalArk.StartAsync(200, Delivered, ("x-request-id", "0217a"));
        using var ark = ArkUnderTest.NewArk(server.Address, log: log);

        var reply = await GenerateAsync(ark);

        Assert.Null(reply.Failure);
        Assert.StartsWith("https://ark-content-generation-v2-ap-southeast-1.tos-ap-southeast-1.volces.com/seedream-4-5/0217_0.jpeg?X-Tos-Expires=86400", reply.Url!.AbsoluteUri, StringComparison.Ordinal);
        Assert.Equal("""{"generated_images":1,"output_tokens":16320,"total_tokens":16320}""", reply.Usage!.ToJsonString());
        Assert.Equal("0217a", reply.RequestId);
        Assert.DoesNotContain(log.Lines, line => line.Level == LogLevel.Debug); // 2720 × 1536 / 256 is 16320
    }

    [Fact]
    public async Task Tokens_that_do_not_follow_the_formula_are_worth_a_debug_line_and_the_picture_counts()
    {
        var log = new KeptLog();
        await using var server = await LocalArk.StartAsync(200, Delivered.Replace("16320", "20000", StringComparison.Ordinal));
        using var ark = ArkUnderTest.NewArk(server.Address, log: log);

        var reply = await GenerateAsync(ark);

        Assert.Null(reply.Failure);
        Assert.Contains("16320", Assert.Single(log.Lines, line => line.Level == LogLevel.Debug).Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"data":[{"url":"https://a.volces.com/1.jpeg"}]}""", null)] // no usage
    [InlineData("""{"data":[{"url":"https://a.volces.com/1.jpeg"}],"usage":null}""", null)]
    [InlineData("""{"data":[{"url":"https://a.volces.com/1.jpeg"}],"usage":{"generated_images":1,"output_tokens":1.5,"total_tokens":"many"}}""",
        """{"generated_images":1,"ignored":{"output_tokens":"1.5","total_tokens":"\u0022many\u0022"}}""")]
    // it is there and was billed
    [InlineData("""{"data":[{"url":"https://a.volces.com/1.jpeg","size":7}],"error":{"code":"InternalServiceError"}}""", null)]
    [InlineData("""{"data":[{"error":{"code":"InternalServiceError"}},{"url":"https://a.volces.com/1.jpeg"}]}""", null)]
    public async Task A_picture_that_can_be_fetched_counts_whatever_else_is_missing(string body, string? usage)
    {
        await using var server = await LocalArk.StartAsync(200, body);
        using var ark = ArkUnderTest.NewArk(server.Address);

        var reply = await GenerateAsync(ark);

        Assert.Equal("https://a.volces.com/1.jpeg", reply.Url!.AbsoluteUri);
        Assert.Equal(usage, reply.Usage?.ToJsonString());
    }

    [Theory]
    // the second picture of §1.2, alone: refused by moderation
    [InlineData("""{"data":[{"error":{"code":"OutputImageSensitiveContentDetected","message":"m"}}],"usage":{"generated_images":0}}""",
        FailureKind.ModerationOutput, "OutputImageSensitiveContentDetected")]
    [InlineData("""{"data":[{"error":{"code":"InternalServiceError","message":"m"}}]}""", FailureKind.Unavailable, "InternalServiceError")]
    [InlineData("""{"error":{"code":"InputTextSensitiveContentDetected","message":"m"}}""", FailureKind.ModerationInput,
        "InputTextSensitiveContentDetected")]
    [InlineData("""{"data":[],"error":{"code":"AccountOverdueError","message":"m"}}""", FailureKind.QuotaExhausted, "AccountOverdueError")]
    // Ark counts no picture: none was billed
    [InlineData("""{"data":[],"usage":{"generated_images":0,"output_tokens":0,"total_tokens":0}}""", FailureKind.Unavailable, "ark.empty_reply")]
    // Ark does not say: one may have been
    [InlineData("""{"data":[]}""", FailureKind.OutcomeUnknown, "ark.empty_reply")]
    [InlineData("""{}""", FailureKind.OutcomeUnknown, "ark.empty_reply")]
    [InlineData("""{"data":[null,7,{"url":null}]}""", FailureKind.OutcomeUnknown, "ark.empty_reply")]
    [InlineData("""{"data":[{"url":"/1.jpeg"}]}""", FailureKind.OutputUnusable, "ark.bad_url")]
    [InlineData("""{"data":[{"url":"file:///etc/passwd"}]}""", FailureKind.OutputUnusable, "ark.bad_url")]
    [InlineData("""{"data":[{"url":"ftp://a.volces.com/1.jpeg"}]}""", FailureKind.OutputUnusable, "ark.bad_url")]
    [InlineData("""{"data":[{"url":"https://a.volces""", FailureKind.OutcomeUnknown, "ark.cut_reply")]
    [InlineData("", FailureKind.OutcomeUnknown, "ark.cut_reply")]
    [InlineData("<html>maintenance</html>", FailureKind.OutcomeUnknown, "ark.malformed_reply")]
    [InlineData("[]", FailureKind.OutcomeUnknown, "ark.malformed_reply")]
    public async Task A_200_without_a_picture_fails_as_what_it_says_or_else_as_unknown(string body, FailureKind kind, string code)
    {
        await using var server = await LocalArk.StartAsync(200, body, ("x-request-id", "0217a"));
        using var ark = ArkUnderTest.NewArk(server.Address);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((kind, code, "0217a"), (failure.Kind, failure.ProviderCode, failure.RequestId));
    }

    [Fact]
    public async Task The_401_that_was_captured_from_Ark_is_an_Unauthorized_with_its_request_id()
    {
        await using var server = await LocalArk.StartAsync(
            401,
            """{"error":{"code":"AuthenticationError","message":"the API key or AK/SK in the request is missing or invalid. request id: 0217abc","param":"","type":"Unauthorized"}}""");
        using var ark = ArkUnderTest.NewArk(server.Address);

        var reply = await GenerateAsync(ark);

        var failure = reply.Failure!;
        Assert.Equal((FailureKind.Unauthorized, "AuthenticationError", "0217abc", "0217abc"),
            (failure.Kind, failure.ProviderCode, failure.RequestId, reply.RequestId));
        Assert.Equal("the API key or AK/SK in the request is missing or invalid. (Check Providers:Ark:ApiKey and the account's rights.)",
            failure.Detail);
    }

    [Theory]
    [InlineData("5", 5)]
    [InlineData("Mon, 11 May 2026 13:51:30 GMT", 90)]
    public async Task A_rate_limit_says_when_to_come_again(string retryAfter, int seconds)
    {
        await using var server = await LocalArk.StartAsync(429, """{"error":{"code":"ModelAccountIpmRateLimitExceeded","message":"m"}}""", (
            "Retry-After", retryAfter));
        using var ark = ArkUnderTest.NewArk(server.Address, time: new FakeTimeProvider(new DateTimeOffset(2026, 5, 11, 13, 50, 0, TimeSpan.Zero)));

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.RateLimited, TimeSpan.FromSeconds(seconds)), (failure.Kind, failure.RetryAfter));
    }

    [Theory]
    [InlineData(500, """{"error":{"code":"InternalServiceError","message":"m"}}""", FailureKind.Unavailable)]
    [InlineData(500, """{"error":{"code":"Intern""", FailureKind.OutcomeUnknown)]
    [InlineData(502, "<html>Bad Gateway</html>", FailureKind.OutcomeUnknown)]
    [InlineData(503, "<html>Service Unavailable</html>", FailureKind.Unavailable)]
    [InlineData(504, "", FailureKind.OutcomeUnknown)]
    [InlineData(413, "<html>Request Entity Too Large</html>", FailureKind.InvalidRequest)]
    public async Task A_server_error_costs_nothing_only_in_Arks_own_words(int status, string body, FailureKind kind)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var ark = ArkUnderTest.NewArk(server.Address);

        Assert.Equal(kind, (await GenerateAsync(ark)).Failure!.Kind);
    }

    [Fact]
    public async Task A_redirect_is_not_followed_so_the_key_stays_here()
    {
        await using var elsewhere = await LocalArk.StartAsync(200, Delivered);
        await using var server = await LocalArk.StartAsync(307, "", ("Location", $"{elsewhere.Address}/api/v3/images/generations"));
        using var ark = ArkUnderTest.NewArk(server.Address);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal(FailureKind.Unauthorized, failure.Kind);
        Assert.Contains("Providers:Ark:BaseUrl", failure.Detail, StringComparison.Ordinal);
        Assert.Empty(elsewhere.Calls);
    }

    [Fact]
    public async Task Without_a_key_nothing_is_sent_and_the_setting_is_named()
    {
        var log = new KeptLog();
        await using var server = await LocalArk.StartAsync(200, Delivered);
        using var ark = ArkUnderTest.NewArk(server.Address, options => options.ApiKey = "", log: log);
        Assert.Contains("Providers:Ark:ApiKey", Assert.Single(log.Lines, line => line.Level == LogLevel.Warning).Text, StringComparison.Ordinal);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal(FailureKind.Unauthorized, failure.Kind);
        Assert.Contains("Providers:Ark:ApiKey", failure.Detail, StringComparison.Ordinal);
        Assert.Empty(server.Calls);
    }

    [Fact]
    public async Task The_log_tells_of_both_ends_of_a_call_and_never_of_prompt_key_or_address()
    {
        var log = new KeptLog();
        await using var server = await LocalArk.StartAsync(200, Delivered, ("x-request-id", "0217a"));
        using var ark = ArkUnderTest.NewArk(server.Address, log: log);

        await ark.GenerateAsync(Lighthouse, "0199-0-3", CancellationToken.None);

        Assert.Equal([LogEvents.ProviderRequest, LogEvents.ProviderResponse], log.Lines.Select(line => line.Event));
        Assert.All(log.Lines, line => Assert.Contains("seedream-4-0-250828", line.Text, StringComparison.Ordinal));
        Assert.Contains("0199-0-3", log.Lines.First().Text, StringComparison.Ordinal);
        Assert.Contains("0217a", log.Lines.Last().Text, StringComparison.Ordinal);
        foreach (var secret in new[] { "lighthouse", ArkUnderTest.ApiKey, "http:", "https:", "s1gned" })
        {
            Assert.All(log.Lines, line => Assert.DoesNotContain(secret, line.Text, StringComparison.OrdinalIgnoreCase));
        }
    }

    [Fact]
    public async Task A_call_is_a_span_with_its_model_request_id_and_outcome()
    {
        var name = Guid.NewGuid().ToString("N");
        var ended = new TaskCompletionSource<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Telemetry.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = span =>
            {
                if ((string?)span.GetTagItem("generation.provider.call_id") == name)
                {
                    ended.SetResult(span);
                }
            },
        };
        ActivitySource.AddActivityListener(listener);
        await using var server = await LocalArk.StartAsync(500, """{"error":{"code":"InternalServiceError","message":"m"}}""", (
            "x-request-id", "0217a"));
        using var ark = ArkUnderTest.NewArk(server.Address);

        await ark.GenerateAsync(Lighthouse, name, CancellationToken.None);

        var span = await ended.Task.WaitAsync(LocalArk.MaxWait);
        Assert.Equal(("generate_content seedream-4-0-250828", ActivityKind.Client), (span.OperationName, span.Kind));
        Assert.Equal(
            ("ark", "seedream-4-0-250828", 500, "0217a", "provider_unavailable"),
            ((string?)span.GetTagItem("gen_ai.provider.name"), (string?)span.GetTagItem("gen_ai.request.model"),
                (int?)span.GetTagItem("http.response.status_code"),
                (string?)span.GetTagItem("gen_ai.response.id"), (string?)span.GetTagItem("error.type")));
        Assert.Equal((ActivityStatusCode.Error, "InternalServiceError"), (span.Status, span.StatusDescription));
    }

    private static Task<ProviderReply> GenerateAsync(ArkImages ark) =>
        ark.GenerateAsync(Lighthouse, "client-request", CancellationToken.None).WaitAsync(LocalArk.MaxWait);

    /// <summary>Until the client goes.</summary>
    private static async Task NeverAsync(HttpContext context)
    {
        var gone = new TaskCompletionSource();
        await using var registration = context.RequestAborted.Register(gone.SetResult);
        await gone.Task;
    }

    /// <summary>The headers of a whole answer, and half of it.</summary>
    private static async Task HalfAsync(HttpContext context)
    {
        context.Response.ContentType = "application/json";
        context.Response.ContentLength = Delivered.Length;
        await context.Response.WriteAsync(Delivered[..(Delivered.Length / 2)]);
        await context.Response.Body.FlushAsync();
    }
}
