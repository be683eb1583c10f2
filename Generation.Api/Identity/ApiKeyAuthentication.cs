using System.Security.Claims;
using System.Text.Encodings.Web;
using Generation.Api.Errors;
using Generation.Core.Identity;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace Generation.Api.Identity;

/// <summary><c>Authorization: Bearer gk_…</c> → <see cref="Caller"/>. What fails is answered as a problem.</summary>
public sealed class ApiKeyAuthentication(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, ApiKeys keys)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public const string SchemeName = "ApiKey";
    public const string AdminPolicy = "admin";
    private const string Prefix = "Bearer ";

    /// <summary>A key is at most this long; more is not worth hashing.</summary>
    private const int MaxKeyLength = 200;

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var header = Request.Headers.Authorization.ToString();
        if (header.Length == 0)
        {
            return AuthenticateResult.NoResult();
        }

        if (!header.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase) || header.Length > MaxKeyLength
            || await keys.FindAsync(header[Prefix.Length..].Trim(), Context.RequestAborted) is not { } caller)
        {
            return AuthenticateResult.Fail("unknown key");
        }

        Context.Features.Set(caller);
        var identity = new ClaimsIdentity(
            [new Claim(ClaimTypes.NameIdentifier, caller.UserId.ToString()), new Claim(ClaimTypes.Role, caller.IsAdmin ? "admin" : "user")],
                SchemeName);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName));
    }

    protected override async Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        Response.Headers.WWWAuthenticate = "Bearer";
        var problem = Request.Headers.Authorization.Count == 0
            ? Problems.Of(ProblemCodes.Unauthorized, $"Send your API key: Authorization: Bearer gk_…")
            : Problems.Of(ProblemCodes.Unauthorized, $"This API key is not known, or was revoked.");
        await problem.ExecuteAsync(Context);
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        Problems.Of(ProblemCodes.Forbidden, $"This needs the role admin.").ExecuteAsync(Context);
}

public static class CallerExtensions
{
    /// <summary>Who is asking. Only behind authorization.</summary>
    public static Caller Caller(this HttpContext context) =>
        context.Features.Get<Caller>() ?? throw new InvalidOperationException("This route does not require authorization.");
}
