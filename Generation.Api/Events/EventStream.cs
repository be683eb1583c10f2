using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Json;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Api.Media;
using Generation.Core.Media;
using Generation.Core.Outbox;
using Generation.Core.Realtime;
using Generation.Core.Sessions;

namespace Generation.Api.Events;

/// <summary>The state moved.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="Status"><c>queued</c> or <c>processing</c>.</param>
/// <param name="Version">Of the state.</param>
/// <param name="Phase">In more detail.</param>
/// <param name="Progress">Percent; it never falls.</param>
/// <param name="Attempt">Failures so far.</param>
/// <param name="CancelRequested">It is being canceled.</param>
public sealed record StatusEvent(
    Guid SessionId, [property: AllowedValues("queued", "processing")] string Status, long Version, string Phase, int Progress, int Attempt,
        bool CancelRequested);

/// <summary>An output was stored.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="Status"><c>processing</c>: the end is an event of its own.</param>
/// <param name="Version">Of the state.</param>
/// <param name="Media">The output.</param>
public sealed record MediaEvent(Guid SessionId, [property: AllowedValues("processing")] string Status, long Version, MediaView Media);

/// <summary>Progress between states. It has no id and may be missed.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="Version">Of the state that it belongs to.</param>
/// <param name="LeaseToken">Of the worker's lease.</param>
/// <param name="Percent">It never falls.</param>
/// <param name="Phase">In a word.</param>
/// <param name="Preview">What an output looks like so far.</param>
public sealed record ProgressEvent(Guid SessionId, long Version, long LeaseToken, int Percent, string Phase, PreviewView? Preview);

/// <param name="Ordinal">Of which output.</param>
/// <param name="Url">Signed.</param>
public sealed record PreviewView(int Ordinal, string Url);

/// <summary>Where it stands in its queue, while it waits. It has no id and may be missed.</summary>
/// <param name="SessionId">The generation.</param>
/// <param name="Version">Of the state that it belongs to.</param>
/// <param name="QueuePosition">Jobs that will be taken first; null when it waits for its time.</param>
/// <param name="EtaSeconds">Until its first output; null when that is not known.</param>
/// <param name="Queue">The same, with more.</param>
public sealed record QueueEvent(Guid SessionId, long Version, long? QueuePosition, int? EtaSeconds, QueueView Queue);

/// <summary>Every event by its name, with what stands in its data.</summary>
/// <param name="Snapshot">Where it stands: the first event.</param>
/// <param name="Status">The state moved.</param>
/// <param name="Media">An output was stored.</param>
/// <param name="Progress">Between states.</param>
/// <param name="Queue">Where it stands while it waits.</param>
/// <param name="Done">It completed; the last event.</param>
/// <param name="Failed">It failed; the last event.</param>
/// <param name="Canceled">It was canceled; the last event.</param>
public sealed record GenerationEvents(
    SessionView Snapshot, StatusEvent Status, MediaEvent Media, ProgressEvent Progress, QueueEvent Queue, SessionView Done, SessionView Failed,
    SessionView Canceled);

/// <summary>
/// One session as server-sent events (invariant 9). First a snapshot, then <c>status</c>, <c>media</c> and <c>progress</c> as they come and
/// <c>queue</c> while it waits, then one of <c>done</c>, <c>failed</c>, <c>canceled</c>, and the end. Ids are versions; an older one is never sent
/// after a newer one. Progress has no id, never falls, and is dropped when it is older than what was shown.
/// </summary>
public static class EventStream
{
    /// <summary>What stands in the data of each event.</summary>
    public static IReadOnlyDictionary<string, Type> Events { get; } =
        typeof(GenerationEvents).GetProperties().ToDictionary(property => JsonNamingPolicy.CamelCase.ConvertName(property.Name), property =>
            property.PropertyType, StringComparer.Ordinal);

