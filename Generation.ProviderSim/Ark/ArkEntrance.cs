using System.Text.Json;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Ark;

/// <summary>What every call of Ark's API has in common: its id, its place in the log, its key and its body.</summary>
public sealed class ArkEntrance(CallLog calls, IOptions<SimOptions> options, TimeProvider time)
{
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
        var now = time.GetUtcNow();
        var serial = Interlocked.Increment(ref requestCount);
        var noise = Dice.Mix(options.Value.Seed ^ (ulong)now.Ticks ^ (ulong)serial << 40);
        var requestId = $"021{now.ToUnixTimeMilliseconds():D13}{noise:x16}{serial:x12}";
        http.Response.Headers["x-request-id"] = requestId;
        http.Response.Headers.Server = "istio-envoy";
        return requestId;
    }

    /// <summary>The key that a call shows; null when it is none of ours.</summary>
    public string? Key(HttpRequest http)
    {
        var keys = options.Value.ArkKeys;
        if (keys.Length == 0)
        {
            keys = ["sim-ark-key"];
        }

        var authorization = http.Headers.Authorization.ToString();
        return authorization.StartsWith("Bearer ", StringComparison.Ordinal) && keys.Contains(authorization[7..]) ? authorization[7..] : null;
    }

    /// <summary>The body of a call with a good key, which must be a JSON object.</summary>
    public async Task<(JsonElement Body, ArkError? Error)> ReadAsync(HttpRequest http)
    {
        if (Key(http) is null)
        {
            return (default, ArkError.Authentication);
        }

        if (!http.HasJsonContentType())
        {
            return (default, new ArkError(400, "BadRequest", "InvalidParameter", "The Content-Type of the request must be application/json."));
        }

        try
        {
            using var body = await JsonDocument.ParseAsync(http.Body, cancellationToken: http.HttpContext.RequestAborted);
            return body.RootElement.ValueKind == JsonValueKind.Object
                ? (body.RootElement.Clone(), null)
                : (default, new ArkError(400, "BadRequest", "InvalidParameter", "The request body must be a JSON object."));
        }
        catch (JsonException)
        {
            return (default, new ArkError(400, "BadRequest", "InvalidParameter", "The request body is not valid JSON."));
        }
        catch (BadHttpRequestException e) when (e.StatusCode == StatusCodes.Status413PayloadTooLarge)
        {
            return (default, new ArkError(413, "RequestEntityTooLarge", "InvalidParameter", "The request body is too large."));
        }
    }

    /// <summary>A string of the body; null when there is none.</summary>
    public static string? Text(JsonElement body, string name) =>
        body.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
