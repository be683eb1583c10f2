using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes of OpenAI's image endpoint, against the samples of its documentation.</summary>
public sealed class OpenAiImagesTests : IClassFixture<SimApp>, IDisposable
{
    private const string Model = "gpt-image-2";
    private const string Route = "/v1/images/generations";

    private readonly SimApp sim;
    private readonly HttpClient http;

    public OpenAiImagesTests(SimApp sim)
    {
        this.sim = sim;
        http = new HttpClient { BaseAddress = sim.Http.BaseAddress, DefaultRequestHeaders = { Authorization = new("Bearer", "sim-openai-key") } };
    }

    public void Dispose() => http.Dispose();

    [Fact]
    public async Task An_answer_has_the_fields_of_the_documentation_and_pictures_of_the_size_asked_for()
    {
        using var response = await http.PostAsJsonAsync(Route,
            new { model = Model, prompt = "two lakes", n = 2, size = "1536x864", quality = "low", output_format = "jpeg" });
        var reply = (await response.Content.ReadFromJsonAsync<JsonObject>())!;

        Assert.Matches("^req_[0-9a-f]{32}$", response.Headers.GetValues("x-request-id").Single());
        Assert.Equal(["created", "background", "output_format", "quality", "size", "data", "usage"], reply.Select(f => f.Key));
        Assert.Equal(("opaque", "jpeg", "low", "1536x864"), ((string?)reply["background"], (string?)reply["output_format"], (string?)reply["quality"],
            (string?)reply["size"]));
        Assert.Equal(2, reply["data"]!.AsArray().Select(picture => (string)picture!["b64_json"]!).Distinct().Count());
        Assert.All(reply["data"]!.AsArray(), picture => Assert.Equal((1536, 864),
            PictureFiles.JpegSize(Convert.FromBase64String((string)picture!["b64_json"]!))));
        Assert.Equal(["total_tokens", "input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"],
            reply["usage"]!.AsObject().Select(f => f.Key));
        Assert.Equal(2 * 345, (int?)reply["usage"]!["output_tokens"]); // 272 tokens for 1024×1024, by the pixels
        Assert.Equal((1, 1), await sim.CallsAsync("two lakes"));
    }

    [Theory]
    [InlineData("1024x1024", "medium", 1056)]
    [InlineData("1024x1536", "high", 6240)]
    [InlineData("1536x1024", "low", 400)]
    [InlineData("auto", "auto", 1056)]
    public async Task Tokens_are_those_of_the_table_and_a_picture_is_a_png_by_default(string size, string quality, int tokens)
    {
        var reply = await MadeAsync(new { model = "gpt-image-1.5", prompt = $"tokens {size}", size, quality });
        Assert.Equal(tokens, (int?)reply["usage"]!["output_tokens"]);
        var picture = PictureFiles.PngSize(Convert.FromBase64String((string)reply["data"]![0]!["b64_json"]!));
        Assert.Equal((string?)reply["size"], $"{picture.Width}x{picture.Height}");
    }

    [Fact]
    public async Task Who_asks_for_webp_gets_it()
    {
        var reply = await MadeAsync(new { model = Model, prompt = "web", output_format = "webp", output_compression = 50, background = "auto" });
        Assert.Equal("webp", (string?)reply["output_format"]);
        Assert.Equal((1024, 1024), PictureFiles.WebPSize(Convert.FromBase64String((string)reply["data"]![0]!["b64_json"]!)));
    }

    [Theory]
    [InlineData("png", 30_000)]
    [InlineData("png", 200_000)]
    [InlineData("png", 131_072)]
    [InlineData("jpeg", 200_000)]
    [InlineData("webp", 200_001)]
    public async Task A_picture_has_as_many_bytes_as_were_asked_for(string format, int bytes)
    {
        var reply = await MadeAsync(new { model = Model, prompt = $"[bytes={bytes}]", output_format = format });
        var file = Convert.FromBase64String((string)reply["data"]![0]!["b64_json"]!);
        Assert.Equal(bytes, file.Length);
        var header = MediaStructure.Read(MediaType.Sniff(file)!, file);
        Assert.Equal((1024, 1024), (header.Width, header.Height));
    }

