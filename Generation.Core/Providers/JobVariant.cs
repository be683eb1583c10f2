using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Core.Providers;

/// <summary>What the duration of a job depends on beside its model. Workers measure by it and estimates look it up.</summary>
public static class JobVariant
{
    private const int MaxLength = 80;

    /// <summary>In the order of the name; <c>n</c> is the number of outputs, which the session knows.</summary>
    private static readonly string[] Parameters = ["size", "resolution", "quality", "duration"];

    /// <summary>
    /// Such as <c>size=2K outputs=2</c>: parameters that are set, the number of outputs, and <c>mock</c> for what no provider makes. At most 80
    /// characters.
    /// </summary>
    /// <param name="settings">The session's input settings; others of their parameters do not count.</param>
    /// <param name="outputs">How many were asked for.</param>
    /// <param name="mock">Whether the mock makes it.</param>
    public static string NameOf(JsonObject settings, int outputs, bool mock)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var parts = Parameters.Select(name => (name, value: settings[name] as JsonValue)).Where(pair => pair.value is not null)
            .Select(pair => $"{pair.name}={TextOf(pair.value!)}")
            .Append(string.Create(CultureInfo.InvariantCulture, $"outputs={outputs}"));
        var whole = string.Join(' ', mock ? parts.Append("mock") : parts);
        return whole.Length <= MaxLength ? whole : whole[..MaxLength];
    }

    private static string TextOf(JsonValue value) => value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : value.ToJsonString();
}
