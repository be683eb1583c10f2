using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Generation.Core.Localization;

namespace Generation.Api.Webhooks;

/// <summary>
/// Checks the callbacks of providers that sign them. Kie: <c>X-Webhook-Signature</c> is the base64 HMAC-SHA256 of
/// <c>taskId.timestamp</c>; it says nothing about the rest of the body, which is therefore not believed. Ark does not sign.
/// </summary>
public sealed class WebhookSignatures(IConfiguration configuration, TimeProvider time)
{
    /// <summary>A signature is as old as its timestamp says; older or newer than this it is refused.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromMinutes(5);

    /// <summary>
    /// The key that is set in Kie's account (<c>Providers:Kie:WebhookHmacKey</c>); without it callbacks are known by their token alone.
    /// </summary>
    private readonly byte[] kieKey = Encoding.UTF8.GetBytes(configuration["Providers:Kie:WebhookHmacKey"]?.Trim() ?? "");

    /// <summary>What is wrong with a callback's signature; null when nothing is.</summary>
    public string? Check(string provider, IHeaderDictionary headers, string body)
    {
        ArgumentNullException.ThrowIfNull(headers);
        if (provider != "kie" || kieKey.Length == 0)
        {
            return null;
        }

        string stamp = headers["X-Webhook-Timestamp"].ToString();
        if (!long.TryParse(stamp, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) || seconds > 253_402_300_799)
        {
            return Refusals.Say($"X-Webhook-Timestamp must be seconds since 1970.");
        }

        if ((time.GetUtcNow() - DateTimeOffset.FromUnixTimeSeconds(seconds)).Duration() > Window)
        {
            return Refusals.Say($"X-Webhook-Timestamp is more than {Window.TotalMinutes} minutes from now.");
        }

        Span<byte> given = stackalloc byte[32];
        var isReadable = Convert.TryFromBase64String(headers["X-Webhook-Signature"].ToString(), given, out var length) && length == given.Length;
        var expected = HMACSHA256.HashData(kieKey, Encoding.UTF8.GetBytes($"{TaskIdIn(body)}.{stamp}"));
        return CryptographicOperations.FixedTimeEquals(expected, given) && isReadable ? null
            : Refusals.Say($"X-Webhook-Signature is not the signature of this task id and timestamp.");
    }

    /// <summary>Kie's own sample reads <c>task_id</c>, its payloads say <c>taskId</c>.</summary>
    private static string TaskIdIn(string body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            return document.RootElement is { ValueKind: JsonValueKind.Object } root && root.TryGetProperty("data", out var data)
                && data.ValueKind == JsonValueKind.Object
                && (data.TryGetProperty("taskId", out var id) || data.TryGetProperty("task_id", out id)) && id.ValueKind == JsonValueKind.String
                    ? id.GetString()!
                    : "";
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return "";
        }
    }
}
