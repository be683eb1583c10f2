using System.Text;
using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Tests.Providers.Ark;
using Generation.Worker.Calls;
using Generation.Worker.Providers.OpenAi;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>What goes over the wire to OpenAI and what comes back.</summary>
public sealed class OpenAiWireTests
{
    private const string Key = "test-key-0123";

    /// <summary>The sample of §3.1, with a picture of five bytes.</summary>
    private const string Whole =
        """
        {"created":1713833628,"background":"opaque","output_format":"png","quality":"high","size":"1024x1024","data":[{"b64_json":"aGVsbG8="}],
         "usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40},
          "output_tokens_details":{"image_tokens":50,"text_tokens":0}}}
        """;

    private const string Streamed =
        """
        event: image_generation.partial_image
        data: {"type":"image_generation.partial_image","b64_json":"b25l","partial_image_index":0,"created_at":1,"size":"1024x1024","quality":"high","background":"opaque","output_format":"png"}

        event: image_generation.partial_image
        data: {"type":"image_generation.partial_image","partial_image_index":1,"b64_json":"dHdv","created_at":1}

        event: image_generation.completed
        data: {"type":"image_generation.completed","b64_json":"aGVsbG8=","created_at":1,"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50}}


        """;

    private static readonly OpenAiImageRequest Boat = OpenAiImageRequest.From(Settings("""{"prompt":"a boat","providerModel":"gpt-image-2"}"""))!;

