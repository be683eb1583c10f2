using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Ark;
using Microsoft.AspNetCore.Http;

namespace Generation.Tests.Providers.Ark;

/// <summary>What goes over the wire for groups, references and Seedream 3 and 5, and how a stream is read.</summary>
public sealed class SeedreamGroupWireTests
{
    private const string First =
        "event: image_generation.partial_succeeded\ndata: "
        + "{\"type\":\"image_generation.partial_succeeded\",\"model\":\"m\",\"created\":1757396757,\"image_index\":0,\"url\":\"https://a.volces.com/0.jpeg\",\"size\":\"2048x2048\"}\n\n";
    private const string Second =
        "event: image_generation.partial_succeeded\ndata: "
        + "{\"type\":\"image_generation.partial_succeeded\",\"model\":\"m\",\"created\":1757396795,\"image_index\":1,\"url\":\"https://a.volces.com/1.jpeg\",\"size\":\"2048x2048\"}\n\n";
    private const string Moderated =
        "event: image_generation.partial_failed\ndata: "
        + "{\"type\":\"image_generation.partial_failed\",\"model\":\"m\",\"created\":1757396758,\"image_index\":1,\"error\":{\"code\":\"OutputImageSensitiveContentDetected\",\"message\":\"m\"}}\n\n";
    private const string Broken =
        "event: image_generation.partial_failed\ndata: "
        + "{\"type\":\"image_generation.partial_failed\",\"image_index\":1,\"error\":{\"code\":\"InternalServiceError\",\"message\":\"m\"}}\n\n";
    private const string Done = "data: [DONE]\n\n";

    [Theory]
    [InlineData(
        """{"prompt":"p","size":"2K","n":4,"group":true,"watermark":false,"images":["https://a.example/1.png"],"providerModel":"m-1"}""",
        """
        {"model":"m-1","prompt":"p","image":"https://a.example/1.png","size":"2K","sequential_image_generation":"auto",
         "sequential_image_generation_options":{"max_images":4},"stream":true,"response_format":"url","watermark":false}
        """)]
    [InlineData(
        """{"prompt":"p","n":2,"group":false,"images":["https://a.example/1.png","https://a.example/2.png"],"output_format":"png","providerModel":"m-1"}""",
        """
        {"model":"m-1","prompt":"p","image":["https://a.example/1.png","https://a.example/2.png"],"sequential_image_generation":"disabled",
         "stream":false,"response_format":"url","output_format":"png","watermark":false}
        """)]
    [InlineData(
        // which takes neither group nor stream
        """{"prompt":"p","n":1,"images":["https://a.example/1.png"],"output_format":"jpeg","providerModel":"seedream-5-0-pro"}""",
        """{"model":"seedream-5-0-pro","prompt":"p","image":"https://a.example/1.png","response_format":"url","output_format":"jpeg","watermark":false}""")]
    public void A_request_has_what_its_model_takes_and_nothing_else(string settings, string body) =>
        AssertSame(body, ArkImageRequest.From(JsonNode.Parse(settings)!.AsObject())!);

    [Fact]
    public void Seedream_3_has_a_seed_which_is_another_one_for_each_picture_and_a_guidance_scale()
    {
        var request = ArkImageRequest.FromSeedream3(JsonNode.Parse(
            """{"prompt":"p","size":"1280x720","n":3,"seed":2147483647,"guidance_scale":2.5,"watermark":true,"providerModel":"m-3"}""")!.AsObject())!;

        AssertSame("""{"model":"m-3","prompt":"p","size":"1280x720","response_format":"url","watermark":true,"seed":2147483647,"guidance_scale":2.5}""", request.OfCall(0));
        Assert.Equal([int.MaxValue, 0, 1], Enumerable.Range(0, 3).Select(ordinal => request.OfCall(ordinal).Seed!.Value));
        Assert.Null(ArkImageRequest.FromSeedream3(JsonNode.Parse("""{"prompt":"p","providerModel":"m-3"}""")!.AsObject())!.OfCall(1).Seed);
    }

