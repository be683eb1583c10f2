using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes and the clock of Ark's video tasks, against the samples of its documentation.</summary>
public sealed class ArkVideosTests(ArkVideosTests.VideoSim sim) : IClassFixture<ArkVideosTests.VideoSim>
{
    private const string Model = "dreamina-seedance-2-0-260128";
    private const string Route = "/api/v3/contents/generations/tasks";

    [Fact]
    public async Task A_task_goes_from_queued_over_running_to_succeeded_by_the_clock_and_is_paid_once_at_the_end()
    {
        var prompt = "by the clock [queued=3600000][latency=3600000]";
        using var created = await CreateAsync(prompt);
        var reply = await created.Content.ReadFromJsonAsync<JsonObject>();
        Assert.Equal(["id"], reply!.Select(f => f.Key));
        var id = (string)reply!["id"]!;
        Assert.Matches("^cgt-[0-9]{14}-[a-z0-9]{5}$", id);

        var queued = await TaskAsync(id);
        Assert.Equal(("queued", false), ((string?)queued["status"], queued.ContainsKey("content")));
        sim.Time.Advance(TimeSpan.FromMinutes(70));
        Assert.Equal("running", (string?)(await TaskAsync(id))["status"]);
        Assert.Equal((1, 0), await sim.CallsAsync("by the clock"));
        sim.Time.Advance(TimeSpan.FromMinutes(60));
        Assert.Equal((1, 1), await sim.CallsAsync("by the clock")); // also when nobody asks for it
        var task = await TaskAsync(id);
        Assert.Equal((1, 1), await sim.CallsAsync("by the clock"));
        Assert.Equal(
            ["id", "model", "status", "content", "usage", "created_at", "updated_at", "seed", "resolution", "ratio", "duration", "framespersecond",
                "service_tier",
                "execution_expires_after", "generate_audio", "draft", "priority"],
            task.Select(f => f.Key));
        Assert.Equal("""{"completion_tokens":108900,"total_tokens":108900}""", task["usage"]!.ToJsonString());
        Assert.Equal(7_200, (long)task["updated_at"]! - (long)task["created_at"]!, 5.0);
    }

