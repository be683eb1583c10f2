using System.Diagnostics;
using System.Text.Json;
using Generation.Core.Database;
using Generation.Core.Localization;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.WebUtilities;

namespace Generation.Api.Errors;

/// <summary>
/// Errors as RFC 9457 problems. <c>code</c> is stable and is what clients branch on; title is the HTTP phrase, detail a sentence for people.
/// </summary>
public static class Problems
{
    public static ProblemHttpResult Of(ProblemCode code, Sentence detail, params (string Name, object? Value)[] more)
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

        return TypedResults.Problem(detail.ToString(), statusCode: code.Status, title: ReasonPhrases.GetReasonPhrase(code.Status),
            type: "about:blank", extensions: extensions);
    }

    /// <summary>400 with every wrong field by its path.</summary>
    public static ProblemHttpResult Invalid(Dictionary<string, string[]> errors) => errors.Count == 1
        ? Of(ProblemCodes.ValidationFailed, $"1 field is not valid: {errors.Keys.First()}.", ("errors", errors))
        : Of(ProblemCodes.ValidationFailed, $"{errors.Count} fields are not valid: {string.Join(", ", errors.Keys)}.", ("errors", errors));

    public static ProblemHttpResult NoSuchGeneration() => Of(ProblemCodes.NotFound, $"There is no such generation, or it is not yours.");

    public static ProblemHttpResult NoSuchUser() => Of(ProblemCodes.NotFound, $"There is no such user.");

    public static ProblemHttpResult NoSuchFile() => Of(ProblemCodes.NotFound, $"There is no such file, or it is not yours.");

    /// <summary>The body is not JSON; where, if the parser knows.</summary>
    public static ProblemHttpResult Malformed(JsonException? error) => error is { LineNumber: { } line, BytePositionInLine: { } position }
        ? Of(ProblemCodes.MalformedJson, $"The body is not valid JSON: line {line + 1}, byte {position + 1}.")
        : Of(ProblemCodes.MalformedJson, $"The body is not valid JSON, or has a name twice.");

    /// <summary>What the server could not read as a request: it is cut off, too slow, too large, or not of the form that the route takes.</summary>
    public static ProblemHttpResult Unreadable(BadHttpRequestException error) => error.StatusCode switch
    {
        StatusCodes.Status413PayloadTooLarge => Of(ProblemCodes.BodyTooLarge, $"The body is larger than this route takes."),
        StatusCodes.Status408RequestTimeout =>
            Of(ProblemCodes.MalformedRequest with { Status = error.StatusCode }, $"The body came too slowly. Send it again."),
        _ => Of(ProblemCodes.MalformedRequest with { Status = error.StatusCode },
            $"The request could not be read: it is incomplete, or a value in it is of another type."),
    };

    /// <summary>Middleware: U+0000 in a query, which no text in Postgres can hold, so that no reader of a query has to think of it.</summary>
    public static Task RefuseUnstorableQueryAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        return context.Request.QueryString.Value?.Contains("%00", StringComparison.Ordinal) == true
            ? Of(ProblemCodes.MalformedRequest, $"The query has the character U+0000 in it.").ExecuteAsync(context)
            : next(context);
    }

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
    public static ProblemHttpResult RetryLater(HttpContext context, ProblemCode code, Sentence detail, int retryAfterSeconds = 1)
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
            BadHttpRequestException bad => Problems.Unreadable(bad),
            JsonException json => Problems.Malformed(json),
            _ when TransientErrors.IsTransient(exception) => Problems.RetryLater(httpContext, ProblemCodes.DatabaseUnavailable,
                $"The database does not answer at the moment. Nothing was lost; try again."),
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
