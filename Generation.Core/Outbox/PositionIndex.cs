using System.Text.Json;
using Generation.Core.Providers;

namespace Generation.Core.Outbox;

/// <summary>A provider as the workers of a lane find it.</summary>
/// <param name="Provider">Its name.</param>
/// <param name="OpenUntil">When its circuit breaker lets the next call through, where it is open in every worker; else null.</param>
/// <param name="Running">Its jobs that hold a slot of the lane.</param>
public sealed record LaneProvider(string Provider, DateTimeOffset? OpenUntil, int Running);

/// <summary>A lane at one moment: what estimates are made from. Times are the database's.</summary>
public sealed record LaneState
{
    public required string Lane { get; init; }

    /// <summary>The moment; everything here was true then.</summary>
    public required DateTimeOffset AsOf { get; init; }

    /// <summary>The newest row of the outbox: a newer one is not among those that were counted.</summary>
    public long LastOutboxId { get; init; }

    /// <summary>Virtual time: the largest rank that was dispatched.</summary>
    public double Clock { get; init; }

    /// <summary>Slot-seconds of work that workers claim a second while there is enough of it; 0 without a worker.</summary>
    public double WorkRate { get; init; }

    /// <summary>Jobs that the workers run at once.</summary>
    public int Slots { get; init; }

    /// <summary>Slots that are taken.</summary>
    public int Running { get; init; }

    public bool IsPaused { get; init; }

    /// <summary>Whether any worker serves the lane.</summary>
    public bool HasWorkers { get; init; }

    /// <summary>Messages that no worker has claimed.</summary>
    public long QueueCount { get; init; }

    /// <summary>Their work in slot-seconds.</summary>
    public double QueueWork { get; init; }

    /// <summary>Rows that wait for their dispatch and have a rank.</summary>
    public long WaitingCount { get; init; }

    /// <summary>Their work in slot-seconds.</summary>
    public double WaitingWork { get; init; }

    public IReadOnlyList<LaneProvider> Providers { get; init; } = [];

    /// <summary>How long the lane's jobs took lately, over all workers.</summary>
    public IReadOnlyList<DurationReport> Durations { get; init; } = [];

    /// <summary>The relay that made the index.</summary>
    public string Maker { get; init; } = "";

    /// <summary>What the pass took, in milliseconds.</summary>
    public double CostMs { get; init; }
}

/// <summary>What will be taken before a row.</summary>
/// <param name="Count">Rows and messages; 0: it is next.</param>
/// <param name="Work">Theirs, in slot-seconds.</param>
/// <param name="IsExact">False where the count was estimated between two rungs less than 500 rows apart, or was cut off.</param>
/// <param name="AsOf">When that was so.</param>
public readonly record struct Ahead(long Count, double Work, bool IsExact, DateTimeOffset AsOf);

/// <summary>A row of the ladder.</summary>
/// <param name="Rank">Of the row.</param>
/// <param name="OutboxId">Of the row.</param>
/// <param name="Before">Waiting rows before it.</param>
/// <param name="WorkBefore">Their work, in slot-seconds.</param>
public readonly record struct Rung(double Rank, long OutboxId, long Before, double WorkBefore);

/// <summary>
/// A lane's line as a ladder: the messages in the queue, the first 2,000 rows that wait one by one, then every 500th. About 17 bytes a rung, so that
/// 100,000 rows are 40 KB. Immutable.
/// </summary>
public sealed class PositionIndex
{
    /// <summary>Rows, and messages, that the index has one by one.</summary>
    public const int Singles = 2_000;

    /// <summary>Rows between two rungs after those.</summary>
    public const int Stride = 500;

    private const byte FormatVersion = 1;

    private readonly long[] queue;
    private readonly Rung[] rungs;
    private readonly Dictionary<long, int> places;

    public PositionIndex(LaneState state, IEnumerable<long> queue, IEnumerable<Rung> rungs)
    {
        (State, this.queue, this.rungs) = (state, [.. queue], [.. rungs]);
        places = new Dictionary<long, int>(this.queue.Length);
        for (var i = 0; i < this.queue.Length; i++)
        {
            places[this.queue[i]] = i;
        }
    }

    public LaneState State { get; }

    /// <summary>Rungs of the ladder.</summary>
    public int Count => rungs.Length;

