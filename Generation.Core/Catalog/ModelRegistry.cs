using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Localization;

namespace Generation.Core.Catalog;

public enum ModelLifecycle
{
    /// <summary>Sold.</summary>
    Active,

    /// <summary>Still sold; has a successor and a date after which it is not.</summary>
    Deprecated,

    /// <summary>No longer sold: 410 with the successor.</summary>
    Retired,
}

/// <summary>
/// What a customer can ask for. Prices in force are not here but in the database; lane and kind are, because they belong to the model.
/// </summary>
public sealed record Model
{
    /// <summary>The public name, such as <c>seedream-4</c>.</summary>
    public required string Id { get; init; }

    /// <summary>The family, such as <c>seedream4</c>; a part of the alias routes.</summary>
    public required string Tool { get; init; }

    /// <summary>Which handler runs it, such as <c>gen.seedream4</c>.</summary>
    public required string JobType { get; init; }

    /// <summary>Who runs it, such as <c>ark</c>: a section under <c>Providers</c>.</summary>
    public required string Provider { get; init; }

    /// <summary>The provider's name for it; <c>Providers:&lt;provider&gt;:Models:&lt;name&gt;</c> sends another in its place.</summary>
    public required string ProviderModel { get; init; }

    /// <summary><c>image</c>, <c>video</c> or <c>audio</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>The queue: <c>image</c>, <c>video</c> or <c>gpu</c>.</summary>
    public required string Lane { get; init; }

    /// <summary>
    /// How long one output usually takes, in seconds: the weight of a request in the order of its lane, and its estimate until workers have
    /// measured it. At least 1; where the model says nothing, 90 for a video, 15 for sound, 10 for a picture.
    /// </summary>
    public double TypicalSeconds
    {
        get => field >= 1 ? field : Kind switch { "video" => 90, "audio" => 15, _ => 10 };
        init;
    }

    public ModelLifecycle Lifecycle { get; init; }

    public string? Successor { get; init; }

    /// <summary>Since when a deprecated model is not recommended any more.</summary>
    public DateOnly? DeprecatedSince { get; init; }

    /// <summary>The last day of a deprecated model.</summary>
    public DateOnly? Sunset { get; init; }

    public required Parameter[] Parameters { get; init; }

    /// <summary>What must hold between them.</summary>
    public Rule[] Rules { get; init; } = [];

    /// <summary>Its first price; null when a migration brings it. Without any it is not sold.</summary>
    public DefaultPrice? DefaultPrice { get; init; }

    /// <summary>How many outputs a request asks for: the parameter <c>n</c>, or one.</summary>
    public static int Outputs(JsonObject settings) => settings.TryGetPropertyValue("n", out var n) && n is not null ? n.GetValue<int>() : 1;

    /// <summary>
    /// Checks <paramref name="given"/> against the description. Every wrong field is in <paramref name="errors"/>, by its path
    /// (<c>params.size</c>). When there is none, the result is what the handler gets: the values given, and the defaults of the rest.
    /// </summary>
    public JsonObject Validate(JsonElement given, Dictionary<string, string[]> errors)
    {
        ArgumentNullException.ThrowIfNull(errors);
        var settings = new JsonObject();
        foreach (var parameter in Parameters)
        {
            if (!given.TryGetProperty(parameter.Name, out var value) || value.ValueKind == JsonValueKind.Null)
            {
                if (parameter.Required)
                {
                    errors[$"params.{parameter.Name}"] = [Refusals.Say($"is required")];
                }
                else if (parameter.Default is not null)
                {
                    settings[parameter.Name] = parameter.Default.DeepClone();
                }
            }
            else if (parameter.Check(value) is { } wrong)
            {
                errors[$"params.{parameter.Name}"] = [wrong];
            }
            else
            {
                settings[parameter.Name] = parameter.Read(value);
            }
        }

        foreach (var field in given.EnumerateObject().Select(f => f.Name).Distinct(StringComparer.Ordinal))
        {
            if (!Parameters.Any(p => p.Name == field))
            {
                errors[$"params.{field}"] =
                    [Refusals.Say($"is not a parameter of {Id}, which takes {string.Join(", ", Parameters.Select(p => p.Name))}")];
            }
        }

        var present = given.EnumerateObject().Where(f => f.Value.ValueKind != JsonValueKind.Null)
            .ToDictionary(f => f.Name, f => f.Value, StringComparer.Ordinal);
        foreach (var (field, problem) in Rules.Select(r => r.Check(present)).OfType<(string, string)>())
        {
            errors.TryAdd($"params.{field}", [problem]);
        }

        return settings;
    }

    /// <summary>The parameters as JSON Schema, draft 2020-12.</summary>
    public JsonObject ToSchema()
    {
        var schema = Describe();
        if (Rules.Length > 0)
        {
            schema["allOf"] = new JsonArray([.. Rules.Select(r => (JsonNode)r.ToSchema())]);
        }

        return schema;
    }

    private JsonObject Describe() => new()
    {
        ["$schema"] = "https://json-schema.org/draft/2020-12/schema",
        ["type"] = "object",
        ["properties"] = new JsonObject(Parameters.Select(p => KeyValuePair.Create(p.Name, (JsonNode?)p.ToSchema()))),
        ["required"] = new JsonArray([.. Parameters.Where(p => p.Required).Select(p => (JsonNode)p.Name)]),
        ["additionalProperties"] = false,
    };
}

/// <summary>The models, one entry each: what `GET /api/models` shows, and all that has to be added for a new one beside its handler.</summary>
public sealed class ModelRegistry
{
    /// <summary>The models of this build; each provider's stand in a file of their own.</summary>
    public static readonly Model[] BuiltIn = [.. ArkModels.All, .. ForgeModels.All, .. KieModels.All, .. OpenAiModels.All, .. GoogleModels.All];

    private readonly Dictionary<string, Model> byId;

    public ModelRegistry()
        : this(BuiltIn)
    {
    }

    /// <summary>A registry of other models: tests add tools that way.</summary>
    public ModelRegistry(IEnumerable<Model> models) => byId = models.ToDictionary(m => m.Id, StringComparer.Ordinal);

    public IReadOnlyCollection<Model> Models => byId.Values;

    public Model? Find(string id) => byId.GetValueOrDefault(id);

    /// <summary>The first model of a tool that is sold: what an alias route without a model means.</summary>
    public Model? DefaultOf(string tool) => byId.Values
        .Where(m => string.Equals(m.Tool, tool, StringComparison.OrdinalIgnoreCase))
        .OrderBy(m => m.Lifecycle)
        .FirstOrDefault();
}
