using System.Collections.Concurrent;
using System.Threading.Channels;
using Generation.Core;
using Generation.Core.Outbox;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.ServiceDefaults;

namespace Generation.Api.Events;

/// <summary>Something to show: a new state of the session, how far it is, or where it waits.</summary>
public readonly record struct FeedItem(SessionView? State, Progress? Progress, QueueNews? Queue = null);

/// <summary>
/// What the watchers of this Api see. State: one connection listens, changes of watched sessions are read in one statement for all of
/// them, at the latest every few seconds (a notification is only a hint). Progress: one Redis subscription a watched session.
/// So any Api serves any session, and a thousand watchers cost one query.
/// </summary>
public sealed class SessionFeed(
    SessionReader sessions, ProgressChannel progress, DatabaseConnections connections, ApiOptions options, TimeProvider time,
        ILogger<SessionFeed> log) : BackgroundService
{
    private readonly ConcurrentDictionary<Guid, Watched> watched = new();
    private readonly ConcurrentDictionary<Guid, byte> dirty = new();
    private readonly SemaphoreSlim signal = new(0, 1);

    /// <summary>
    /// Starts watching. Read the session's state after this returns: what happens from then on comes through the watcher, so nothing is
    /// missed in between, and what comes twice is told by its version.
    /// </summary>
    public async Task<Watcher> WatchAsync(Guid sessionId)
    {
        while (true)
        {
            var session = watched.GetOrAdd(sessionId, id => new Watched(id, progress, time, () => Touch([id])));
            if (await session.AddAsync() is { } channel)
            {
                return new Watcher(this, session, channel);
            }

            watched.TryRemove(KeyValuePair.Create(sessionId, session)); // its last watcher just left
        }
    }

    /// <summary>The watched sessions that wait for a worker.</summary>
    internal List<(Watched Session, OpenJob Job)> Waiting() =>
    [
        .. watched.Values.Select(session => (session, session.Waiting)).Where(one => one.Waiting is not null)
            .Select(one => (one.session, one.Waiting!)),
    ];

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var listening = new ChangeListener(
            connections.Dedicated,
            [ChangeChannel.SessionChanged, ChangeChannel.ImagesAttached, ChangeChannel.SessionCompleted],
            time, log).RunAsync(payload => Touch(Change.Read(payload).Select(c => c.SessionId)), () => Touch(watched.Keys), stoppingToken);

        var lastFullRead = time.GetTimestamp();
        while (!stoppingToken.IsCancellationRequested)
        {
            await ((Task)signal.WaitAsync(options.Reread / 4, stoppingToken)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            var all = time.GetElapsedTime(lastFullRead) >= options.Reread;
            var ids = all ? watched.Keys.ToList() : [.. dirty.Keys];
            lastFullRead = all ? time.GetTimestamp() : lastFullRead;
            foreach (var id in ids)
            {
                dirty.TryRemove(id, out _);
            }

            try
            {
                await ReadAsync(ids, stoppingToken);
            }
            catch (Exception e) // any: watchers of other sessions must not lose their events
            {
                log.LogDebug(e, "Watched sessions could not be read; they are read again soon");
            }
        }

        await listening;
        foreach (var session in watched.Values)
        {
            session.Close();
        }
    }

    private async Task ReadAsync(List<Guid> ids, CancellationToken ct)
    {
        var asked = ids.Select(id => watched.GetValueOrDefault(id)).OfType<Watched>().ToList();
        foreach (var chunk in asked.Chunk(500))
        {
            foreach (var state in await sessions.ReadNewerAsync([.. chunk.Select(w => w.SessionId)], [.. chunk.Select(w => w.Version)], ct))
            {
                if (watched.TryGetValue(state.SessionId, out var session))
                {
                    session.Show(state);
                }
            }
        }
    }

    private void Touch(IEnumerable<Guid> ids)
    {
        foreach (var id in ids.Where(watched.ContainsKey))
        {
            dirty[id] = 0;
        }

        if (!dirty.IsEmpty && signal.CurrentCount == 0)
        {
            try
            {
                signal.Release();
            }
            catch (SemaphoreFullException)
            {
                // Another change has woken the loop in this moment.
            }
        }
    }

    /// <summary>One watcher's part of the feed. Slow readers are cut off rather than fed old news: they reconnect and get a snapshot.</summary>
    public sealed class Watcher : IAsyncDisposable
    {
        private readonly SessionFeed feed;
        private readonly Watched session;
        private readonly Channel<FeedItem> channel;

        internal Watcher(SessionFeed feed, Watched session, Channel<FeedItem> channel)
        {
            (this.feed, this.session, this.channel) = (feed, session, channel);
            Telemetry.OpenStreams.Add(1);
        }

        /// <summary>Completes when the Api stops, or when the reader was too slow.</summary>
        public ChannelReader<FeedItem> Reader => channel.Reader;

        /// <summary>The state that the watcher begins with: where it waits is told from there on.</summary>
        public void Begin(SessionView state) => session.Begin(state);

        public async ValueTask DisposeAsync()
        {
            Telemetry.OpenStreams.Add(-1);
            if (await session.RemoveAsync(channel))
            {
                feed.watched.TryRemove(KeyValuePair.Create(session.SessionId, session));
            }
        }
    }

    /// <summary>A session that somebody watches: its subscribers, and the one subscription to its progress.</summary>
    internal sealed class Watched(Guid sessionId, ProgressChannel progress, TimeProvider time, Action onBehind)
    {
        private const int MaxBehind = 256;
        private readonly SemaphoreSlim gate = new(1, 1);
        private readonly Lock subscribersGate = new();
        private readonly List<Channel<FeedItem>> subscribers = [];
        private IAsyncDisposable? subscription;
        private bool isOver;
        private long version;
        private long waitsSince; // the version of what waits, under the subscribers' gate as are the next three
        private OpenJob? waiting;
        private QueueNews? told;
        private long toldAt;

        public Guid SessionId => sessionId;

        /// <summary>The newest version that was shown to subscribers; a new subscriber makes it be read anew.</summary>
        public long Version => Volatile.Read(ref version);

        /// <summary>What is waited for a worker with; null while it does not wait.</summary>
        public OpenJob? Waiting
        {
            get
            {
                lock (subscribersGate)
                {
                    return waiting;
                }
            }
        }

        /// <summary>A subscriber was shown this state.</summary>
        public void Begin(SessionView state)
        {
            lock (subscribersGate)
            {
                if (state.Version > waitsSince)
                {
                    (waitsSince, waiting, told) = (state.Version, state.OpenJob is { IsProcessing: false } job ? job : null, null);
                }

                if (state.Version == waitsSince && told is null && state.Queue is { } view)
                {
                    (told, toldAt) = (new QueueNews(view, state.EtaSeconds), time.GetTimestamp());
                }
            }
        }

        /// <summary>The place of what waits was read anew.</summary>
        public void Replace(OpenJob before, OpenJob after)
        {
            lock (subscribersGate)
            {
                waiting = ReferenceEquals(waiting, before) ? after : waiting;
            }
        }

        /// <summary>Tells subscribers where it stands, if they could see a difference.</summary>
        public void ShowQueue(QueueView view, int? etaSeconds)
        {
            QueueNews? news;
            lock (subscribersGate)
            {
                news = waiting is null ? null : QueueNewsRules.Next(told, time.GetElapsedTime(toldAt), view, etaSeconds);
                (told, toldAt) = news is null ? (told, toldAt) : (news, time.GetTimestamp());
            }

            if (news is not null)
            {
                Publish(new FeedItem(null, null, news));
            }
        }

        public async Task<Channel<FeedItem>?> AddAsync()
        {
            await gate.WaitAsync();
            try
            {
                if (isOver)
                {
                    return null;
                }

                var channel = Channel.CreateBounded<FeedItem>(new BoundedChannelOptions(MaxBehind) { SingleReader = true });
                lock (subscribersGate)
                {
                    subscribers.Add(channel);
                }

                subscription ??= await progress.SubscribeAsync(sessionId, Receive);
                return channel;
            }
            finally
            {
                gate.Release();
            }
        }

        /// <summary>True when nobody is left.</summary>
        public async Task<bool> RemoveAsync(Channel<FeedItem> channel)
        {
            await gate.WaitAsync();
            try
            {
                lock (subscribersGate)
                {
                    subscribers.Remove(channel);
                    if (subscribers.Count > 0)
                    {
                        return false;
                    }
                }

                isOver = true;
                if (subscription is not null)
                {
                    await subscription.DisposeAsync();
                }

                return true;
            }
            finally
            {
                gate.Release();
            }
        }

        public void Show(SessionView state)
        {
            if (state.Version > Version)
            {
                Volatile.Write(ref version, state.Version);
                Begin(state);
                Publish(new FeedItem(state, null));
            }
        }

        public void Close()
        {
            lock (subscribersGate)
            {
                subscribers.ForEach(s => s.Writer.TryComplete());
            }
        }

        /// <summary>Progress may tell of a version before the notification does; watchers are shown it after its state.</summary>
        private void Receive(Progress news)
        {
            Publish(new FeedItem(null, news));
            if (news.Version > Version)
            {
                onBehind();
            }
        }

        private void Publish(FeedItem item)
        {
            lock (subscribersGate)
            {
                foreach (var subscriber in subscribers.Where(s => !s.Writer.TryWrite(item)))
                {
                    subscriber.Writer.TryComplete();
                }
            }
        }
    }
}
