using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;

namespace Generation.Worker.Calls;

/// <summary>
/// What a provider answered to one call that may cost money: an output, an address to fetch it from, a task to follow, or a failure.
/// </summary>
public sealed record ProviderReply
{
    public Uri? Url { get; private init; }

    /// <summary>The output, when the answer held it and it is in the store already (<c>OutputStore.StoreAsync</c>).</summary>
    public StoredMedia? Media { get; private init; }

    /// <summary>What the provider counted for this call.</summary>
    public JsonObject? Usage { get; private init; }

    /// <summary>The provider's name for the task that it has taken on, of one that does not answer with the output.</summary>
    public string? TaskId { get; private init; }

    public string? RequestId { get; private init; }

    public Failure? Failure { get; private init; }

    public static ProviderReply Delivered(Uri url, JsonObject? usage, string? requestId) => new() { Url = url, Usage = usage, RequestId = requestId };

    public static ProviderReply Stored(StoredMedia media, JsonObject? usage, string? requestId) =>
        new() { Media = media, Usage = usage, RequestId = requestId };

    public static ProviderReply Started(string taskId, string? requestId) => new() { TaskId = taskId, RequestId = requestId };

    /// <summary>A group's call has come to its end; its outputs were announced one by one before.</summary>
    public static ProviderReply Finished(JsonObject? usage, string? requestId) => new() { Usage = usage, RequestId = requestId };

    public static ProviderReply Failed(Failure failure)
    {
        ArgumentNullException.ThrowIfNull(failure);
        return new() { Failure = failure, RequestId = failure.RequestId };
    }

    /// <summary>The same, with what was answered, where that is a failure.</summary>
    internal ProviderReply Describing(ProviderResponse answer) =>
        Failure is { Answer: null } failure && answer.Response is not null
            ? this with { Failure = failure with { Answer = answer.Describe() } }
            : this;
}

/// <summary>One output of a group, when the provider announces it: an address, or why it will not come.</summary>
/// <param name="Index">The provider's number for it, from 0; null when it gives none.</param>
/// <param name="Url">Where it is. It is billed.</param>
/// <param name="Failure">Why it is not there.</param>
public sealed record GroupOutput(int? Index, Uri? Url, Failure? Failure)
{
    /// <summary>The output itself, when it comes in the announcement; it is read before the reading of the answer goes on.</summary>
    public Stream? Media { get; init; }
}

/// <summary>What a provider says of a task when it is asked.</summary>
public abstract record TaskReport
{
    private TaskReport()
    {
    }

    /// <summary>It waits or is worked on.</summary>
    public sealed record Running(string Phase, int Percent) : TaskReport;

    /// <summary>It is done, and is billed.</summary>
    public sealed record Delivered(Uri Url, JsonObject? Usage) : TaskReport
    {
        /// <summary>A still picture of it, when one was asked for.</summary>
        public Uri? Poster { get; init; }
    }

    /// <summary>
    /// It is done, and billed, but where its output is was not said: some providers say so a few polls later. It is asked for again for some
    /// time, and then has ended with this failure.
    /// </summary>
    public sealed record OutputMissing(Failure Failure) : TaskReport;

    /// <summary>It will not be done. A retryable failure is of a task that was not billed: another may follow it.</summary>
    public sealed record Ended(Failure Failure) : TaskReport;

    /// <summary>The question failed, which says nothing about the task: it is asked for again.</summary>
    public sealed record PollFailed(Failure Failure) : TaskReport;

    /// <summary>The same, with what was answered, where that is a failure.</summary>
    internal TaskReport Describing(ProviderResponse answer) => this switch
    {
        Ended { Failure: { Answer: null } failure } => new Ended(failure with { Answer = answer.Describe() }),
        PollFailed { Failure: { Answer: null } failure } => new PollFailed(failure with { Answer = answer.Describe() }),
        OutputMissing { Failure: { Answer: null } failure } => new OutputMissing(failure with { Answer = answer.Describe() }),
        _ => this,
    };

    /// <summary>The task is in a state that has no word in <see cref="TaskStates"/>: only its own questions become rarer.</summary>
    public static PollFailed UnknownState(string code, string? word, string? requestId) =>
        new(new Failure(FailureKind.Unavailable, code, $"The task is '{word}', whatever that is.")
        {
            RequestId = requestId,
            ProviderIsThere = true,
        });
}

/// <summary>A task to be created.</summary>
/// <param name="Ordinal">The output that it is for.</param>
/// <param name="CallbackUrl">Where the provider may tell that it is done; null: it is asked.</param>
public sealed record NewTask(int Ordinal, Uri? CallbackUrl);
