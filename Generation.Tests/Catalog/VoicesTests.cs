using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Catalog;

/// <summary>
/// GET /api/voices: read in pages, kept for five minutes, read again when asked for, and handed out while ElevenLabs is unavailable.
/// </summary>
[Trait("tier", "slow")]
public sealed class VoicesTests
{
    [Fact]
    public async Task Voices_are_read_once_for_all_who_come_and_again_after_five_minutes()
    {
        var time = new ShiftedClock();
        await using var system = await StartAsync(time, voices: 250);

        var lists = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => system.Http.GetFromJsonAsync<JsonObject>("/api/voices")));
        Assert.Equal(3, await PagesAsync(system)); // a hundred a page
        Assert.All(lists, list => Assert.Equal(250, list!["voices"]!.AsArray().Count));
        var first = lists[0]!["voices"]![0]!.AsObject();
        Assert.Equal(["voiceId", "name", "category", "description", "previewUrl", "labels", "languages"], first.Select(field => field.Key));
        Assert.Equal(("Rachel", "premade", "american"), ((string?)first["name"], (string?)first["category"], (string?)first["labels"]!["accent"]));
        // a word that nobody knows comes through
        Assert.Contains(lists[0]!["voices"]!.AsArray(), voice => (string?)voice!["category"] == "famous_in_future");
        Assert.Equal((true, false, null), ((bool)lists[0]!["complete"]!, (bool)lists[0]!["stale"]!, (string?)lists[0]!["warning"]));

        time.Advance(TimeSpan.FromMinutes(4.9));
        await system.Http.GetFromJsonAsync<JsonObject>("/api/voices");
        Assert.Equal(3, await PagesAsync(system));
        time.Advance(TimeSpan.FromMinutes(0.2));
        await system.Http.GetFromJsonAsync<JsonObject>("/api/voices");
        Assert.Equal(6, await PagesAsync(system));
    }

    [Fact]
    public async Task A_refresh_reads_now_but_not_again_within_seconds()
    {
        var time = new ShiftedClock();
        await using var system = await StartAsync(time);
        await system.Http.GetFromJsonAsync<JsonObject>("/api/voices");
        await system.Http.GetFromJsonAsync<JsonObject>("/api/voices?refresh=true");
        Assert.Equal(1, await PagesAsync(system)); // it has just been read

        time.Advance(TimeSpan.FromSeconds(6));
        await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => system.Http.GetFromJsonAsync<JsonObject>("/api/voices?refresh=true")));
        Assert.Equal(2, await PagesAsync(system));
    }

    [Theory]
    [InlineData("poll-error")]
    [InlineData("poll-gateway")]
    [InlineData("poll-rate-limit")]
    [InlineData("poll-timeout")]
    public async Task While_ElevenLabs_is_unavailable_the_last_list_is_handed_out_as_stale_and_without_one_it_is_503(string fault)
    {
        var time = new ShiftedClock();
        await using var system = await StartAsync(time, 23, ("Providers:ElevenLabs:ReadTimeout", fault == "poll-timeout" ? "00:00:04" : "00:00:30"));
        using var sim = new HttpClient { BaseAddress = system.Sim.Address };
        (await sim.PostAsJsonAsync("/sim/faults", new { fault, probability = 1, prompt = "voices" })).EnsureSuccessStatusCode();
        using (var never = await system.Http.GetAsync("/api/voices"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, never.StatusCode);
            Assert.Equal("5", never.Headers.GetValues("Retry-After").Single());
            Assert.Equal("voices_unavailable", (string?)(await TestSystem.ReadAsync(never))["code"]);
        }

        (await sim.DeleteAsync("/sim/faults")).EnsureSuccessStatusCode();
        time.Advance(TimeSpan.FromSeconds(6));
        Assert.False((bool)(await system.Http.GetFromJsonAsync<JsonObject>("/api/voices"))!["stale"]!);

        (await sim.PostAsJsonAsync("/sim/faults", new { fault, probability = 1, prompt = "voices" })).EnsureSuccessStatusCode();
        time.Advance(TimeSpan.FromMinutes(6));
        var stale = await system.Http.GetFromJsonAsync<JsonObject>("/api/voices");
        Assert.Equal((23, true), (stale!["voices"]!.AsArray().Count, (bool)stale["stale"]!));
        Assert.NotEmpty((string)stale["warning"]!);
    }

    [Fact]
    public async Task A_list_has_its_bounds_and_says_so()
    {
        await using var system = await StartAsync(new ShiftedClock(), voices: 250, ("Providers:ElevenLabs:MaxVoices", "120"));
        var list = await system.Http.GetFromJsonAsync<JsonObject>("/api/voices");

        Assert.Equal((120, false), (list!["voices"]!.AsArray().Count, (bool)list["complete"]!));
        Assert.Equal(2, await PagesAsync(system));
    }

    [Fact]
    public async Task A_wrong_key_or_none_is_an_operators_matter_and_strangers_see_nothing()
    {
        await using var refused = await StartAsync(new ShiftedClock(), 23, ("Providers:ElevenLabs:ApiKey", "wrong"));
        using var wrong = await refused.Http.GetAsync("/api/voices");
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "voices_unavailable"),
            (wrong.StatusCode, (string?)(await TestSystem.ReadAsync(wrong))["code"]));
        using var stranger = new HttpClient { BaseAddress = refused.Http.BaseAddress };
        using var unknown = await stranger.GetAsync("/api/voices");
        Assert.Equal(HttpStatusCode.Unauthorized, unknown.StatusCode);

        await using var keyless = await StartAsync(new ShiftedClock(), 23, ("Providers:ElevenLabs:ApiKey", ""));
        using var none = await keyless.Http.GetAsync("/api/voices");
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "voices_not_configured"),
            (none.StatusCode, (string?)(await TestSystem.ReadAsync(none))["code"]));
        Assert.Equal(0, await PagesAsync(keyless));
    }

    private static async Task<int> PagesAsync(TestSystem system)
    {
        using var sim = new HttpClient { BaseAddress = system.Sim.Address };
        return (int)(await sim.GetFromJsonAsync<JsonObject>("/sim/elevenlabs/asked"))!["pages"]!;
    }

    private static Task<TestSystem> StartAsync(ShiftedClock time, int voices = 23, params (string Name, string Value)[] settings) =>
        TestSystem.StartAsync(options =>
    {
        (options.Workers, options.Relays) = (0, 0);
        options.Sim["Sim:ElevenLabsVoices"] = $"{voices}";
        options.Settings["Providers:ElevenLabs:ReadTimeout"] = "00:00:30";
        foreach (var (name, value) in settings) options.Settings[name] = value;
        options.Api = services => services.AddSingleton<TimeProvider>(time);
    });
}
