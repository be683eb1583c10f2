using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Localization;
using Generation.Core.Media;

namespace Generation.Core.Catalog;

/// <summary>
/// One parameter of a model: checks a value, and renders itself as JSON Schema (draft 2020-12) so that a client can draw a form.
/// </summary>
/// <param name="Name">The field in <c>params</c>.</param>
/// <param name="Description">For the people who fill in the form.</param>
public abstract record Parameter(string Name, string Description)
{
    public bool Required { get; init; }

    /// <summary>What a request without this parameter gets; null leaves it out.</summary>
    public JsonNode? Default { get; init; }

    /// <summary>What is wrong with <paramref name="value"/>, as a sentence that says what is allowed; null when nothing is.</summary>
    public abstract string? Check(JsonElement value);

    public JsonObject ToSchema()
    {
        var schema = Describe();
        schema["description"] = Description;
        if (Default is not null)
        {
            schema["default"] = Default.DeepClone();
        }

        return schema;
    }

    /// <summary>A checked value as the handler gets it.</summary>
    public virtual JsonNode? Read(JsonElement value) => JsonNode.Parse(value.GetRawText());

    protected abstract JsonObject Describe();
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="MinLength">In code points, as JSON Schema counts, after trimming.</param>
/// <param name="MaxLength">In code points.</param>
public sealed record TextParameter(string Name, string Description, int MinLength, int MaxLength) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            return Refusals.Say($"must be a string");
        }

        var text = value.GetString()!;
        var length = JsonSchemaValue.CountCodePoints(text);
        return !JsonSchemaValue.IsVisible(text) ? Refusals.Say($"must have at least one character that can be seen")
            : JsonSchemaValue.CountCodePoints(text.AsSpan().Trim()) < MinLength ? Refusals.Say($"must have at least {MinLength} characters")
            : length > MaxLength ? Refusals.Say($"must have at most {MaxLength} characters, has {length}")
            : text.Contains('\0') ? Refusals.Say($"must not contain the character U+0000")
            : null;
    }

    protected override JsonObject Describe() => new() { ["type"] = "string", ["minLength"] = MinLength, ["maxLength"] = MaxLength };
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Min">Smallest value allowed.</param>
/// <param name="Max">Largest value allowed.</param>
public sealed record IntegerParameter(string Name, string Description, int Min, int Max) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        JsonSchemaValue.TryReadInt32(value, out var number) && number >= Min && number <= Max
            ? null
            : Refusals.Say($"must be a whole number from {Min} to {Max}");

    /// <summary>2.0 is 2, also to the handler.</summary>
    public override JsonNode? Read(JsonElement value) => JsonSchemaValue.TryReadInt32(value, out var number)
        ? JsonNode.Parse(number.ToString(CultureInfo.InvariantCulture)) : base.Read(value);

    protected override JsonObject Describe() => new() { ["type"] = "integer", ["minimum"] = Min, ["maximum"] = Max };
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Values">The whole numbers allowed.</param>
public sealed record IntegerChoiceParameter(string Name, string Description, params int[] Values) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        JsonSchemaValue.TryReadInt32(value, out var number) && Values.Contains(number) ? null
            : Refusals.Say($"must be one of {string.Join(", ", Values)}");

    /// <summary>2.0 is 2, also to the handler.</summary>
    public override JsonNode? Read(JsonElement value) => JsonSchemaValue.TryReadInt32(value, out var number)
        ? JsonNode.Parse(number.ToString(CultureInfo.InvariantCulture)) : base.Read(value);

    protected override JsonObject Describe() => new() { ["type"] = "integer", ["enum"] = new JsonArray([.. Values.Select(v => (JsonNode)v)]) };
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Min">Smallest value allowed.</param>
/// <param name="Max">Largest value allowed.</param>
public sealed record NumberParameter(string Name, string Description, double Min, double Max) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= Min && number <= Max
            ? null
            : Refusals.Say($"must be a number from {Min} to {Max}");

    protected override JsonObject Describe() => new() { ["type"] = "number", ["minimum"] = Min, ["maximum"] = Max };
}

public sealed record BooleanParameter(string Name, string Description) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind is JsonValueKind.True or JsonValueKind.False ? null : Refusals.Say($"must be true or false");

    protected override JsonObject Describe() => new() { ["type"] = "boolean" };
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Values">The strings allowed.</param>
public sealed record ChoiceParameter(string Name, string Description, params string[] Values) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind == JsonValueKind.String && Values.Contains(value.GetString(), StringComparer.Ordinal)
            ? null
            : Refusals.Say($"must be one of {string.Join(", ", Values)}");

    protected override JsonObject Describe() =>
        new() { ["type"] = "string", ["enum"] = new JsonArray([.. Values.Select(v => (JsonNode)v)]) };
}

/// <summary>A picture's size: a keyword (<c>2K</c>) with which the model picks the dimensions, or <c>WIDTHxHEIGHT</c> in pixels.</summary>
/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="Keywords">The keywords that the model takes.</param>
/// <param name="MinPixels">Smallest width × height.</param>
/// <param name="MaxPixels">Largest width × height.</param>
public sealed record SizeParameter(string Name, string Description, string[] Keywords, int MinPixels, int MaxPixels) : Parameter(Name, Description)
{
    /// <summary>Shortest and longest side in pixels, where the model has such limits.</summary>
    public (int Min, int Max)? Sides { get; init; }

