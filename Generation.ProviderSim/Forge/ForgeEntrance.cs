using System.Text;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Forge;

/// <summary>HTTP Basic as <c>--api-auth</c> sets it up: for <c>/sdapi</c>, but not for its progress and not for <c>/internal</c>.</summary>
public sealed class ForgeEntrance(IOptions<SimOptions> options)
{
    /// <summary>Which of the two dialects errors are told in.</summary>
    public bool IsBare => options.Value.ForgeBareErrors;

    /// <summary>Answers 401 and says false when the call shows no good name and password.</summary>
    public async Task<bool> AdmitAsync(HttpContext http)
    {
        if (options.Value.ForgeUsers.Length == 0)
        {
            return true;
        }

        var error = Problem(http.Request.Headers.Authorization.ToString());
        if (error is not null)
        {
            await error.SendAsync(http, IsBare);
        }

        return error is null;
    }

    private ForgeError? Problem(string authorization)
    {
        const string Scheme = "Basic ";
        if (!authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return ForgeError.NotAuthenticated;
        }

        var bytes = new byte[authorization.Length];
        return Convert.TryFromBase64String(authorization[Scheme.Length..].Trim(), bytes, out var length)
            && options.Value.ForgeUsers.Contains(Encoding.UTF8.GetString(bytes, 0, length)) ? null : ForgeError.WrongPassword;
    }
}
