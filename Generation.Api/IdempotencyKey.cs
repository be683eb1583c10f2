using Generation.Core.Localization;

namespace Generation.Api;

/// <summary>The client's key: with it, a request that is sent twice is done once.</summary>
internal static class IdempotencyKey
{
    public const string Header = "Idempotency-Key";
    public const int MaxLength = 200;

    /// <summary>What is wrong with one, in words that follow a field's name.</summary>
    public static string Problem => Refusals.Say($"must be a string of 1 to {MaxLength} printable ASCII characters");

    /// <summary>An empty one is invalid and not absent: its sender relies on it for not paying twice.</summary>
    public static bool IsValid(string key) => key.Length is >= 1 and <= MaxLength && key.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0;

    /// <summary>The header; null when it was not sent, or is wrong, which <paramref name="errors"/> then says.</summary>
    public static string? Read(HttpContext context, Dictionary<string, string[]> errors)
    {
        if (!context.Request.Headers.TryGetValue(Header, out var sent))
        {
            return null;
        }

        if (sent.Count > 1) // joined they would be a third key, under which neither of the two is found again
        {
            errors[Header] = [Refusals.Say($"was sent {sent.Count} times: send it once")];
            return null;
        }

        if (IsValid(sent.ToString()))
        {
            return sent.ToString();
        }

        errors[Header] = [Problem];
        return null;
    }
}
