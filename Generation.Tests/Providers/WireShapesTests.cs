using System.IO.Compression;
using System.Text;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Tests.Providers.Ark;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Ark;
using Generation.Worker.Providers.Google;
using Generation.Worker.Providers.Kie;
using Generation.Worker.Providers.OpenAi;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers;

/// <summary>Answers that are there but written unusually: what has been paid for is taken wherever it can be understood.</summary>
public sealed class WireShapesTests
{
    private const string Usage = "\"usage\":{\"total_tokens\":3,\"input_tokens\":1,\"output_tokens\":2}";
    private const string Png = "aGVsbG8=";
    private const string Address = "https://cdn.openai.com/1.png";

    public static TheoryData<string, string, string, string> OpenAiAnswers => new()
    {
        { "an address for bytes", "application/json", $$"""{"data":[{"url":"{{Address}}"}],{{Usage}}}""", Address },
        { "an address in the field for bytes", "application/json", $$"""{"data":[{"b64_json":"{{Address}}"}],{{Usage}}}""", Address },
        { "bytes in the field for addresses", "application/json", $$"""{"data":[{"url":"{{Png}}"}],{{Usage}}}""", "hello" },
        { "a data URL", "application/json", $$"""{"data":[{"url":"data:image/png;base64,{{Png}}"}],{{Usage}}}""", "hello" },
        { "bytes in lines", "application/json", $$"""{"data":[{"b64_json":"aGVs\r\nbG8=\n"}],{{Usage}}}""", "hello" },
        { "a byte order mark", "application/json", $$"""{{"\uFEFF"}}{"data":[{"b64_json":"{{Png}}"}],{{Usage}}}""", "hello" },
        { "JSON that is called an event stream", "text/event-stream", $$"""{"data":[{"b64_json":"{{Png}}"}],{{Usage}}}""", "hello" },
        { "events that are called JSON", "application/json",
            $"event: image_generation.completed\ndata: {{\"b64_json\":\"{Png}\",{Usage}}}\n\n", "hello" },
        { "events without names", "text/event-stream",
            "data: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"b25l\"}\n\n"
            + $"data: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{Png}\",{Usage}}}\n\n", "hello" },
        { "events whose type comes last", "text/event-stream",
            "data: {\"b64_json\":\"b25l\",\"type\":\"image_generation.partial_image\"}\n\n"
            + $"data: {{\"b64_json\":\"{Png}\",{Usage},\"type\":\"image_generation.completed\"}}\n\n", "hello" },
        { "an event that says nothing of itself", "text/event-stream", $"data: {{\"b64_json\":\"{Png}\",{Usage}}}\n\n", "hello" },
        { "an event in several lines of data", "text/event-stream",
            $"\uFEFF: hi\r\ndata: {{\"type\":\"image_generation.completed\",\r\nid: 7\r\ndata: \"b64_json\":\"{Png}\",{Usage}}}\r\n\r\n", "hello" },
        { "an address in an event", "text/event-stream",
            $"data: {{\"type\":\"image_generation.completed\",\"url\":\"{Address}\",{Usage}}}\n\n", Address },
    };

    [Theory]
    [MemberData(nameof(OpenAiAnswers))]
    public async Task A_picture_of_OpenAI_counts_however_it_is_wrapped(string name, string contentType, string body, string picture)
    {
        foreach (var coding in new[] { "identity", "gzip", "br", "deflate" })
        {
            await using var server = await LocalArk.StartAsync(context => AnswerAsync(context, contentType, body, coding));
            using var openAi = new OpenAiImages(
                Options.Create(new OpenAiOptions { BaseUrl = $"{server.Address}/v1", ApiKey = "key" }), TimeProvider.System,
                NullLogger<OpenAiImages>.Instance);
            var stored = new List<string>();
            var request = OpenAiImageRequest.From(new() { ["providerModel"] = "gpt-image-2", ["prompt"] = "p" })!;

            var reply = await openAi.GenerateAsync(
                request, "c", new PictureSink(bytes => KeepAsync(stored, bytes), (_, _) => Task.CompletedTask), default);

            Assert.True(reply.Failure is null, $"{name}, {coding}: {reply.Failure}");
            Assert.Equal(picture, reply.Url?.AbsoluteUri ?? stored[^1]);
            Assert.Equal(3, (long)reply.Usage!["total_tokens"]!);
        }
    }

