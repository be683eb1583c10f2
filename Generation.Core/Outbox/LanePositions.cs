using Generation.Core.Queue;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Generation.Core.Outbox;

/// <summary>
/// The position indexes that relays make, as this process last read them: each is at most a second old, and nobody waits for Redis for longer than a
/// moment. Adds what this process has accepted since an index was made, so that a burst is not told that everybody is next. For concurrent use.
/// </summary>
public sealed class LanePositions(IConnectionMultiplexer redis, QueueOptions options, TimeProvider time, ILogger<LanePositions> log)
{
    /// <summary>How long a copy is used.</summary>
    private static readonly TimeSpan MaxAge = TimeSpan.FromSeconds(1);

    /// <summary>How long a reader waits for a new copy.</summary>
    private static readonly TimeSpan MaxWait = TimeSpan.FromMilliseconds(250);

    /// <summary>A submit that began so long before an index may have been committed after it.</summary>
    private static readonly TimeSpan CommitTime = TimeSpan.FromMilliseconds(100);

    /// <summary>Rows that are remembered a lane; Redis being unavailable must not cost memory.</summary>
    private const int MaxAccepted = 20_000;

    private static readonly Comparer<NewRow> Order = Comparer<NewRow>.Create((a, b) =>
        a.Rank.CompareTo(b.Rank) is not 0 and var byRank ? byRank : a.OutboxId.CompareTo(b.OutboxId));

    private readonly Dictionary<string, Copy> copies = QueueOptions.Lanes.ToDictionary(lane => lane, _ => new Copy(), StringComparer.Ordinal);

    /// <summary>The lane's index; null when there is none, such as while Redis is unavailable.</summary>
    public async ValueTask<PositionIndex?> GetAsync(string lane)
    {
        var copy = copies[lane];
        Task reading;
        lock (copy)
        {
            if (copy.ReadAt is { } at && time.GetElapsedTime(at) < MaxAge)
            {
                return copy.Index;
            }

            reading = copy.Reading ??= Task.Run(() => ReadAsync(lane, copy));
            if (copy.HasFailed)
            {
                return null; // until it has succeeded
            }
        }

        try
        {
            await reading.WaitAsync(MaxWait, time);
        }
        catch (TimeoutException)
        {
            lock (copy)
            {
                copy.HasFailed |= ReferenceEquals(copy.Reading, reading); // the next do not wait for it
            }

            return null;
        }

        lock (copy)
        {
            return copy.Index;
        }
    }

    /// <summary>What stands before a row, with what this process has accepted since.</summary>
    public Ahead Find(PositionIndex index, double rank, long outboxId)
    {
        ArgumentNullException.ThrowIfNull(index);
        var found = index.Find(rank, outboxId);
        var copy = copies[index.State.Lane];
        lock (copy)
        {
            var place = copy.Accepted.BinarySearch(new NewRow(rank, outboxId, 0, default), Order);
            var more = place < 0 ? ~place : place;
            return more == 0 ? found : found with { Count = found.Count + more, Work = found.Work + (copy.Work / copy.Accepted.Count * more) };
        }
    }

    /// <summary>A row that this process has just committed.</summary>
    /// <param name="lane">Its lane.</param>
    /// <param name="rank">Its rank.</param>
    /// <param name="outboxId">Its id.</param>
    /// <param name="work">In slot-seconds.</param>
    /// <param name="at">When its transaction began, by the database's clock.</param>
    public void Accepted(string lane, double rank, long outboxId, double work, DateTimeOffset at)
    {
        var copy = copies[lane];
        var row = new NewRow(rank, outboxId, work, at);
        lock (copy)
        {
            if (copy.Accepted.Count >= MaxAccepted)
            {
                copy.Accepted.Clear();
                copy.Work = 0;
            }

            if (copy.Index is { } index && IsIn(index.State, row))
            {
                return;
            }

            var place = copy.Accepted.BinarySearch(row, Order);
            if (place < 0)
            {
                copy.Accepted.Insert(~place, row);
                copy.Work += work;
            }
        }
    }

    private static bool IsIn(LaneState state, NewRow row) => row.OutboxId <= state.LastOutboxId || row.At < state.AsOf - CommitTime;

    private async Task ReadAsync(string lane, Copy copy)
    {
        PositionIndex? index = null;
        var hasFailed = false;
        try
        {
            index = (byte[]?)await redis.GetDatabase().StringGetAsync(PositionIndexer.KeyOf(options, lane)) is { } bytes
                ? PositionIndex.Decode(bytes) : null;
        }
        catch (Exception e) when (e is RedisException or TimeoutException or ObjectDisposedException)
        {
            log.LogDebug(e, "The position index of lane {Lane} could not be read", lane);
            hasFailed = true;
        }

        lock (copy)
        {
            (copy.Index, copy.HasFailed, copy.ReadAt, copy.Reading) = (index, hasFailed, time.GetTimestamp(), null);
            if (index is not null && copy.Accepted.RemoveAll(row => IsIn(index.State, row)) > 0)
            {
                copy.Work = copy.Accepted.Sum(row => row.Work);
            }
        }
    }

    private sealed class Copy
    {
        /// <summary>In their order.</summary>
        public List<NewRow> Accepted { get; } = [];

        /// <summary>Of all of them.</summary>
        public double Work { get; set; }

        public PositionIndex? Index { get; set; }

        public bool HasFailed { get; set; }

        public long? ReadAt { get; set; }

        public Task? Reading { get; set; }
    }

    private readonly record struct NewRow(double Rank, long OutboxId, double Work, DateTimeOffset At);
}
