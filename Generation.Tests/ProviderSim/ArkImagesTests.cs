using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace Generation.Tests.ProviderSim;

/// <summary>The wire shapes of Ark's image endpoint, against samples of its documentation and of a captured 401.</summary>
public class ArkImagesTests(SimApp sim) : IClassFixture<SimApp>
{
    [Fact]
    public async Task A_reply_has_the_documented_fields_and_no_others()
    {
        using var response = await sim.PostAsync(new { model = "seedream-4-5-251128", prompt = "waves", size = "2720x1536" });
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(["model", "created", "data", "usage"], Names(json.RootElement));
        Assert.Equal("seedream-4-5-251128", json.RootElement.GetProperty("model").GetString());
        Assert.InRange(json.RootElement.GetProperty("created").GetInt64(), 1_757_388_756, 9_999_999_999);
        var item = Assert.Single(json.RootElement.GetProperty("data").EnumerateArray());
        Assert.Equal(["url", "size"], Names(item));
        Assert.Equal("2720x1536", item.GetProperty("size").GetString());
        Assert.Equal("""{"generated_images":1,"output_tokens":16320,"total_tokens":16320}""", json.RootElement.GetProperty("usage").GetRawText());
        Assert.StartsWith("021", Assert.Single(response.Headers.GetValues("x-request-id")), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1760x2368", 16_280)]
    [InlineData("2048x2048", 16_384)]
    public async Task Tokens_are_the_pixels_by_256(string size, int tokens)
    {
        using var response = await sim.PostAsync(new { model = SimApp.Model, prompt = "tokens", size });
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(tokens, json.RootElement.GetProperty("usage").GetProperty("total_tokens").GetInt32());
    }

    [Fact]
    public async Task A_result_url_looks_presigned_and_yields_a_jpeg_of_that_size_without_a_key()
    {
        var url = await sim.UrlOfAsync("a boat on the sea");
        Assert.Matches(@"/files/seedream-4-0-250828/021[0-9]{13}[0-9a-f]+_0\.jpeg$", url.AbsolutePath);
        foreach (var name in (string[])["Algorithm", "Credential", "Date", "Expires=86400", "Signature", "SignedHeaders=host"])
            Assert.Contains($"X-Tos-{name}", url.Query, StringComparison.Ordinal);
        using var anyone = new HttpClient();
        using var response = await anyone.GetAsync(url);
        var file = await response.Content.ReadAsByteArrayAsync();
        Assert.Equal("image/jpeg", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(file.Length, response.Content.Headers.ContentLength);
        Assert.Equal((1280, 720), PictureFiles.JpegSize(file));
    }

    [Fact]
    public async Task Base64_replaces_the_url_and_has_no_data_prefix()
    {
        using var response = await sim.PostAsync(new { model = SimApp.Model, prompt = "sand", size = "1280x720", response_format = "b64_json" });
        using var json = await SimApp.JsonAsync(response);
        var item = json.RootElement.GetProperty("data")[0];
        Assert.Equal(["b64_json", "size"], Names(item));
        Assert.Equal((1280, 720), PictureFiles.JpegSize(item.GetProperty("b64_json").GetBytesFromBase64()));
    }

    [Fact]
    public async Task Only_the_fifth_family_draws_png()
    {
        using var response = await sim.PostAsync(
            new { model = "seedream-5-0-lite-260128", prompt = "png [bytes=1]", size = "3K", output_format = "png" });
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal("3072x3072", json.RootElement.GetProperty("data")[0].GetProperty("size").GetString());
        Assert.Contains("_0.png?", json.RootElement.GetProperty("data")[0].GetProperty("url").GetString(), StringComparison.Ordinal);
        using var refused = await sim.PostAsync(new { model = SimApp.Model, prompt = "png", output_format = "png" });
        Assert.Equal("InvalidParameter.UnsupportedParameter", await SimApp.CodeAsync(refused));
    }

    [Theory]
    [InlineData("a hill, 16:9", "2K", "2560x1440")]
    [InlineData("a hill, 9:16", "1K", "720x1280")]
    [InlineData("a panorama of hills", "2K", "3024x1296")]
    [InlineData("portrait of a hill", "4K", "3456x4608")]
    [InlineData("a hill", "2K", "2048x2048")]
    public async Task A_size_keyword_follows_the_ratio_words_of_the_prompt(string prompt, string keyword, string size)
    {
        using var response = await sim.PostAsync(new { model = SimApp.Model, prompt, size = keyword });
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(size, json.RootElement.GetProperty("data")[0].GetProperty("size").GetString());
    }

    [Fact]
    public async Task A_wrong_key_gets_the_captured_401()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/v3/images/generations");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", "wrong");
        using var response = await sim.Http.SendAsync(request);
        var requestId = Assert.Single(response.Headers.GetValues("x-request-id"));
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal("AuthenticationError", Assert.Single(response.Headers.GetValues("x-error-code")));
        Assert.Equal(
            "{\"error\":{\"code\":\"AuthenticationError\",\"message\":\"the API key or AK/SK in the request is missing or invalid. request id: "
                + requestId + "\",\"param\":\"\",\"type\":\"Unauthorized\"}}",
            await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("""{"prompt":"x"}""", 400, "MissingParameter.model", "model")]
    [InlineData("""{"model":"seedream-4-0-250828"}""", 400, "MissingParameter.prompt", "prompt")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":" "}""", 400, "MissingParameter.prompt", "prompt")]
    [InlineData("""{"model":"seedream-9","prompt":"x"}""", 404, "InvalidEndpointOrModel.NotFound", "")]
    [InlineData("""{"model":"seedream-4-5-251128","prompt":"x","size":"1024x1024"}""", 400, "InvalidParameter.size", "size")]
    [InlineData("""{"model":"seedream-4-5-251128","prompt":"x","size":"1K"}""", 400, "InvalidParameter.size", "size")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","size":"8192x8192"}""", 400, "InvalidParameter.size", "size")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","size":"16384x960"}""", 400, "InvalidParameter.size", "size")]
    [InlineData("""{"model":"seedream-3-0-t2i-250415","prompt":"x","size":"2K"}""", 400, "InvalidParameter.size", "size")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","seed":1}""", 400, "InvalidParameter.UnsupportedParameter", "seed")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","guidance_scale":2}""", 400, "InvalidParameter.UnsupportedParameter",
        "guidance_scale")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","watermark":"no"}""", 400, "InvalidParameter.watermark", "watermark")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","response_format":"png"}""", 400, "InvalidParameter.response_format",
        "response_format")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","image":""}""", 400, "InvalidImageURL.EmptyURL", "image")]
    [InlineData("""{"model":"seedream-4-0-250828","prompt":"x","image":"data:image/PNG;base64,AAAA"}""", 400, "InvalidImageURL.InvalidFormat",
        "image")]
    [InlineData("""{"model":""", 400, "InvalidParameter", "")]
    [InlineData("[]", 400, "InvalidParameter", "")]
    public async Task An_invalid_request_names_its_parameter_and_costs_nothing(string body, int status, string code, string param)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using var response = await sim.Http.PostAsync("/api/v3/images/generations", content);
        using var json = await SimApp.JsonAsync(response);
        var error = json.RootElement.GetProperty("error");
        Assert.Equal((status, code, param), ((int)response.StatusCode, error.GetProperty("code").GetString(),
            error.GetProperty("param").GetString()));
        Assert.EndsWith($"request id: {Assert.Single(response.Headers.GetValues("x-request-id"))}", error.GetProperty("message").GetString(),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Json_must_be_called_json()
    {
        using var content = new StringContent("""{"model":"seedream-4-0-250828","prompt":"x"}""", Encoding.UTF8, "text/plain");
        using var response = await sim.Http.PostAsync("/api/v3/images/generations", content);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Equal("InvalidParameter", await SimApp.CodeAsync(response));
    }

    [Theory]
    [InlineData("ep-20260101-abcde")]
    [InlineData("doubao-seedream-4-0-250828")]
    public async Task Unknown_fields_are_ignored_and_n_is_one_of_them(string model)
    {
        using var response = await sim.PostAsync(new { model, prompt = "many", n = 4, fancy = true, user = (string?)null });
        using var json = await SimApp.JsonAsync(response);
        Assert.Equal(1, json.RootElement.GetProperty("data").GetArrayLength());
    }

    [Fact]
    public async Task A_seed_of_the_third_family_repeats_a_picture_and_no_seed_does_not()
    {
        var once = await FileAsync(1);
        Assert.Equal(once, await FileAsync(1));
        Assert.NotEqual(once, await FileAsync(2));
        Assert.NotEqual(await FileAsync(-1), await FileAsync(-1));

        async Task<string> FileAsync(int seed)
        {
            using var response = await sim.PostAsync(
                new
                {
                    model = "seedream-3-0-t2i-250415",
                    prompt = "seeds",
                    size = "512x512",
                    seed,
                    guidance_scale = 2.5,
                    response_format = "b64_json"
                });
            using var json = await SimApp.JsonAsync(response);
            return json.RootElement.GetProperty("data")[0].GetProperty("b64_json").GetString()!;
        }
    }

    [Fact]
    public async Task A_stream_announces_each_picture_then_the_usage_then_done()
    {
        using var response = await sim.PostAsync(new
        {
            model = SimApp.Model,
            prompt = "three pictures of a fjord [fault=image-error]",
            size = "1K",
            stream = true,
            sequential_image_generation = "auto",
            sequential_image_generation_options = new { max_images = 5 },
        });
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var frames = (await response.Content.ReadAsStringAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("data: [DONE]", frames[^1]);
        var events = frames[..^1].Select(frame => frame.Split('\n')).Select(lines =>
            (Name: lines[0]["event: ".Length..], Data: JsonDocument.Parse(lines[1]["data: ".Length..]))).ToList();
        Assert.Equal(
            ["image_generation.partial_failed", "image_generation.partial_succeeded", "image_generation.partial_succeeded",
                "image_generation.completed"],
            events.Select(frame => frame.Name));
        Assert.All(events, frame => Assert.Equal(frame.Name, frame.Data.RootElement.GetProperty("type").GetString()));
        Assert.Equal([0, 1, 2], events.Take(3).Select(frame => frame.Data.RootElement.GetProperty("image_index").GetInt32()));
        Assert.Equal(2, events[^1].Data.RootElement.GetProperty("usage").GetProperty("generated_images").GetInt32());
    }

    private static IEnumerable<string> Names(JsonElement element) => element.EnumerateObject().Select(property => property.Name);
}
