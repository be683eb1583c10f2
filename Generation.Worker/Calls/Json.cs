using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Worker.Calls;

/// <summary>Reading JSON that may be anything: what is not there, or not of the kind asked for, is null.</summary>
internal static class Json
{
    /// <summary>The object in the text; null when there is none.</summary>
    public static JsonObject? Parse(string text)
    {
        try
        {
            return JsonNode.Parse(text) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    public static JsonObject? Object(JsonObject? parent, string name) => Field(parent, name) as JsonObject;

    public static JsonArray? Array(JsonObject? parent, string name) => Field(parent, name) as JsonArray;

    public static string? Text(JsonObject? parent, string name)
    {
        try
        {
            return Field(parent, name) is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;
        }
        catch (InvalidOperationException) // half a surrogate pair, which JSON can write and a string cannot hold
        {
            return null;
        }
    }

    public static long? Whole(JsonObject? parent, string name) =>
        Field(parent, name) is JsonValue value && value.TryGetValue<long>(out var number) ? number : null;

    public static bool? Flag(JsonObject? parent, string name) =>
        Field(parent, name) is JsonValue value && value.TryGetValue<bool>(out var flag) ? flag : null;

    private static JsonNode? Field(JsonObject? parent, string name)
    {
        try
        {
            return parent?[name];
        }
        catch (ArgumentException) // the same name twice
        {
            return null;
        }
    }
}