    /// <summary>What stands before a row of this rank and id, which may be newer than the index.</summary>
    public Ahead Find(double rank, long outboxId)
    {
        if (places.TryGetValue(outboxId, out var place))
        {
            return new Ahead(place, State.QueueWork * place / Math.Max(1, State.QueueCount), true, State.AsOf);
        }

        var next = LowerBound(rank, outboxId);
        Ahead At(double before, double workBefore, bool isExact) =>
            new(State.QueueCount + (long)before, State.QueueWork + workBefore, isExact, State.AsOf);
        if (next < rungs.Length && rungs[next].OutboxId == outboxId)
        {
            return At(rungs[next].Before, rungs[next].WorkBefore, true);
        }

        if (next == 0)
        {
            return At(0, 0, true);
        }

        var (low, high) = (rungs[next - 1], next < rungs.Length ? rungs[next]
            : new Rung(double.MaxValue, long.MaxValue, State.WaitingCount, State.WaitingWork));
        var (from, to) = (low.Before + 1, Math.Max(low.Before + 1, high.Before));
        if (from == to)
        {
            return At(to, high.WorkBefore, true); // it came later than the index, and would stand here
        }

        var part = high.Rank > low.Rank ? (rank - low.Rank) / (high.Rank - low.Rank)
            : (double)(outboxId - low.OutboxId) / Math.Max(1, high.OutboxId - low.OutboxId);
        part = double.IsFinite(part) ? Math.Clamp(part, 0, 1) : 0.5;
        return At(from + Math.Floor(part * (to - from)), low.WorkBefore + (part * (high.WorkBefore - low.WorkBefore)), false);
    }

    /// <summary>The last rung before a row, or its own, of those that are a stride apart: at most so many rows are to be counted.</summary>
    public Rung? RungBefore(double rank, long outboxId)
    {
        var at = LowerBound(rank, outboxId);
        at -= at < rungs.Length && rungs[at].OutboxId == outboxId ? 0 : 1;
        if (at >= 0 && rungs[at].Before < Singles)
        {
            at -= (int)(rungs[at].Before % Stride);
        }
        else if (at > 0 && rungs[at].Before % Stride != 0)
        {
            at--; // the last one stands anywhere
        }

        return at >= 0 ? rungs[at] : null;
    }

    /// <summary>The index as bytes.</summary>
    public byte[] Encode()
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write(FormatVersion);
        var header = JsonSerializer.SerializeToUtf8Bytes(State, JsonSerializerOptions.Web);
        writer.Write7BitEncodedInt(header.Length);
        writer.Write(header);
        writer.Write7BitEncodedInt(queue.Length);
        var last = 0L;
        foreach (var id in queue)
        {
            writer.Write7BitEncodedInt64(ZigZag(id - last));
            last = id;
        }

        writer.Write7BitEncodedInt(rungs.Length);
        var before = default(Rung);
        foreach (var rung in rungs)
        {
            writer.Write(rung.Rank);
            writer.Write7BitEncodedInt64(ZigZag(rung.OutboxId - before.OutboxId));
            writer.Write7BitEncodedInt64(rung.Before - before.Before);
            writer.Write((float)rung.WorkBefore);
            before = rung;
        }

        writer.Flush();
        return stream.ToArray();
    }

    /// <summary>What <see cref="Encode"/> wrote; null when it is something else, such as the index of a later release.</summary>
    public static PositionIndex? Decode(byte[] bytes)
    {
        ArgumentNullException.ThrowIfNull(bytes);
        try
        {
            using var reader = new BinaryReader(new MemoryStream(bytes));
            if (reader.ReadByte() != FormatVersion
                || JsonSerializer.Deserialize<LaneState>(reader.ReadBytes(reader.Read7BitEncodedInt()), JsonSerializerOptions.Web) is not { } state)
            {
                return null;
            }

            var messages = new long[Length(reader, bytes)];
            var last = 0L;
            for (var i = 0; i < messages.Length; i++)
            {
                messages[i] = last += ZagZig(reader.Read7BitEncodedInt64());
            }

            var ladder = new Rung[Length(reader, bytes)];
            var before = default(Rung);
            for (var i = 0; i < ladder.Length; i++)
            {
                ladder[i] = before = new Rung(reader.ReadDouble(), before.OutboxId + ZagZig(reader.Read7BitEncodedInt64()),
                    before.Before + reader.Read7BitEncodedInt64(), reader.ReadSingle());
            }

            return new PositionIndex(state, messages, ladder);
        }
        catch (Exception e) when (e is IOException or FormatException or JsonException or ArgumentException)
        {
            return null;
        }
    }

    private static int Length(BinaryReader reader, byte[] bytes) =>
        reader.Read7BitEncodedInt() is var length && length >= 0 && length <= bytes.Length ? length : throw new FormatException();

    private static long ZigZag(long value) => (value << 1) ^ (value >> 63);

    private static long ZagZig(long value) => (long)((ulong)value >> 1) ^ -(value & 1);

    /// <summary>How many rungs stand before a key.</summary>
    private int LowerBound(double rank, long outboxId)
    {
        var (low, high) = (0, rungs.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            var rung = rungs[middle];
            if (rung.Rank < rank || (rung.Rank == rank && rung.OutboxId < outboxId))
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
