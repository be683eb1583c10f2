using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;

namespace Generation.Worker.Jobs;

/// <summary>What a provider answered to one call that may cost money: an output, an address to fetch it from, a task to follow, or a failure.</summary>
public sealed record ProviderReply
{
    public Uri? Url { get; private init; }

    /// <summary>The output, when the answer held it and it is in the store already (<see cref="JobContext.StoreAsync(int, MediaSource, CancellationToken)"/>).</summary>
    public StoredMedia? Media { get; private init; }

    /// <summary>What the provider counted for this call.</summary>
    public JsonObject? Usage { get; private init; }

    /// <summary>The provider's name for the task that it has taken on, of one that does not answer with the output.</summary>
    public string? TaskId { get; private init; }

    public string? RequestId { get; private init; }

    public Failure? Failure { get; private init; }

    public static ProviderReply Delivered(Uri url, JsonObject? usage, string? requestId) => new() { Url = url, Usage = usage, RequestId = requestId };

    public static ProviderReply Stored(StoredMedia media, JsonObject? usage, string? requestId) => new() { Media = media, Usage = usage, RequestId = requestId };

    public static ProviderReply Started(string taskId, string? requestId) => new() { TaskId = taskId, RequestId = requestId };

    /// <summary>A group's call has come to its end; its outputs were announced one by one before.</summary>
    public static ProviderReply Finished(JsonObject? usage, string? requestId) => new() { Usage = usage, RequestId = requestId };

    public static ProviderReply Failed(Failure failure)
    {
        ArgumentNullException.ThrowIfNull(failure);
        return new() { Failure = failure, RequestId = failure.RequestId };
    }
}

/// <summary>One output of a group, when the provider announces it: an address, or why it will not come.</summary>
/// <param name="Index">The provider's number for it, from 0; null when it gives none.</param>
/// <param name="Url">Where it is. It is billed.</param>
/// <param name="Failure">Why it is not there.</param>
public sealed record GroupOutput(int? Index, Uri? Url, Failure? Failure);

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

    /// <summary>It will not be done. A retryable failure is of a task that was not billed: another may follow it.</summary>
    public sealed record Ended(Failure Failure) : TaskReport;

    /// <summary>The question failed, which says nothing about the task: it is asked for again.</summary>
    public sealed record PollFailed(Failure Failure) : TaskReport;
}

/// <summary>Where a provider's results may be fetched from.</summary>
/// <param name="Hosts">Patterns (<see cref="HostPattern"/>).</param>
public sealed record ResultSource(IReadOnlyList<string> Hosts)
{
    /// <summary>For results that want the key.</summary>
    public SourceCredential? Credential { get; init; }

    public MediaSource.Remote Of(Uri url) => new(url, Hosts) { Credential = Credential };
}

/// <summary>What a provider allows an account, counted over all workers. A session that meets it comes back later, and no attempt is counted.</summary>
/// <param name="Name">Of the limit, such as <c>create</c>; the provider's name stands before it.</param>
/// <param name="Calls">At most so many in any window.</param>
/// <param name="Window">Slides.</param>
public sealed record RateLimit(string Name, int Calls, TimeSpan Window);

/// <summary>How a provider is used that makes one output a call and answers in it.</summary>
public sealed record CallRules
{
    /// <summary>Calls at once.</summary>
    public int Parallel { get; init; } = 1;

    /// <summary>For replies that are an address.</summary>
    public ResultSource Source { get; init; } = new([]);

    /// <summary>Of one call, for the record.</summary>
    public required TimeSpan CallTimeout { get; init; }

    public RateLimit? Limit { get; init; }

    /// <summary>Making a call twice costs nothing: one that was cut off is made again.</summary>
    public bool IsRepeatable { get; init; }

    /// <summary>Whose breaker counts the calls; default the session's provider's. A provider that is several machines has one each.</summary>
    public string? Breaker { get; init; }
}

/// <summary>How a provider is used that takes on tasks, one an output, and works on them for minutes.</summary>
public sealed record TaskRules
{
    /// <summary>How long until the next question, by the age of the task.</summary>
    public required Func<TimeSpan, TimeSpan> PollAfter { get; init; }

    /// <summary>With callbacks: how long one is waited for before the first question.</summary>
    public TimeSpan CallbackPatience { get; init; }

    /// <summary>Where results may be fetched from.</summary>
    public required ResultSource Source { get; init; }

    /// <summary>Of a creation, for the record.</summary>
    public required TimeSpan CreateTimeout { get; init; }

    /// <summary>Of creations.</summary>
    public RateLimit? Limit { get; init; }

    /// <summary>Of questions. A task whose turn it is not is asked for a little later.</summary>
    public RateLimit? ReadLimit { get; init; }

    /// <summary>Whether the provider calls back; an address is offered when <c>Worker:PublicBaseUrl</c> is set.</summary>
    public bool TakesCallbacks { get; init; }
}

/// <summary>A task to be created.</summary>
/// <param name="Ordinal">The output that it is for.</param>
/// <param name="CallbackUrl">Where the provider may tell that it is done; null: it is asked.</param>
public sealed record NewTask(int Ordinal, Uri? CallbackUrl);