    [Fact]
    public async Task Each_picture_is_announced_while_the_others_are_made_and_the_usage_comes_at_the_end()
    {
        var received = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var server = await LocalArk.StartAsync(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            context.Response.Headers["x-request-id"] = "0217g";
            await context.Response.WriteAsync(First);
            await context.Response.Body.FlushAsync();
            await received.Task.WaitAsync(LocalArk.MaxWait); // the second is not made before the first was heard of
            await context.Response.WriteAsync(Second + Completed(2, 32768) + Done);
        });
        using var ark = ArkUnderTest.NewArk(server.Address);
        var announced = new List<GroupOutput>();

        var reply = await ark.GenerateGroupAsync(Group, "c", output =>
        {
            announced.Add(output);
            received.TrySetResult();
            return Task.CompletedTask;
        }, CancellationToken.None);

        Assert.Equal([(0, "https://a.volces.com/0.jpeg"), (1, "https://a.volces.com/1.jpeg")],
            announced.Select(o => (o.Index!.Value, o.Url!.AbsoluteUri)));
        Assert.Equal((null, "0217g", """{"generated_images":2,"output_tokens":32768,"total_tokens":32768}"""),
            (reply.Failure, reply.RequestId, reply.Usage!.ToJsonString()));
    }

    public static TheoryData<string, string, FailureKind?, string?> Streams => new()
    {
        { First + Moderated + Completed(1, 16384) + Done, "0 1:ModerationOutput", null, null },
        { First + Completed(1, 16384), "0", null, null }, // nothing behind it is needed
        { Moderated + Completed(0, 0) + Done, "1:ModerationOutput", null, null },
        { First + Broken + Completed(1, 16384) + Done, "0 1:Unavailable", null, null },
        { First + ": keep-alive\n\nevent: image_generation.new\ndata: {\"type\":\"image_generation.new\"}\n\n"
            + Completed(1, 16384), "0", null, null },
        { "event: image_generation.partial_image\ndata: "
            + $"{{\"type\":\"image_generation.partial_image\",\"partial_image_index\":0,\"b64_json\":\"{new string('A', 300_000)}\"}}\n\n" + First
            + Completed(1, 16384), "0", null, null },
        // the data say it too
        { First.Replace("event: image_generation.partial_succeeded\n", "", StringComparison.Ordinal) + Completed(1, 16384), "0", null, null },
        { First.Replace("https://a.volces.com", "", StringComparison.Ordinal) + Completed(1, 16384), "0:OutputUnusable", null, null },
        { First, "0", FailureKind.OutcomeUnknown, "ark.cut_stream" },
        { First + Done, "0", FailureKind.OutcomeUnknown, "ark.cut_stream" },
        { First + "event: image_generation.completed\ndata: {\"type\":\"image_gener", "0", FailureKind.OutcomeUnknown, "ark.cut_stream" },
        { First + Completed(2, 32768), "0", FailureKind.OutcomeUnknown, "ark.missing_pictures" }, // billed, and never heard of
        { First + "event: error\ndata: {\"error\":{\"code\":\"InternalServiceError\",\"message\":\"m\"}}\n\n"
            + Done, "0", FailureKind.Unavailable, "InternalServiceError" },
        { "event: error\ndata: {\"error\":{\"code\":\"InputTextSensitiveContentDetected\",\"message\":\"m\"}}\n\n", "", FailureKind.ModerationInput,
            "InputTextSensitiveContentDetected" },
        { First + "event: error\ndata: {}\n\n", "0", FailureKind.OutcomeUnknown, "ark.malformed_reply" },
        { First + "event: image_generation.completed\ndata: "
            + "{\"type\":\"image_generation.completed\",\"error\":{\"code\":\"AccountOverdueError\",\"message\":\"m\"}}\n\n", "0",
            FailureKind.QuotaExhausted, "AccountOverdueError" },
        { Completed(0, 0) + Done, "", FailureKind.Unavailable, "ark.empty_reply" },
        { "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\"}\n\n", "", FailureKind.OutcomeUnknown,
            "ark.empty_reply" },
        { "", "", FailureKind.OutcomeUnknown, "ark.cut_stream" },
    };

    [Theory]
    [MemberData(nameof(Streams))]
    public async Task A_stream_says_what_came_and_how_it_ended(string stream, string outputs, FailureKind? kind, string? code)
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            await context.Response.WriteAsync(stream);
        });

        var (announced, reply) = await GenerateAsync(server);

        Assert.Equal(outputs, string.Join(' ', announced.Select(o => o.Failure is { } failure ? $"{o.Index}:{failure.Kind}" : $"{o.Index}")));
        Assert.Equal((kind, code), (reply.Failure?.Kind, reply.Failure?.ProviderCode));
    }

    [Theory]
    [InlineData(429, "application/json", """{"error":{"code":"ModelAccountIpmRateLimitExceeded","message":"m"}}""", "", FailureKind.RateLimited,
        "ModelAccountIpmRateLimitExceeded")]
    [InlineData(502, "text/html", "<html>", "", FailureKind.OutcomeUnknown, "http.502")]
    [InlineData(200, "application/json", """{"error":{"code":"InternalServiceError","message":"m"}}""", "", FailureKind.Unavailable,
        "InternalServiceError")]
    [InlineData(200, "application/json",
        """{"data":[{"url":"https://a.volces.com/0.jpeg"},{"error":{"code":"OutputImageSensitiveContentDetected","message":"m"}}],"usage":{"generated_images":1}}""", " :ModerationOutput", null, null)]
    [InlineData(200, "text/html", "<html>", "", FailureKind.OutcomeUnknown, "ark.malformed_reply")]
    public async Task An_answer_in_one_piece_is_understood_too(
        int status, string contentType, string body, string outputs, FailureKind? kind, string? code)
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            (context.Response.StatusCode, context.Response.ContentType) = (status, contentType);
            await context.Response.WriteAsync(body);
        });

        var (announced, reply) = await GenerateAsync(server);

        Assert.Equal(outputs, string.Join(' ', announced.Select(o => o.Failure is { } failure ? $"{o.Index}:{failure.Kind}" : $"{o.Index}")));
        Assert.Equal((kind, code), (reply.Failure?.Kind, reply.Failure?.ProviderCode));
    }

    [Fact]
    public async Task A_connection_that_breaks_and_a_group_that_takes_too_long_are_of_unknown_outcome()
    {
        var receivedFirst = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var cut = await LocalArk.StartAsync(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            await context.Response.WriteAsync(First);
            await context.Response.Body.FlushAsync();
            await receivedFirst.Task.WaitAsync(LocalArk.MaxWait); // what is cut off at once may not have come over the wire
            context.Abort();
        });
        await using var slow = await LocalArk.StartAsync(async context =>
        {
            context.Response.ContentType = "text/event-stream";
            await context.Response.WriteAsync(First);
            await context.Response.Body.FlushAsync();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        });

        var (_, broken) = await GenerateAsync(cut, receivedFirst);
        var (received, late) = await GenerateAsync(slow);

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.cut_stream"), (broken.Failure!.Kind, broken.Failure.ProviderCode));
        Assert.Equal((FailureKind.OutcomeUnknown, "ark.timeout", 1), (late.Failure!.Kind, late.Failure.ProviderCode, received.Count));
    }

    private static ArkImageRequest Group =>
        ArkImageRequest.From(JsonNode.Parse("""{"prompt":"p","n":3,"group":true,"providerModel":"seedream-4-0-250828"}""")!.AsObject())!;

    private static string Completed(int images, int tokens) =>
        "event: image_generation.completed\ndata: "
            + $"{{\"type\":\"image_generation.completed\",\"model\":\"m\",\"created\":1757396825,\"usage\":{{\"generated_images\":{images},\"output_tokens\":{tokens},\"total_tokens\":{tokens}}}}}\n\n";

    private static async Task<(List<GroupOutput> Announced, ProviderReply Reply)> GenerateAsync(
        LocalArk server, TaskCompletionSource? receivedFirst = null)
    {
        using var ark = ArkUnderTest.NewArk(server.Address, options => options.GroupTimeout = TimeSpan.FromSeconds(2));
        var announced = new List<GroupOutput>();
        var reply = await ark.GenerateGroupAsync(Group, "c", output =>
        {
            announced.Add(output);
            receivedFirst?.TrySetResult();
            return Task.CompletedTask;
        }, CancellationToken.None);
        Assert.Equal("POST /api/v3/images/generations", Assert.Single(server.Calls).Route);
        return (announced, reply);
    }

    private static void AssertSame(string body, ArkImageRequest request)
    {
        var sent = JsonNode.Parse(request.ToUtf8Json());
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(body), sent), sent!.ToJsonString());
    }
}
