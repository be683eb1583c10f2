using System.Buffers.Binary;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes of a Stable Diffusion WebUI and the one card behind it.</summary>
public sealed class ForgeTests(SimApp sim) : IClassFixture<SimApp>
{
    private const string Txt2Img = "/sdapi/v1/txt2img";

    [Fact]
    public async Task A_call_is_answered_with_pictures_that_say_what_they_were_made_from()
    {
        using var response = await sim.Http.PostAsJsonAsync(Txt2Img, new
        {
            prompt = "a lighthouse, \"dusk\"",
            negative_prompt = "people",
            steps = 12,
            cfg_scale = 6.5,
            width = 320,
            height = 256,
            seed = 42,
            sampler_name = "Euler a",
            scheduler = "Karras",
            n_iter = 2,
            unknown_field = true,
        });
        var answer = await ReadAsync(response);
        Assert.Equal(["images", "parameters", "info"], answer.Select(f => f.Key));
        Assert.Equal(("a lighthouse, \"dusk\"", 12), ((string?)answer["parameters"]!["prompt"], (int)answer["parameters"]!["steps"]!));
        var info = JsonNode.Parse((string)answer["info"]!)!;
        Assert.Equal("[42,43]", info["all_seeds"]!.ToJsonString());
        Assert.Equal(("Euler a", "sd_xl_base_1.0", 0), ((string?)info["sampler_name"], (string?)info["sd_model_name"],
            (int)info["index_of_first_image"]!));

        var files = Images(answer);
        Assert.Equal(2, files.Count);
        Assert.All(files, file => Assert.Equal((320, 256), (
            BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(16)), BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(20)))));
        Assert.NotEqual(files[0], files[1]);
        var text = "a lighthouse, \"dusk\"\nNegative prompt: people\nSteps: 12, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 43, "
            + "Size: 320x256, "
            + "Model hash: 31e35c80fc, Model: sd_xl_base_1.0, Version: f2.0.1v1.10.1-previous-665-gae278f79";
        Assert.Equal(("tEXt", text), TextOf(files[1]));
        Assert.Equal(text, (string?)info["infotexts"]![1]);
        Assert.Equal(files[1], Images(await MakeAsync(
            new
            {
                prompt = "a lighthouse, \"dusk\"",
                negative_prompt = "people",
                steps = 12,
                cfg_scale = 6.5,
                width = 320,
                height = 256,
                seed = 43,
                sampler_name = "Euler a Karras"
            }))[0]);
    }

    [Fact]
    public async Task Without_a_seed_every_picture_is_another_and_text_beyond_Latin_1_is_kept()
    {
        var first = await MakeAsync(new { prompt = "灯台 at dusk", width = 64, height = 64 });
        var second = await MakeAsync(new { prompt = "灯台 at dusk", width = 64, height = 64 });
        Assert.NotEqual(Images(first)[0], Images(second)[0]);
        Assert.Equal((50, -1L), ((int)first["parameters"]!["steps"]!, (long)first["parameters"]!["seed"]!));
        var (type, text) = TextOf(Images(first)[0]);
        Assert.Equal("iTXt", type);
        Assert.StartsWith("灯台 at dusk\nSteps: 50, Sampler: Euler, ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_picture_can_have_any_length_and_stays_a_picture()
    {
        foreach (var bytes in new[] { 10_000, 70_003, 1_000_000 })
        {
            var file = Images(await MakeAsync(new { prompt = $"padded [bytes={bytes}]" }))[0];
            Assert.Equal(bytes, file.Length);
            Assert.Equal("IEND", Chunks(file)[^1].Type);
        }
    }

    [Fact]
    public async Task One_job_samples_and_the_others_wait_in_line()
    {
        await using var own = await NewSimAsync();
        var first = MakeAsync(new { prompt = "first [gate=half]", steps = 10, width = 320, height = 160, force_task_id = "one" }, own);
        await WaitAtGateAsync(own, "half");
        var second = MakeAsync(new { prompt = "second", width = 64, height = 64, force_task_id = "two" }, own);
        Assert.Equal("""["two"]""", (await UntilPendingAsync(own))["tasks"]!.ToJsonString());

        var running = await AskAsync(own, "one");
        Assert.Equal(
            ["active", "queued", "completed", "progress", "eta", "live_preview", "id_live_preview", "textinfo"], running.Select(f => f.Key));
        Assert.Equal((true, false, false, 0.5), ((bool)running["active"]!, (bool)running["queued"]!, (bool)running["completed"]!,
            (double)running["progress"]!));
        var waiting = await AskAsync(own, "two");
        Assert.Equal((false, true, "In queue: 1/1"), ((bool)waiting["active"]!, (bool)waiting["queued"]!, (string?)waiting["textinfo"]));
        var unknown = await AskAsync(own, "three");
        Assert.Equal((false, false, false, "Waiting..."), ((bool)unknown["active"]!, (bool)unknown["queued"]!, (bool)unknown["completed"]!,
            (string?)unknown["textinfo"]));

        var global = (await own.Http.GetFromJsonAsync<JsonObject>("/sdapi/v1/progress"))!;
        Assert.Equal(("0.51", "one"), (((double)global["progress"]!).ToString("0.00"), (string?)global["current_task"]));
        Assert.Equal(
            ["skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no", "sampling_step", "sampling_steps"],
            global["state"]!.AsObject().Select(f => f.Key));
        Assert.Equal((1, 0, 5, 10), ((int)global["state"]!["job_count"]!, (int)global["state"]!["job_no"]!, (int)global["state"]!["sampling_step"]!,
            (int)global["state"]!["sampling_steps"]!));
        Assert.Equal((40, 20), PictureFiles.PngSize(Convert.FromBase64String((string)global["current_image"]!)));
        Assert.Null((await own.Http.GetFromJsonAsync<JsonObject>("/sdapi/v1/progress?skip_current_image=true"))!["current_image"]);

        await own.Http.PostAsync("/sim/gates/half", null);
        await Task.WhenAll(first, second);
        Assert.True((bool)(await AskAsync(own, "two"))["completed"]!);
        var idle = (await own.Http.GetFromJsonAsync<JsonObject>("/sdapi/v1/progress"))!;
        Assert.Equal((0, 0), ((int)idle["progress"]!, (int)idle["state"]!["job_count"]!));
        Assert.Equal((2, 0, 2), await CountsAsync(own));
        await own.Http.DeleteAsync("/sim/forge");
        await MakeAsync(new { prompt = "third", width = 64, height = 64 }, own);
        await MakeAsync(new { prompt = "fourth", width = 64, height = 64 }, own);
        Assert.Equal((2, 0, 1), await CountsAsync(own));
    }

    [Fact]
    public async Task A_preview_is_sent_once_and_changes_with_the_steps()
    {
        await using var own = await NewSimAsync();
        var call = MakeAsync(new { prompt = "seen early [gate=half]", steps = 8, width = 320, height = 160, force_task_id = "p" }, own);
        await WaitAtGateAsync(own, "half");
        var first = await AskAsync(own, "p");
        var preview = (string)first["live_preview"]!;
        Assert.StartsWith("data:image/png;base64,", preview, StringComparison.Ordinal);
        Assert.Equal((40, 20), PictureFiles.PngSize(Convert.FromBase64String(preview["data:image/png;base64,".Length..])));
        Assert.Equal(2, (int)first["id_live_preview"]!);
        var again = await AskAsync(own, "p", seen: 2);
        Assert.Equal((null, 2), ((string?)again["live_preview"], (int)again["id_live_preview"]!));
        await own.Http.PostAsJsonAsync("/sdapi/v1/options", new { show_progress_every_n_steps = 1 });
        var newer = await AskAsync(own, "p", seen: 2);
        Assert.Equal(4, (int)newer["id_live_preview"]!);
        Assert.NotNull((string?)newer["live_preview"]);
        await own.Http.PostAsJsonAsync("/sdapi/v1/options", new { live_previews_enable = false });
        Assert.Null((string?)(await AskAsync(own, "p"))["live_preview"]);
        await own.Http.PostAsync("/sim/gates/half", null);
        await call;
    }

    [Fact]
    public async Task An_interrupt_stops_whatever_runs_and_its_call_gives_what_there_is()
    {
        await using var own = await NewSimAsync();
        var call = MakeAsync(new { prompt = "stopped [gate=half]", steps = 10, n_iter = 3, width = 64, height = 64, seed = 1 }, own);
        await WaitAtGateAsync(own, "half");
        using (var interrupted = await own.Http.PostAsync("/sdapi/v1/interrupt", null)) Assert.Equal(
            "{}", await interrupted.Content.ReadAsStringAsync());
        var partial = Assert.Single(Images(await call));
        var whole = Images(await MakeAsync(new { prompt = "stopped", steps = 10, width = 64, height = 64, seed = 1 }, own))[0];
        Assert.NotEqual(partial, whole); // half of its noise is still there

        using var idle = await own.Http.PostAsync("/sdapi/v1/interrupt", null);
        Assert.Equal(HttpStatusCode.OK, idle.StatusCode);
        Assert.Single(Images(await MakeAsync(new { prompt = "the next is not concerned", width = 64, height = 64 }, own)));
    }

    [Fact]
    public async Task A_skip_ends_one_picture_and_the_others_follow()
    {
        await using var own = await NewSimAsync();
        var call = MakeAsync(new { prompt = "skipped [gate=half]", steps = 10, n_iter = 3, width = 64, height = 64 }, own);
        await WaitAtGateAsync(own, "half");
        using var skipped = await own.Http.PostAsync("/sdapi/v1/skip", null);
        Assert.Equal("null", await skipped.Content.ReadAsStringAsync());
        Assert.Equal(3, Images(await call).Count);
    }

    [Theory]
    [InlineData("""{"sampler_name":"Eulerian"}""", 400, """{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}""",
        """{"detail":"Sampler not found"}""")]
    [InlineData("""{"script_name":"xyz"}""", 422, """{"error":"HTTPException","detail":"Script 'xyz' not found","body":"","errors":""}""",
        """{"detail":"Script 'xyz' not found"}""")]
    [InlineData("""{"steps":"many"}""", 422,
        """{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}""", null)]
    [InlineData("""[]""", 422, """{"detail":[{"loc":["body"],"msg":"value is not a valid dict","type":"type_error.dict"}]}""", null)]
    [InlineData("""{"override_settings":{"sd_model_checkpoint":"gone"}}""", 500,
        """{"error":"RuntimeError","detail":"","body":"","errors":"model 'gone' not found"}""", "Internal Server Error")]
    [InlineData("""{"prompt":"[fault=overload]"}""", 500,
        """{"error":"OutOfMemoryError","detail":"","body":"","errors":"CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 7.78 GiB of which 1.02 GiB is free."}""", "Internal Server Error")]
    [InlineData("""{"prompt":"[fault=server-error]"}""", 500,
        """{"error":"RuntimeError","detail":"","body":"","errors":"CUDA error: an illegal memory access was encountered"}""",
        "Internal Server Error")]
    [InlineData("""{"prompt":"[fault=not-found]"}""", 404, """{"detail":"Not Found"}""", null)]
    [InlineData("""{"prompt":"[fault=unauthorized]"}""", 401,
        """{"error":"HTTPException","detail":"Incorrect username or password","body":"","errors":""}""",
        """{"detail":"Incorrect username or password"}""")]
    public async Task Errors_come_in_the_dialect_of_AUTOMATIC1111_or_of_Forge(string body, int status, string there, string? here)
    {
        await using var bare = await NewSimAsync(("Sim:ForgeBareErrors", "true"));
        foreach (var (one, said) in new[] { (sim, there), (bare, here ?? there) })
        {
            using var response = await one.Http.PostAsync(Txt2Img, new StringContent(body, Encoding.UTF8, "application/json"));
            var text = await response.Content.ReadAsStringAsync();
            Assert.Equal(status, (int)response.StatusCode);
            Assert.Equal(said, said.StartsWith('{') ? JsonNode.Parse(text)!.ToJsonString(Relaxed) : text);
        }
    }

    [Fact]
    public async Task With_api_auth_everything_but_progress_asks_for_name_and_password()
    {
        await using var own = await NewSimAsync(("Sim:ForgeUsers:0", "forge:word"));
        foreach (var (name, status) in new[] { ((string?)null, 401), ("forge:wrong", 401), ("forge:word", 200) })
        {
            own.Http.DefaultRequestHeaders.Authorization = name is null ? null
                : new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(name)));
            using var models = await own.Http.GetAsync("/sdapi/v1/sd-models");
            using var made = await own.Http.PostAsJsonAsync(Txt2Img, new { prompt = "p", width = 64, height = 64 });
            using var stopped = await own.Http.PostAsync("/sdapi/v1/interrupt", null);
            Assert.All([models, made, stopped], response => Assert.Equal(status, (int)response.StatusCode));
            Assert.Equal(status == 401 ? "Basic" : "", string.Join(' ', made.Headers.WwwAuthenticate));
            using var progress = await own.Http.GetAsync("/sdapi/v1/progress");
            using var task = await own.Http.PostAsJsonAsync("/internal/progress", new { id_task = "x" });
            Assert.All([progress, task], response => Assert.Equal(200, (int)response.StatusCode));
        }
    }

    [Fact]
    public async Task What_there_is_to_choose_from_can_be_asked()
    {
        var models = (await sim.Http.GetFromJsonAsync<JsonArray>("/sdapi/v1/sd-models"))!;
        Assert.Equal(["title", "model_name", "hash", "sha256", "filename", "config"], models[0]!.AsObject().Select(f => f.Key));
        Assert.Equal("sd_xl_base_1.0.safetensors [31e35c80fc]", (string?)models[0]!["title"]);
        Assert.Contains((await sim.Http.GetFromJsonAsync<JsonArray>("/sdapi/v1/samplers"))!, s => (string?)s!["name"] == "DPM++ 2M");
        Assert.Equal("png", (string?)(await sim.Http.GetFromJsonAsync<JsonObject>("/sdapi/v1/options"))!["samples_format"]);
        var other = await MakeAsync(
            new
            {
                prompt = "m",
                width = 64,
                height = 64,
                override_settings = new
                {
                    sd_model_checkpoint =
            "v1-5-pruned-emaonly.safetensors [6ce0161689]"
                }
            });
        Assert.Equal("6ce0161689", (string?)JsonNode.Parse((string)other["info"]!)!["sd_model_hash"]);
    }

    [Fact]
    public async Task Out_of_memory_leaves_the_card_free_and_its_task_the_last_that_was_started()
    {
        await using var own = await NewSimAsync();
        using var refused = await own.Http.PostAsJsonAsync(Txt2Img, new { prompt = "too large [fault=overload:times=1]", force_task_id = "big" });
        Assert.Equal(HttpStatusCode.InternalServerError, refused.StatusCode);
        var task = await AskAsync(own, "big");
        Assert.Equal((true, false), ((bool)task["active"]!, (bool)task["completed"]!));
        Assert.Equal((1, 0), await own.CallsAsync("too large"));
        await MakeAsync(new { prompt = "small enough", width = 64, height = 64 }, own);
        Assert.False((bool)(await AskAsync(own, "big"))["active"]!);
    }

    [Theory]
    [InlineData("html-as-png", "<!do")]
    [InlineData("zip-as-png", "PK\x03\x04")]
    public async Task What_comes_as_a_picture_may_be_none(string word, string begins)
    {
        var answer = await MakeAsync(new { prompt = $"[fault={word}]", width = 64, height = 64 });
        Assert.Equal(begins, Encoding.Latin1.GetString(Images(answer)[0], 0, 4));
    }

    [Fact]
    public async Task Replies_can_break_off_or_say_nothing()
    {
        using var malformed = await sim.Http.PostAsJsonAsync(Txt2Img, new { prompt = "[fault=malformed]", width = 64, height = 64 });
        var half = await malformed.Content.ReadAsStringAsync();
        Assert.ThrowsAny<System.Text.Json.JsonException>(() => JsonNode.Parse(half));
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => sim.Http.PostAsJsonAsync(
            Txt2Img, new { prompt = "[fault=cut-reply]", width = 64, height = 64 }));
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => sim.Http.PostAsJsonAsync(
            Txt2Img, new { prompt = "[fault=cut-reply-half]", width = 64, height = 64 }));
        Assert.Empty(Images(await MakeAsync(new { prompt = "[fault=empty-data]", width = 64, height = 64 })));
        using var gateway = await sim.Http.PostAsJsonAsync(Txt2Img, new { prompt = "[fault=bad-gateway]" });
        Assert.Equal((HttpStatusCode.BadGateway, "text/html"), (gateway.StatusCode, gateway.Content.Headers.ContentType?.MediaType));
    }

    [Fact]
    public async Task A_hanging_card_is_freed_by_an_interrupt_or_by_the_end_of_its_call()
    {
        await using var own = await NewSimAsync();
        var hanging = MakeAsync(new { prompt = "hangs [gate=before] [fault=timeout]", width = 64, height = 64 }, own);
        await WaitAtGateAsync(own, "before");
        await own.Http.PostAsync("/sim/gates/before", null);
        await own.Http.PostAsync("/sdapi/v1/interrupt", null);
        Assert.Single(Images(await hanging));

        using var timeout = new CancellationTokenSource();
        var given = own.Http.PostAsJsonAsync(Txt2Img, new { prompt = "hangs again [gate=again] [fault=timeout]", width = 64, height = 64 },
            timeout.Token);
        await WaitAtGateAsync(own, "again");
        await own.Http.PostAsync("/sim/gates/again", null);
        await timeout.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => given);
        Assert.Single(Images(await MakeAsync(new { prompt = "goes on", width = 64, height = 64 }, own)));
    }

    [Fact(Timeout = 20_000)]
    public async Task The_card_goes_on_although_the_caller_has_left()
    {
        await using var own = await NewSimAsync();
        using var gone = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        var call = own.Http.PostAsJsonAsync(Txt2Img, new { prompt = "left early [gate=half]", width = 64, height = 64 }, gone.Token);
        await WaitAtGateAsync(own, "half");
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
        var next = MakeAsync(new { prompt = "waits for it", width = 64, height = 64 }, own);
        await UntilPendingAsync(own);
        await own.Http.PostAsync("/sim/gates/half", null);
        await next;
        Assert.Equal((1, 1), await own.CallsAsync("left early"));
        Assert.Equal(2, (await CountsAsync(own)).MostInside);
    }

    private static readonly System.Text.Json.JsonSerializerOptions Relaxed =
        new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private async Task<JsonObject> MakeAsync(object body, SimApp? other = null)
    {
        using var response = await (other ?? sim).Http.PostAsJsonAsync(Txt2Img, body);
        return await ReadAsync(response);
    }

    private static async Task<JsonObject> ReadAsync(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{response.StatusCode}: {text}");
        return JsonNode.Parse(text)!.AsObject();
    }

    private static List<byte[]> Images(JsonObject answer) =>
        [.. answer["images"]!.AsArray().Select(image => Convert.FromBase64String((string)image!))];

    private static async Task<JsonObject> AskAsync(SimApp sim, string task, int seen = -1)
    {
        using var response = await sim.Http.PostAsJsonAsync(
            "/internal/progress", new { id_task = task, id_live_preview = seen, live_preview = true });
        return await ReadAsync(response);
    }

    private static async Task WaitAtGateAsync(SimApp sim, string gate) =>
        (await sim.Http.GetAsync($"/sim/gates/{gate}/waiting")).EnsureSuccessStatusCode();

    /// <summary>Somebody waits for the card.</summary>
    private static async Task<JsonObject> UntilPendingAsync(SimApp sim)
    {
        while (true)
        {
            var pending = (await sim.Http.GetFromJsonAsync<JsonObject>("/internal/pending-tasks"))!;
            if ((int)pending["size"]! > 0) return pending;
        }
    }

    private static async Task<(int Jobs, int Inside, int MostInside)> CountsAsync(SimApp sim)
    {
        var report = (await sim.Http.GetFromJsonAsync<JsonObject>("/sim/forge"))!;
        return ((int)report["jobs"]!, (int)report["inside"]!, (int)report["mostInside"]!);
    }

    private static async Task<SimApp> NewSimAsync(params (string Key, string Value)[] settings)
    {
        var own = new OwnSim(settings.ToDictionary(s => s.Key, s => s.Value));
        await own.InitializeAsync();
        return own;
    }

    private sealed class OwnSim(IReadOnlyDictionary<string, string> settings) : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings => settings;
    }

    private static List<(string Type, byte[] Data)> Chunks(byte[] png)
    {
        var chunks = new List<(string, byte[])>();
        for (var at = 8; at < png.Length;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(at));
            var crc = uint.MaxValue; // bit by bit: another way than the encoder's
            foreach (var value in png.AsSpan(at + 4, length + 4))
            {
                crc ^= value;
                for (var bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? 0xEDB88320 ^ crc >> 1 : crc >> 1;
            }

            Assert.Equal(~crc, BinaryPrimitives.ReadUInt32BigEndian(png.AsSpan(at + 8 + length)));
            chunks.Add((Encoding.ASCII.GetString(png, at + 4, 4), png.AsSpan(at + 8, length).ToArray()));
            at += length + 12;
        }

        return chunks;
    }

    private static (string Type, string Text) TextOf(byte[] png)
    {
        var (type, data) = Chunks(png)[1];
        Assert.Equal("parameters\0", Encoding.ASCII.GetString(data, 0, 11));
        return (type, type == "tEXt" ? Encoding.Latin1.GetString(data, 11, data.Length - 11) : Encoding.UTF8.GetString(data, 15, data.Length - 15));
    }
}
