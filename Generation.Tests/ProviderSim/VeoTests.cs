using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Core.Media;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes and the clock of Veo on the Gemini API.</summary>
[Trait("tier", "slow")]
public sealed class VeoTests : IClassFixture<OpenAiVideosTests.VideoSim>, IDisposable
{
    private const string Model = "veo-3.1-generate-preview";

    private readonly SimApp sim;
    private readonly HttpClient http;

    public VeoTests(OpenAiVideosTests.VideoSim sim)
    {
        this.sim = sim;
        http = NewClient("sim-google-key");
    }

    public void Dispose() => http.Dispose();

    [Fact]
    public async Task An_operation_says_nothing_of_being_done_at_first_and_then_names_a_file_that_is_fetched_with_the_key()
    {
        using var started = await StartAsync(new { prompt = "veo by the clock [latency=100000]" },
            new { aspectRatio = "9:16", durationSeconds = 8, resolution = "1080p", personGeneration = "allow_all" });
        var reply = (await started.Content.ReadFromJsonAsync<JsonObject>())!;
        Assert.Equal(["name"], reply.Select(f => f.Key));
        var name = (string)reply["name"]!;
        Assert.Matches($"^models/{Model}/operations/[a-z0-9]+$", name);

        Assert.Equal(["name"], (await OperationAsync(name)).Select(f => f.Key));
        sim.Time.Advance(TimeSpan.FromSeconds(70));
        Assert.False((bool)(await OperationAsync(name))["done"]!);
        Assert.Equal((1, 0), await sim.CallsAsync("veo by the clock"));
        sim.Time.Advance(TimeSpan.FromSeconds(31));
        var done = await OperationAsync(name);
        Assert.True((bool)done["done"]!);
        Assert.Equal((1, 1), await sim.CallsAsync("veo by the clock"));
        var uri = new Uri((string)done["response"]!["generateVideoResponse"]!["generatedSamples"]![0]!["video"]!["uri"]!);
        Assert.Matches("^/v1beta/files/[a-z0-9]+:download$", uri.AbsolutePath);

        using var redirect = await http.GetAsync(uri);
        Assert.Equal((HttpStatusCode.Redirect, $"/download{uri.PathAndQuery}"), (redirect.StatusCode, redirect.Headers.Location?.OriginalString));
        using var file = await http.GetAsync(redirect.Headers.Location);
        var film = await file.Content.ReadAsByteArrayAsync();
        var header = MediaStructure.Read(MediaType.Mp4, film);
        Assert.Equal((MediaType.Mp4, 1080, 1920), (MediaType.Sniff(film), header.Width, header.Height));

        using var nobody = NewClient(null);
        using var stranger = NewClient("AIza-other");
        using var noKey = await nobody.GetAsync(redirect.Headers.Location);
        using var badKey = await stranger.GetAsync(uri);
        using var inTheUrl = await nobody.GetAsync($"{uri}&key=sim-google-key");
        Assert.Equal((403, 400, 302), ((int)noKey.StatusCode, (int)badKey.StatusCode, (int)inTheUrl.StatusCode));
    }

