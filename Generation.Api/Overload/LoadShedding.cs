using Generation.Api.Errors;
using Generation.Api.Generations;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Overload;

/// <summary>503 for submits while too many wait.</summary>
public static class LoadShedding
{
    /// <summary>
    /// Middleware, before anything else is done for a request: while submits queue for longer than <c>Submit:StandingWait</c>, new
    /// ones are answered with 503, which costs next to nothing. It applies also to those that would be rejected for another reason.
    /// </summary>
    public static Task ShedAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        return context.GetEndpoint()?.Metadata.GetMetadata<SubmitEndpoint>() is not null
            && context.RequestServices.GetRequiredService<SubmitWriter>().IsOverloaded
            ? Overloaded(context).ExecuteAsync(context)
            : next(context);
    }

    /// <summary>The answer of a submit that is shed.</summary>
    public static ProblemHttpResult Overloaded(HttpContext context) =>
        Problems.RetryLater(context, ProblemCodes.Overloaded, $"Too many requests are waiting already. Nothing was stored; try again.");
}