    [Fact]
    public async Task A_stream_shows_the_picture_becoming_clear_and_ends_with_it()
    {
        using var response = await http.PostAsJsonAsync(Route,
            new { model = Model, prompt = "a clearing", stream = true, partial_images = 3, output_format = "jpeg" });
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var events = await EventsAsync(response);

        Assert.Equal(["image_generation.partial_image", "image_generation.partial_image", "image_generation.partial_image",
            "image_generation.completed"], events.Select(e => e.Name));
        Assert.All(events, e => Assert.Equal(e.Name, (string?)e.Data["type"]));
        Assert.Equal(["type", "partial_image_index", "b64_json", "created_at", "background", "output_format", "quality", "size"],
            events[0].Data.Select(f => f.Key));
        Assert.Equal(["type", "b64_json", "created_at", "background", "output_format", "quality", "size", "usage"],
            events[3].Data.Select(f => f.Key));
        Assert.Equal([0, 1, 2], events[..3].Select(e => (int)e.Data["partial_image_index"]!));
        Assert.All(events, e => Assert.Equal((1024, 1024), PictureFiles.JpegSize(Convert.FromBase64String((string)e.Data["b64_json"]!))));
        Assert.Equal(4, events.Select(e => (string)e.Data["b64_json"]!).Distinct().Count());
        Assert.Equal(1056 + 3 * 100, (int?)events[3].Data["usage"]!["output_tokens"]);
        Assert.Equal((1, 1), await sim.CallsAsync("a clearing"));
    }

    [Fact]
    public async Task A_refusal_in_a_stream_is_an_event_when_it_comes_late_and_a_status_when_it_comes_early()
    {
        using var late = await http.PostAsJsonAsync(Route,
            new { model = Model, prompt = "late [fault=moderation-output]", stream = true, partial_images = 1 });
        var events = await EventsAsync(late);
        Assert.Equal(["image_generation.partial_image", "error"], events.Select(e => e.Name));
        Assert.Equal(("moderation_blocked", "output"), ((string?)events[1].Data["error"]!["code"],
            (string?)events[1].Data["error"]!["moderation_details"]!["moderation_stage"]));
        Assert.Equal((1, 0), await sim.CallsAsync("late ["));
        using var early = await http.PostAsJsonAsync(Route, new { model = Model, prompt = "early [fault=moderation-input]", stream = true });
        Assert.Equal(HttpStatusCode.BadRequest, early.StatusCode);
    }

