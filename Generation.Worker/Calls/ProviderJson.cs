using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Worker.Calls;

/// <summary>
/// The one reader of providers' JSON. It may be anything: what is not there, or cannot be understood, is null; what can be understood is
/// taken although it is written unusually (a number in a string, a string that holds an object, one item instead of a list). Text comes out
/// such that every store and log takes it: of bearable length, without NUL or half a surrogate pair. Numbers are within the bounds of what they
/// count.
/// </summary>
public static class ProviderJson
{
    /// <summary>Texts are for people and logs; addresses have no limit of their own.</summary>
    public const int MaxTextChars = 2_000;

    /// <summary>More than a provider counts for one output: tokens, pictures, seconds.</summary>
    public const long MaxCount = 1_000_000_000;

    /// <summary>More credits than a provider takes for one output.</summary>
    private const decimal MaxAmount = 1_000_000;

    private static readonly JsonDocumentOptions Tolerant = new() { AllowTrailingCommas = true, CommentHandling = JsonCommentHandling.Skip };

    /// <summary>The object in the text, or the first of a list of them; null when there is none.</summary>
    public static JsonElement? Parse(string? text)
    {
        try
        {
            var root = JsonElement.Parse((text ?? "").TrimStart('\uFEFF'), Tolerant);
            root = root.ValueKind == JsonValueKind.Array && root.GetArrayLength() > 0 ? root[0] : root;
            return root.ValueKind == JsonValueKind.Object ? root : null;
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>An object, also one that is written as a string.</summary>
    public static JsonElement? Child(JsonElement? parent, string name) => Field(parent, name) switch
    {
        { ValueKind: JsonValueKind.Object } found => found,
        { ValueKind: JsonValueKind.String } text when Raw(text).AsSpan().TrimStart().StartsWith("{", StringComparison.Ordinal) =>
            Parse(Clean(Raw(text), int.MaxValue)),
        _ => null,
    };

    /// <summary>The items of a list; a single one counts as a list.</summary>
    public static IEnumerable<JsonElement> Items(JsonElement? parent, string name) => Field(parent, name) switch
    {
        { ValueKind: JsonValueKind.Array } list => list.EnumerateArray(),
        { ValueKind: JsonValueKind.Object or JsonValueKind.String } one => [one],
        _ => [],
    };

    /// <summary>A text, or a number as text; the first of these names that has one.</summary>
    public static string? Text(JsonElement? parent, params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (Field(parent, name) is { } found && TextOf(found) is { } text)
            {
                return text;
            }
        }

        return null;
    }

    /// <summary>The text of a value, or null.</summary>
    public static string? TextOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => Clean(Raw(value), MaxTextChars),
        JsonValueKind.Number => Clean(value.GetRawText(), MaxTextChars),
        _ => null,
    };

    /// <summary>A whole number, also one in a string or with nothing but zeros behind its point.</summary>
    public static long? Whole(JsonElement? parent, string name) => Number(Field(parent, name)) is { } number && number == decimal.Truncate(number)
        && number is >= long.MinValue and <= long.MaxValue ? (long)number : null;

    /// <summary>Of something that is counted: from 0 to <see cref="MaxCount"/>.</summary>
    public static long? Count(JsonElement? parent, string name) => Whole(parent, name) is >= 0 and <= MaxCount and var count ? count : null;

    /// <summary>What something cost, in a provider's credits.</summary>
    public static decimal? Amount(JsonElement? parent, string name) => Number(Field(parent, name)) is >= 0 and <= MaxAmount and var amount ? amount
        : null;

    /// <summary>Any number.</summary>
    public static double? Share(JsonElement? parent, string name) => Number(Field(parent, name)) is { } number ? (double)number : null;

    /// <summary>Whether the field is there, whatever it is.</summary>
    public static bool Has(JsonElement? parent, string name) => Field(parent, name) is not null;

    public static bool? Flag(JsonElement? parent, string name) => Field(parent, name) switch
    {
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { ValueKind: JsonValueKind.String } text when bool.TryParse(Raw(text), out var flag) => flag,
        { ValueKind: JsonValueKind.Number } number => Number(number) switch { 1 => true, 0 => false, _ => null },
        _ => null,
    };

    /// <summary>An address from which something can be had: http, https or data; also one inside of an object or a list.</summary>
    public static Uri? Address(JsonElement? parent, string name) => Field(parent, name) is { } found ? AddressOf(found) : null;

