using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Calls;

/// <summary>One call of a provider's API, as the provider's billing sees it.</summary>
public sealed class Call
{
    /// <summary>The request id in the answer.</summary>
    public required string Id { get; init; }

    public required DateTimeOffset At { get; init; }

    /// <summary>X-Client-Request-Id, if it was sent.</summary>
    public string? ClientRequestId { get; init; }

    public string Model { get; set; } = "";

    public string Prompt { get; set; } = "";

    /// <summary>HTTP status of the answer; 0 while there is none, and for good when the connection was cut.</summary>
    public int Status { get; set; }

    /// <summary>A picture or a video was made: the provider bills it, whether or not the caller learned of it.</summary>
    public bool Paid => Images > 0;

    /// <summary>Pictures made; of a video task 1 once it has succeeded.</summary>
    public int Images { get; set; }
}

/// <summary>The last calls, so that a test can prove that nothing was bought twice.</summary>
public sealed class CallLog(IOptions<SimOptions> options)
{
    private readonly Lock gate = new();
    private readonly Queue<Call> calls = new();

    private Action? beforeReading;

    /// <summary>Runs an action before the log is read: providers that bill by the clock bring their calls up to date.</summary>
    public void BeforeReading(Action update) => beforeReading += update;

    public void Add(Call call)
    {
        lock (gate)
        {
            if (calls.Count >= options.Value.RememberedCalls)
            {
                calls.Dequeue();
            }

            calls.Enqueue(call);
        }
    }

    public void Clear()
    {
        lock (gate)
        {
            calls.Clear();
        }
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sim/calls", (string? prompt, string? clientRequestId, int? limit, CallLog log) =>
            log.Report(prompt, clientRequestId, limit ?? 1000));
        routes.MapDelete("/sim/calls", (CallLog log) =>
        {
            log.Clear();
            return Results.NoContent();
        });
    }

    /// <summary>Answer of <c>GET /sim/calls</c>: counts of all that match, and the newest of them.</summary>
    public sealed record CallReport(int Total, int Paid, int Images, IReadOnlyList<Call> Calls);

    /// <param name="prompt">Only calls whose prompt contains this.</param>
    /// <param name="clientRequestId">Only calls with this X-Client-Request-Id.</param>
    /// <param name="limit">At most so many calls, the newest; the counts are of all.</param>
    public CallReport Report(string? prompt = null, string? clientRequestId = null, int limit = int.MaxValue)
    {
        beforeReading?.Invoke();
        lock (gate)
        {
            var matching = calls.Where(call => (prompt is null || call.Prompt.Contains(prompt, StringComparison.Ordinal))
                && (clientRequestId is null || call.ClientRequestId == clientRequestId)).ToList();
            return new CallReport(matching.Count, matching.Count(call => call.Paid), matching.Sum(call => call.Images),
                [.. matching.Skip(Math.Max(0, matching.Count - limit))]);
        }
    }
}
