using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Core.Catalog;

/// <summary>Seconds, of which a model takes only some: 5 or 10. A number, because prices by the second are multiplied by it.</summary>
/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Seconds">Those allowed.</param>
public sealed record DurationParameter(string Name, string Description, params int[] Seconds) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var seconds) && Seconds.Contains(seconds) ? null : $"must be one of {string.Join(", ", Seconds)}";

    protected override JsonObject Describe() => new() { ["type"] = "integer", ["enum"] = new JsonArray([.. Seconds.Select(s => (JsonNode)s)]) };
}
