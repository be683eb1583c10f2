using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Generation.Core.Database;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Core.Settings;

/// <summary>Section <c>Settings</c>.</summary>
public sealed class SettingsOptions
{
    public const string Section = "Settings";

    /// <summary>
    /// How long <c>app_settings</c>, prices and API keys are believed before they are read again; default 5,000 ms, also as
    /// APP_SETTINGS_CACHE_MS. An operator's change takes effect within this time. Workers may have a time of their own:
    /// <c>Worker:SettingsRefreshMs</c>.
    /// </summary>
    public int CacheMs { get; set; } = 5_000;

    public TimeSpan CacheDuration => TimeSpan.FromMilliseconds(CacheMs);

    internal void Check(SettingsCheck check) => check.Range("CacheMs (APP_SETTINGS_CACHE_MS)", CacheMs, 0, 600_000);
}

/// <summary>Section <c>Mock</c>. What an operator may override live is read through <see cref="AppSettings"/>.</summary>
public sealed class MockOptions
{
    public const string Section = "Mock";

    /// <summary>
    /// Whether the pipeline runs without providers; default false, also as MOCK_MODE; <c>app_settings.mock_mode</c> overrides it live.
    /// </summary>
    public bool Enabled { get; set; }

    /// <summary>
    /// Whether mock pictures are stored like real ones; default true. <c>app_settings.upload_mock_outputs_to_b2</c> overrides it live.
    /// </summary>
    public bool UploadOutputs { get; set; } = true;

    /// <summary>Pause after each stage of progress; default 150 ms, so that a watcher sees them.</summary>
    public TimeSpan StageDelay { get; set; } = TimeSpan.FromMilliseconds(150);
}

/// <summary>The operator's overrides (<c>app_settings</c>), which win over configuration and take effect without a restart.</summary>
public sealed class AppSettings(
    NpgsqlDataSource database, IOptionsMonitor<MockOptions> mock, SettingsOptions options, TimeProvider time, ILogger<AppSettings> log)
{
    private static readonly HashSet<string> NoModels = [];

    /// <summary>Values that were logged as not understood: once each, and again when they have changed.</summary>
    private readonly ConcurrentDictionary<string, string> reported = new(StringComparer.Ordinal);

    private readonly Cached<Dictionary<string, JsonElement>> settings = new(ct => ReadAsync(database, ct), options.CacheDuration, time);

    /// <summary><c>gen_worker_concurrency</c>: jobs a lane at once in one worker; null leaves it to configuration.</summary>
    public async ValueTask<int?> WorkerConcurrencyAsync(CancellationToken ct) =>
        await ReadAsync("gen_worker_concurrency", "a whole number",
            value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) ? Math.Clamp(number, 0, 1_000)
                : TextOf(value) is { } text && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number)
                    ? Math.Clamp(number, 0, 1_000) : (int?)null, ct);

    /// <summary><c>mock_mode</c>, else <see cref="MockOptions.Enabled"/>.</summary>
    public async ValueTask<bool> MockModeAsync(CancellationToken ct) =>
        await FlagAsync("mock_mode", ct) ?? mock.CurrentValue.Enabled;

    /// <summary><c>upload_mock_outputs_to_b2</c>, else <see cref="MockOptions.UploadOutputs"/>.</summary>
    public async ValueTask<bool> UploadMockOutputsAsync(CancellationToken ct) =>
        await FlagAsync("upload_mock_outputs_to_b2", ct) ?? mock.CurrentValue.UploadOutputs;

    /// <summary><c>disabled_models</c>, a list of model ids: the operator's kill switch. What was accepted before goes on.</summary>
    public async ValueTask<IReadOnlySet<string>> DisabledModelsAsync(CancellationToken ct) =>
        (await settings.GetAsync(ct)).TryGetValue("disabled_models", out var value) ? ModelsIn(value) : NoModels;

    private HashSet<string> ModelsIn(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            Report("disabled_models", value, "a list of model ids");
            return NoModels;
        }

        return value.EnumerateArray().Where(id => id.ValueKind == JsonValueKind.String).Select(id => id.GetString()!)
            .ToHashSet(StringComparer.Ordinal);
    }

    private ValueTask<bool?> FlagAsync(string key, CancellationToken ct) => ReadAsync(key, "true or false", value => value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => bool.TryParse(TextOf(value), out var flag) ? flag : (bool?)null, // "true": so a tool writes it that knows only texts
    }, ct);

    private async ValueTask<T?> ReadAsync<T>(string key, string wanted, Func<JsonElement, T?> read, CancellationToken ct)
        where T : struct
    {
        if (!(await settings.GetAsync(ct)).TryGetValue(key, out var value))
        {
            return null;
        }

        var understood = read(value);
        if (understood is null && value.ValueKind != JsonValueKind.Null)
        {
            Report(key, value, wanted);
        }

        return understood;
    }

    private static string? TextOf(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()!.Trim() : null;

    private void Report(string key, JsonElement value, string wanted)
    {
        var text = value.GetRawText();
        if (reported.GetValueOrDefault(key) != text)
        {
            reported[key] = text;
            log.LogWarning("The setting {Key} in app_settings is not {Wanted}, and is ignored: {Value}", key, wanted,
                text.Length > 200 ? text[..200] : text);
        }
    }

    private static async Task<Dictionary<string, JsonElement>> ReadAsync(NpgsqlDataSource database, CancellationToken ct)
    {
        var read = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        await using var command = database.CreateCommand("SELECT key, value::text FROM app_settings");
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            using var value = JsonDocument.Parse(reader.GetString(1));
            read[reader.GetString(0)] = value.RootElement.Clone();
        }

        return read;
    }
}

/// <summary>
/// A value that is read at most once per <paramref name="lifetime"/>. When a reading fails, the last value is kept for as long as it
/// takes: an old price list beats no price list. Only the very first reading throws.
/// </summary>
public sealed class Cached<T>(Func<CancellationToken, Task<T>> read, TimeSpan lifetime, TimeProvider time)
    where T : class
{
    private readonly SemaphoreSlim reading = new(1, 1);
    private T? value;
    private long readAt;

    public async ValueTask<T> GetAsync(CancellationToken ct)
    {
        var known = Volatile.Read(ref value);
        if (known is not null && time.GetElapsedTime(Volatile.Read(ref readAt)) < lifetime)
        {
            return known;
        }

        // One reads, the others go on with what is known; only the first time do they have to wait.
        if (!await reading.WaitAsync(known is null ? Timeout.InfiniteTimeSpan : TimeSpan.Zero, ct))
        {
            return known!;
        }

        try
        {
            if (value is not null && time.GetElapsedTime(readAt) < lifetime)
            {
                return value;
            }

            value = await TransientErrors.RepeatOnDisconnectAsync(() => read(ct));
            return value;
        }
        catch (Exception e) when (value is not null && (e is NpgsqlException || TransientErrors.IsTransient(e)))
        {
            return value;
        }
        finally
        {
            readAt = time.GetTimestamp();
            reading.Release();
        }
    }
}
