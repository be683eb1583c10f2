using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Tests.Harness;

namespace Generation.Tests.ProviderSim;

/// <summary>The simulator as OpenAI's own client sees it (Servers/openai.cjs): what the client understands, the real one would have sent.</summary>
[Trait("tier", "slow")]
public sealed class OpenAiClientTests(OpenAiVideosTests.VideoSim sim) : IClassFixture<OpenAiVideosTests.VideoSim>
{
    [Fact]
    public async Task The_official_client_makes_pictures_and_videos_and_knows_every_error()
    {
        var output = await NodePackages.RunAsync("openai.cjs", new Uri(sim.Http.BaseAddress!, "v1").ToString(), "sim-openai-key");
        var seen = JsonNode.Parse(output)!;

        var image = seen["image"]!;
        Assert.StartsWith("req_", (string?)image["requestId"], StringComparison.Ordinal);
        Assert.Equal(("1024x1024", "jpeg", 2 * 272), ((string?)image["size"], (string?)image["format"], (int?)image["usage"]!["output_tokens"]));
        Assert.All(image["pictures"]!.AsArray(), picture => Assert.Equal((1024, 1024),
            PictureFiles.JpegSize(Convert.FromBase64String((string)picture!))));

        var events = seen["stream"]!.AsArray();
        Assert.Equal(["0", "1", "2", null], events.Select(e => e!["index"]?.ToString()));
        Assert.Equal("image_generation.completed", (string?)events[^1]!["type"]);
        Assert.Equal(6208 + 300, (int?)events[^1]!["usage"]!["output_tokens"]);
        Assert.All(events, e => Assert.Equal((1536, 1024), PictureFiles.PngSize(Convert.FromBase64String((string)e!["picture"]!))));

        var video = seen["video"]!;
        Assert.Equal("NotFoundError", (string?)video["early"]!["name"]);
        Assert.Equal("completed", (string?)video["states"]!.AsArray()[^1]);
        var progress = video["progress"]!.AsArray().Select(p => (int)p!).ToList();
        Assert.Equal(progress.Order(), progress);
        Assert.Equal((100, "video/mp4"), (progress[^1], (string?)video["contentType"]));
        var film = Convert.FromBase64String((string)video["film"]!);
        Assert.Equal((1280, 720), (MediaStructure.Read(MediaType.Mp4, film).Width, MediaStructure.Read(MediaType.Mp4, film).Height));
        Assert.Contains((string?)video["last"]!["id"], video["listed"]!.AsArray().Select(id => (string?)id));
        Assert.True((bool)video["deleted"]!["deleted"]!);
        Assert.Equal("NotFoundError", (string?)video["after"]!["name"]);

        Assert.Equal(
            """
            moderation-input BadRequestError 400 moderation_blocked image_generation_user_error
            unauthorized AuthenticationError 401 invalid_api_key invalid_request_error
            forbidden PermissionDeniedError 403 - invalid_request_error
            not-found NotFoundError 404 model_not_found invalid_request_error
            rate-limit RateLimitError 429 rate_limit_exceeded requests
            quota RateLimitError 429 insufficient_quota insufficient_quota
            overload InternalServerError 503 server_is_overloaded service_unavailable_error
            server-error InternalServerError 500 server_error server_error
            bad-gateway InternalServerError 502 - -
            cut-reply APIConnectionError - - -
            key AuthenticationError 401 invalid_api_key invalid_request_error
            response_format BadRequestError 400 unknown_parameter invalid_request_error
            streamed APIError - moderation_blocked image_generation_user_error
            seconds BadRequestError 400 invalid_value invalid_request_error
            """.ReplaceLineEndings("\n"),
            string.Join('\n', seen["errors"]!.AsObject().Select(e =>
                $"{e.Key} {e.Value!["name"]} {e.Value["status"]?.ToString() ?? "-"} {e.Value["code"]?.ToString() ?? "-"} "
                + $"{e.Value["type"]?.ToString() ?? "-"}")));
        Assert.Equal((1, 1), await sim.CallsAsync("an official lighthouse"));
        Assert.Equal((1, 1), await sim.CallsAsync("an official boat"));
    }
}