    /// <summary>Neither side may be longer than this many times the other ([1/16, 16]).</summary>
    private const int MaxRatio = 16;

    public override string? Check(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.String)
        {
            var text = value.GetString()!;
            if (Keywords.Contains(text, StringComparer.Ordinal))
            {
                return null;
            }

            if (TryParsePixels(text, out var width, out var height))
            {
                var pixels = (long)width * height;
                return pixels < MinPixels || pixels > MaxPixels
                    ? Refusals.Say($"must have from {MinPixels:N0} to {MaxPixels:N0} pixels, {text} has {pixels:N0}")
                    : Sides is { } sides && (Math.Min(width, height) < sides.Min || Math.Max(width, height) > sides.Max)
                        ? Refusals.Say($"must have sides of {sides.Min} to {sides.Max} pixels")
                    : width > height * MaxRatio || height > width * MaxRatio ? Refusals.Say($"must have sides of at most {MaxRatio}:1")
                    : null;
            }
        }

        return Keywords.Length == 0 ? Refusals.Say($"must be WIDTHxHEIGHT in pixels, such as 1024x1024")
            : Refusals.Say($"must be {string.Join(", ", Keywords)} or WIDTHxHEIGHT in pixels, such as 2048x2048");
    }

    /// <summary>Reads <c>2048x2048</c>: plain digits, no signs or spaces, no leading zero.</summary>
    public static bool TryParsePixels(string text, out int width, out int height)
    {
        (width, height) = (0, 0);
        var x = text.IndexOf('x', StringComparison.Ordinal);
        return x is > 0 and < 6 && text.Length - x is > 1 and <= 6
            && text[0] != '0' && text[x + 1] != '0'
            && text.AsSpan(0, x).IndexOfAnyExceptInRange('0', '9') < 0 && text.AsSpan(x + 1).IndexOfAnyExceptInRange('0', '9') < 0
            && int.TryParse(text.AsSpan(0, x), out width) && int.TryParse(text.AsSpan(x + 1), out height);
    }

    /// <summary>The class that variant prices are kept by: the keyword, or the smallest one that holds as many pixels.</summary>
    public static string Resolution(string size) =>
        !TryParsePixels(size, out var width, out var height) ? size
        : ((long)width * height) switch { <= 1_638_400 => "1K", <= 6_553_600 => "2K", _ => "4K" };

    protected override JsonObject Describe() => new()
    {
        ["type"] = "string",
        ["pattern"] = $"^({string.Concat(Keywords.Select(keyword => keyword + "|"))}[1-9][0-9]{{0,4}}x[1-9][0-9]{{0,4}})$",
        ["examples"] = new JsonArray([.. Keywords.Select(v => (JsonNode)v)]),
        ["x-minPixels"] = MinPixels,
        ["x-maxPixels"] = MaxPixels,
    };
}

/// <summary>
/// A picture to begin with: an https address that the provider fetches by itself, or an upload (<see cref="Uploads"/>) of the user's.
/// </summary>
public sealed record ImageParameter(string Name, string Description) : Parameter(Name, Description)
{
    private const int MaxLength = 2_048;

    public override string? Check(JsonElement value) => value.ValueKind == JsonValueKind.String && IsPicture(value.GetString()!) ? null : Wanted;

    private static string Wanted =>
        Refusals.Say($"must be an https address of a picture, or upload:<id> of one that was sent to POST /api/uploads");

    internal static bool IsPicture(string text) => Uploads.IdIn(text) is not null || IsAddress(text);

    /// <summary>
    /// Whether it can be handed to a provider: absolute, https, no user and password in it, and a host of the public internet by its name. Nothing
    /// that one parser reads and another drops: spaces, control characters, a backslash.
    /// </summary>
    private static bool IsAddress(string text) =>
        text.Length <= MaxLength && !text.Any(character => char.IsControl(character) || char.IsWhiteSpace(character) || character == '\\')
        && Uri.TryCreate(text, UriKind.Absolute, out var address) && address.Scheme == Uri.UriSchemeHttps
        && address.UserInfo.Length == 0 && address.IsDefaultPort && address.HostNameType == UriHostNameType.Dns
            && PublicAddress.MayBePublic(address.IdnHost);

    internal static JsonObject DescribeAddress() => new()
    {
        ["type"] = "string",
        ["format"] = "uri",
        ["pattern"] = "^(https://|upload:)",
        ["maxLength"] = MaxLength,
        ["x-media"] = "image"
    };

    protected override JsonObject Describe() => DescribeAddress();
}

/// <param name="Name">The field.</param>
/// <param name="Description">For the form.</param>
/// <param name="MaxCount">How many pictures at most.</param>
public sealed record ImagesParameter(string Name, string Description, int MaxCount) : Parameter(Name, Description)
{
    public override string? Check(JsonElement value) =>
        value.ValueKind == JsonValueKind.Array && value.GetArrayLength() >= 1 && value.GetArrayLength() <= MaxCount
        && value.EnumerateArray().All(v => v.ValueKind == JsonValueKind.String && ImageParameter.IsPicture(v.GetString()!))
            ? null
            : Refusals.Say($"must be a list of 1 to {MaxCount}, each an https address of a picture, or upload:<id> of one that was sent to "
                + $"POST /api/uploads");

    protected override JsonObject Describe() => new()
    {
        ["type"] = "array",
        ["minItems"] = 1,
        ["maxItems"] = MaxCount,
        ["items"] =
        ImageParameter.DescribeAddress()
    };
}
