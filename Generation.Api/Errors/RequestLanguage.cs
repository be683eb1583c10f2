using Generation.Core.Localization;
using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;

namespace Generation.Api.Errors;

/// <summary>Which language a request is answered in: <c>Accept-Language</c> decides, for problems as for failures.</summary>
internal static class RequestLanguage
{
    /// <summary>
    /// Middleware, the first of all, so that also what is said about an exception is in the language. A problem says which one it is in.
    /// </summary>
    public static async Task SetAsync(HttpContext context, RequestDelegate next)
    {
        var language = Of(context.Request);
        Sentence.Language = language; // of this method and what it calls: it is async
        context.Response.OnStarting(() =>
        {
            var headers = context.Response.Headers;
            if (context.Response.ContentType?.StartsWith("application/problem+json", StringComparison.Ordinal) == true)
            {
                headers.ContentLanguage = language;
                headers.Vary = StringValues.Concat(headers.Vary.Where(name => name != HeaderNames.AcceptLanguage).ToArray(),
                    HeaderNames.AcceptLanguage);
            }

            return Task.CompletedTask;
        });
        await next(context);
    }

    public static string Of(HttpRequest request) => UserMessages.Choose(request.GetTypedHeaders().AcceptLanguage
        .Where(l => l.Quality is not 0).OrderByDescending(l => l.Quality ?? 1).Select(l => l.Value.ToString()));
}