    [Theory]
    [InlineData("""{"prompt":"p","seed":7}""", "{}", "`seed` isn't supported")]
    [InlineData("""{"prompt":"p"}""", """{"generateAudio":true}""", "`generateAudio` isn't supported")]
    [InlineData("""{"prompt":"p"}""", """{"durationSeconds":"8"}""", "`durationSeconds` needs to be a number")]
    [InlineData("""{"prompt":"p"}""", """{"durationSeconds":5}""", "`durationSeconds` is out of bound")]
    [InlineData("""{"prompt":"p"}""", """{"durationSeconds":4,"resolution":"1080p"}""", "must be 8 for 1080p")]
    [InlineData("""{"prompt":"p"}""", """{"aspectRatio":"1:1"}""", "`aspectRatio` must be one of")]
    [InlineData("""{"prompt":"p"}""", """{"resolution":"480p"}""", "`resolution` must be one of")]
    [InlineData("""{"prompt":"p"}""", """{"sampleCount":2}""", "`sampleCount` must be 1")]
    [InlineData("""{"prompt":"p"}""", """{"personGeneration":"allow_adult"}""", "`personGeneration` must be allow_all")]
    [InlineData("""{"prompt":"p","image":{"bytesBase64Encoded":"/9j/","mimeType":"image/jpeg"}}""", """{"personGeneration":"allow_all"}""",
        "`personGeneration` must be allow_adult")]
    [InlineData("""{"prompt":"p","image":{"uri":"https://a.example/1.png"}}""", "{}", "`image` needs `bytesBase64Encoded`")]
    [InlineData("""{"prompt":"p","image":{"bytesBase64Encoded":"%%","mimeType":"image/jpeg"}}""", "{}", "no Base64")]
    [InlineData("""{"prompt":"p","image":{"bytesBase64Encoded":"/9j/","mimeType":"image/gif"}}""", "{}", "Unsupported mime type")]
    [InlineData("""{"prompt":"p","lastFrame":{"bytesBase64Encoded":"/9j/","mimeType":"image/jpeg"}}""", "{}", "`lastFrame` needs")]
    [InlineData("""{"prompt":"p","referenceImages":[{"image":{"bytesBase64Encoded":"/9j/","mimeType":"image/jpeg"},"referenceType":"style"}]}""",
        "{}", "`referenceType` must be")]
    [InlineData("""{"prompt":""}""", "{}", "prompt or image")]
    public async Task A_body_is_read_strictly(string instance, string parameters, string says)
    {
        using var response = await StartAsync(JsonNode.Parse(instance)!, JsonNode.Parse(parameters)!);
        var error = (await response.Content.ReadFromJsonAsync<JsonObject>())!["error"]!;
        Assert.Equal((400, 400, "INVALID_ARGUMENT"), ((int)response.StatusCode, (int?)error["code"], (string?)error["status"]));
        Assert.Contains(says, (string?)error["message"], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bytesBase64Encoded")]
    [InlineData("inlineData")]
    public async Task A_picture_is_taken_in_both_ways_in_which_it_is_documented(string way)
    {
        object picture = way == "inlineData" ? new { inlineData = new { mimeType = "image/png", data = "iVBORw0KGgo=" } }
            : new { bytesBase64Encoded = "iVBORw0KGgo=", mimeType = "image/png" };
        using var response = await StartAsync(new { prompt = "begins so", image = picture, lastFrame = picture },
            new { personGeneration = "allow_adult", durationSeconds = 4 });
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory]
    [InlineData("moderation-input", 400, "INVALID_ARGUMENT")]
    [InlineData("unauthorized", 401, "UNAUTHENTICATED")]
    [InlineData("forbidden", 403, "PERMISSION_DENIED")]
    [InlineData("overdue", 400, "FAILED_PRECONDITION")]
    [InlineData("not-found", 404, "NOT_FOUND")]
    [InlineData("rate-limit", 429, "RESOURCE_EXHAUSTED")]
    [InlineData("quota", 429, "RESOURCE_EXHAUSTED")]
    [InlineData("overload", 503, "UNAVAILABLE")]
    [InlineData("server-error", 500, "INTERNAL")]
    public async Task Every_fault_has_Googles_words_with_and_without_an_array_around_them(string word, int status, string name)
    {
        using var plain = await StartAsync(new { prompt = $"veo-{word} [fault={word}]" }, new { });
        using var wrapped = await StartAsync(new { prompt = $"veo-{word} wrapped [fault={word}][wrap=array]" }, new { });
        var error = JsonNode.Parse(await plain.Content.ReadAsStringAsync())!["error"]!;
        var inArray = Assert.Single(JsonNode.Parse(await wrapped.Content.ReadAsStringAsync())!.AsArray())!["error"]!;
        Assert.Equal((status, status, name), ((int)plain.StatusCode, (int?)error["code"], (string?)error["status"]));
        Assert.Equal((status, name), ((int)wrapped.StatusCode, (string?)inArray["status"]));
        Assert.Equal(word == "rate-limit" ? "1s" : null, (string?)error["details"]?.AsArray()[^1]?["retryDelay"]);
        Assert.Equal((2, 0), await sim.CallsAsync($"veo-{word} "));
    }

    [Fact]
    public async Task An_unknown_model_or_key_is_refused()
    {
        using var model = await http.PostAsJsonAsync("/v1beta/models/veo-9:predictLongRunning", new { instances = new[] { new { prompt = "p" } } });
        using var stranger = NewClient("AIza-other");
        using var key = await stranger.PostAsJsonAsync($"/v1beta/models/{Model}:predictLongRunning",
            new { instances = new[] { new { prompt = "p" } } });
        var reason = JsonNode.Parse(await key.Content.ReadAsStringAsync())!["error"]!["details"]![0]!["reason"];
        Assert.Equal((404, 400, "API_KEY_INVALID"), ((int)model.StatusCode, (int)key.StatusCode, (string?)reason));
    }

    [Fact]
    public async Task What_the_filter_took_is_done_without_a_sample_and_free()
    {
        var done = await OperationAsync(await NameAsync("filtered away [fault=moderation-output]"));
        var response = done["response"]!["generateVideoResponse"]!.AsObject();
        Assert.Equal((true, 1, false), ((bool?)done["done"], (int?)response["raiMediaFilteredCount"], response.ContainsKey("generatedSamples")));
        Assert.Contains("not been charged", (string?)response["raiMediaFilteredReasons"]![0], StringComparison.Ordinal);
        Assert.Equal((1, 0), await sim.CallsAsync("filtered away"));
    }

    [Theory]
    [InlineData("image-500", 13, 0)]
    [InlineData("image-error", 3, 0)]
    [InlineData("poll-expired", 4, 1)]
    [InlineData("poll-cancelled", 1, 1)]
    public async Task An_operation_that_fails_is_done_with_an_error(string word, int code, int paid)
    {
        var done = await OperationAsync(await NameAsync($"veo fails by {word} [fault={word}]"));
        Assert.Equal((true, code, false), ((bool?)done["done"], (int?)done["error"]!["code"], done.ContainsKey("response")));
        Assert.Equal((1, paid), await sim.CallsAsync($"veo fails by {word} "));
    }

    [Fact]
    public async Task A_file_may_lie_on_another_host_which_wants_no_key()
    {
        var done = await OperationAsync(await NameAsync("moved away [fault=redirect-host]"));
        var uri = (string)done["response"]!["generateVideoResponse"]!["generatedSamples"]![0]!["video"]!["uri"]!;
        using var near = await http.GetAsync(uri);
        using var far = await http.GetAsync(near.Headers.Location);
        Assert.Equal("localhost", far.Headers.Location?.Host);
        using var withKey = await http.GetAsync(far.Headers.Location);
        using var stranger = NewClient(null);
        using var without = await stranger.GetAsync(far.Headers.Location);
        Assert.Equal((HttpStatusCode.BadRequest, MediaType.Mp4), (withKey.StatusCode, MediaType.Sniff(await without.Content.ReadAsByteArrayAsync())));
    }

    private HttpClient NewClient(string? key)
    {
        var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = sim.Http.BaseAddress };
        if (key is not null) client.DefaultRequestHeaders.Add("x-goog-api-key", key);
        return client;
    }

    private Task<HttpResponseMessage> StartAsync(object instance, object parameters) =>
        http.PostAsJsonAsync($"/v1beta/models/{Model}:predictLongRunning", new { instances = new[] { instance }, parameters });

    private async Task<string> NameAsync(string prompt)
    {
        using var started = await StartAsync(new { prompt }, new { });
        return (string)(await started.Content.ReadFromJsonAsync<JsonObject>())!["name"]!;
    }

    private async Task<JsonObject> OperationAsync(string name) => (await http.GetFromJsonAsync<JsonObject>($"/v1beta/{name}"))!;
}
