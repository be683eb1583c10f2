using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes and the clock of Kie's tasks, against the samples of its documentation.</summary>
public sealed class KieTests(KieTests.KieSim sim) : IClassFixture<KieTests.KieSim>
{
    private const string Banana = "google/nano-banana";

    [Fact]
    public async Task A_task_goes_through_its_states_by_the_clock_and_is_billed_once_at_the_end()
    {
        var reply = await CreateAsync(Banana, new { prompt = "by the clock [queued=3600000][latency=3600000]" });
        Assert.Equal((200, "success"), ((int?)reply["code"], (string?)reply["msg"]));
        var id = (string)reply["data"]!["taskId"]!;

        var states = new List<string?>();
        foreach (var minutes in new[] { 0, 40, 50, 60 })
        {
            sim.Time.Advance(TimeSpan.FromMinutes(minutes));
            states.Add((string?)(await TaskAsync(id))["state"]);
            Assert.Equal((1, minutes == 60 ? 1 : 0), await sim.CallsAsync("by the clock"));
        }

        Assert.Equal(["waiting", "queuing", "generating", "success"], states);
    }

    [Fact]
    public async Task A_task_that_has_ended_is_told_of_with_json_inside_of_json()
    {
        var id = await IdAsync(Banana, new { prompt = "strings in strings", image_size = "16:9" });
        var task = await TaskAsync(id);

        Assert.Equal(
            ["taskId", "model", "state", "param", "resultJson", "failCode", "failMsg", "costTime", "completeTime", "createTime", "updateTime",
                "progress", "creditsConsumed"],
            task.Select(field => field.Key));
        Assert.Equal("strings in strings", (string?)JsonNode.Parse((string)task["param"]!)!["input"]!["prompt"]);
        var address = new Uri((string)JsonNode.Parse((string)task["resultJson"]!)!["resultUrls"]!.AsArray().Single()!);
        Assert.Equal((100, 4, ""), ((int?)task["progress"], (int?)task["creditsConsumed"], (string?)task["failCode"]));
        using var anyone = new HttpClient();
        var picture = await anyone.GetByteArrayAsync(address);
        var header = MediaStructure.Read(MediaType.Sniff(picture)!, picture);
        Assert.Equal((1368, 768), (header.Width, header.Height));

        sim.Time.Advance(TimeSpan.FromMinutes(21));
        using var late = await anyone.GetAsync(address);
        Assert.Equal(HttpStatusCode.Forbidden, late.StatusCode);
        var again = new Uri((string)JsonNode.Parse((string)(await TaskAsync(id))["resultJson"]!)!["resultUrls"]!.AsArray().Single()!);
        Assert.Equal(picture, await anyone.GetByteArrayAsync(again)); // asked for again, the task has a fresh address
    }

    [Fact]
    public async Task A_film_and_a_sound_are_real_files_and_sounds_are_told_of_in_the_older_words()
    {
        var film = await FileAsync(await TaskAsync(
            await IdAsync("kling-2.6/text-to-video", new { prompt = "a boat", sound = false, aspect_ratio = "16:9", duration = "5" })));
        Assert.Equal(MediaType.Mp4, MediaType.Sniff(film));
        Assert.Equal(121 / 24.0, MediaStructure.Read(MediaType.Mp4, film).DurationSeconds!.Value, 3);

        var reply = await CreateAsync("elevenlabs/text-to-speech-multilingual-v2", new { text = new string('a', 60), voice = "Rachel" });
        var id = (string)reply["data"]!["taskId"]!;
        Assert.Equal($"task_{reply["data"]!["recordId"]}", id);
        var task = await TaskAsync(id, "message");
        Assert.False(task.ContainsKey("creditsConsumed") || task.ContainsKey("progress"));
        Assert.Null(task["failCode"]);
        var sound = await FileAsync(task);
        Assert.Equal(MediaType.Mp3, MediaType.Sniff(sound));
        Assert.Equal(4.0, MediaStructure.Read(MediaType.Mp3, sound).DurationSeconds!.Value, 0.03);
        AssertIsMp3(sound);
    }

