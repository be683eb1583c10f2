using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes and the clock of <c>/v1/videos</c>.</summary>
public sealed class OpenAiVideosTests : IClassFixture<OpenAiVideosTests.VideoSim>, IDisposable
{
    private const string Route = "/v1/videos";

    private readonly SimApp sim;
    private readonly HttpClient http;

    public OpenAiVideosTests(VideoSim sim)
    {
        this.sim = sim;
        http = new HttpClient { BaseAddress = sim.Http.BaseAddress, DefaultRequestHeaders = { Authorization = new("Bearer", "sim-openai-key") } };
    }

    public void Dispose() => http.Dispose();

    [Fact]
    public async Task A_video_goes_its_way_by_the_clock_with_progress_that_never_falls_and_is_paid_once_at_the_end()
    {
        using var created = await http.PostAsJsonAsync(Route,
            new { prompt = "sora by the clock [queued=60000][latency=100000]", seconds = "8", size = "1280x720", model = "sora-2-pro" });
        var video = (await created.Content.ReadFromJsonAsync<JsonObject>())!;
        Assert.Equal(
            ["id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "size", "seconds",
                "remixed_from_video_id", "error"],
            video.Select(f => f.Key));
        Assert.Equal(("video", "sora-2-pro", "queued", 0, "8", "1280x720"),
            ((string?)video["object"], (string?)video["model"], (string?)video["status"], (int?)video["progress"], (string?)video["seconds"],
                (string?)video["size"]));
        Assert.Equal("10000", created.Headers.GetValues("openai-poll-after-ms").Single());
        var id = (string)video["id"]!;
        Assert.Matches("^video_[0-9a-f]{32}$", id);

        sim.Time.Advance(TimeSpan.FromSeconds(85));
        var running = await VideoAsync(id);
        Assert.Equal("in_progress", (string?)running["status"]);
        Assert.InRange((int)running["progress"]!, 24, 40);
        using (var early = await http.GetAsync($"{Route}/{id}/content"))
        {
            Assert.Equal(HttpStatusCode.NotFound, early.StatusCode);
        }

        sim.Time.Advance(TimeSpan.FromSeconds(74.5));
        Assert.InRange((int)(await VideoAsync(id))["progress"]!, 98, 100);
        sim.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal((1, 1), await sim.CallsAsync("sora by the clock"));
        var done = await VideoAsync(id);
        Assert.Equal(("completed", 100, 160, 86_400), ((string?)done["status"], (int?)done["progress"],
            (int)((long)done["completed_at"]! - (long)done["created_at"]!), (int)((long)done["expires_at"]! - (long)done["completed_at"]!)));

        using var content = await http.GetAsync($"{Route}/{id}/content");
        var film = await content.Content.ReadAsByteArrayAsync();
        Assert.Equal(("video/mp4", MediaType.Mp4), (content.Content.Headers.ContentType?.MediaType, MediaType.Sniff(film)));
        var header = MediaStructure.Read(MediaType.Mp4, film);
        Assert.Equal((1280, 720), (header.Width, header.Height));
        Assert.Equal((1280, 720), PictureFiles.WebPSize(await http.GetByteArrayAsync($"{Route}/{id}/content?variant=thumbnail")));
        Assert.Equal((2560, 720), PictureFiles.JpegSize(await http.GetByteArrayAsync($"{Route}/{id}/content?variant=spritesheet")));
        using var stranger = await sim.Http.GetAsync($"{Route}/{id}/content");
        Assert.Equal(HttpStatusCode.Unauthorized, stranger.StatusCode);
        Assert.Equal((1, 1), await sim.CallsAsync("sora by the clock"));
    }

    [Theory]
    [InlineData("""{}""", 400, "missing_required_parameter", "prompt")]
    [InlineData("""{"prompt":"p","seconds":8}""", 400, "invalid_type", "seconds")]
    [InlineData("""{"prompt":"p","seconds":"5"}""", 400, "invalid_value", "seconds")]
    [InlineData("""{"prompt":"p","size":"1024x1792"}""", 400, "invalid_value", "size")] // of sora-2-pro alone
    [InlineData("""{"prompt":"p","model":"sora-3"}""", 400, "model_not_found", "model")]
    [InlineData("""{"prompt":"p","n":2}""", 400, "unknown_parameter", "n")]
    [InlineData("""{"prompt":"p","input_reference":"https://a.example/1.png"}""", 400, "invalid_type", "input_reference")]
    [InlineData("""{"prompt":"p","input_reference":{"url":"https://a.example/1.png"}}""", 400, "unknown_parameter", "input_reference.url")]
    public async Task A_body_is_read_strictly(string body, int status, string code, string param)
    {
        using var content = new StringContent(body, System.Text.Encoding.UTF8, "application/json");
        using var response = await http.PostAsync(Route, content);
        var error = (await response.Content.ReadFromJsonAsync<JsonObject>())!["error"]!;
        Assert.Equal((status, code, param), ((int)response.StatusCode, (string?)error["code"], (string?)error["param"]));
    }

