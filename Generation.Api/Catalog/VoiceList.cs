using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization;
using Generation.Core.Settings;

namespace Generation.Api.Catalog;

/// <summary>
/// Section <c>Providers:ElevenLabs</c>: whose voices speech is spoken with. Only the list comes from there; speech goes through Kie.
/// </summary>
public sealed class VoiceOptions
{
    public const string Section = "Providers:ElevenLabs";

    /// <summary>Default <c>https://api.elevenlabs.io</c>. The key is sent there: plain http is for a simulator beside us.</summary>
    public string BaseUrl { get; set; } = "https://api.elevenlabs.io";

    /// <summary>Sent as <c>xi-api-key</c>. Default none: then <c>GET /api/voices</c> answers 503 <c>voices_not_configured</c>.</summary>
    public string ApiKey { get; set; } = "";

    /// <summary>How long a list is handed out before it is read again; default 5 min.</summary>
    public TimeSpan CacheDuration { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Between two readings whatever anybody asks for, also after one that failed; default 5 s.</summary>
    public TimeSpan RefreshSpacing { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>For a whole reading, all pages; default 15 s.</summary>
    public TimeSpan ReadTimeout { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>Voices listed at most, a hundred a page; default 1,000. What is left out is said (<c>complete: false</c>).</summary>
    public int MaxVoices { get; set; } = 1_000;

    internal void Check(SettingsCheck check)
    {
        check.Address(nameof(BaseUrl), BaseUrl, "such as https://api.elevenlabs.io");
        check.HeaderValue(nameof(ApiKey), ApiKey.Trim());
        check.Positive(nameof(CacheDuration), CacheDuration);
        check.Positive(nameof(RefreshSpacing), RefreshSpacing);
        check.Positive(nameof(ReadTimeout), ReadTimeout);
        check.Range(nameof(MaxVoices), MaxVoices, 1, 10_000);
    }
}

/// <summary>A voice, as clients choose one. What ElevenLabs adds to its words (a new category, a new label) comes through as it is.</summary>
public sealed record Voice
{
    [JsonPropertyName("voice_id")]
    public string VoiceId { get; init; } = "";

    public string Name { get; init; } = "";

    public string? Category { get; init; }

    public string? Description { get; init; }

    [JsonPropertyName("preview_url")]
    public string? PreviewUrl { get; init; }

    public Dictionary<string, string?>? Labels { get; init; }

    [JsonPropertyName("verified_languages")]
    public IReadOnlyList<VoiceLanguage>? VerifiedLanguages { get; init; }
}

public sealed record VoiceLanguage(string? Language, string? Accent, string? Locale);

/// <param name="Voices">In ElevenLabs' order.</param>
/// <param name="IsComplete">False when there are more than <see cref="VoiceOptions.MaxVoices"/>.</param>
/// <param name="ReadAt">When.</param>
public sealed record VoiceListing(IReadOnlyList<Voice> Voices, bool IsComplete, DateTimeOffset ReadAt);

/// <summary>
/// ElevenLabs' voices, kept for a few minutes. Requests that come while they are read wait for the same reading. While
/// ElevenLabs is unavailable the last list goes on being handed out.
/// </summary>
public sealed class VoiceList : IDisposable
{
    private const int PageSize = 100;
    private const int MaxPageBytes = 4 << 20;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private readonly VoiceOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<VoiceList> log;
    private readonly HttpClient client;
    private readonly Lock gate = new();
    private VoiceListing? known;
    private Task? reading;
    private string? problem;
    private DateTimeOffset triedAt = DateTimeOffset.MinValue;

    public VoiceList(VoiceOptions options, TimeProvider time, ILogger<VoiceList> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.options, this.time, this.log) = (options, time, log);
        client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5)
        })
        {
            BaseAddress = new Uri(options.BaseUrl.TrimEnd('/') + "/"),
            Timeout = Timeout.InfiniteTimeSpan, // a reading's own, by the injected clock
            MaxResponseContentBufferSize = MaxPageBytes,
        };
        client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("Generation", "1.0"));
        client.DefaultRequestHeaders.Add("xi-api-key", options.ApiKey.Trim());
    }

    public bool IsConfigured => options.ApiKey.Trim().Length > 0;

    /// <summary>The list, or null when none was ever read; and why it could not be read anew, when it should have been.</summary>
    /// <param name="refresh">Whether the list is to be read again although it is not old, unless that has just been done.</param>
    /// <param name="ct">Stops this caller's waiting, not the reading.</param>
    public async Task<(VoiceListing? Listing, string? Problem)> GetAsync(bool refresh, CancellationToken ct)
    {
        Task? wait = null;
        lock (gate)
        {
            var now = time.GetUtcNow();
            var isFresh = known is not null && now - known.ReadAt < options.CacheDuration;
            if ((!isFresh || refresh) && (reading is not null || now - triedAt >= options.RefreshSpacing))
            {
                wait = reading ??= Task.Run(ReadAsync, CancellationToken.None);
            }
        }

        if (wait is not null)
        {
            await wait.WaitAsync(ct);
        }

        lock (gate)
        {
            return (known, problem);
        }
    }

    public void Dispose() => client.Dispose();

    /// <summary>Never throws: the problem is kept for the next caller.</summary>
    private async Task ReadAsync()
    {
        VoiceListing? read = null;
        string? wrong = null;
        try
        {
            using var timeout = new CancellationTokenSource(options.ReadTimeout, time);
            read = await ReadPagesAsync(timeout.Token);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException or OperationCanceledException)
        {
            wrong = e is OperationCanceledException ? $"ElevenLabs did not answer within {options.ReadTimeout}."
                : $"ElevenLabs could not be read: {e.Message}";
            log.LogWarning("The voices could not be read: {Problem}", wrong);
        }

        lock (gate)
        {
            (known, problem, triedAt, reading) = (read ?? known, wrong, time.GetUtcNow(), null);
        }
    }

    private async Task<VoiceListing> ReadPagesAsync(CancellationToken ct)
    {
        var voices = new List<Voice>();
        string? token = null;
        while (true)
        {
            using var response = await client.GetAsync(
                $"v2/voices?page_size={PageSize}&include_total_count=false{(token is null ? "" : $"&next_page_token={Uri.EscapeDataString(token)}")}",
                    ct);
            response.EnsureSuccessStatusCode();
            var page = JsonSerializer.Deserialize<Page>(await response.Content.ReadAsByteArrayAsync(ct), Json)
                ?? throw new JsonException("The page is null.");
            voices.AddRange((page.Voices ?? []).Where(voice => voice.VoiceId.Length > 0));

            // A page that leads to itself, or to nothing, ends the list as well.
            var isLast = !page.HasMore || string.IsNullOrEmpty(page.NextPageToken) || page.NextPageToken == token
                || page.Voices is not { Count: > 0 };
            if (isLast || voices.Count >= options.MaxVoices)
            {
                return new VoiceListing([.. voices.Take(options.MaxVoices)], isLast && voices.Count <= options.MaxVoices, time.GetUtcNow());
            }

            token = page.NextPageToken;
        }
    }

    private sealed record Page(IReadOnlyList<Voice>? Voices, [property: JsonPropertyName("has_more")] bool HasMore,
        [property: JsonPropertyName("next_page_token")] string? NextPageToken);
}
