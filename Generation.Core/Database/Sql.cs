using System.Collections.Concurrent;
using System.Runtime.CompilerServices;

namespace Generation.Core.Database;

/// <summary>The SQL files of this assembly by their path, such as <c>Submit/submit.sql</c>.</summary>
public static class Sql
{
    private static readonly ConcurrentDictionary<string, string> Texts = new(StringComparer.Ordinal);

    // By reference: a statement of ten kilobytes is not hashed each time somebody wants to know what it is called.
    private static readonly ConditionalWeakTable<string, string> Files = [];

    /// <summary>The text of an embedded <c>.sql</c> file. A path that is not there is a programming error and throws.</summary>
    public static string Text(string path) => Texts.GetOrAdd(path, static path =>
    {
        var name = $"Generation.Core.{path.Replace('/', '.')}";
        using var stream = typeof(Sql).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"No embedded SQL at {path} (looked for {name}).");
        using var reader = new StreamReader(stream);
        return Register(path, reader.ReadToEnd());
    });

    /// <summary>Says from which file a text was made that is not the file's own, and returns it.</summary>
    public static string Register(string path, string text)
    {
        Files.AddOrUpdate(text, path[(path.LastIndexOf('/') + 1)..]);
        return text;
    }

    /// <summary>
    /// The name of the file that this very string came from, such as <c>submit.sql</c>; null for a statement that stands in the code.
    /// </summary>
    public static string? FileOf(string text) => Files.TryGetValue(text, out var file) ? file : null;
}