    /// <summary>The address that a value is, or holds.</summary>
    public static Uri? AddressOf(JsonElement value, int depth = 0)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                var text = Raw(value).Trim();
                text = text.StartsWith("//", StringComparison.Ordinal) ? "https:" + text : text;
                return Uri.TryCreate(Clean(text, text.Length), UriKind.Absolute, out var url) && url.Scheme is "http" or "https" or "data" ? url
                    : null;
            case JsonValueKind.Array when depth < 3:
                return value.EnumerateArray().Select(item => AddressOf(item, depth + 1)).FirstOrDefault(found => found is not null);
            case JsonValueKind.Object when depth < 3:
                return new[] { "url", "uri", "href" }.Select(name => Field(value, name) is { } inner ? AddressOf(inner, depth + 1) : null)
                    .FirstOrDefault(found => found is not null);
            default:
                return null;
        }
    }

    /// <summary>
    /// The counts among these fields of <c>usage</c>; null when there is none. What is there and is no possible count (negative, a fraction,
    /// absurdly much) is not believed, and stays on record as text under <c>ignored</c>.
    /// </summary>
    public static JsonObject? Usage(JsonElement? root, params ReadOnlySpan<string> names)
    {
        var (counted, ignored) = (new JsonObject(), new JsonObject());
        foreach (var name in names)
        {
            if (Count(Child(root, "usage"), name) is { } count)
            {
                counted[name] = count;
            }
            else if (Field(Child(root, "usage"), name) is { ValueKind: not JsonValueKind.Null } strange)
            {
                ignored[name] = Clean(strange.GetRawText(), 100);
            }
        }

        return WithIgnored(counted, ignored);
    }

    /// <summary>The same for one field that stands somewhere else and may be a fraction.</summary>
    public static JsonObject? UsageOfAmount(JsonElement? parent, string name)
    {
        var (counted, ignored) = (new JsonObject(), new JsonObject());
        if (Amount(parent, name) is { } amount)
        {
            counted[name] = amount;
        }
        else if (Field(parent, name) is { ValueKind: not JsonValueKind.Null } strange)
        {
            ignored[name] = Clean(strange.GetRawText(), 100);
        }

        return WithIgnored(counted, ignored);
    }

    /// <summary>Of one of our own sessions' settings, which are as the catalog has checked them.</summary>
    public static string? Text(JsonObject settings, string name) =>
        settings[name] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    /// <inheritdoc cref="Text(JsonObject, string)"/>
    public static long? Whole(JsonObject settings, string name) =>
        settings[name] is JsonValue value && value.TryGetValue<long>(out var number) ? number : null;

    /// <summary>Without control characters (but tabs and line breaks), with every half of a surrogate pair replaced, cut to a length.</summary>
    public static string Clean(string text, int maxChars)
    {
        if (text.Length <= maxChars && !text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') && !text.Any(char.IsControl))
        {
            return text;
        }

        var clean = new StringBuilder(Math.Min(text.Length, maxChars));
        foreach (var rune in text.EnumerateRunes()) // a half is enumerated as U+FFFD
        {
            if (Rune.IsControl(rune) && rune.Value is not ('\t' or '\n' or '\r'))
            {
                continue;
            }

            if (clean.Length + rune.Utf16SequenceLength > maxChars)
            {
                break;
            }

            clean.Append(rune.ToString());
        }

        return clean.ToString();
    }

    private static JsonObject? WithIgnored(JsonObject counted, JsonObject ignored)
    {
        if (ignored.Count > 0)
        {
            counted["ignored"] = ignored;
        }

        return counted.Count == 0 ? null : counted;
    }

    private static decimal? Number(JsonElement? value) => value switch
    {
        { ValueKind: JsonValueKind.Number } number when number.TryGetDecimal(out var exact) => exact,
        { ValueKind: JsonValueKind.String } text when decimal.TryParse(
            Raw(text), NumberStyles.Float, CultureInfo.InvariantCulture, out var exact) => exact,
        _ => null,
    };

    private static JsonElement? Field(JsonElement? parent, string name)
    {
        if (parent is not { ValueKind: JsonValueKind.Object } found)
        {
            return null;
        }

        try
        {
            return found.TryGetProperty(name, out var value) ? value : null;
        }
        catch (InvalidOperationException) // another field's name has half a surrogate pair in it
        {
            return found.EnumerateObject().Where(field => IsNamed(field, name)).Select(field => (JsonElement?)field.Value).LastOrDefault();
        }
    }

    private static bool IsNamed(JsonProperty field, string name)
    {
        try
        {
            return field.NameEquals(name);
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>A string as it is, with half a surrogate pair in it if there is one: JSON can write it.</summary>
    private static string Raw(JsonElement value)
    {
        try
        {
            return value.GetString() ?? "";
        }
        catch (InvalidOperationException)
        {
            return Unescape(value.GetRawText().AsSpan()[1..^1]);
        }
    }

    private static string Unescape(ReadOnlySpan<char> raw)
    {
        var text = new StringBuilder(raw.Length);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] != '\\' || i + 1 == raw.Length)
            {
                text.Append(raw[i]);
                continue;
            }

            var mark = raw[++i];
            if (mark == 'u' && i + 4 < raw.Length
                && ushort.TryParse(raw.Slice(i + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var unit))
            {
                text.Append((char)unit);
                i += 4;
                continue;
            }

            text.Append(mark switch { 'n' => '\n', 'r' => '\r', 't' => '\t', 'b' => '\b', 'f' => '\f', _ => mark });
        }

        return text.ToString();
    }
}
