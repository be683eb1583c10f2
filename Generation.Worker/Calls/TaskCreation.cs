using Generation.Core.Providers;

namespace Generation.Worker.Calls;

/// <summary>
/// What follows from a breakdown that answers the creation of a task. A picture that a provider says it could not make is not there; but a task
/// lives on after the call, so that a breakdown that came after it was queued leaves one that runs and is billed. No provider documents what tells
/// the two apart: such an answer is of unknown outcome, whatever its words.
/// </summary>
internal static class TaskCreation
{
    /// <param name="failure">As the provider's table sorts it.</param>
    /// <param name="status">The status of HTTP, or of the body where the provider has one there.</param>
    public static Failure Judge(Failure failure, int status) => failure.Kind == FailureKind.Unavailable && status is < 400 or 408 or 499 or >= 500
        ? failure with { Kind = FailureKind.OutcomeUnknown, RetryAfter = null, IsFinal = false }
        : failure;
}
