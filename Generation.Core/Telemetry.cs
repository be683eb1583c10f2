using System.Collections.Immutable;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;

namespace Generation.Core;

/// <summary>
/// What Generation measures and traces: one activity source, one meter, every instrument with its unit and its tags.
/// Instruments exist from process start and cost next to nothing while nobody listens.
/// </summary>
public static class Telemetry
{
    public const string Name = "Generation";

    /// <summary>
    /// The tag that every span of a session carries, also those of its requests. (Plain <c>session.id</c> means a browser's session.)
    /// </summary>
    public const string SessionTag = "generation.session.id";

    public static readonly ActivitySource Source = new(Name);
    public static readonly Meter Meter = new(Name);

    // The SDK's default buckets are meant for milliseconds and would put every submit into the first one.
    private static readonly InstrumentAdvice<double> RequestSeconds = new()
    {
        HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    };

    private static readonly InstrumentAdvice<double> JobSeconds = new()
    {
        HistogramBucketBoundaries = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800],
    };

    /// <summary>From the request's arrival in the endpoint to its answer. Tag <c>outcome</c>: accepted, replayed, or the problem's code.</summary>
    public static readonly Histogram<double> SubmitDuration = Meter.CreateHistogram(
        "generation.submit.duration", "s", "Time to accept a generation", advice: RequestSeconds);

    /// <summary>From the moment an outbox row was due to its acceptance by the queue. Tag <c>lane</c>.</summary>
    public static readonly Histogram<double> DispatchDuration = Meter.CreateHistogram(
        "generation.outbox.dispatch.duration", "s", "Time from due to dispatched", advice: RequestSeconds);

    /// <summary>From dispatch to a worker's claim. Tag <c>lane</c>.</summary>
    public static readonly Histogram<double> PickupDuration = Meter.CreateHistogram(
        "generation.queue.pickup.duration", "s", "Time from dispatched to claimed", advice: JobSeconds);

    /// <summary>
    /// One call to a provider. Tags <c>provider</c>, <c>operation</c> (submit, poll, …), <c>outcome</c> (ok, or the failure's name).
    /// </summary>
    public static readonly Histogram<double> ProviderDuration = Meter.CreateHistogram(
        "generation.provider.duration", "s", "Time of a provider call", advice: JobSeconds);

    /// <summary>Bytes written to object storage. Tag <c>kind</c>: image, video, audio.</summary>
    public static readonly Counter<long> StreamedBytes = Meter.CreateCounter<long>(
        "generation.media.streamed", "By", "Bytes streamed into object storage");

    /// <summary>Credits moved by the ledger. Tag <c>type</c>: the transaction's type (reservation, usage, refund, …).</summary>
    public static readonly Counter<long> Credits = Meter.CreateCounter<long>(
        "generation.credits", "{credit}", "Credits moved, by ledger type");

    /// <summary>One audit of the ledger. Tag <c>outcome</c>: clean, differences.</summary>
    public static readonly Histogram<double> AuditDuration = Meter.CreateHistogram(
        "generation.ledger.audit.duration", "s", "Time of an audit of the ledger", advice: JobSeconds);

    /// <summary>What a sweep of the relay repaired or removed. Tag <c>sweep</c>: its name.</summary>
    public static readonly Counter<long> SweepRepaired = Meter.CreateCounter<long>(
        "generation.sweep.repaired", "{row}", "What the relay's sweeps repaired, by sweep");

    /// <summary>One run of a sweep. Tags <c>sweep</c>, <c>outcome</c>: done, failed.</summary>
    public static readonly Histogram<double> SweepDuration = Meter.CreateHistogram(
        "generation.sweep.duration", "s", "Time of a run of a sweep", advice: RequestSeconds);

    /// <summary>Event streams open at this process. Tag <c>transport</c>: sse, websocket.</summary>
    public static readonly UpDownCounter<long> OpenStreams = Meter.CreateUpDownCounter<long>(
        "generation.streams.open", "{stream}", "Open event streams");

    private static readonly Observers<double> OutboxLagObservers = new();
    private static readonly Observers<long> QueueDepthObservers = new();
    private static readonly Observers<int> BreakerObservers = new();
    private static readonly Observers<long> LedgerObservers = new();

    static Telemetry()
    {
        Meter.CreateObservableGauge("generation.outbox.lag", OutboxLagObservers.Observe, "s",
            "Age of the oldest outbox row that is due and not dispatched");
        Meter.CreateObservableGauge("generation.queue.depth", QueueDepthObservers.Observe, "{message}", "Messages in the queue, by lane");
        Meter.CreateObservableGauge("generation.provider.breaker.state", BreakerObservers.Observe, "{state}",
            "0 closed, 1 half open, 2 open, by provider");
        Meter.CreateObservableGauge("generation.ledger.differences", LedgerObservers.Observe, "{difference}",
            "Rows that broke a rule at the last audit of the ledger, by rule");
    }

    /// <summary>
    /// Reports the outbox's lag in seconds until the result is disposed. The callback runs at every collection: it returns
    /// what a loop measured last, and never does I/O.
    /// </summary>
    public static IDisposable ObserveOutboxLag(Func<double> lagSeconds) =>
        OutboxLagObservers.Add(() => [new Measurement<double>(lagSeconds())]);

    /// <summary>Reports depths by lane until the result is disposed; same terms as <see cref="ObserveOutboxLag"/>.</summary>
    public static IDisposable ObserveQueueDepth(Func<IEnumerable<(string Lane, long Messages)>> depths) =>
        QueueDepthObservers.Add(() => depths().Select(depth =>
            new Measurement<long>(depth.Messages, new KeyValuePair<string, object?>("lane", depth.Lane))));

    /// <summary>
    /// Reports breakers (0 closed, 1 half open, 2 open) by provider until the result is disposed; same terms as <see cref="ObserveOutboxLag"/>.
    /// </summary>
    public static IDisposable ObserveBreakers(Func<IEnumerable<(string Provider, int State)>> states) =>
        BreakerObservers.Add(() => states().Select(state =>
            new Measurement<int>(state.State, new KeyValuePair<string, object?>("provider", state.Provider))));

    /// <summary>Reports what the last audit found, by rule, until the result is disposed; same terms as <see cref="ObserveOutboxLag"/>.</summary>
    public static IDisposable ObserveLedgerDifferences(Func<IEnumerable<(string Rule, long Rows)>> differences) =>
        LedgerObservers.Add(() => differences().Select(found => new Measurement<long>(
            found.Rows, new KeyValuePair<string, object?>("rule", found.Rule))));

    /// <summary>The W3C <c>traceparent</c> of the current activity, to be stored in an outbox row or a message; null outside a trace.</summary>
    public static string? CurrentTraceParent =>
        Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity ? activity.Id : null;

    /// <summary>
    /// The context that a stored <c>traceparent</c> names; default (no parent) when it is missing or malformed, for a bad header never stops a job.
    /// </summary>
    public static ActivityContext ParseTraceParent(string? traceParent) =>
        ActivityContext.TryParse(traceParent, traceState: null, isRemote: true, out var context) ? context : default;

    /// <summary>
    /// The trace that a stored <c>traceparent</c> names, as 32 hex digits: what a person pastes into a search. Null when there is none.
    /// </summary>
    public static string? TraceIdOf(string? traceParent) =>
        ParseTraceParent(traceParent) is { TraceId: var trace } context && context != default ? trace.ToHexString() : null;

    /// <summary>
    /// Starts an activity that continues the trace of a stored <c>traceparent</c>, so that POST and capture are one trace.
    /// Null when nobody listens.
    /// </summary>
    public static Activity? Continue(string activityName, string? traceParent, ActivityKind kind = ActivityKind.Consumer) =>
        Continue(activityName, ParseTraceParent(traceParent), kind);

    /// <summary>Starts an activity in a session's trace, whatever is going on where it is started.</summary>
    /// <param name="activityName">What it does.</param>
    /// <param name="trace">The session's; without one the current activity is continued.</param>
    /// <param name="kind">Of the span.</param>
    /// <param name="startTime">When it began; now when not given.</param>
    /// <param name="cause">What led to it, in a trace of its own: becomes a link.</param>
    public static Activity? Continue(
        string activityName, ActivityContext trace, ActivityKind kind, DateTimeOffset startTime = default, ActivityContext cause = default) =>
        Source.StartActivity(activityName, kind, trace, links: cause != default && cause.TraceId != trace.TraceId ? [new ActivityLink(cause)]
            : null, startTime: startTime);

    /// <summary>
    /// A span without duration in a session's trace: something that a statement over many sessions has done to this one, or a request that is a
    /// trace of its own and is linked. Costs nothing while nobody listens.
    /// </summary>
    public static void Mark(string what, Guid sessionId, string? traceParent)
    {
        if (traceParent is not null && Source.HasListeners())
        {
            using var mark = Continue(what, ParseTraceParent(traceParent), ActivityKind.Internal, cause: Activity.Current is { Recorded: true } cause
                ? cause.Context : default);
            mark.SetSession(sessionId);
        }
    }

    /// <summary>The session that a span is about: what everybody searches by.</summary>
    public static Activity? SetSession(this Activity? activity, Guid sessionId) =>
        sessionId == default ? activity : activity?.SetTag(SessionTag, sessionId.ToString());

    /// <summary>What a span did with a message, in OpenTelemetry's words.</summary>
    public static Activity? SetMessaging(this Activity? activity, string system, string destination, string operation, string messageId) => activity?
        .SetTag("messaging.system", system)
        .SetTag("messaging.destination.name", destination)
        .SetTag("messaging.operation.name", operation)
        .SetTag("messaging.operation.type", operation)
        .SetTag("messaging.message.id", messageId);

    /// <summary>What a span did has failed.</summary>
    /// <param name="activity">The span.</param>
    /// <param name="type">A stable code, or the name of an exception's type: few values, for <c>error.type</c>.</param>
    /// <param name="description">More of it, for a person; nothing of a user's and no address.</param>
    public static Activity? SetFailed(this Activity? activity, string type, string? description = null) =>
        activity?.SetTag("error.type", type).SetStatus(ActivityStatusCode.Error, description);

    // An instrument cannot be taken back, so it asks whoever is registered at the moment: hosts come and go in one test process.
    private sealed class Observers<T>
        where T : struct
    {
        private ImmutableArray<Func<IEnumerable<Measurement<T>>>> callbacks = [];

        public IEnumerable<Measurement<T>> Observe() => callbacks.SelectMany(callback => callback());

        public IDisposable Add(Func<IEnumerable<Measurement<T>>> callback)
        {
            ImmutableInterlocked.Update(ref callbacks, (all, added) => all.Add(added), callback);
            return new Registration(this, callback);
        }

        private sealed class Registration(Observers<T> observers, Func<IEnumerable<Measurement<T>>> callback) : IDisposable
        {
            public void Dispose() => ImmutableInterlocked.Update(ref observers.callbacks, (all, removed) => all.Remove(removed), callback);
        }
    }
}