    [Fact]
    public async Task A_form_with_a_picture_is_taken_as_well()
    {
        using var form = new MultipartFormDataContent
        {
            { new StringContent("from a form"), "prompt" },
            { new StringContent("4"), "seconds" },
            { new ByteArrayContent([0xFF, 0xD8, 0xFF]) { Headers = { ContentType = new("image/jpeg") } }, "input_reference", "first.jpg" },
        };
        using var response = await http.PostAsync(Route, form);
        Assert.Equal(("4", "720x1280"), ((await response.Content.ReadFromJsonAsync<JsonObject>()) is { } video
            ? ((string?)video["seconds"], (string?)video["size"]) : default));
    }

    [Theory]
    [InlineData("moderation-output", "moderation_blocked")]
    [InlineData("image-500", "server_error")]
    [InlineData("poll-expired", "video_expired")]
    public async Task A_video_that_fails_says_why_and_is_not_paid_for_it(string word, string code)
    {
        var id = await IdAsync($"sora fails by {word} [fault={word}]");
        var video = await VideoAsync(id);
        Assert.Equal(("failed", code), ((string?)video["status"], (string?)video["error"]!["code"]));
        Assert.Equal((1, word == "poll-expired" ? 1 : 0), await sim.CallsAsync($"sora fails by {word} "));
    }

    [Theory]
    [InlineData("poll-error", 500)]
    [InlineData("poll-gateway", 502)]
    [InlineData("poll-rate-limit", 429)]
    [InlineData("poll-lost", 404)]
    public async Task A_question_can_fail(string word, int status)
    {
        using var response = await http.GetAsync($"{Route}/{await IdAsync($"asked [fault={word}:times=1]{word}")}");
        Assert.Equal(status, (int)response.StatusCode);
    }

    [Fact]
    public async Task A_download_has_the_faults_of_a_file()
    {
        async Task<HttpResponseMessage> FetchAsync(string word)
        {
            using var plain = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false })
            {
                BaseAddress = http.BaseAddress,
                DefaultRequestHeaders = { Authorization = http.DefaultRequestHeaders.Authorization }
            };
            return await plain.GetAsync($"{Route}/{await IdAsync($"spoiled {word} [fault={word}]")}/content");
        }

        using var dead = await FetchAsync("dead-url");
        Assert.Equal(HttpStatusCode.NotFound, dead.StatusCode);
        using var html = await FetchAsync("html-as-png");
        Assert.StartsWith("<!doctype html>", await html.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        using var near = await FetchAsync("redirect");
        Assert.EndsWith("/content?hop=1", near.Headers.Location?.ToString(), StringComparison.Ordinal);
        using var far = await FetchAsync("redirect-host");
        Assert.Equal("localhost", far.Headers.Location?.Host);
        using var withKey = await http.GetAsync(far.Headers.Location);
        Assert.Equal(HttpStatusCode.BadRequest, withKey.StatusCode);
        using var stranger = new HttpClient();
        using var without = await stranger.GetAsync(far.Headers.Location);
        Assert.Equal(MediaType.Mp4, MediaType.Sniff(await without.Content.ReadAsByteArrayAsync()));
    }

    [Fact]
    public async Task A_list_is_paged_by_the_last_id_and_a_deleted_video_is_gone()
    {
        var (one, two) = (await IdAsync("listed 1"), await IdAsync("listed 2"));
        var newest = await http.GetFromJsonAsync<JsonObject>($"{Route}?limit=1");
        Assert.Equal((two, two, true), ((string?)newest!["first_id"], (string?)newest["last_id"], (bool?)newest["has_more"]));
        var next = await http.GetFromJsonAsync<JsonObject>($"{Route}?limit=1&after={two}");
        Assert.Equal(one, (string?)next!["data"]![0]!["id"]);
        using var deleted = await http.DeleteAsync($"{Route}/{one}");
        Assert.Equal($$"""{"id":"{{one}}","object":"video.deleted","deleted":true}""", await deleted.Content.ReadAsStringAsync());
        using var gone = await http.GetAsync($"{Route}/{one}");
        Assert.Equal(HttpStatusCode.NotFound, gone.StatusCode);
    }

    [Fact]
    public async Task Shut_down_every_call_is_refused()
    {
        await using var dead = new DeadSim();
        await dead.InitializeAsync();
        using var key = new HttpClient
        {
            BaseAddress = dead.Http.BaseAddress,
            DefaultRequestHeaders = { Authorization = http.DefaultRequestHeaders.Authorization }
        };
        using var created = await key.PostAsJsonAsync(Route, new { prompt = "too late" });
        using var listed = await key.GetAsync(Route);
        Assert.Equal((HttpStatusCode.NotFound, "model_not_found"), (created.StatusCode, await SimApp.CodeAsync(created)));
        Assert.Equal(HttpStatusCode.NotFound, listed.StatusCode);
        Assert.Equal((0, 0), await dead.CallsAsync("too late"));
    }

    private async Task<string> IdAsync(string prompt)
    {
        using var created = await http.PostAsJsonAsync(Route, new { prompt });
        return (string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!;
    }

    private async Task<JsonObject> VideoAsync(string id) => (await http.GetFromJsonAsync<JsonObject>($"{Route}/{id}"))!;

    public class VideoSim : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings =>
            new Dictionary<string, string>(StringComparer.Ordinal) { ["Sim:VideoLatencyMs"] = "0", ["Sim:VideoQueueMs"] = "0" };
    }

    public sealed class DeadSim : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings =>
            new Dictionary<string, string>(StringComparer.Ordinal) { ["Sim:OpenAiVideosShutDown"] = "true" };
    }
}