    [Theory]
    [InlineData("""{"model":"gpt-image-2"}""", 400, "missing_required_parameter", "prompt")]
    [InlineData("""{"model":"gpt-image-2","prompt":7}""", 400, "invalid_type", "prompt")]
    [InlineData("""{"prompt":"p"}""", 400, "model_not_found", "model")] // the default is dall-e-2, which is gone
    [InlineData("""{"model":"dall-e-3","prompt":"p"}""", 400, "model_not_found", "model")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","response_format":"b64_json"}""", 400, "unknown_parameter", "response_format")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","style":"vivid"}""", 400, "unknown_parameter", "style")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","n":11}""", 400, "integer_above_max_value", "n")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","n":0}""", 400, "integer_below_min_value", "n")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","n":"1"}""", 400, "invalid_type", "n")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","size":"1000x1000"}""", 400, "invalid_value", "size")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","size":"2048x512"}""", 400, "invalid_value", "size")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","size":"4096x4096"}""", 400, "invalid_value", "size")]
    [InlineData("""{"model":"gpt-image-1.5","prompt":"p","size":"2048x2048"}""", 400, "invalid_value", "size")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","quality":"hd"}""", 400, "invalid_value", "quality")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","background":"transparent"}""", 400, "invalid_value", "background")]
    [InlineData("""{"model":"gpt-image-1.5","prompt":"p","background":"transparent","output_format":"jpeg"}""", 400, "invalid_value", "background")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","output_compression":50}""", 400, "invalid_value", "output_compression")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","partial_images":2}""", 400, "invalid_value", "partial_images")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","stream":true,"partial_images":4}""", 400, "integer_above_max_value", "partial_images")]
    [InlineData("""{"model":"gpt-image-2","prompt":"p","stream":true,"n":2}""", 400, "invalid_value", "n")]
    [InlineData("""["p"]""", 400, null, null)]
    public async Task A_body_is_read_strictly_and_an_error_always_has_its_four_fields(string body, int status, string? code, string? param)
    {
        using var content = new StringContent(body, System.Text.Encoding.UTF8, "application/json");
        using var response = await http.PostAsync(Route, content);
        var error = (await response.Content.ReadFromJsonAsync<JsonObject>())!["error"]!.AsObject();
        Assert.Equal(["message", "type", "param", "code"], error.Select(f => f.Key));
        Assert.Equal((status, "invalid_request_error", code, param),
            ((int)response.StatusCode, (string?)error["type"], (string?)error["code"], (string?)error["param"]));
    }

    [Theory]
    [InlineData("moderation-input", 400, "image_generation_user_error", "moderation_blocked")]
    [InlineData("moderation-output", 400, "image_generation_user_error", "moderation_blocked")]
    [InlineData("unauthorized", 401, "invalid_request_error", "invalid_api_key")]
    [InlineData("forbidden", 403, "invalid_request_error", null)]
    [InlineData("overdue", 429, "insufficient_quota", "credit_balance_exhausted")]
    [InlineData("quota", 429, "insufficient_quota", "insufficient_quota")]
    [InlineData("not-found", 404, "invalid_request_error", "model_not_found")]
    [InlineData("rate-limit", 429, "requests", "rate_limit_exceeded")]
    [InlineData("overload", 503, "service_unavailable_error", "server_is_overloaded")]
    [InlineData("server-error", 500, "server_error", "server_error")]
    [InlineData("image-500", 500, "server_error", "server_error")]
    [InlineData("error-200", 200, "server_error", "server_error")]
    public async Task Every_fault_has_OpenAIs_words_and_is_not_paid(string word, int status, string type, string? code)
    {
        using var response = await http.PostAsJsonAsync(Route, new { model = Model, prompt = $"openai-{word} [fault={word}]" });
        var error = (await response.Content.ReadFromJsonAsync<JsonObject>())!["error"]!;
        Assert.Equal((status, type, code), ((int)response.StatusCode, (string?)error["type"], (string?)error["code"]));
        Assert.Equal(word == "rate-limit" ? "1000" : null, response.Headers.TryGetValues("retry-after-ms", out var wait) ? wait.Single() : null);
        Assert.Equal((1, 0), await sim.CallsAsync($"openai-{word} "));
    }

    [Theory]
    [InlineData("cut-reply", false)]
    [InlineData("cut-reply-half", false)]
    [InlineData("cut-body", false)]
    [InlineData("cut-reply", true)]
    [InlineData("cut-reply-half", true)]
    [InlineData("cut-body", true)]
    public async Task A_cut_answer_is_paid(string word, bool stream)
    {
        var name = $"cut by {word} {stream}";
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            using var response = await http.PostAsJsonAsync(Route, new { model = Model, prompt = $"{name} [fault={word}]", stream });
            await response.Content.ReadAsStringAsync();
        });
        Assert.Equal((1, 1), await sim.CallsAsync(name));
    }

    [Theory]
    [InlineData("html-as-png", "<!doctype html>")]
    [InlineData("zip-as-png", "PK")]
    public async Task A_picture_can_be_something_else(string word, string start)
    {
        var reply = await MadeAsync(new { model = Model, prompt = $"not a picture [fault={word}]" });
        Assert.StartsWith(start, System.Text.Encoding.Latin1.GetString(Convert.FromBase64String((string)reply["data"]![0]!["b64_json"]!)),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_picture_can_stop_at_a_gate_in_its_middle()
    {
        var call = http.PostAsJsonAsync(Route, new { model = Model, prompt = "half of it [download-gate=b64][bytes=20000]" });
        (await sim.Http.GetAsync("/sim/gates/b64/waiting")).EnsureSuccessStatusCode();
        Assert.Equal((1, 1), await sim.CallsAsync("half of it"));
        (await sim.Http.PostAsync("/sim/gates/b64", null)).EnsureSuccessStatusCode();
        using var response = await call;
        var reply = await response.Content.ReadFromJsonAsync<JsonObject>();
        Assert.Equal(20_000, Convert.FromBase64String((string)reply!["data"]![0]!["b64_json"]!).Length);
    }

    internal static async Task<List<(string Name, JsonObject Data)>> EventsAsync(HttpResponseMessage response)
    {
        var text = await response.Content.ReadAsStringAsync();
        return [.. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(block => block.Split('\n'))
            .Select(lines => (lines[0]["event: ".Length..], JsonNode.Parse(lines[1]["data: ".Length..])!.AsObject()))];
    }

    private async Task<JsonObject> MadeAsync(object body)
    {
        using var response = await http.PostAsJsonAsync(Route, body);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<JsonObject>())!;
    }
}
