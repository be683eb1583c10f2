using Generation.Core.Media;

namespace Generation.Worker.Calls;

/// <summary>Where a provider's results may be fetched from.</summary>
/// <param name="Hosts">Patterns (<see cref="HostPattern"/>).</param>
public sealed record ResultSource(IReadOnlyList<string> Hosts)
{
    /// <summary>For results that want the key.</summary>
    public SourceCredential? Credential { get; init; }

    /// <summary>The source that an address names: to be fetched, or the bytes that a data URL holds.</summary>
    public MediaSource Of(Uri url)
    {
        ArgumentNullException.ThrowIfNull(url);
        return url.Scheme == "data" ? new MediaSource.Direct(DataUrl.Open(url)) : new MediaSource.Remote(url, Hosts) { Credential = Credential };
    }
}

/// <summary>
/// What a provider allows an account, counted over all workers. A session that meets it comes back later, and no attempt is counted.
/// </summary>
/// <param name="Name">Of the limit, such as <c>create</c>; the provider's name stands before it.</param>
/// <param name="Calls">At most so many in any window.</param>
/// <param name="Window">Length of the sliding window.</param>
public sealed record RateLimit(string Name, int Calls, TimeSpan Window);

/// <summary>How a provider is used that makes one output a call and answers in it.</summary>
public sealed record CallRules
{
    /// <summary>Calls at once.</summary>
    public int Parallel { get; init; } = 1;

    /// <summary>Where results may be fetched from, when a reply is an address.</summary>
    public ResultSource Source { get; init; } = new([]);

    /// <summary>Timeout of one call, as its intent records it.</summary>
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
    public TimeSpan CallbackWait { get; init; }

    /// <summary>Where results may be fetched from.</summary>
    public required ResultSource Source { get; init; }

    /// <summary>Timeout of a creation, as its intent records it.</summary>
    public required TimeSpan CreateTimeout { get; init; }

    /// <summary>Limit on creations.</summary>
    public RateLimit? Limit { get; init; }

    /// <summary>Limit on polls. A task that does not get one is polled a little later.</summary>
    public RateLimit? ReadLimit { get; init; }

    /// <summary>Whether the provider calls back; an address is offered when <c>Worker:PublicBaseUrl</c> is set.</summary>
    public bool TakesCallbacks { get; init; }

    /// <summary>
    /// Reads the provider's id of a task out of the body of its callback; null: none is in it. A task whose creation was not answered is found
    /// again by it.
    /// </summary>
    public Func<string, string?> TaskIdInCallback { get; init; } = _ => null;

    /// <summary>How long the callback of a task whose creation was not answered is waited for.</summary>
    public TimeSpan LookUpTimeout => CallbackWait * 4;
}
