using Generation.Api.Errors;
using Microsoft.AspNetCore.Authorization;

namespace Generation.Api.Description;

/// <summary>The chapters of the API's description.</summary>
internal static class ApiTags
{
    public const string Generations = "Generations";
    public const string Events = "Events";
    public const string Media = "Media";
    public const string Models = "Models";
    public const string Credits = "Credits";
    public const string Webhooks = "Webhooks";
    public const string Admin = "Admin";

    /// <summary>In the order of the description, with a sentence each.</summary>
    public static readonly IReadOnlyList<(string Name, string Description)> All =
    [
        (Generations, "Pictures, films and sound: submit, read, cancel, retry."),
        (Events, "A generation as it happens, as server-sent events."),
        (Media, "Outputs, and reference pictures that are sent first."),
        (Models, "What can be made, and what it costs."),
        (Credits, "The balance and the ledger."),
        (Webhooks, "What providers call."),
        (Admin, "For operators: API keys with the role admin."),
    ];
}

/// <summary>Endpoint metadata: the problems that this endpoint answers with, beside those that every endpoint of its kind has.</summary>
internal sealed record ProblemResponses(IReadOnlyList<ProblemCode> Codes);

/// <summary>
/// Endpoint metadata: the body, which the handler reads itself, because it names every wrong field in one answer. Not the framework's
/// <c>Accepts</c>: with that, routing answers 415 before the handler can say why.
/// </summary>
internal sealed record RequestBody(Type? Json);

/// <summary>Endpoint metadata: a header that the handler reads.</summary>
internal sealed record RequestHeader(string Name, string Description, bool IsRequired = false);

/// <summary>Endpoint metadata: a 2xx or 3xx answer without a JSON body.</summary>
internal sealed record OtherResponse(int Status, string Description, string? ContentType);

/// <summary>Endpoint metadata: 200 is a stream of events.</summary>
internal sealed record EventStreamResponse;

/// <summary>What the description says of an endpoint and its code does not.</summary>
internal static class EndpointDescriptions
{
    /// <param name="endpoint">The route.</param>
    /// <param name="name">Of the operation, in camel case: what generated clients call.</param>
    /// <param name="tag">One of <see cref="ApiTags"/>.</param>
    /// <param name="summary">A line.</param>
    /// <param name="problems">What it answers with beside 401, 403 for operators' routes, 500, 503, and what every JSON body can be refused
    /// for.</param>
    public static RouteHandlerBuilder Describe(this RouteHandlerBuilder endpoint, string name, string tag, string summary,
        params ProblemCode[] problems) =>
        endpoint.WithName(name).WithTags(tag).WithSummary(summary).WithMetadata(new ProblemResponses(problems));

    public static RouteHandlerBuilder TakesJson<T>(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new RequestBody(typeof(T)));

    public static RouteHandlerBuilder TakesFile(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new RequestBody(null));

    public static RouteHandlerBuilder TakesIdempotencyKey(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new RequestHeader("Idempotency-Key",
            "1 to 200 printable ASCII characters. The same key again is answered as the first time, and done once."));

    public static RouteHandlerBuilder RequiresIdempotencyKey(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new RequestHeader("Idempotency-Key", "1 to 200 printable ASCII characters. The same key again is answered as the first time, and done once.",
            IsRequired: true));

    public static RouteHandlerBuilder TakesPreferWait(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new RequestHeader("Prefer", "`wait=30`: answer when the generation has ended, within so many seconds, with 200; otherwise 202 at once."));

    public static RouteHandlerBuilder TakesMockOverride(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new RequestHeader("x-mock-override", "A token of an administrator's: run this request as a mock, or not."));

    public static RouteHandlerBuilder StreamsEvents(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new RequestHeader("Last-Event-ID", "The id of the last event that was seen: the stream goes on after it."),
        new EventStreamResponse(),
        new OtherResponse(StatusCodes.Status204NoContent, "Nothing comes after `Last-Event-ID`: it has ended.", null));

    public static RouteHandlerBuilder Redirects(this RouteHandlerBuilder endpoint) =>
        endpoint.WithMetadata(new OtherResponse(StatusCodes.Status302Found, "To the signed URL.", null));

    public static RouteHandlerBuilder ServesFile(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(
        new OtherResponse(StatusCodes.Status200OK, "The file.", "application/octet-stream"),
            new OtherResponse(StatusCodes.Status206PartialContent, "A range of it.", "application/octet-stream"));

    /// <summary>Every problem that an endpoint can answer with, by status.</summary>
    public static ILookup<int, ProblemCode> ProblemsOf(IList<object> metadata)
    {
        var problems = metadata.OfType<ProblemResponses>().SelectMany(own => own.Codes).ToList();
        if (metadata.OfType<RequestBody>().Any(body => body.Json is not null)) problems.AddRange(
            [ProblemCodes.MalformedJson, ProblemCodes.BodyTooLarge, ProblemCodes.UnsupportedMediaType]);
        if (metadata.OfType<IAuthorizeData>().Any()) problems.AddRange(
            [ProblemCodes.Unauthorized, ProblemCodes.MalformedRequest, ProblemCodes.DatabaseUnavailable]);
        if (metadata.OfType<IAuthorizeData>().Any(data => data.Policy is not null)) problems.Add(ProblemCodes.Forbidden);
        problems.Add(ProblemCodes.InternalError);
        return problems.Distinct().OrderBy(code => code.Status).ToLookup(code => code.Status);
    }
}