    [Theory]
    [InlineData("""{"data":[{"b64_json":"aGVsbG8="}],"usage":{"generated_images":1}}""", "hello")]
    [InlineData("""{"data":[{"url":"data:image/jpeg;base64,aGVsbG8"}],"usage":{"generated_images":1}}""", "hello")]
    [InlineData("""{"data":[{"b64_json":"https://a.volces.com/1.jpeg"}],"usage":{"generated_images":"1"}}""", "https://a.volces.com/1.jpeg")]
    [InlineData("""{"data":{"url":"https://a.volces.com/1.jpeg"},"usage":{"generated_images":1}}""", "https://a.volces.com/1.jpeg")]
    public async Task A_picture_of_Ark_counts_however_it_is_wrapped(string body, string picture)
    {
        foreach (var coding in new[] { "identity", "gzip" })
        {
            await using var server = await LocalArk.StartAsync(context => AnswerAsync(context, "application/json", body, coding));
            using var ark = ArkUnderTest.NewArk(server.Address);
            var stored = new List<string>();
            var request = ArkImageRequest.From(new() { ["providerModel"] = "seedream", ["prompt"] = "p" })!;

            var reply = await ark.GenerateAsync(request, "c", default, bytes => KeepAsync(stored, bytes));

            Assert.True(reply.Failure is null, $"{body}, {coding}: {reply.Failure}");
            Assert.Equal(picture, reply.Url?.AbsoluteUri ?? stored[^1]);
            Assert.Equal(1, (long)reply.Usage!["generated_images"]!);
        }
    }

    [Fact]
    public async Task A_large_picture_in_an_answer_of_Ark_is_stored_while_it_arrives()
    {
        var picture = new byte[3 << 20];
        await using var server = await LocalArk.StartAsync(context =>
            AnswerAsync(context, "application/json", $$"""{"data":[{"b64_json":"{{Convert.ToBase64String(picture)}}"}]}""", "identity"));
        using var ark = ArkUnderTest.NewArk(server.Address);
        var stored = new List<string>();

        var reply = await ark.GenerateAsync(
            ArkImageRequest.From(new() { ["providerModel"] = "seedream", ["prompt"] = "p" })!, "c", default, bytes => KeepAsync(stored, bytes));

        Assert.Null(reply.Failure);
        Assert.Equal(picture.Length, stored[0].Length);
    }

    [Fact]
    public async Task Pictures_of_a_group_of_Ark_count_however_they_are_wrapped()
    {
        const string Stream = """
            data: {"type":"image_generation.partial_succeeded","image_index":0,"b64_json":"aGVsbG8="}

            data: {"type":"image_generation.partial_succeeded","image_index":"1","url":"data:image/png;base64,aGVsbG8="}

            data: {"type":"image_generation.partial_succeeded","image_index":2,"url":"https://a.volces.com/3.jpeg"}

            data: {"type":"image_generation.completed","usage":{"generated_images":"3"}}


            """;
        await using var server = await LocalArk.StartAsync(context => AnswerAsync(context, "application/octet-stream", Stream, "gzip"));
        using var ark = ArkUnderTest.NewArk(server.Address);
        var announced = new List<string>();

        var reply = await ark.GenerateGroupAsync(
            ArkImageRequest.From(new() { ["providerModel"] = "seedream", ["prompt"] = "p", ["group"] = true, ["n"] = 3 })!, "c",
            async output =>
            {
                var media = new List<string>();
                if (output.Media is not null)
                {
                    await KeepAsync(media, output.Media);
                }

                announced.Add($"{output.Index} {output.Url?.AbsoluteUri}{media.FirstOrDefault()}");
            },
            default);

        Assert.Null(reply.Failure);
        Assert.Equal(["0 hello", "1 hello", "2 https://a.volces.com/3.jpeg"], announced);
    }

    [Theory]
    [InlineData("""{"code":"200","data":{"taskId":173296}}""", "173296")]
    [InlineData("""{"code":200.0,"msg":"ok","data":{"task_id":"t"}}""", "t")]
    [InlineData("""{"code":200,"data":"{\"taskId\":\"t\"}"}""", "t")]
    public async Task A_task_of_Kie_is_known_however_its_id_is_written(string body, string taskId)
    {
        await using var server = await LocalArk.StartAsync(200, body);
        using var kie = NewKie(server);
        var reply = await kie.CreateAsync(new KieRequest("m", []), null, "c", default);
        Assert.Equal((null, taskId), (reply.Failure, reply.TaskId));
    }