/// <summary>
/// The log events that dashboards and alerts may rely on: names and numbers never change meaning; a new event gets a new number.
/// </summary>
public static class LogEvents
{
    public static readonly EventId QueueEnqueue = new(1001, "queue.enqueue");

    public static readonly EventId OutboxWrite = new(1101, "outbox.write");
    public static readonly EventId OutboxDispatched = new(1102, "outbox.dispatched");
    public static readonly EventId OutboxQueueMissing = new(1103, "outbox.queue_missing");

    public static readonly EventId WorkerInit = new(1201, "worker.init");
    public static readonly EventId WorkerReady = new(1202, "worker.ready");

    public static readonly EventId JobStart = new(1301, "job.start");
    public static readonly EventId JobPayloadSummary = new(1302, "job.payload.summary");

    public static readonly EventId ProviderRequest = new(1401, "provider.request");
    public static readonly EventId ProviderResponse = new(1402, "provider.response");

    public static readonly EventId StorageStreamStart = new(1501, "storage.stream.start");
    public static readonly EventId StorageStreamDone = new(1502, "storage.stream.done");

    public static readonly EventId InsertImages = new(1601, "insert.images");
    public static readonly EventId CompletedMock = new(1602, "completed.mock");
    public static readonly EventId CompletedReal = new(1603, "completed.real");

    public static readonly EventId CreditsCapture = new(1701, "credits.capture");
    public static readonly EventId CreditsRelease = new(1702, "credits.release");

    public static readonly EventId LedgerAudit = new(1801, "ledger.audit");
}

/// <summary>
/// Log events beside those of a generation's way: recoveries, maintenance, refusals. The same rules as for <see cref="LogEvents"/>.
/// </summary>
public static class OperationEvents
{
    public static readonly EventId QueueRecovered = new(2001, "outbox.queue_recovered");
    public static readonly EventId MessagesClaimed = new(2002, "queue.claim");
    public static readonly EventId ServiceRecovered = new(2003, "service.recovered");
    public static readonly EventId WorkerDrain = new(2004, "worker.drain");
    public static readonly EventId JobPostponed = new(2005, "job.postponed");
    public static readonly EventId ProviderCallback = new(2006, "provider.callback");
    public static readonly EventId ProviderInterrupt = new(2007, "provider.interrupt");
    public static readonly EventId UploadRejected = new(2008, "upload.rejected");
    public static readonly EventId Sweep = new(2009, "sweep");
    public static readonly EventId DatabaseMigrate = new(2010, "database.migrate");
}
