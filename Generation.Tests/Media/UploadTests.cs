using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Generation.Core.Media;
using Generation.Tests.Harness;

namespace Generation.Tests.Media;

/// <summary>Reference pictures: streamed in, checked on the way, and of use to their owner alone.</summary>
public sealed class UploadTests
{
    [Fact]
    public async Task A_picture_is_kept_as_it_was_sent_and_described()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var sent = Picture();
        var upload = (await SendAsync(user.Http, sent)).AssertStatus(HttpStatusCode.Created).Body;
        Assert.Equal($"upload:{upload["uploadId"]}", (string?)upload["reference"]);
        Assert.Equal(("image/jpeg", sent.Length, 512, 512), ((string?)upload["contentType"], (int)upload["bytes"]!, (int)upload["width"]!,
            (int)upload["height"]!));
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(sent)), (string?)upload["sha256"]);
        var key = await system.ScalarAsync<string>($"SELECT object_key FROM uploads WHERE upload_id = '{upload["uploadId"]}'");
        Assert.Equal(sent, await File.ReadAllBytesAsync(Path.Combine(system.MediaFolder, key!)));
    }

    [Fact]
    public async Task An_upload_is_not_there_for_anybody_but_its_owner()
    {
        var system = await ApiSystem.Queued;
        var (owner, stranger) = (await system.NewUserAsync(), await system.NewUserAsync());
        var reference = (string)(await SendAsync(owner.Http, Picture())).AssertStatus(HttpStatusCode.Created).Body["reference"]!;
        foreach (var named in new[] { reference, $"upload:{Guid.NewGuid()}" })
        {
            var refused = (await stranger.SubmitAsync(Video(named))).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
            Assert.Contains("is not there, or not yours", refused.Body["errors"]!["params.first_frame"]![0]!.GetValue<string>(),
                StringComparison.Ordinal);
        }

        await stranger.AssertNothingHappenedAsync();
        (await owner.SubmitAsync(Video(reference))).AssertStatus(HttpStatusCode.Accepted);

        // A replay is answered also when the upload has gone since.
        var key = ("Idempotency-Key", Guid.NewGuid().ToString());
        var first = (await owner.SubmitAsync(Video(reference), key)).AssertStatus(HttpStatusCode.Accepted);
        await system.ExecuteAsync($"UPDATE uploads SET created_at = created_at - interval '8 days' WHERE user_id = '{owner.UserId}'");
        (await owner.SubmitAsync(Video(reference))).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal(first.SessionId, (await owner.SubmitAsync(Video(reference), key)).SessionId);
    }

    public static TheoryData<string, byte[], string> WrongFiles => new()
    {
        { "a ZIP that says image/png", [0x50, 0x4B, 0x03, 0x04, .. new byte[100]], "must be a picture" },
        { "an HTML page", Encoding.UTF8.GetBytes("<!doctype html><html><body>hello</body></html>"), "must be a picture" },
        { "nothing", [], "could not be read" },
        { "the first 33 bytes of a picture", SampleFiles.PngOfPixels(600, 600)[..33], "could not be read" },
        { "a picture of less than its pixels", SampleFiles.PngOfPixels(6_000, 6_000, rows: 20), "could not be read" },
        { "a picture that is cut", Picture()[..10_000], "could not be read" },
        { "what an output may be and an upload may not", SampleFiles.Fill(5_000, [0, 1, 2, 3]), "must be a picture" },
        { "a picture that is too small", SampleFiles.PngOfPixels(8, 8), "at least 15 pixels" },
        { "a picture of too many pixels", SampleFiles.Png(40_000, 40_000), "at most 36000000 pixels" },
        { "a strip", SampleFiles.PngOfPixels(2_000, 100), "at most 16:1" },
    };

    [Theory]
    [MemberData(nameof(WrongFiles))]
    public async Task What_is_no_good_picture_is_refused_and_leaves_nothing(string what, byte[] file, string problem)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var refused = (await SendAsync(user.Http, file)).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.True(refused.Body["errors"]!["file"]![0]!.GetValue<string>().Contains(problem, StringComparison.Ordinal), $"{what}: {refused.Body}");
        await AssertNothingIsKeptAsync(system, user);
    }

    [Fact]
    public async Task A_picture_with_much_metadata_before_its_frame_is_accepted()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var upload = (await SendAsync(user.Http, SampleFiles.Jpeg(640, 480, segmentBytes: 400_000, scanBytes: 2_000)))
            .AssertStatus(HttpStatusCode.Created).Body;
        Assert.Equal((640, 480), ((int)upload["width"]!, (int)upload["height"]!));
    }

    [Fact]
    public async Task A_picture_that_is_too_large_is_refused_on_the_way_and_leaves_nothing()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        using var endless = new StreamContent(new Endless(Picture(), (30L << 20) + 1));
        using var form = new MultipartFormDataContent { { endless, "file", "large.jpg" } };
        (await Reply.ReadAsync(await user.Http.PostAsync("/api/uploads", form)))
            .AssertProblem(HttpStatusCode.RequestEntityTooLarge, "body_too_large");
        await AssertNothingIsKeptAsync(system, user);
    }

    [Fact]
    public async Task An_upload_that_is_cut_off_is_its_senders_fault()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        byte[] head = [.. "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n"u8, .. Picture()[..2_000]];
        using var content = new ByteArrayContent(head) // without the boundary that ends it
        {
            Headers = { ContentType = MediaTypeHeaderValue.Parse("multipart/form-data; boundary=b") },
        };
        (await Reply.ReadAsync(await user.Http.PostAsync("/api/uploads", content))).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        await AssertNothingIsKeptAsync(system, user);
    }

    [Fact]
    public async Task A_request_without_a_file_says_what_is_wanted()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        using var form = new MultipartFormDataContent { { new StringContent("no file"), "note" } };
        (await Reply.ReadAsync(await user.Http.PostAsync("/api/uploads", form))).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        (await user.SendAsync(HttpMethod.Post, "/api/uploads", "{}")).AssertProblem(HttpStatusCode.UnsupportedMediaType, "unsupported_media_type");
        using var nobody = new HttpClient { BaseAddress = user.Http.BaseAddress };
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(nobody, Picture())).Status);
    }

    [Fact]
    public async Task Old_uploads_go_with_their_objects()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Relay:UploadInterval"] = "00:00:00.200";
        });
        (await SendAsync(system.Http, Picture())).AssertStatus(HttpStatusCode.Created);
        var young = (await SendAsync(system.Http, Picture())).AssertStatus(HttpStatusCode.Created).Body["uploadId"];
        await system.ExecuteAsync($"UPDATE uploads SET created_at = created_at - interval '9 days' WHERE upload_id <> '{young}'");
        await system.UntilAsync("SELECT count(*) = 1 FROM uploads");
        Assert.Single(Directory.GetFiles(system.MediaFolder, "upload.*", SearchOption.AllDirectories));
    }

    private static async Task AssertNothingIsKeptAsync(TestSystem system, ApiUser user)
    {
        Assert.Equal(0, await system.ScalarAsync<long>($"SELECT count(*) FROM uploads WHERE user_id = '{user.UserId}'"));
        var folder = Path.Combine(system.MediaFolder, user.UserId.ToString());
        Assert.True(!Directory.Exists(folder) || Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Length == 0);
    }

    private static string Video(string firstFrame) =>
        $$$"""{"model":"seedance-2","params":{"prompt":"from a picture","duration":4,"resolution":"480p","first_frame":"{{{firstFrame}}}"}}""";

    private static async Task<Reply> SendAsync(HttpClient http, byte[] file)
    {
        using var content = new ByteArrayContent(file) { Headers = { ContentType = new MediaTypeHeaderValue("image/png") } };
        using var form = new MultipartFormDataContent { { new StringContent("a note before the file"), "note" },
            { content, "file", "reference.png" } };
        return await Reply.ReadAsync(await http.PostAsync("/api/uploads", form));
    }

    private static byte[] Picture()
    {
        using var sample = MockSamples.Choose(0).Open();
        using var bytes = new MemoryStream();
        sample.CopyTo(bytes);
        return bytes.ToArray();
    }

    /// <summary>A picture's bytes, then zeros.</summary>
    private sealed class Endless(byte[] picture, long length) : MemoryStream
    {
        private readonly byte[] start = picture;
        private long sent;

        public override bool CanSeek => false;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var count = (int)Math.Min(buffer.Length, length - sent);
            buffer.Span[..count].Clear();
            if (sent < start.Length)
            {
                count = Math.Min(count, start.Length - (int)sent);
                start.AsSpan((int)sent, count).CopyTo(buffer.Span);
            }

            sent += count;
            return ValueTask.FromResult(count);
        }
    }
}