    public static async Task StreamAsync(
        Guid sessionId, HttpContext context, SessionReader sessions, SessionFeed feed, MediaLinks links, ApiOptions options, TimeProvider time,
        IHostApplicationLifetime lifetime, CancellationToken ct)
    {
        var user = context.Caller().UserId;
        await using var watcher = await feed.WatchAsync(sessionId); // before the state is read: nothing is missed in between
        if (await sessions.GetAsync(user, sessionId, ct) is not { } session)
        {
            await Problems.NoSuchGeneration().ExecuteAsync(context);
            return;
        }

        var seen = long.TryParse(context.Request.Headers["Last-Event-ID"], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
            && id <= session.Version ? id : 0; // one from the future is not one of ours
        if (session.HasEnded && seen >= session.Version)
        {
            context.Response.StatusCode = StatusCodes.Status204NoContent; // an EventSource does not come back after this
            return;
        }

        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-cache, no-transform";
        context.Response.Headers["X-Accel-Buffering"] = "no";
        if (HeadRequests.IsHead(context))
        {
            return;
        }

        watcher.Begin(session);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct, lifetime.ApplicationStopping);
        var stream = new Writer(context, links, session, seen);
        try
        {
            await stream.StartAsync(stop.Token);
            while (!stream.IsOver)
            {
                var next = watcher.Reader.WaitToReadAsync(stop.Token).AsTask();
                while (!next.IsCompleted)
                {
                    using var quiet = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
                    if (await Task.WhenAny(next, Task.Delay(options.Heartbeat, time, quiet.Token)) != next)
                    {
                        await stream.HeartbeatAsync(stop.Token);
                    }

                    await quiet.CancelAsync();
                }

                if (!await next)
                {
                    break; // too slow, or the Api stops
                }

                while (!stream.IsOver && watcher.Reader.TryRead(out var item))
                {
                    await stream.ShowAsync(item, stop.Token);
                }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The client has gone, or the Api stops.
        }

        if (!stream.IsOver && !ct.IsCancellationRequested)
        {
            await stream.SendRetryAsync(ct);
        }
    }

    private sealed class Writer(HttpContext context, MediaLinks links, SessionView first, long seen)
    {
        private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
        private SessionView shown = first;
        private int percent = first.Progress;
        private string phase = first.Phase;
        private long leaseToken = first.LeaseToken;
        private Progress? early; // of a version whose state has not come yet

        public bool IsOver { get; private set; }

        public async Task StartAsync(CancellationToken ct)
        {
            // A client that has seen this very version gets the snapshot without an id: it is not news.
            await WriteAsync("snapshot", shown.Version > seen ? shown.Version : null, links.Present(shown, context), ct);
            if (shown.HasEnded)
            {
                await EndAsync(ct);
            }
        }

        public async Task ShowAsync(FeedItem item, CancellationToken ct)
        {
            if (item.Progress is { } progress)
            {
                // Redis is quicker than the read that follows a notification. Told at once, this would be newer than the state after it.
                if (progress.Version > shown.Version)
                {
                    early = progress;
                }
                else
                {
                    await ShowProgressAsync(progress, ct);
                }
            }
            else if (item.Queue is { } news)
            {
                if (shown.Status == "queued" && news.View.AsOf > (shown.Queue?.AsOf ?? default))
                {
                    await WriteAsync("queue", null, new QueueEvent(shown.SessionId, shown.Version, news.View.Ahead, news.EtaSeconds, news.View), ct);
                }
            }
            else if (item.State is { } state && state.Version > shown.Version)
            {
                var before = shown;
                shown = state;
                leaseToken = Math.Max(leaseToken, state.LeaseToken);
                foreach (var media in state.Media.Where(m => m.Version > before.Version).OrderBy(m => m.Version))
                {
                    await WriteAsync("media", media.Version,
                        new MediaEvent(state.SessionId, state.HasEnded ? "processing" : state.Status, media.Version, links.Present(media, context)),
                        ct);
                }

                if (state.HasEnded)
                {
                    await EndAsync(ct);
                }
                else if (state.Media.Count == 0 || state.Media.Max(m => m.Version) < state.Version)
                {
                    percent = Math.Max(percent, state.Progress);
                    phase = state.Phase;
                    await WriteAsync("status", state.Version,
                        new StatusEvent(state.SessionId, state.Status, state.Version, state.Phase, percent, state.Attempt, state.CancelRequested),
                        ct);
                }

                if (!IsOver && early is { } waited && waited.Version <= shown.Version)
                {
                    early = null;
                    await ShowProgressAsync(waited, ct);
                }
            }
        }

        private async Task ShowProgressAsync(Progress progress, CancellationToken ct)
        {
            // Older than what was shown, from a worker that lost the session, or a step back: not told.
            if (progress.SessionId == shown.SessionId && progress.Version >= shown.Version && progress.LeaseToken >= leaseToken
                && progress.Percent >= percent && (progress.Percent > percent || progress.Phase != phase || progress.Preview is not null))
            {
                (percent, phase, leaseToken) = (progress.Percent, progress.Phase, progress.LeaseToken);
                await WriteAsync("progress", null, new ProgressEvent(
                    progress.SessionId, progress.Version, progress.LeaseToken, progress.Percent, progress.Phase,
                    progress.Preview is { } look ? SignPreview(look) : null), ct);
            }
        }

        /// <summary>
        /// Any client of Redis can publish progress; only what is a preview of this very session is signed, and anything else is not shown.
        /// </summary>
        private PreviewView? SignPreview(Preview look) =>
            MediaKey.TryParse(look.ObjectKey, out var key) && key.Role == MediaRole.Preview && key.UserId == shown.UserId
            && key.SessionId == shown.SessionId && key.Ordinal == look.Ordinal
                ? new PreviewView(look.Ordinal, links.Sign(look.ObjectKey, context).Url) : null;

        public async Task HeartbeatAsync(CancellationToken ct) => await RawAsync(": heartbeat\n\n", ct);

        /// <summary>Tells the client to connect again soon: another Api has the session too.</summary>
        public async Task SendRetryAsync(CancellationToken ct)
        {
            try
            {
                await RawAsync("retry: 500\n\n", ct);
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
                IsOver = true; // gone already
            }
        }

        private async Task EndAsync(CancellationToken ct)
        {
            var name = shown.Status switch { "completed" => "done", var other => other };
            // The row gets progress with a lease renewal, so it may end behind what was shown.
            await WriteAsync(name, shown.Version, links.Present(shown with { Progress = Math.Max(shown.Progress, percent) }, context), ct);
            IsOver = true;
        }

        private Task WriteAsync<T>(string name, long? id, T data, CancellationToken ct) =>
            RawAsync($"{(id is null ? "" : $"id: {id}\n")}event: {name}\ndata: {JsonSerializer.Serialize(data, Json)}\n\n", ct);

        private async Task RawAsync(string text, CancellationToken ct)
        {
            await context.Response.WriteAsync(text, ct);
            await context.Response.Body.FlushAsync(ct);
        }
    }
}