    [Theory]
    [InlineData("moderation-output", "422", "CONTENT_POLICY_BLOCKED")]
    [InlineData("image-error", "501", "Generation Failed")]
    [InlineData("image-500", "500", "Internal Error")]
    public async Task A_failed_task_says_why_and_costs_nothing(string fault, string code, string message)
    {
        var task = await TaskAsync(await IdAsync(Banana, new { prompt = $"ends badly [fault={fault}]" }));
        Assert.Equal(("fail", code, 0), ((string?)task["state"], (string?)task["failCode"], (int?)task["creditsConsumed"]));
        Assert.Contains(message, (string?)task["failMsg"], StringComparison.Ordinal);
        Assert.Equal("", (string?)task["resultJson"]);
        Assert.Equal(0, (await sim.CallsAsync($"[fault={fault}]")).Paid);
    }

    [Theory]
    [InlineData("moderation-input", 422, "msg")]
    [InlineData("unauthorized", 401, "msg")]
    [InlineData("overdue", 402, "message")]
    [InlineData("rate-limit", 429, "msg")]
    [InlineData("overload", 455, "message")]
    [InlineData("server-error", 500, "msg")]
    [InlineData("disabled", 505, "msg")]
    public async Task A_refusal_is_http_200_with_a_code_in_the_body(string fault, int code, string textField)
    {
        var reply = await CreateAsync(Banana, new { prompt = $"refused [fault={fault}]" });
        Assert.Equal(code, (int?)reply["code"]);
        Assert.NotEmpty((string)reply[textField]!);
        Assert.Null(reply["data"]);
    }

