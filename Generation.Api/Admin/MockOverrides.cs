using System.Buffers.Text;
using System.ComponentModel;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Admin;

/// <param name="Token">For the header <c>x-mock-override</c>.</param>
/// <param name="Mock">Whether requests with it are mocked.</param>
/// <param name="ExpiresAt">In an hour.</param>
public sealed record MockOverride(string Token, bool Mock, DateTimeOffset ExpiresAt);

/// <summary>
/// The signed permission to run one request as a mock, or as the real thing while mocks are on: <c>x-mock-override</c>. An admin gets a
/// token from <c>POST /api/admin/mock-overrides</c>; whoever has it may use it until it expires.
/// Form: <c>on|off.&lt;unix seconds&gt;.&lt;base64url HMAC-SHA256 of the part before&gt;</c>, under <c>Mock:OverrideKey</c>.
/// </summary>
public sealed class MockOverrides(IConfiguration configuration, TimeProvider time)
{
    public const string Header = "x-mock-override";
    private const int MinKeyLength = 16;

    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(1);

    private byte[]? Key => configuration["Mock:OverrideKey"] is { Length: >= MinKeyLength } key ? Encoding.UTF8.GetBytes(key) : null;

    public static void Map(IEndpointRouteBuilder routes) =>
        routes.MapPost("/api/admin/mock-overrides", (MockOverrides overrides,
            [Description("false: run it for real while mocks are on.")] bool? mock, HttpContext context, CreditAdministration administration,
            CancellationToken ct) => overrides.IssueAsync(mock ?? true, context.Caller().UserId, administration, ct))
            .RequireAuthorization(ApiKeyAuthentication.AdminPolicy)
            .Describe("issueMockOverride", ApiTags.Admin, "A token that runs one request as a mock, or not", ProblemCodes.MockOverrideUnavailable);

    /// <summary>Whether the request is to be mocked; null when it does not say. False for a token that is not ours or over.</summary>
    public bool TryRead(HttpContext context, out bool? mock)
    {
        mock = null;
        var token = context.Request.Headers[Header].ToString();
        if (token.Length == 0)
        {
            return true;
        }

        if (Key is not { } key || token.Length > 200 || token.Split('.') is not [("on" or "off") and var mode, var expires, var signature]
            || !CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(Sign(key, $"{mode}.{expires}")), Encoding.UTF8.GetBytes(signature))
            || !long.TryParse(expires, out var seconds) || seconds < time.GetUtcNow().ToUnixTimeSeconds())
        {
            return false;
        }

        mock = mode == "on";
        return true;
    }

    private async Task<Results<Ok<MockOverride>, ProblemHttpResult>> IssueAsync(bool mock, Guid admin, CreditAdministration administration,
        CancellationToken ct)
    {
        if (Key is not { } key)
        {
            return Problems.Of(ProblemCodes.MockOverrideUnavailable,
                $"Set Mock:OverrideKey to the same secret of at least {MinKeyLength} characters on every Api.");
        }

        var expiresAt = time.GetUtcNow() + Lifetime;
        await administration.RecordAsync(admin, "mock_override", $"A token that runs requests {(mock ? "as mocks" : "for real")} was issued.",
            JsonSerializer.SerializeToElement(new { mock, expiresAt }), ct);
        var claim = $"{(mock ? "on" : "off")}.{expiresAt.ToUnixTimeSeconds()}";
        return TypedResults.Ok(new MockOverride($"{claim}.{Sign(key, claim)}", mock, expiresAt));
    }

    private static string Sign(byte[] key, string claim) => Base64Url.EncodeToString(HMACSHA256.HashData(key, Encoding.ASCII.GetBytes(claim)));
}
