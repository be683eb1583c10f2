using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Generation.Tests.ProviderSim;

/// <summary>ElevenLabs' list of voices.</summary>
public sealed class VoicesTests(SimApp sim) : IClassFixture<SimApp>
{
    [Fact]
    public async Task Voices_come_in_pages_each_once()
    {
        var (ids, token, sizes) = (new List<string>(), (string?)null, new List<int>());
        do
        {
            var page = await GetAsync($"/v2/voices{(token is null ? "" : $"?next_page_token={token}")}");
            ids.AddRange(page["voices"]!.AsArray().Select(voice => (string)voice!["voice_id"]!));
            sizes.Add(page["voices"]!.AsArray().Count);
            token = (string?)page["next_page_token"];
            Assert.Equal((token is not null, 23), ((bool)page["has_more"]!, (int)page["total_count"]!));
        }
        while (token is not null);

        Assert.Equal([10, 10, 3], sizes);
        Assert.Equal(23, ids.Distinct().Count());
        Assert.Equal(23, (await GetAsync("/v2/voices?page_size=100"))["voices"]!.AsArray().Count);
        Assert.Equal("Rachel", (string?)(await GetAsync("/v2/voices?search=rach"))["voices"]!.AsArray()[0]!["name"]);
    }

    [Fact]
    public async Task A_wrong_key_and_a_wrong_page_size_are_refused()
    {
        using var stranger = await sim.Http.GetAsync("/v2/voices");
        Assert.Equal((HttpStatusCode.Unauthorized, "invalid_api_key"),
            (stranger.StatusCode, (string?)(await stranger.Content.ReadFromJsonAsync<JsonObject>())!["detail"]!["status"]));
        using var request = Request("/v2/voices?page_size=101");
        using var tooLarge = await sim.Http.SendAsync(request);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, tooLarge.StatusCode);
    }

    private async Task<JsonObject> GetAsync(string path)
    {
        using var request = Request(path);
        using var response = await sim.Http.SendAsync(request);
        return (await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonObject>())!;
    }

    private static HttpRequestMessage Request(string path)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Add("xi-api-key", "sim-elevenlabs-key");
        return request;
    }
}
