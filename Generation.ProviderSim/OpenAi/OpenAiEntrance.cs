using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.OpenAi;

/// <summary>What every call of OpenAI's API has in common: its id, its place in the log, its key and its body.</summary>
public sealed class OpenAiEntrance(CallLog calls, IOptions<SimOptions> options, TimeProvider time)
{
    internal static readonly JsonWriterOptions JsonOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private long requestCount;

    /// <summary>Gives a call that may cost money its id, in the headers too, and logs it.</summary>
    public Call Enter(HttpContext http)
    {
        var clientRequestId = http.Request.Headers["X-Client-Request-Id"].ToString();
        var call = new Call { Id = Name(http), At = time.GetUtcNow(), ClientRequestId = clientRequestId.Length > 0 ? clientRequestId : null };
        calls.Add(call);
        return call;
    }

    /// <summary>Gives a call its id, in the headers too.</summary>
    public string Name(HttpContext http)
    {
        var serial = (ulong)Interlocked.Increment(ref requestCount);
        var noise = Dice.Mix(options.Value.Seed ^ (ulong)time.GetUtcNow().Ticks ^ serial << 40);
        var requestId = $"req_{noise:x16}{Dice.Mix(noise ^ serial):x16}";
        http.Response.Headers["x-request-id"] = requestId;
        http.Response.Headers["openai-version"] = "2020-10-01";
        http.Response.Headers["openai-organization"] = "org-sim";
        return requestId;
    }

    /// <summary>The key that a call shows, or why it may not come in.</summary>
    public (string Key, OpenAiError? Error) Key(HttpRequest http)
    {
        var keys = options.Value.OpenAiKeys;
        if (keys.Length == 0)
        {
            keys = ["sim-openai-key"];
        }

        var authorization = http.Headers.Authorization.ToString();
        if (!authorization.StartsWith("Bearer ", StringComparison.Ordinal))
        {
            return ("", OpenAiError.NoKey);
        }

        var key = authorization[7..];
        return keys.Contains(key) ? (key, null) : ("", OpenAiError.BadKey(key));
    }

    /// <summary>
    /// The body of a call with a good key: a JSON object, or, where that is allowed, a form, whose files are <c>{"file": hash}</c>.
    /// </summary>
    public async Task<(JsonElement Body, OpenAiError? Error)> ReadAsync(HttpRequest http, bool takesForms)
    {
        if (Key(http).Error is { } refused)
        {
            return (default, refused);
        }

        try
        {
            if (takesForms && http.HasFormContentType)
            {
                return (JsonSerializer.SerializeToElement(await FormAsync(http)), null);
            }

            if (!http.HasJsonContentType())
            {
                return (default, OpenAiError.BadJson with
                {
                    Message =
                    $"Unsupported content type: '{http.ContentType}'. This API method only accepts 'application/json' requests."
                });
            }

            using var body = await JsonDocument.ParseAsync(http.Body, cancellationToken: http.HttpContext.RequestAborted);
            return body.RootElement.ValueKind == JsonValueKind.Object ? (body.RootElement.Clone(), null) : (default, OpenAiError.BadJson);
        }
        catch (Exception e) when (e is JsonException or InvalidDataException)
        {
            return (default, OpenAiError.BadJson);
        }
        catch (BadHttpRequestException e) when (e.StatusCode == StatusCodes.Status413PayloadTooLarge)
        {
            return (default, OpenAiError.TooLarge);
        }
    }

    private static async Task<JsonObject> FormAsync(HttpRequest http)
    {
        var form = await http.ReadFormAsync(http.HttpContext.RequestAborted);
        var body = new JsonObject();
        foreach (var (name, value) in form)
        {
            body[name] = value.ToString();
        }

        foreach (var file in form.Files)
        {
            using var bytes = new MemoryStream();
            await file.CopyToAsync(bytes, http.HttpContext.RequestAborted);
            body[file.Name] = new JsonObject { ["file"] = Recipe.Hash(Convert.ToBase64String(bytes.GetBuffer(), 0, (int)bytes.Length)) };
        }

        return body;
    }
}

/// <summary>Reads the fields of a body one by one, keeps the first error, and rejects unknown fields.</summary>
internal sealed class OpenAiFields(JsonElement body)
{
    private readonly HashSet<string> known = new(StringComparer.Ordinal);

    public OpenAiError? Error { get; private set; }

    public void Refuse(OpenAiError error) => Error ??= error;

    /// <summary>Null when the field is missing or null.</summary>
    public JsonElement? Any(string name)
    {
        known.Add(name);
        return body.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    public string? Text(string name, int maxLength = int.MaxValue)
    {
        if (Typed(name, "a string", JsonValueKind.String)?.GetString() is not { } text)
        {
            return null;
        }

        if (text.Length > maxLength)
        {
            Refuse(new OpenAiError(400, "invalid_request_error", "string_above_max_length",
                $"Invalid '{name}': string too long. Expected a string with maximum length {maxLength}, but got a string with length {text.Length} "
                    + "instead.", name));
        }

        return text;
    }

    public string? Word(string name, params string[] words)
    {
        if (Text(name) is not { } text || words.Contains(text))
        {
            return Text(name);
        }

        Refuse(OpenAiError.WrongValue(name, $"'{text}'. Supported values are: {string.Join(", ", words.Select(word => $"'{word}'"))}."));
        return null;
    }

    public bool Flag(string name) => Typed(name, "a boolean", JsonValueKind.True, JsonValueKind.False)?.GetBoolean() ?? false;

    public int Whole(string name, int least, int most, int otherwise)
    {
        if (Typed(name, "an integer", JsonValueKind.Number) is not { } value)
        {
            return otherwise;
        }

        if (!value.TryGetInt32(out var number))
        {
            Refuse(OpenAiError.WrongType(name, "an integer", "a decimal number"));
        }
        else if (number < least || number > most)
        {
            Refuse(new OpenAiError(400, "invalid_request_error", number < least ? "integer_below_min_value" : "integer_above_max_value",
                $"Invalid '{name}': integer {(number < least ? "below minimum" : "above maximum")} value. Expected a value "
                    + $"{(number < least ? ">=" : "<=")} {(number < least ? least : most)}, but got {number} instead.", name));
        }

        return number;
    }

    /// <summary>To be called last.</summary>
    public OpenAiError? Finish()
    {
        foreach (var field in body.EnumerateObject().Where(field => !known.Contains(field.Name)))
        {
            Error ??= OpenAiError.Unknown(field.Name);
        }

        return Error;
    }

    private JsonElement? Typed(string name, string wanted, params JsonValueKind[] kinds)
    {
        if (Any(name) is not { } value || kinds.Contains(value.ValueKind))
        {
            return Any(name);
        }

        Refuse(OpenAiError.WrongType(name, wanted, value.ValueKind switch
        {
            JsonValueKind.String => "a string",
            JsonValueKind.Number => "a number",
            JsonValueKind.True or JsonValueKind.False => "a boolean",
            JsonValueKind.Array => "an array",
            _ => "an object",
        }));
        return null;
    }
}