    [Theory]
    [InlineData(Banana, """{}""", "prompt is required")]
    [InlineData(Banana, """{"prompt":"x","image_size":"17:3"}""", "image_size must be one of")]
    [InlineData(Banana, """{"prompt":"x","n":2}""", "n is not a field")]
    [InlineData("google/nano-banana-edit", """{"prompt":"x","image_urls":["data:image/png;base64,AAAA"]}""", "image_urls must hold public")]
    [InlineData("kling-2.6/text-to-video", """{"prompt":"x","sound":true,"aspect_ratio":"16:9","duration":5}""", "duration must be one of 5, 10")]
    [InlineData("elevenlabs/sound-effect-v2", """{"text":"x","duration_seconds":23}""", "duration_seconds must be a number from 0.5 to 22")]
    [InlineData("sora-2/text-to-video", """{"prompt":"x"}""", "not supported")]
    public async Task An_input_is_read_strictly(string model, string input, string problem)
    {
        var reply = await CreateAsync(model, JsonNode.Parse(input)!);
        Assert.Equal(422, (int?)reply["code"]);
        Assert.Contains(problem, (string?)reply["msg"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stranger_is_refused_and_a_call_without_user_agent_does_not_reach_kie()
    {
        using var http = new HttpClient { BaseAddress = sim.Http.BaseAddress, DefaultRequestHeaders = { UserAgent = { new("test", "1") } } };
        Assert.Equal(401, (int?)(await http.GetFromJsonAsync<JsonObject>("/api/v1/jobs/recordInfo?taskId=x"))!["code"]);
        http.DefaultRequestHeaders.Authorization = new("Bearer", "sim-kie-key");
        Assert.Equal(404, (int?)(await http.GetFromJsonAsync<JsonObject>("/api/v1/jobs/recordInfo?taskId=x"))!["code"]);
        http.DefaultRequestHeaders.UserAgent.Clear();
        using var robot = await http.GetAsync("/api/v1/chat/credit");
        Assert.Equal((HttpStatusCode.Forbidden, "error code: 1010"), (robot.StatusCode, await robot.Content.ReadAsStringAsync()));
    }

    [Fact]
    public async Task The_twenty_first_creation_in_ten_seconds_is_refused_and_the_eleventh_question_in_a_second()
    {
        await using var strict = new StrictSim();
        await strict.InitializeAsync();
        for (var n = 0; n < 20; n++) Assert.Equal(200, (int?)(await CreateAsync(Banana, new { prompt = "x" }, to: strict))["code"]);
        Assert.Equal(429, (int?)(await CreateAsync(Banana, new { prompt = "x" }, to: strict))["code"]);
        strict.Time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(200, (int?)(await CreateAsync(Banana, new { prompt = "x" }, to: strict))["code"]);

        var codes = new List<int>();
        for (var n = 0; n < 40; n++) codes.Add((int)(await strict.Http.GetFromJsonAsync<JsonObject>("/api/v1/jobs/recordInfo?taskId=x"))!["code"]!);
        Assert.Contains(429, codes);
        Assert.Contains(404, codes);
    }

    [Fact]
    public async Task An_account_pays_for_what_succeeded_and_is_refused_when_nothing_is_left()
    {
        await using var poor = new PoorSim();
        await poor.InitializeAsync();
        Assert.Equal(200, (int?)(await CreateAsync(Banana, new { prompt = "fails [fault=image-500]" }, to: poor))["code"]);
        Assert.Equal(200, (int?)(await CreateAsync(Banana, new { prompt = "succeeds" }, to: poor))["code"]);
        Assert.Equal(3, (int?)(await poor.Http.GetFromJsonAsync<JsonObject>("/api/v1/chat/credit"))!["data"]);
        Assert.Equal(402, (int?)(await CreateAsync(Banana, new { prompt = "too dear" }, to: poor))["code"]);
    }

    private static void AssertIsMp3(byte[] file)
    {
        var frames = 0;
        for (var at = 0; at < file.Length; frames++)
        {
            Assert.Equal((0xFF, 0xFB, 0x90), (file[at], file[at + 1], file[at + 2] & ~2));
            at += 417 + ((file[at + 2] >> 1) & 1);
            Assert.True(at <= file.Length);
        }

        Assert.InRange(frames, 150, 160);
    }

    private Task<JsonObject> CreateAsync(string model, object input) => CreateAsync(model, input, sim);

    private static async Task<JsonObject> CreateAsync(string model, object input, SimApp to, string? callBackUrl = null)
    {
        using var response = await to.Http.PostAsJsonAsync("/api/v1/jobs/createTask", callBackUrl is null ? new { model, input } : (
            object)new { model, input, callBackUrl });
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<JsonObject>())!;
    }

    private async Task<string> IdAsync(string model, object input) => (string)(await CreateAsync(model, input))["data"]!["taskId"]!;

    private async Task<JsonObject> TaskAsync(string id, string textField = "msg")
    {
        var reply = await sim.Http.GetFromJsonAsync<JsonObject>($"/api/v1/jobs/recordInfo?taskId={id}");
        Assert.Equal((200, "success"), ((int?)reply!["code"], (string?)reply[textField]));
        return reply["data"]!.AsObject();
    }

    private static async Task<byte[]> FileAsync(JsonObject task)
    {
        using var anyone = new HttpClient();
        return await anyone.GetByteArrayAsync((string)JsonNode.Parse((string)task["resultJson"]!)!["resultUrls"]!.AsArray().Single()!);
    }

    public class KieSim : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>
        {
            ["Sim:VideoLatencyMs"] = "0",
            ["Sim:KieQueueMs"] = "0",
            ["Sim:KieCreationsPerWindow"] = "0",
            ["Sim:KieReadsPerSecond"] = "0",
        };

        protected override void Prepare(HttpRequestHeaders headers)
        {
            headers.Authorization = new("Bearer", "sim-kie-key");
            headers.UserAgent.Add(new("test", "1"));
        }
    }

    private sealed class StrictSim : KieSim
    {
        protected override IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string> { ["Sim:KieQueueMs"] = "0" };
    }

    private sealed class PoorSim : KieSim
    {
        protected override IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>(base.Settings) { ["Sim:KieCredits"] = "7" };
    }
}
