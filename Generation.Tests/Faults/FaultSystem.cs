using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Faults;

/// <summary>One system for all rows of a table: a session each, one after the other. It gives up after two attempts of two tries each.</summary>
public sealed class FaultSystem : IAsyncLifetime
{
    /// <summary>Bytes; the simulator's pictures have 20,000.</summary>
    public const int MaxImageBytes = 200_000;

    public TestSystem System { get; private set; } = null!;

    public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
    {
        options.Settings["Worker:MaxAttempts"] = "2";
        options.Settings["Media:MaxImageDownloadBytes"] = $"{MaxImageBytes}";
        options.Settings["Providers:Ark:ConnectTimeout"] = "00:00:01";
        options.Settings["Providers:Ark:CallTimeout"] = "00:00:04";
    });

    public ValueTask DisposeAsync() => System.DisposeAsync();
}

/// <summary>What the tests of faults look at beside the session: the simulator's log of calls, and the media folder.</summary>
internal static class Evidence
{
    /// <summary>The calls that the simulator got for prompts with these words, oldest first.</summary>
    public static async Task<IReadOnlyList<SimCall>> CallsAsync(this TestSystem system, string words)
    {
        using var http = new HttpClient { BaseAddress = system.Sim.Address };
        var report = await http.GetFromJsonAsync<JsonObject>($"/sim/calls?prompt={Uri.EscapeDataString(words)}");
        return [.. report!["calls"]!.AsArray().Select(call => new SimCall((string)call!["id"]!, (bool)call["paid"]!, (DateTimeOffset)call["at"]!))];
    }

    /// <summary>The folder holds what the database says was stored, and nothing else: no orphan, no half of a file.</summary>
    public static async Task AssertNothingIsLeftBehindAsync(this TestSystem system)
    {
        await system.AssertMediaAreStoredAsync();
        var recorded = await system.ScalarAsync<string>(
            "SELECT coalesce(string_agg(object_key, E'\\n'), '') FROM media WHERE object_key NOT LIKE 'samples/%'");
        Assert.Equal(recorded!.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal), system.StoredFiles());
    }

    /// <summary>Everything in the media folder but the key that signs its URLs, as relative paths in order.</summary>
    public static IEnumerable<string> StoredFiles(this TestSystem system) => !Directory.Exists(system.MediaFolder) ? [] : Directory
        .EnumerateFiles(system.MediaFolder, "*", SearchOption.AllDirectories)
        .Select(path => Path.GetRelativePath(system.MediaFolder, path))
        .Where(path => path != ".signing-key")
        .Order(StringComparer.Ordinal);

    /// <summary>The events of a session to its end.</summary>
    public static async Task<List<SseEvent>> AllEventsAsync(this TestSystem system, Guid sessionId)
    {
        var events = new List<SseEvent>();
        await foreach (var e in system.EventsAsync(sessionId))
        {
            events.Add(e);
        }

        return events;
    }
}

/// <param name="RequestId">The provider's name for the call.</param>
/// <param name="Paid">A picture was made, which the provider bills.</param>
/// <param name="At">When it came in.</param>
internal sealed record SimCall(string RequestId, bool Paid, DateTimeOffset At);
