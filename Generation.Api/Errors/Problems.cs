using System.Diagnostics;
using System.Text.Json;
using Generation.Core.Database;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.WebUtilities;

namespace Generation.Api.Errors;

/// <summary>
/// Errors as RFC 9457 problems. <c>code</c> is stable and is what clients branch on; title is the HTTP phrase, detail a sentence for people.
/// </summary>
public static class Problems
{
    public static ProblemHttpResult Of(ProblemCode code, string detail, params (string Name, object? Value)[] more)
    {
        var extensions = new Dictionary<string, object?>(StringComparer.Ordinal) { ["code"] = code.Name };
        if (Activity.Current?.Id is { } traceId)
        {
            extensions["traceId"] = traceId; // the framework adds it only for clients that accept JSON, which a watcher of events does not
        }

        foreach (var (name, value) in more)
        {
            extensions[name] = value;
        }

        return TypedResults.Problem(detail, statusCode: code.Status, title: ReasonPhrases.GetReasonPhrase(code.Status), type: "about:blank",
            extensions: extensions);
    }

    /// <summary>400 with every wrong field by its path.</summary>
    public static ProblemHttpResult Invalid(Dictionary<string, string[]> errors) => Of(ProblemCodes.ValidationFailed,
        $"{errors.Count} field{(errors.Count == 1 ? " is" : "s are")} not valid: {string.Join(", ", errors.Keys)}.",
        ("errors", errors));

    public static ProblemHttpResult NotFound(string what) =>
        Of(ProblemCodes.NotFound, $"There is no such {what}, or it is not yours.");

    /// <summary>Gives a body to the framework's own rejections: no such route, or not by this method.</summary>
    public static Task BareStatusAsync(StatusCodeContext refused)
    {
        var status = refused.HttpContext.Response.StatusCode;
        var request = refused.HttpContext.Request;
        var problem = status switch
        {
            404 => Of(ProblemCodes.NotFound, $"There is nothing at {request.Path}."),
            405 => Of(ProblemCodes.MethodNotAllowed,
                $"{request.Path} does not take {request.Method}; it takes {refused.HttpContext.Response.Headers.Allow}."),
            _ => Of(ProblemCodes.Refused with { Status = status }, $"The request was refused with {status}."),
        };
        return problem.ExecuteAsync(refused.HttpContext);
    }

    /// <summary>503 with <c>Retry-After</c>.</summary>
    public static ProblemHttpResult RetryLater(HttpContext context, ProblemCode code, string detail, int retryAfterSeconds = 1)
    {
        context.Response.Headers.RetryAfter = retryAfterSeconds.ToString();
        return Of(code, detail);
    }
}

/// <summary>Unexpected exceptions as problems: no stack trace leaves the process.</summary>
public sealed class UnexpectedFailures(ILogger<UnexpectedFailures> log) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken ct)
    {
        var result = exception switch
        {
            BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } =>
                Problems.Of(ProblemCodes.BodyTooLarge, "The body is larger than this route takes."),
            BadHttpRequestException bad => Problems.Of(ProblemCodes.MalformedRequest with { Status = bad.StatusCode }, bad.Message),
            JsonException json => Problems.Of(ProblemCodes.MalformedJson, $"The body is not valid JSON: {json.Message}"),
            _ when TransientErrors.IsTransient(exception) => Problems.RetryLater(
                httpContext, ProblemCodes.DatabaseUnavailable, "The database does not answer at the moment. Nothing was lost; try again."),
            _ => null,
        };
        if (result is null)
        {
            log.LogError(exception, "{Method} {Path} failed", httpContext.Request.Method, httpContext.Request.Path);
            result = Problems.Of(ProblemCodes.InternalError,
                $"Something is wrong on our side. Support finds it by {Activity.Current?.TraceId.ToString() ?? httpContext.TraceIdentifier}.");
        }

        if (httpContext.Response.HasStarted)
        {
            return false;
        }

        await result.ExecuteAsync(httpContext);
        return true;
    }
}
