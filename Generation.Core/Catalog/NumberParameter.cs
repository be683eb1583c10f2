using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Core.Catalog;

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Min">Smallest value allowed.</param>
/// <param name="Max">Largest value allowed.</param>
public sealed record NumberParameter(string Name, string Description, double Min, double Max) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= Min && number <= Max
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"must be a number from {Min} to {Max}");

    protected override JsonObject Describe() => new() { ["type"] = "number", ["minimum"] = Min, ["maximum"] = Max };
}
