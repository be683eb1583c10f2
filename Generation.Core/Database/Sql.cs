using System.Collections.Concurrent;

namespace Generation.Core.Database;

/// <summary>The SQL files of this assembly by their path, such as <c>Sessions/submit.sql</c>.</summary>
public static class Sql
{
    private static readonly ConcurrentDictionary<string, string> Texts = new(StringComparer.Ordinal);

    /// <summary>The text of an embedded <c>.sql</c> file. A path that is not there is a programming error and throws.</summary>
    public static string Text(string path) => Texts.GetOrAdd(path, static path =>
    {
        var name = $"Generation.Core.{path.Replace('/', '.')}";
        using var stream = typeof(Sql).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"No embedded SQL at {path} (looked for {name}).");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    });
}
