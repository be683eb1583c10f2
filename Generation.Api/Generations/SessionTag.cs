using System.Diagnostics;
using Generation.Core;

namespace Generation.Api.Generations;

/// <summary>
/// Middleware: a request that names a session in its route says so on its span, before anything is done for it, so that a search for the id
/// also finds who looked at it, watched it and canceled it.
/// </summary>
public static class SessionTag
{
    public static Task SetAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        if (context.GetRouteValue("sessionId") is string text && Guid.TryParse(text, out var sessionId))
        {
            Activity.Current.SetSession(sessionId);
        }

        return next(context);
    }
}
