using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Generation.Tests.Harness;

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

    /// <summary>The same for one session, in a system that many use one after another.</summary>
    public static async Task AssertNothingIsLeftBehindAsync(this TestSystem system, Guid sessionId)
    {
        await using var command = system.Db.CreateCommand($"SELECT object_key, bytes FROM media WHERE session_id = '{sessionId}'");
        await using var reader = await command.ExecuteReaderAsync();
        var recorded = new List<string>();
        while (await reader.ReadAsync())
        {
            recorded.Add(reader.GetString(0));
            Assert.Equal(reader.GetInt64(1), new FileInfo(Path.Combine(system.MediaFolder, reader.GetString(0))).Length);
        }

        Assert.Equal(recorded.Order(StringComparer.Ordinal),
            system.StoredFiles().Where(file => file.Contains(sessionId.ToString(), StringComparison.OrdinalIgnoreCase)));
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
