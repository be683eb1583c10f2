using Generation.Core.Localization;

namespace Generation.Core.Providers;

/// <summary>The closed set of ways in which a provider's work can fail. Each decides retry, refund and the words for the user.</summary>
public enum FailureKind
{
    /// <summary>The provider does not accept these parameters. No retry; released.</summary>
    InvalidRequest,

    /// <summary>The prompt or a reference was refused. No retry; released.</summary>
    ModerationInput,

    /// <summary>An output was refused. No retry of that output; the others count.</summary>
    ModerationOutput,

    /// <summary>Our key or account is refused. No retry; released; the operator is alarmed.</summary>
    Unauthorized,

    /// <summary>Our account is out of money or quota. No retry; released; the operator is alarmed.</summary>
    QuotaExhausted,

    /// <summary>Too many requests; not executed. Again after the provider's delay, through the outbox.</summary>
    RateLimited,

    /// <summary>Not executed, or failed without being billed. Again after 1, 2, 4 s, then through the outbox.</summary>
    Unavailable,

    /// <summary>Sent, and its outcome is not known: it may have been billed. Never repeated; a task is looked up by its callback.</summary>
    OutcomeUnknown,

    /// <summary>
    /// It was made, but what came is not what was bought: gone, of the wrong type, too large. No retry of that output; not charged.
    /// </summary>
    OutputUnusable,
}

/// <summary>A failure of a provider's work, sorted.</summary>
/// <param name="Kind">Decides what happens.</param>
/// <param name="ProviderCode">The provider's code, for operators.</param>
/// <param name="Detail">What the provider said, for operators; may hold its request id and is not shown to users.</param>
public sealed record Failure(FailureKind Kind, string ProviderCode, string Detail)
{
    /// <summary>How long the provider wants to be left alone, when it says so.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The provider's name for the call, for its support.</summary>
    public string? RequestId { get; init; }

    /// <summary>What the provider answered, for operators: status, type and the beginning of the body. Null when no answer came.</summary>
    public string? Answer { get; init; }

    /// <summary>
    /// The answer was well-formed, though not what was asked for: the provider is there, and its circuit breaker stays closed.
    /// </summary>
    public bool ProviderIsThere { get; init; }

    /// <summary>Nothing was sent (a limit of ours, an open breaker, a busy GPU): it comes again, and the attempt does not count.</summary>
    public bool NotTried { get; init; }

    /// <summary>
    /// The output is paid for, and what its address answers is not it, yet: the address is asked again after <see cref="RetryAfter"/>, which costs
    /// nothing and no attempt.
    /// </summary>
    public bool IsPending { get; init; }

    /// <summary>Not tried again, although the kind is retryable: it may have been billed, or the provider advises against it.</summary>
    public bool IsFinal { get; init; }

    /// <summary>Whether the same call may be made again by us.</summary>
    public bool IsRetryable => !IsFinal && Kind is (FailureKind.RateLimited or FailureKind.Unavailable);

    /// <summary>Whether the other outputs of the session would fail alike, so that no further call is worth making.</summary>
    public bool IsForAllOutputs => Kind is FailureKind.InvalidRequest or FailureKind.ModerationInput or FailureKind.Unauthorized
        or FailureKind.QuotaExhausted;

    /// <summary>The stable code that the API shows, such as <c>moderation_input</c>.</summary>
    public string Code => Kind switch
    {
        FailureKind.InvalidRequest => "invalid_request",
        FailureKind.ModerationInput => "moderation_input",
        FailureKind.ModerationOutput => "moderation_output",
        FailureKind.Unauthorized => "provider_unauthorized",
        FailureKind.QuotaExhausted => "provider_quota_exhausted",
        FailureKind.RateLimited => "provider_rate_limited",
        FailureKind.Unavailable => "provider_unavailable",
        FailureKind.OutcomeUnknown => "outcome_unknown",
        _ => "output_unusable",
    };

    /// <summary>What the user reads, in the default language; <see cref="UserMessages"/> has the others.</summary>
    public string UserMessage => UserMessages.ForFailure(Code, UserMessages.DefaultLanguage)!;

    /// <summary>Whether it makes sense that the user asks again, unchanged.</summary>
    public bool UserMayRetry => Kind is not (FailureKind.InvalidRequest or FailureKind.ModerationInput);
}