    [Theory]
    [InlineData(
        """{"prompt":"a boat, 船","size":"1536x1024","quality":"low","n":3,"output_format":"jpeg","previews":2,"providerModel":"gpt-image-2"}""",
        """{"model":"gpt-image-2","prompt":"a boat, 船","size":"1536x1024","quality":"low","output_format":"jpeg","stream":true,"partial_images":2}""")]
    [InlineData(
        """{"prompt":"p","previews":0,"background":"transparent","providerModel":"gpt-image-1.5"}""",
        """{"model":"gpt-image-1.5","prompt":"p","background":"transparent"}""")]
    public async Task A_request_has_the_fields_of_the_documentation_and_no_others(string settings, string body)
    {
        await using var server = await LocalArk.StartAsync(200, Whole, ("x-request-id", "req_1"));
        using var openAi = NewImages(server, o => (o.Organization, o.Project) = ("org-1", "proj-1"));
        var reply = await openAi.GenerateAsync(OpenAiImageRequest.From(Settings(settings))!, "0199-0-1", new Album().Sink, CancellationToken.None);

        var call = Assert.Single(server.Calls);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(body), call.Body), call.Body.ToJsonString());
        Assert.Equal("POST /v1/images/generations", call.Route);
        Assert.Equal(
            ($"Bearer {Key}", "0199-0-1", "org-1", "proj-1"),
            (call.Headers["Authorization"], call.Headers["X-Client-Request-Id"], call.Headers["OpenAI-Organization"],
                call.Headers["OpenAI-Project"]));
        Assert.Equal("req_1", reply.RequestId);
    }

    [Fact]
    public async Task Another_id_is_sent_in_place_of_a_retired_one()
    {
        await using var server = await LocalArk.StartAsync(200, Whole);
        using var openAi = NewImages(server, o => o.Models["gpt-image-2"] = "gpt-image-2.6-flare");
        await openAi.GenerateAsync(Boat, "c", new Album().Sink, CancellationToken.None);
        Assert.Equal("gpt-image-2.6-flare", (string?)Assert.Single(server.Calls).Body["model"]);
    }

    [Theory]
    [InlineData("application/json", Whole, "")]
    [InlineData("text/event-stream", Streamed, "0:one 1:two")]
    public async Task The_picture_is_decoded_and_the_usage_read_behind_it(string contentType, string body, string previews)
    {
        var album = new Album();
        var reply = await AnswerAsync(album, contentType, body);

        Assert.Null(reply.Failure);
        Assert.Equal(("hello", previews), (Assert.Single(album.Pictures), string.Join(' ', album.Previews)));
        Assert.Equal("""{"total_tokens":100,"input_tokens":50,"output_tokens":50}""", reply.Usage!.ToJsonString());
        Assert.NotNull(reply.Media);
    }

    [Theory]
    [InlineData("application/json", """{"data":[{"b64_json":"aGVsbG8="}],"usage":""")]
    [InlineData("text/event-stream", "event: image_generation.completed\ndata: {\"b64_json\":\"aGVsbG8=\",\"usage\":\n\n")]
    public async Task A_whole_picture_counts_although_the_words_behind_it_are_lost(string contentType, string body)
    {
        var reply = await AnswerAsync(new Album(), contentType, body);
        Assert.Equal((null, null), (reply.Failure, reply.Usage));
        Assert.NotNull(reply.Media);
    }

    [Theory]
    [InlineData("application/json", """{"data":[{"b64_json":"aGVs""", FailureKind.OutcomeUnknown, "openai.cut_reply")]
    [InlineData("application/json", """{"data":[{"b64_json":"&&&&"}]}""", FailureKind.OutcomeUnknown, "openai.malformed_reply")]
    [InlineData("application/json", """{"data":[]}""", FailureKind.OutcomeUnknown, "openai.empty_reply")]
    [InlineData("application/json", "", FailureKind.OutcomeUnknown, "openai.cut_reply")]
    [InlineData("application/json", """["aGVsbG8="]""", FailureKind.OutcomeUnknown, "openai.malformed_reply")]
    [InlineData("application/json", """{"error":{"message":"m","type":"server_error","param":null,"code":"server_error"}}""", FailureKind.Unavailable,
        "server_error")]
    [InlineData("text/event-stream", "", FailureKind.OutcomeUnknown, "openai.cut_reply")]
    [InlineData("text/event-stream", "event: image_generation.partial_image\ndata: {\"b64_json\":\"b25l\"}\n\n", FailureKind.OutcomeUnknown,
        "openai.empty_reply")]
    [InlineData("text/event-stream", "event: image_generation.completed\ndata: {\"b64_json\":\"aGVs\n\n", FailureKind.OutcomeUnknown,
        "openai.cut_reply")]
    [InlineData("text/event-stream",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"m\",\"type\":\"image_generation_user_error\",\"code\":\"moderation_blocked\"}}\n\n",
        FailureKind.ModerationInput, "moderation_blocked")]
    public async Task An_answer_without_a_picture_says_whether_it_may_have_been_billed(string contentType, string body, FailureKind kind, string code)
    {
        var reply = await AnswerAsync(new Album(), contentType, body);
        Assert.Equal((kind, code), (reply.Failure!.Kind, reply.Failure.ProviderCode));
    }

    [Theory]
    [InlineData(FailureKind.Unavailable, FailureKind.OutcomeUnknown)] // the store is unavailable, and the picture is gone
    [InlineData(FailureKind.OutputUnusable, FailureKind.OutputUnusable)]
    public async Task A_picture_that_cannot_be_stored_is_never_bought_again(FailureKind problem, FailureKind kind)
    {
        var reply = await AnswerAsync(new Album { Problem = new Failure(problem, "media.StoreUnavailable", "m") }, "application/json", Whole);
        Assert.Equal((kind, "media.StoreUnavailable", false), (reply.Failure!.Kind, reply.Failure.ProviderCode, reply.Failure.IsRetryable));
    }

    [Fact]
    public async Task Without_a_key_nothing_is_sent()
    {
        await using var server = await LocalArk.StartAsync(200, Whole);
        using var openAi = NewImages(server, o => o.ApiKey = "");
        var reply = await openAi.GenerateAsync(Boat, "c", new Album().Sink, CancellationToken.None);
        Assert.Equal((FailureKind.Unauthorized, "openai.no_api_key"), (reply.Failure!.Kind, reply.Failure.ProviderCode));
        Assert.Empty(server.Calls);
    }

    [Fact]
    public async Task A_video_is_asked_for_in_strings()
    {
        await using var server = await LocalArk.StartAsync(200, """{"id":"video_1","object":"video","status":"queued"}""", ("x-request-id", "req_1"));
        using var videos = NewVideos(server);
        var request = OpenAiVideoRequest.From(Settings(
            """{"prompt":"p","resolution":"720p","ratio":"9:16","duration":8,"first_frame":"https://a.example/1.png","providerModel":"sora-2"}"""))!;
        var reply = await videos.CreateAsync(request, "0199-0-1", CancellationToken.None);

        var call = Assert.Single(server.Calls);
        Assert.Equal(
            """{"model":"sora-2","prompt":"p","seconds":"8","size":"720x1280","input_reference":{"image_url":"https://a.example/1.png"}}""",
                call.Body.ToJsonString());
        Assert.Equal(("POST /v1/videos", $"Bearer {Key}", "0199-0-1"),
            (call.Route, call.Headers["Authorization"], call.Headers["X-Client-Request-Id"]));
        Assert.Equal(("video_1", "req_1"), (reply.TaskId, reply.RequestId));
    }

    [Theory]
    [InlineData(200, """{"id":"video_1","status":"queued","progress":0}""", "Running queued 15")]
    [InlineData(200, """{"id":"video_1","status":"in_progress","progress":50}""", "Running generating 50")]
    [InlineData(200, """{"id":"video_1","status":"in_progress"}""", "Running generating 15")]
    [InlineData(200, """{"id":"video_1","status":"completed","progress":100,"seconds":"8"}""",
        """Delivered /v1/videos/video_1/content {"seconds":8}""")]
    [InlineData(200, """{"id":"video_1","status":"completed"}""", "Delivered /v1/videos/video_1/content -")]
    [InlineData(200, """{"id":"video_1","status":"failed","error":{"code":"moderation_blocked","message":"m"}}""",
        "Ended ModerationOutput moderation_blocked")]
    [InlineData(200, """{"id":"video_1","status":"failed","error":null}""", "Ended Unavailable openai.video_failed")]
    [InlineData(200, """{"id":"video_1","status":"cancelled"}""", "Ended Unavailable openai.video_dropped")]
    [InlineData(200, """{"id":"video_1","status":"dreaming"}""", "PollFailed Unavailable openai.unknown_status")]
    [InlineData(200, """{"id":"vid""", "PollFailed Unavailable openai.malformed_reply")]
    [InlineData(404, """{"error":{"message":"Video not found","type":"invalid_request_error","param":"video_id","code":null}}""",
        "Ended OutcomeUnknown openai.no_such_video")]
    [InlineData(404, "<html>", "PollFailed Unauthorized http.404")]
    [InlineData(500, """{"error":{"message":"m","type":"server_error","param":null,"code":null}}""", "PollFailed Unavailable server_error.500")]
    public async Task What_is_said_of_a_video_is_understood(int status, string body, string understood)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var videos = NewVideos(server);
        var report = await videos.RetrieveAsync("video_1", CancellationToken.None);
        Assert.Equal("GET /v1/videos/video_1", Assert.Single(server.Calls).Route);
        Assert.Equal(understood, report switch
        {
            TaskReport.Running running => $"Running {running.Phase} {running.Percent}",
            TaskReport.Delivered delivered => $"Delivered {delivered.Url.AbsolutePath} {delivered.Usage?.ToJsonString() ?? "-"}",
            TaskReport.Ended ended => $"Ended {ended.Failure.Kind} {ended.Failure.ProviderCode}",
            TaskReport.PollFailed failure => $"PollFailed {failure.Failure.Kind} {failure.Failure.ProviderCode}",
            _ => "",
        });
    }

    [Theory]
    [InlineData("Providers:OpenAi:BaseUrl", "ftp://a.example")]
    [InlineData("Providers:OpenAi:VideoBaseUrl", "gateway.example/v1")]
    [InlineData("Providers:OpenAi:ApiKey", "a key")]
    [InlineData("Providers:OpenAi:ImageBatch", "0")]
    [InlineData("Providers:OpenAi:ImagesPerMinute", "-1")]
    [InlineData("Providers:OpenAi:CallTimeout", "00:00:01")]
    [InlineData("Providers:OpenAi:VideoPollInterval", "00:00:00")]
    [InlineData("Providers:OpenAi:VideoSourceHosts:0", "https://a.example")]
    [InlineData("Providers:OpenAi:Models:gpt-image-2", "")]
    public void A_bad_setting_stops_the_start_and_is_named(string setting, string value) => Assert.Contains(
        string.Join(':', setting.Split(':').Take(3)), OptionsUnderTest.ProblemOf<OpenAiOptions>((services, configuration) =>
            services.AddOpenAi(configuration), setting, value), StringComparison.Ordinal);

    private static async Task<ProviderReply> AnswerAsync(Album album, string contentType, string body)
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            context.Response.ContentType = contentType;
            await context.Response.WriteAsync(body.ReplaceLineEndings("\n"));
        });
        using var openAi = NewImages(server);
        return await openAi.GenerateAsync(Boat, "c", album.Sink, CancellationToken.None);
    }

    private static JsonObject Settings(string json) => JsonNode.Parse(json)!.AsObject();

    private static OpenAiImages NewImages(LocalArk server, Action<OpenAiOptions>? configure = null)
    {
        var options = new OpenAiOptions { BaseUrl = $"{server.Address}/v1", ApiKey = Key };
        configure?.Invoke(options);
        return new OpenAiImages(Options.Create(options), TimeProvider.System, NullLogger<OpenAiImages>.Instance);
    }

    private static OpenAiVideos NewVideos(LocalArk server) => new(
        Options.Create(new OpenAiOptions { VideoBaseUrl = $"{server.Address}/v1", VideoApiKey = Key, ApiKey = "another" }), TimeProvider.System,
            NullLogger<OpenAiVideos>.Instance);

    /// <summary>Keeps the pictures, as text.</summary>
    private sealed class Album
    {
        private static readonly StoredMedia Any = new(
            MediaKey.Output(Guid.Empty, DateTimeOffset.UnixEpoch, Guid.Empty, 0, 1, "png"), "image/png", 5, new byte[32], null, null, null);

        public List<string> Pictures { get; } = [];

        public List<string> Previews { get; } = [];

        public Failure? Problem { get; init; }

        public PictureSink Sink => new(
            async picture =>
            {
                Pictures.Add(await ReadAsync(picture));
                return Problem is null ? (Any, null) : (null, Problem);
            },
            async (index, picture) => Previews.Add($"{index}:{await ReadAsync(picture)}"));

        private static async Task<string> ReadAsync(Stream picture)
        {
            using var bytes = new MemoryStream();
            await picture.CopyToAsync(bytes);
            return Encoding.UTF8.GetString(bytes.ToArray());
        }
    }
}