    [Theory]
    [InlineData(Model, "720p", "16:9", 5, 108_900)]
    [InlineData(Model, "480p", "16:9", 5, 50_638)]
    [InlineData("seedance-1-0-pro-250528", "1080p", "16:9", 5, 246_840)]
    [InlineData(Model, "720p", "9:16", 15, 324_900)]
    public async Task Tokens_follow_the_documented_formula(string model, string resolution, string ratio, int duration, int tokens)
    {
        using var created = await sim.Http.PostAsJsonAsync(Route, new { model, content = Text("tokens"), resolution, ratio, duration });
        var task = await TaskAsync((string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!);
        Assert.Equal(tokens, (int?)task["usage"]!["total_tokens"]);
    }

    [Fact]
    public async Task A_result_is_a_film_that_says_its_size_and_length_the_same_for_the_same_seed()
    {
        var film = await FilmAsync(
            new { model = "seedance-1-0-pro-250528", content = Text("a boat at dusk"), resolution = "720p", duration = 3, seed = 7 });
        Assert.Equal(MediaType.Mp4, MediaType.Sniff(film));
        var header = MediaStructure.Read(MediaType.Mp4, film);
        Assert.Equal((1248, 704), (header.Width, header.Height));
        Assert.Equal(73 / 24.0, header.DurationSeconds!.Value, 3);
        Assert.InRange(film.Length, 50_000, 500_000);

        Assert.Equal(film, await FilmAsync(
            new { model = "seedance-1-0-pro-250528", content = Text("a boat at dusk"), resolution = "720p", duration = 3, seed = 7 }));
        Assert.NotEqual(film, await FilmAsync(
            new { model = "seedance-1-0-pro-250528", content = Text("a boat at dusk"), resolution = "720p", duration = 3, seed = 8 }));
        Assert.Equal(300_000, (await FilmAsync(new { model = Model, content = Text("padded [bytes=300000]") })).Length);
    }

    [Fact]
    public async Task Flags_in_the_text_win_over_the_body_and_a_bad_one_is_passed_over()
    {
        using var created = await CreateAsync("flags --dur 12 --rs 480p --ratio 7:5");
        var task = await TaskAsync((string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!);
        Assert.Equal((12, "480p", "16:9"), ((int?)task["duration"], (string?)task["resolution"], (string?)task["ratio"]));
    }

    [Theory]
    [InlineData("""{"content":[{"type":"text","text":"p"}]}""", 400, "MissingParameter.model")]
    [InlineData("""{"model":"seedance-9-260128","content":[{"type":"text","text":"p"}]}""", 404, "InvalidEndpointOrModel.NotFound")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128"}""", 400, "MissingParameter.content")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[]}""", 400, "InvalidParameter.content")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"text"}]}""", 400, "InvalidParameter.content")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"text","text":"p"}],"fancy":1}""", 400, "InvalidParameter.fancy")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"text","text":"p"}],"duration":3}""", 400, "InvalidParameter.duration")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"text","text":"p"}],"resolution":"720"}""", 400,
        "InvalidParameter.resolution")]
    [InlineData("""{"model":"dreamina-seedance-2-0-fast-260128","content":[{"type":"text","text":"p"}],"resolution":"1080p"}""", 400,
        "InvalidParameter.resolution")]
    [InlineData("""{"model":"seedance-1-0-pro-250528","content":[{"type":"text","text":"p"}],"ratio":"adaptive"}""", 400, "InvalidParameter.ratio")]
    [InlineData("""{"model":"seedance-1-0-pro-250528","content":[{"type":"text","text":"p"}],"generate_audio":true}""", 400,
        "InvalidParameter.UnsupportedParameter")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"image_url","image_url":{"url":"https://a.example/1.png"},"role":"last_frame"}]}""", 400, "InvalidParameter.content")]
    [InlineData("""{"model":"dreamina-seedance-2-0-260128","content":[{"type":"image_url","image_url":{"url":"nowhere"}}]}""", 400,
        "InvalidImageURL.InvalidFormat")]
    [InlineData(
        """{"model":"dreamina-seedance-2-0-260128","content":[{"type":"image_url","image_url":{"url":"https://a.example/1.png"},"role":"first_frame"},{"type":"image_url","image_url":{"url":"https://a.example/1.png"},"role":"reference_image"}]}""",
        400, "InvalidParameter.TaskTypeConstraint")]
    public async Task A_body_is_read_strictly(string body, int status, string code)
    {
        using var content = new StringContent(body, System.Text.Encoding.UTF8, "application/json");
        using var response = await sim.Http.PostAsync(Route, content);
        Assert.Equal((status, code), ((int)response.StatusCode, await SimApp.CodeAsync(response)));
    }

    [Fact]
    public async Task Delete_takes_back_what_is_queued_refuses_what_runs_and_forgets_what_has_ended()
    {
        var queued = await IdAsync("queued [queued=3600000]");
        using (var taken = await sim.Http.DeleteAsync($"{Route}/{queued}"))
        {
            Assert.Equal((HttpStatusCode.OK, "{}"), (taken.StatusCode, await taken.Content.ReadAsStringAsync()));
        }

        Assert.Equal("cancelled", (string?)(await TaskAsync(queued))["status"]);
        foreach (var stays in new[] { queued, await IdAsync("running [latency=3600000]") })
        {
            using var refused = await sim.Http.DeleteAsync($"{Route}/{stays}");
            Assert.Equal((HttpStatusCode.BadRequest, "InvalidParameter.id"), (refused.StatusCode, await SimApp.CodeAsync(refused)));
        }

        var ended = await IdAsync("ended");
        Assert.Equal("succeeded", (string?)(await TaskAsync(ended))["status"]);
        (await sim.Http.DeleteAsync($"{Route}/{ended}")).EnsureSuccessStatusCode();
        using var gone = await sim.Http.GetAsync($"{Route}/{ended}");
        Assert.Equal((HttpStatusCode.NotFound, "NotFound.Task"), (gone.StatusCode, await SimApp.CodeAsync(gone)));
    }

    [Fact]
    public async Task A_list_is_filtered_and_paged()
    {
        var ids = new[] { await IdAsync("listed 1"), await IdAsync("listed 2"), await IdAsync("listed 3 [queued=3600000]") };
        var filter = string.Join('&', ids.Select(id => $"filter.task_ids={id}"));
        var page = await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}?{filter}&page_num=2&page_size=2");
        Assert.Equal((3, 1), ((int?)page!["total"], page["items"]!.AsArray().Count));
        var queued = await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}?{filter}&filter.status=queued");
        Assert.Equal(ids[2], (string?)Assert.Single(queued!["items"]!.AsArray())!["id"]);
    }

    [Fact]
    public async Task A_failed_task_has_an_error_and_is_not_paid()
    {
        var task = await TaskAsync(await IdAsync("refused in the end [fault=moderation-output]"));
        Assert.Equal(("failed", "OutputVideoSensitiveContentDetected"), ((string?)task["status"], (string?)task["error"]!["code"]));
        Assert.False(task.ContainsKey("content"));
        Assert.Equal((1, 0), await sim.CallsAsync("refused in the end"));
    }

    [Fact]
    public async Task So_many_run_at_once_and_one_too_many_in_the_queue_is_refused()
    {
        await using var narrow = new NarrowSim();
        await narrow.InitializeAsync();
        async Task<JsonObject> CreatedAsync(string prompt, int priority = 0)
        {
            using var response = await narrow.Http.PostAsJsonAsync(Route, new { model = Model, content = Text(prompt), priority });
            return (await response.Content.ReadFromJsonAsync<JsonObject>())!;
        }

        async Task<string> StatusAsync(JsonObject created) =>
            (string)(await narrow.Http.GetFromJsonAsync<JsonObject>($"{Route}/{created["id"]}"))!["status"]!;

        var first = await CreatedAsync("1 [latency=3600000]");
        var second = await CreatedAsync("2 [latency=3600000]");
        var urgent = await CreatedAsync("3 [latency=3600000]", priority: 9);
        Assert.Equal("QuotaExceeded", (string?)(await CreatedAsync("4"))["error"]!["code"]);
        Assert.Equal(("running", "queued", "queued"), (await StatusAsync(first), await StatusAsync(second), await StatusAsync(urgent)));
        narrow.Time.Advance(TimeSpan.FromMinutes(61));
        Assert.Equal(("succeeded", "queued", "running"), (await StatusAsync(first), await StatusAsync(second), await StatusAsync(urgent)));
        narrow.Time.Advance(TimeSpan.FromMinutes(120));
        Assert.Equal(("succeeded", "succeeded"), (await StatusAsync(second), await StatusAsync(urgent)));
        narrow.Time.Advance(TimeSpan.FromDays(7));
        using var forgotten = await narrow.Http.GetAsync($"{Route}/{first["id"]}");
        Assert.Equal(HttpStatusCode.NotFound, forgotten.StatusCode);
    }

    private static object[] Text(string text) => [new { type = "text", text }];

    private Task<HttpResponseMessage> CreateAsync(string prompt) =>
        sim.Http.PostAsJsonAsync(Route, new
        {
            model = Model,
            content = Text(prompt),
            resolution = "720p",
            ratio = "16:9",
            duration = 5,
            generate_audio = true,
            watermark = false
        });

    private async Task<string> IdAsync(string prompt)
    {
        using var created = await CreateAsync(prompt);
        return (string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!;
    }

    private async Task<JsonObject> TaskAsync(string id) => (await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}/{id}"))!;

    private async Task<byte[]> FilmAsync(object body)
    {
        using var created = await sim.Http.PostAsJsonAsync(Route, body);
        var task = await TaskAsync((string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!);
        using var anyone = new HttpClient();
        using var response = await anyone.GetAsync((string?)task["content"]!["video_url"]);
        Assert.Equal("video/mp4", response.Content.Headers.ContentType?.MediaType);
        return await response.Content.ReadAsByteArrayAsync();
    }

    public class VideoSim : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>
        {
            ["Sim:VideoLatencyMs"] = "0",
            ["Sim:VideoQueueMs"] = "0",
            ["Sim:VideoReadsPerSecond"] = "0",
        };
    }

    private sealed class NarrowSim : VideoSim
    {
        protected override IReadOnlyDictionary<string, string> Settings =>
            new Dictionary<string, string>(base.Settings) { ["Sim:VideoConcurrency"] = "1", ["Sim:VideoQueueLength"] = "2" };
    }
}
