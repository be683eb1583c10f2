using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Localization;

namespace Generation.Core.Catalog;

/// <summary>
/// What must hold between the parameters of a model: checks the parameters that were given, and renders itself as a part of the
/// model's JSON Schema (one element of its <c>allOf</c>), so that a form can be drawn and checked before anything is sent.
/// </summary>
public abstract record Rule
{
    /// <summary>
    /// The field that is to blame and what is wrong with it; null when the rule holds. <paramref name="given"/> has no nulls in it.
    /// </summary>
    public abstract (string Field, string Problem)? Check(IReadOnlyDictionary<string, JsonElement> given);

    public abstract JsonObject ToSchema();

    /// <summary>A schema that holds when all of these fields are there.</summary>
    protected static JsonObject Present(params IEnumerable<string> names) =>
        new() { ["required"] = new JsonArray([.. names.Select(n => (JsonNode)n)]) };
}

/// <summary>Of two groups of parameters only one may be used: <c>first_frame</c> and <c>reference_images</c>.</summary>
/// <param name="Names">One group.</param>
/// <param name="Others">The other.</param>
public sealed record Excludes(string[] Names, string[] Others) : Rule
{
    public override (string, string)? Check(IReadOnlyDictionary<string, JsonElement> given) =>
        Names.FirstOrDefault(given.ContainsKey) is { } name && Others.FirstOrDefault(given.ContainsKey) is { } other
            ? (other, Refusals.Say($"cannot be used together with {name}"))
            : null;

    public override JsonObject ToSchema() => new()
    {
        ["not"] = new JsonObject
        {
            ["allOf"] = new JsonArray(
                new JsonObject { ["anyOf"] = new JsonArray([.. Names.Select(n => (JsonNode)Present(n))]) },
                new JsonObject { ["anyOf"] = new JsonArray([.. Others.Select(n => (JsonNode)Present(n))]) }),
        },
    };
}

/// <summary>A parameter that makes sense only beside another: <c>last_frame</c> needs <c>first_frame</c>.</summary>
public sealed record Needs(string Name, string Other) : Rule
{
    public override (string, string)? Check(IReadOnlyDictionary<string, JsonElement> given) =>
        given.ContainsKey(Name) && !given.ContainsKey(Other) ? (Name, Refusals.Say($"needs {Other} beside it")) : null;

    public override JsonObject ToSchema() => new() { ["dependentRequired"] = new JsonObject { [Name] = new JsonArray(Other) } };
}

/// <summary>Where one parameter has a value, another may only have some of its values: 1080p only with a duration of 8.</summary>
/// <param name="Name">The parameter whose value is the condition.</param>
/// <param name="Values">Its values for which the rule counts.</param>
/// <param name="Other">The parameter that is limited then; left out it counts as its default, which must be allowed or sent.</param>
/// <param name="Allowed">Its values that are allowed then.</param>
/// <param name="Default">The default of <paramref name="Other"/>, if it has one.</param>
public sealed record Limits(string Name, JsonNode[] Values, string Other, JsonNode[] Allowed, JsonNode? Default = null) : Rule
{
    public override (string, string)? Check(IReadOnlyDictionary<string, JsonElement> given)
    {
        if (!given.TryGetValue(Name, out var value) || !Values.Any(v => Same(v, value)))
        {
            return null;
        }

        var fits = given.TryGetValue(Other, out var other) ? Allowed.Any(a => Same(a, other)) : Default is null
            || Allowed.Any(a => JsonNode.DeepEquals(a, Default));
        return fits ? null : (Other, Refusals.Say($"must be {string.Join(" / ", Allowed.Select(a => a.ToString()))} when {Name} is {value}"));
    }

    public override JsonObject ToSchema()
    {
        var condition = Present(Name);
        condition["properties"] = new JsonObject { [Name] = Enumeration(Values) };
        var then = new JsonObject { ["properties"] = new JsonObject { [Other] = Enumeration(Allowed) } };
        if (Default is not null && !Allowed.Any(a => JsonNode.DeepEquals(a, Default)))
        {
            then["required"] = new JsonArray(Other);
        }

        return new JsonObject { ["if"] = condition, ["then"] = then };
    }

    private static bool Same(JsonNode node, JsonElement value) => JsonNode.DeepEquals(node, JsonNode.Parse(value.GetRawText()));

    private static JsonObject Enumeration(JsonNode[] values) => new() { ["enum"] = new JsonArray([.. values.Select(v => (JsonNode?)v.DeepClone())]) };
}

/// <summary>
/// Where a flag is set, a list and a number may together not be more than so much: 14 pictures to go by leave room for one in a group.
/// </summary>
/// <param name="Flag">The parameter that is true where the rule counts.</param>
/// <param name="List">The list, which may be left out.</param>
/// <param name="Count">The number, which counts as 1 when it is left out.</param>
/// <param name="Most">At most so many together.</param>
/// <param name="MaxList">The longest list that the model takes.</param>
public sealed record AtMostTogether(string Flag, string List, string Count, int Most, int MaxList) : Rule
{
    public override (string, string)? Check(IReadOnlyDictionary<string, JsonElement> given)
    {
        if (!given.TryGetValue(Flag, out var flag) || flag.ValueKind != JsonValueKind.True)
        {
            return null;
        }

        var listed = given.TryGetValue(List, out var list) && list.ValueKind == JsonValueKind.Array ? list.GetArrayLength() : 0;
        var counted = given.TryGetValue(Count, out var count) && JsonSchemaValue.TryReadInt32(count, out var number)
            ? number : 1;
        return listed + counted <= Most ? null : (Count, Refusals.Say($"must be at most {Most - listed} beside {listed} {List} when {Flag} is true"));
    }

    /// <summary>For each length of the list the numbers that go with it: JSON Schema does not add.</summary>
    public override JsonObject ToSchema() => new()
    {
        ["if"] = new JsonObject
        {
            ["properties"] = new JsonObject { [Flag] = new JsonObject { ["const"] = true } },
            ["required"] = new JsonArray(Flag, List)
        },
        ["then"] = new JsonObject
        {
            ["anyOf"] = new JsonArray([.. Enumerable.Range(1, MaxList).Select(listed => (JsonNode)new JsonObject
            {
                ["properties"] = new JsonObject
                {
                    [List] = new JsonObject { ["maxItems"] = listed },
                    [Count] = new JsonObject { ["maximum"] = Most - listed },
                },
            })]),
        },
    };
}
