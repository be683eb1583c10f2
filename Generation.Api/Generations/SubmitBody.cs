using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Generation.Core.Catalog;
using Generation.Core.Sessions;

namespace Generation.Api.Generations;

/// <summary>What is to be generated.</summary>
/// <param name="Model">The id of a model, from <c>GET /api/models</c>.</param>
/// <param name="Params">The model's parameters; <c>GET /api/models</c> has their JSON Schema.</param>
/// <param name="ClientKey">The idempotency key, when it is not sent as a header.</param>
/// <param name="Priority">
/// <c>interactive</c> (default), or <c>batch</c>: beside the caller's interactive generations it gets a quarter of what they get.
/// </param>
public sealed record SubmitBody(
    string Model, JsonElement Params, string? ClientKey = null, [property: AllowedValues("interactive", "batch")] string? Priority = null);

/// <summary>The parameters of a model beside <c>model</c> and <c>clientKey</c>, as older clients send them.</summary>
/// <param name="Model">The id of a model; without it the tool's first.</param>
/// <param name="Prompt">What to make.</param>
/// <param name="ClientKey">The idempotency key, when it is not sent as a header.</param>
public sealed record FlatSubmitBody(string? Model = null, string? Prompt = null, string? ClientKey = null);

/// <param name="Self">The generation.</param>
/// <param name="Events">Its server-sent events.</param>
/// <param name="Cancel">To be posted to.</param>
public sealed record GenerationLinks(string Self, string Events, string Cancel);

/// <summary>A request that was accepted; the same again for the same idempotency key, but for its place in the queue.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="ClientKey">Its idempotency key; made by the server when none was sent.</param>
/// <param name="ReservationId">The hold.</param>
/// <param name="Status"><c>queued</c>.</param>
/// <param name="CreditsHeld">Credits set aside.</param>
/// <param name="Links">Where it goes on.</param>
/// <param name="QueuePosition">Generations that will be taken before this one; null when that is not known, such as in a replay.</param>
/// <param name="EtaSeconds">Until its first output; null when that is not known.</param>
/// <param name="PlaceInQueue">Counted from 1; only for older clients.</param>
public sealed record AcceptedGeneration(
    Guid SessionId, string ClientKey, Guid ReservationId, [property: AllowedValues("queued")] string Status, long CreditsHeld, GenerationLinks Links,
    long? QueuePosition, int? EtaSeconds,
    [property: JsonPropertyName("queue_position"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? PlaceInQueue = null);

/// <summary>A generation that ended within <c>Prefer: wait</c>.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="ClientKey">Its idempotency key.</param>
/// <param name="ReservationId">The hold.</param>
/// <param name="Status"><c>completed</c>, <c>failed</c> or <c>canceled</c>.</param>
/// <param name="Images">The URLs of the outputs.</param>
/// <param name="Media">The outputs.</param>
/// <param name="CreditsUsed">Captured.</param>
/// <param name="CreditsLeft">Available now.</param>
/// <param name="Receipt">What it cost.</param>
/// <param name="Error">Why it failed.</param>
/// <param name="FailedOutputs">Outputs that did not come.</param>
/// <param name="Links">Where it can be read again.</param>
public sealed record GenerationResult(
    Guid SessionId, string ClientKey, Guid ReservationId, [property: AllowedValues("completed", "failed", "canceled")] string Status,
        IReadOnlyList<string> Images, IReadOnlyList<MediaView> Media, long CreditsUsed, long CreditsLeft,
    Receipt Receipt, ErrorView? Error, JsonElement? FailedOutputs, GenerationLinks Links);

/// <param name="Generations">Newest first.</param>
/// <param name="NextCursor">For <c>cursor</c>; null on the last page.</param>
public sealed record GenerationPage(IReadOnlyList<SessionView> Generations, Guid? NextCursor);

/// <summary>A price, as a submit of the same request would hold it.</summary>
/// <param name="Model">The model.</param>
/// <param name="Total">Credits.</param>
/// <param name="Items">What it is made of.</param>
/// <param name="PriceVersion">The price row.</param>
/// <param name="Metering">What the provider counts, where that decides what is captured.</param>
/// <param name="Available">Credits of the caller.</param>
/// <param name="Affordable">Whether a submit would be accepted now.</param>
public sealed record EstimateView(string Model, long Total, IReadOnlyList<EstimateItem> Items, long PriceVersion, Metering? Metering, long Available,
    bool Affordable);

/// <param name="Output"><c>image</c>, <c>video</c> or <c>audio</c>.</param>
/// <param name="Variant">A resolution, where it has a price of its own.</param>
/// <param name="Quality">A quality, where it has a price of its own.</param>
/// <param name="UnitPrice">Credits.</param>
/// <param name="Per"><c>output</c> or <c>second</c>.</param>
/// <param name="Multiplier">Seconds, for a price per second; else 1.</param>
/// <param name="Quantity">Outputs.</param>
/// <param name="Credits">Of this item.</param>
public sealed record EstimateItem(
    [property: AllowedValues("image", "video", "audio")] string Output, string? Variant, string? Quality, long UnitPrice,
        [property: AllowedValues("output", "second")] string Per, int Multiplier, int Quantity, long Credits);

/// <param name="DeadLetters">Newest first.</param>
/// <param name="NextBefore">For <c>before</c>; null on the last page.</param>
public sealed record DeadLetterPage(IReadOnlyList<DeadLetter> DeadLetters, DateTimeOffset? NextBefore);

/// <summary>Which dead letters are to be redriven: one of the three.</summary>
/// <param name="SessionIds">These, 1 to 500.</param>
/// <param name="Filter">Those that match all that is given.</param>
/// <param name="All">All that are open.</param>
public sealed record RedriveBody(IReadOnlyList<Guid>? SessionIds = null, RedriveFilter? Filter = null, bool? All = null);

/// <param name="Code">Their error code.</param>
/// <param name="Model">Their model.</param>
/// <param name="Provider">Their provider.</param>
/// <param name="Before">Those that failed before.</param>
public sealed record RedriveFilter(string? Code = null, string? Model = null, string? Provider = null, DateTimeOffset? Before = null);

/// <param name="Redriven">New sessions.</param>
/// <param name="Results">One for each dead letter that was found.</param>
/// <param name="NotFound">Of <c>sessionIds</c>.</param>
/// <param name="IsMore">More than 500 matched: send it again.</param>
public sealed record RedriveResult(int Redriven, IReadOnlyList<RedrivenLetter> Results, IReadOnlyList<Guid> NotFound, bool IsMore);

/// <param name="SessionId">The dead letter.</param>
/// <param name="NewSessionId">What was made of it; null when it was refused.</param>
/// <param name="Replayed">It had been redriven before.</param>
/// <param name="Code">Why it was refused.</param>
/// <param name="Detail">In a sentence.</param>
public sealed record RedrivenLetter(Guid SessionId, Guid? NewSessionId, bool Replayed, string? Code, string? Detail);
