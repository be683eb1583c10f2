using System.Globalization;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.ElevenLabs;

/// <summary>
/// ElevenLabs' list of voices, <c>GET /v2/voices</c>: paged, filtered by <c>search</c>, <c>category</c> and <c>voice_ids</c>. The faults of
/// the stage Poll strike it under the prompt <c>voices</c>.
/// </summary>
public sealed class Voices(FaultDesk faults, IOptions<SimOptions> options, TimeProvider time, IHostApplicationLifetime lifetime)
{
    private const int MostPerPage = 100;
    private const string PageMark = "after-";
    private const string FaultPrompt = "voices";

    private static readonly string[] Names = ["Rachel", "Aria", "Roger", "Sarah", "Laura", "Charlie", "George", "Callum", "River", "Liam",
        "Charlotte", "Alice", "Matilda", "Will", "Jessica", "Eric", "Chris", "Brian", "Daniel", "Lily", "Bill"];
    private static readonly string[] Accents = ["american", "british", "australian", "irish"];
    // the last is one that nobody knows yet
    private static readonly string[] Categories = ["premade", "premade", "premade", "cloned", "professional", "famous_in_future"];

    private long asked;

    /// <param name="LastId">Everything up to here has been listed.</param>
    private sealed record Page(string? LastId, int Size);

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/v2/voices", (HttpContext http, Voices voices) => voices.ListAsync(http));
        routes.MapGet("/sim/elevenlabs/asked", (Voices voices) => new { pages = Interlocked.Read(ref voices.asked) });
    }

    private async Task ListAsync(HttpContext http)
    {
        Interlocked.Increment(ref asked);
        var keys = options.Value.ElevenLabsKeys is { Length: > 0 } some ? some : ["sim-elevenlabs-key"];
        if (!keys.Contains(http.Request.Headers["xi-api-key"].ToString()))
        {
            await SendAsync(http, 401, new { detail = new { status = "invalid_api_key", message = "Invalid API key" } });
            return;
        }

        switch (faults.ForPoll(FaultPrompt, Recipe.Hash(FaultPrompt), PromptWords.Parse(""))?.Word)
        {
            case "poll-error":
                await SendAsync(http, 500,
                new { detail = new { status = "internal_error", message = "Something went wrong." } }); return;
            case "poll-gateway":
                await Results.Content("<html><h1>502 Bad Gateway</h1></html>", "text/html", statusCode: 502)
                .ExecuteAsync(http); return;
            case "poll-rate-limit":
                await SendAsync(http, 429,
                new { detail = new { status = "too_many_concurrent_requests", message = "Too many requests." } }); return;
            case "poll-timeout":
                using (var end = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping))
                {
                    await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                http.Abort();
                return;
        }

        var query = http.Request.Query;
        if (Read(query) is not { } page)
        {
            await SendAsync(http, 422, new
            {
                detail =
                new[] { new { loc = new[] { "query", "page_size" }, msg = "page_size must be 1 to 100 and next_page_token one that was given",
                type = "value_error" } }
            });
            return;
        }

        var matching = Enumerable.Range(0, options.Value.ElevenLabsVoices).Select(Voice)
            .Where(voice => query["search"] is not [{ Length: > 0 } search] || voice.Name.Contains(search, StringComparison.OrdinalIgnoreCase))
            .Where(voice => query["category"] is not [{ Length: > 0 } category] || voice.Category == category)
            .Where(voice => query["voice_ids"].Count == 0 || query["voice_ids"].Contains(voice.Id))
            .ToList();
        var start = page.LastId is null ? 0 : matching.FindIndex(voice => voice.Id == page.LastId) + 1;
        var shown = matching.Skip(start).Take(page.Size).ToList();
        var hasMore = start + shown.Count < matching.Count;
        await SendAsync(http, 200, new
        {
            voices = shown.Select(voice => voice.Json).ToArray(),
            has_more = hasMore,
            total_count = matching.Count,
            next_page_token = hasMore ? PageMark + shown[^1].Id : null,
        });
    }

    private static Page? Read(IQueryCollection query)
    {
        var size = query["page_size"] is [{ } text] ? int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
            : 0 : 10;
        var token = query["next_page_token"].ToString();
        return size is < 1 or > MostPerPage || (token.Length > 0 && !token.StartsWith(PageMark, StringComparison.Ordinal)) ? null
            : new Page(token.Length == 0 ? null : token[PageMark.Length..], size);
    }

    private static (string Id, string Name, string Category, object Json) Voice(int index)
    {
        const string Letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
        var mixed = Dice.Mix((ulong)index);
        var id = string.Concat(Enumerable.Range(0, 20).Select(n => Letters[(int)(Dice.Mix(mixed + (ulong)n) % (ulong)Letters.Length)]));
        var name = Names[index % Names.Length] + (index < Names.Length ? "" : $" {(index / Names.Length) + 1}");
        var (category, accent) = (Categories[index % Categories.Length], Accents[index % Accents.Length]);
        var json = new
        {
            voice_id = id,
            name,
            category,
            labels = new Dictionary<string, string>
            {
                ["accent"] = accent,
                ["gender"] = index % 2 == 0 ? "female" : "male",
                ["use_case"] =
                "narration"
            },
            description = $"A {accent} voice for narration.",
            preview_url = $"https://storage.googleapis.com/eleven-public-prod/premade/voices/{id}/preview.mp3",
            samples = (object?)null,
            settings = new { stability = 0.5, similarity_boost = 0.75, style = 0.0, use_speaker_boost = true, speed = 1.0 },
            verified_languages = new[] { new { language = "en", model_id = "eleven_multilingual_v2", accent, locale = "en-US",
                preview_url = (string?)null } },
            high_quality_base_model_ids = new[] { "eleven_multilingual_v2", "eleven_turbo_v2_5" },
            available_for_tiers = Array.Empty<string>(),
            collection_ids = Array.Empty<string>(),
            is_owner = category != "premade",
            is_legacy = false,
            is_mixed = false,
            created_at_unix = 1_700_000_000 + (index * 86_400),
        };
        return (id, name, category, json);
    }

    private static Task SendAsync(HttpContext http, int status, object body)
    {
        http.Response.StatusCode = status;
        return http.Response.WriteAsJsonAsync(body, new System.Text.Json.JsonSerializerOptions());
    }
}
