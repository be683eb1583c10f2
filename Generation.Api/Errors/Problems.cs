using System.Diagnostics;
using System.Text.Json;
using Generation.Core.Database;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.WebUtilities;

namespace Generation.Api.Errors;

/// <summary>Errors as RFC 9457 problems. <c>code</c> is stable and is what clients branch on; title is the HTTP phrase, detail a sentence for people.</summary>
public static class Problems
{
    /// <summary>503: Postgres is unavailable, or cannot take what was asked. The same request with the same key is safe to repeat.</summary>
    public const string DatabaseUnavailable = "database_unavailable";

    public static ProblemHttpResult Of(int status, string code, string detail, params (string Name, object? Value)[] more)
    {
        var extensions = new Dictionary<string, object?>(StringComparer.Ordinal) { ["code"] = code };
        if (Activity.Current?.Id is { } traceId)
        {
            extensions["traceId"] = traceId; // the framework adds it only for clients that accept JSON, which a watcher of events does not
        }

        foreach (var (name, value) in more)
        {
            extensions[name] = value;
        }

        return TypedResults.Problem(detail, statusCode: status, title: ReasonPhrases.GetReasonPhrase(status), type: "about:blank", extensions: extensions);
    }

    /// <summary>400 with every wrong field by its path.</summary>
    public static ProblemHttpResult Invalid(Dictionary<string, string[]> errors) => Of(
        StatusCodes.Status400BadRequest, "validation_failed",
        $"{errors.Count} field{(errors.Count == 1 ? " is" : "s are")} not valid: {string.Join(", ", errors.Keys)}.",
        ("errors", errors));

    public static ProblemHttpResult NotFound(string what) =>
        Of(StatusCodes.Status404NotFound, "not_found", $"There is no such {what}, or it is not yours.");

    /// <summary>Gives a body to the framework's own rejections: no such route, or not by this method.</summary>
    public static Task BareStatusAsync(StatusCodeContext refused)
    {
        var status = refused.HttpContext.Response.StatusCode;
        var request = refused.HttpContext.Request;
        var problem = status switch
        {
            404 => Of(status, "not_found", $"There is nothing at {request.Path}."),
            405 => Of(status, "method_not_allowed", $"{request.Path} does not take {request.Method}; it takes {refused.HttpContext.Response.Headers.Allow}."),
            _ => Of(status, "refused", $"The request was refused with {status}."),
        };
        return problem.ExecuteAsync(refused.HttpContext);
    }

    /// <summary>503 with <c>Retry-After</c>.</summary>
    public static IResult RetryLater(HttpContext context, string code, string detail, int retryAfterSeconds = 1)
    {
        context.Response.Headers.RetryAfter = retryAfterSeconds.ToString();
        return Of(StatusCodes.Status503ServiceUnavailable, code, detail);
    }

}

/// <summary>Unexpected exceptions as problems: no stack trace leaves the process.</summary>
public sealed class UnexpectedFailures(ILogger<UnexpectedFailures> log) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken cancellationToken)
    {
        var result = exception switch
        {
            BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } =>
                Problems.Of(413, "body_too_large", "The body is larger than this route takes."),
            BadHttpRequestException bad => Problems.Of(bad.StatusCode, "malformed_request", bad.Message),
            JsonException json => Problems.Of(400, "malformed_json", $"The body is not valid JSON: {json.Message}"),
            _ when TransientErrors.IsTransient(exception) => Problems.RetryLater(
                httpContext, Problems.DatabaseUnavailable, "The database does not answer at the moment. Nothing was lost; try again."),
            _ => null,
        };
        if (result is null)
        {
            log.LogError(exception, "{Method} {Path} failed", httpContext.Request.Method, httpContext.Request.Path);
            result = Problems.Of(500, "internal_error", $"Something is wrong on our side. Support finds it by {Activity.Current?.TraceId.ToString() ?? httpContext.TraceIdentifier}.");
        }

        if (httpContext.Response.HasStarted)
        {
            return false;
        }

        await result.ExecuteAsync(httpContext);
        return true;
    }
}