    [Theory]
    [InlineData("""{"code":"200","data":{"state":"success","resultJson":"{\"resultUrls\":[{\"url\":\"https://a.example/1.png\"}]}"}}""")]
    [InlineData("""{"code":200,"data":{"state":"success","resultJson":{"resultUrls":"https://a.example/1.png"}}}""")]
    [InlineData("""{"code":200,"data":{"state":"success","resultUrls":["https://a.example/1.png"],"creditsConsumed":1732962345678}}""")]
    public async Task A_result_of_Kie_is_found_however_it_is_written(string body)
    {
        await using var server = await LocalArk.StartAsync(200, body);
        using var kie = NewKie(server);
        var done = Assert.IsType<TaskReport.Delivered>(await kie.RetrieveAsync("t", default));
        Assert.Equal("https://a.example/1.png", done.Url.AbsoluteUri);
        Assert.Null(done.Usage?["creditsConsumed"]);
    }

    [Fact]
    public async Task Half_a_surrogate_pair_or_a_nul_in_a_providers_text_is_no_exception()
    {
        await using var kieServer = await LocalArk.StartAsync(
            200, """{"code":200,"data":{"state":"success","resultJson":"{\"resultUrls\":[\"https://a.example/\\ud800.png\"]}"}}""");
        using var kie = NewKie(kieServer);
        Assert.Equal("https://a.example/%EF%BF%BD.png", Assert.IsType<TaskReport.Delivered>(await kie.RetrieveAsync("t", default)).Url.AbsoluteUri);

        await using var veoServer = await LocalArk.StartAsync(
            200, """{"name":"o","done":true,"response":{"generateVideoResponse":{"raiMediaFilteredReasons":["a\ud83d"]}}}""");
        using var veo = new VeoVideos(
            Options.Create(new GoogleOptions { BaseUrl = $"{veoServer.Address}/v1beta", ApiKey = "key" }), TimeProvider.System,
            NullLogger<VeoVideos>.Instance);
        var filtered = Assert.IsType<TaskReport.Ended>(await veo.RetrieveAsync("models/veo/operations/o", 8, default)).Failure;
        Assert.Equal((FailureKind.ModerationOutput, "a\uFFFD"), (filtered.Kind, filtered.Detail));

        await using var arkServer = await LocalArk.StartAsync(400, """{"error":{"code":"InvalidParameter\u0000","message":"a\u0000b\udc00"}}""");
        using var ark = ArkUnderTest.NewArk(arkServer.Address);
        var refused = (await ark.GenerateAsync(ArkImageRequest.From(new() { ["providerModel"] = "m", ["prompt"] = "p" })!, "c", default)).Failure!;
        Assert.Equal((FailureKind.InvalidRequest, "InvalidParameter", "ab\uFFFD"), (refused.Kind, refused.ProviderCode, refused.Detail));
    }

    private static KieJobs NewKie(LocalArk server) => new(
        Options.Create(new KieOptions { BaseUrl = server.Address, ApiKey = "key" }), TimeProvider.System, NullLogger<KieJobs>.Instance);

    private static async Task AnswerAsync(HttpContext context, string contentType, string body, string coding)
    {
        context.Response.ContentType = contentType;
        context.Response.Headers.ContentEncoding = coding;
        using var coded = new MemoryStream();
        await using (var encoder = coding switch
        {
            "gzip" => new GZipStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            "br" => new BrotliStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            "deflate" => new ZLibStream(coded, CompressionLevel.Fastest, leaveOpen: true),
            _ => (Stream)coded,
        })
        {
            await encoder.WriteAsync(Encoding.UTF8.GetBytes(body));
        }

        await context.Response.Body.WriteAsync(coded.ToArray());
    }

    private static async Task<(StoredMedia? Media, Failure? Problem)> KeepAsync(List<string> stored, Stream bytes)
    {
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all);
        stored.Add(Encoding.Latin1.GetString(all.ToArray()));
        return (new StoredMedia(
            MediaKey.Output(Guid.Empty, DateTimeOffset.UnixEpoch, Guid.Empty, 0, 1, "png"), "image/png", 5, new byte[32], null, null, null), null);
    }
}
