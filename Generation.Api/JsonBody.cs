using System.Text.Json;
using Generation.Api.Errors;
using Generation.Core.Catalog;
using Generation.Core.Localization;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api;

/// <summary>Reads a JSON object from a request, or says what is wrong with it.</summary>
public static class JsonBody
{
    /// <summary>A name that stands twice means one thing to a proxy and another to us: refused.</summary>
    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false };

    public static async Task<(JsonElement Body, ProblemHttpResult? Refusal)> ReadAsync(HttpContext context, int maxBytes, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(context);
        if (!context.Request.HasJsonContentType())
        {
            return (default, Problems.Of(ProblemCodes.UnsupportedMediaType, $"Send JSON, with Content-Type: application/json."));
        }

        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = maxBytes;
        }

        JsonElement body;
        try
        {
            using var document = await JsonDocument.ParseAsync(context.Request.Body, Strict, ct);
            body = document.RootElement.Clone();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) // the latter: a name with half a surrogate pair
        {
            return (default, Problems.Malformed(e as JsonException));
        }

        return body.ValueKind != JsonValueKind.Object ? (default, Problems.Of(ProblemCodes.MalformedJson, $"The body must be a JSON object."))
            : !IsStorable(body) ? (default, Problems.Of(ProblemCodes.MalformedJson,
                $"The body has a string with U+0000 or half a surrogate pair in it."))
            : (body, null);
    }

    /// <summary>Whether Postgres can store every string in it: no U+0000, no lone surrogates.</summary>
    private static bool IsStorable(JsonElement value)
    {
        try
        {
            return value.ValueKind switch
            {
                JsonValueKind.Object => value.EnumerateObject().All(f => !f.Name.Contains('\0') && IsStorable(f.Value)),
                JsonValueKind.Array => value.EnumerateArray().All(IsStorable),
                JsonValueKind.String => !value.GetString()!.Contains('\0'),
                _ => true,
            };
        }
        catch (InvalidOperationException)
        {
            return false; // half a surrogate pair: the reader refuses to make a string of it
        }
    }
}

/// <summary>The fields of a small request, read one by one; what is wrong collects in <see cref="Errors"/>, by field.</summary>
public sealed class Fields(JsonElement body)
{
    private readonly HashSet<string> read = new(StringComparer.Ordinal);

    public Dictionary<string, string[]> Errors { get; } = new(StringComparer.Ordinal);

    /// <summary>A trimmed text; empty when it is missing or wrong.</summary>
    public string Text(string name, int maxLength)
    {
        var text = Find(name) is { ValueKind: JsonValueKind.String } value ? value.GetString()!.Trim() : "";
        return JsonSchemaValue.IsVisible(text) && JsonSchemaValue.CountCodePoints(text) <= maxLength ? text
            : Wrong(name, $"is required: a text of 1 to {maxLength} characters", "");
    }

    /// <summary>One of some words; required without a fallback.</summary>
    public string Choice(string name, string? fallback, params string[] choices)
    {
        var found = Find(name);
        return found is null && fallback is not null ? fallback
            : found is { ValueKind: JsonValueKind.String } value && choices.Contains(value.GetString(), StringComparer.Ordinal) ? value.GetString()!
            : Wrong(name, $"must be one of {string.Join(", ", choices)}", fallback ?? "");
    }

    /// <summary>The id of a generation; required.</summary>
    public Guid SessionId(string name) =>
        Find(name) is { ValueKind: JsonValueKind.String } value && value.TryGetGuid(out var id) ? id
        : Wrong(name, $"must be the id of a generation", Guid.Empty);

    /// <summary>A number; required.</summary>
    public double Number(string name, double min, double max) =>
        Find(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetDouble(out var number) && number >= min && number <= max ? number
        : Wrong(name, $"is required: a number from {min} to {max}", min);

    /// <summary>A whole number; required without a fallback.</summary>
    public long Whole(string name, long min, long max, long? fallback = null)
    {
        var found = Find(name);
        return found is null && fallback is { } usual ? usual
            : found is { } value && JsonSchemaValue.TryReadInteger(value, out var number) && number >= min && number <= max ? number
            : fallback is null ? Wrong(name, $"is required: a whole number from {min:N0} to {max:N0}", 0L)
            : Wrong(name, $"must be a whole number from {min:N0} to {max:N0}", 0L);
    }

    /// <summary>A moment in the future, in ISO 8601 with its offset; null when it is not there.</summary>
    public DateTimeOffset? Future(string name, DateTimeOffset now)
    {
        var found = Find(name);
        return found is null ? null
            : found is { ValueKind: JsonValueKind.String } value && value.TryGetDateTimeOffset(out var time) && time > now ? time
            : Wrong<DateTimeOffset?>(name, $"must be a time in the future, such as 2030-01-31T00:00:00Z", null);
    }

    public void RefuseOthers()
    {
        foreach (var field in body.EnumerateObject().Where(f => !read.Contains(f.Name)))
        {
            Errors[field.Name] = [Refusals.Say($"is not a field of this request, which has {string.Join(", ", read)}")];
        }
    }

    /// <summary>Notes what is wrong and goes on with something, so that all of it is found at once.</summary>
    public T Wrong<T>(string name, Sentence problem, T goOnWith)
    {
        Errors[name] = [problem.ToString()];
        return goOnWith;
    }

    private JsonElement? Find(string name)
    {
        read.Add(name);
        return body.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }
}
