using System.Data;
using Generation.Core.Catalog;
using Generation.Core.Database;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Npgsql;
using StackExchange.Redis;

namespace Generation.Core.Outbox;

/// <summary>
/// Makes the position indexes of the lanes and puts them into Redis. Any number of relays may run it: the one that has made a lane's index goes on
/// doing so, and another takes over when it has missed two turns. No index is made more than once a second, nor for more than 5 % of the time.
/// Not for concurrent use.
/// </summary>
public sealed class PositionIndexer(
    NpgsqlDataSource database, IConnectionMultiplexer redis, ProviderHealth health, ModelRegistry models, QueueOptions options, TimeProvider time)
{
    /// <summary>The shortest time between two indexes of a lane.</summary>
    public static readonly TimeSpan MinInterval = TimeSpan.FromSeconds(1);

    /// <summary>How long an index is kept that is not followed by another; three intervals where those are long.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(5);

    /// <summary>20: a twentieth of the time.</summary>
    private const int CostFactor = 20;

    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(2);

    private readonly string maker = $"{Environment.MachineName}:{Environment.ProcessId}:{Guid.NewGuid():N}";
    private readonly Dictionary<string, (long MadeAt, TimeSpan Interval)> made = new(StringComparer.Ordinal);
    private readonly LaneRates rates = new();

    /// <summary>The key of a lane's index.</summary>
    public static string KeyOf(QueueOptions options, string lane) => $"{options.Prefix}:positions:{lane}";

    /// <summary>Time between two passes over a lane of which the last took <paramref name="cost"/>.</summary>
    public static TimeSpan IntervalAfter(TimeSpan cost) => cost * CostFactor > MinInterval ? cost * CostFactor : MinInterval;

    /// <summary>Makes those that are due and this relay's turn; returns how many.</summary>
    /// <exception cref="RedisException">Redis is unavailable.</exception>
    /// <exception cref="NpgsqlException">The database is.</exception>
    public async Task<int> MakeDueAsync(CancellationToken ct)
    {
        var (count, reports) = (0, (IReadOnlyList<WorkerReport>?)null);
        foreach (var lane in QueueOptions.Lanes.Where(IsDue))
        {
            if (await HoldsTurnAsync(lane))
            {
                reports ??= await health.ReadAsync();
                count += await MakeAsync(lane, reports, ct) ? 1 : 0;
            }
        }

        return count;
    }

    /// <summary>Lets another relay take over at once.</summary>
    public async Task LeaveAsync()
    {
        foreach (var lane in made.Keys.ToList())
        {
            made.Remove(lane);
            if (await redis.GetDatabase().StringGetAsync(TurnOf(lane)) == maker)
            {
                await redis.GetDatabase().KeyDeleteAsync(TurnOf(lane));
            }
        }
    }

    private string TurnOf(string lane) => $"{KeyOf(options, lane)}:maker";

    private bool IsDue(string lane) => !made.TryGetValue(lane, out var last) || time.GetElapsedTime(last.MadeAt) >= last.Interval;

    private async Task<bool> HoldsTurnAsync(string lane)
    {
        var lifetime = (made.TryGetValue(lane, out var last) ? last.Interval : MinInterval) + Grace;
        var cache = redis.GetDatabase();
        return await cache.StringSetAsync(TurnOf(lane), maker, lifetime, When.NotExists)
            || (await cache.StringGetAsync(TurnOf(lane)) == maker && await cache.KeyExpireAsync(TurnOf(lane), lifetime));
    }

    private async Task<bool> MakeAsync(string lane, IReadOnlyList<WorkerReport> reports, CancellationToken ct)
    {
        var cache = redis.GetDatabase();
        if (!rates.Knows(lane) && (byte[]?)await cache.StringGetAsync(KeyOf(options, lane)) is { } before
            && PositionIndex.Decode(before)?.State is { } known)
        {
            rates.Adopt(lane, known.WorkRate, known.Slots);
        }

        var started = time.GetTimestamp();
        if (await ReadAsync(lane, ct) is not { } line)
        {
            return false;
        }

        var workers = LaneRates.Sum(lane, reports);
        var state = line.State with
        {
            WorkRate = rates.Update(lane, reports, line.State.QueueCount + line.State.WaitingCount > 0),
            Slots = workers.Slots,
            Running = workers.Running,
            HasWorkers = workers.HasWorkers,
            Providers = ProvidersOf(reports, workers, line.State.AsOf),
            Durations = DurationsOf(lane, reports),
            Maker = maker,
            CostMs = time.GetElapsedTime(started).TotalMilliseconds,
        };
        var bytes = new PositionIndex(state, line.Queue, line.Rungs).Encode();
        var interval = IntervalAfter(time.GetElapsedTime(started));
        await cache.StringSetAsync(KeyOf(options, lane), bytes, interval * 3 > Lifetime ? interval * 3 : Lifetime);
        await cache.KeyExpireAsync(TurnOf(lane), interval + Grace);
        made[lane] = (started, interval);
        return true;
    }

    /// <summary>One snapshot of the lane; null when another relay reads it at the moment.</summary>
    private async Task<(LaneState State, List<long> Queue, List<Rung> Rungs)?> ReadAsync(string lane, CancellationToken ct)
    {
        await using var connection = await database.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, ct);
        await using var batch = new NpgsqlBatch(connection, transaction);
        batch.BatchCommands.Add(PlannerSettings.Command());
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/lock_positions.sql")) { Parameters = { new() { Value = lane } } });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/queued_messages.sql"))
        {
            Parameters = { new() { Value = PositionIndex.Singles } },
        });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Outbox/waiting_rungs.sql"))
        {
            Parameters = { new() { Value = (long)PositionIndex.Singles }, new() { Value = (long)PositionIndex.Stride } },
        });
        LaneState state;
        var queue = new List<long>();
        var rungs = new List<Rung>();
        await using (var reader = await batch.ExecuteReaderAsync(ct))
        {
            await reader.SkipResultsAsync(1, ct);
            await reader.ReadAsync(ct);
            if (!reader.GetBoolean(0))
            {
                return null;
            }

            state = new LaneState
            {
                Lane = lane,
                AsOf = reader.GetFieldValue<DateTimeOffset>(1),
                LastOutboxId = reader.GetInt64(2),
                Clock = reader.GetDouble(3),
                IsPaused = reader.GetBoolean(4),
            };
            await reader.SkipResultsAsync(1, ct);
            while (await reader.ReadAsync(ct))
            {
                queue.Add(reader.GetInt64(0));
                state = state with { QueueCount = reader.GetInt64(1), QueueWork = reader.GetDouble(2) };
            }

            await reader.SkipResultsAsync(1, ct);
            while (await reader.ReadAsync(ct))
            {
                rungs.Add(new Rung(reader.GetDouble(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetDouble(3)));
                state = state with { WaitingCount = rungs[^1].Before + 1, WaitingWork = rungs[^1].WorkBefore + reader.GetDouble(4) };
            }

            await reader.FinishAsync(ct);
        }

        await transaction.CommitAsync(ct);
        return (state, queue, rungs);
    }

    /// <summary>A GPU's breaker is called <c>forge host:port</c>; a provider is unavailable where each of its breakers is open.</summary>
    private static List<LaneProvider> ProvidersOf(IReadOnlyList<WorkerReport> reports, LaneWorkers workers, DateTimeOffset asOf) =>
    [
        .. reports.SelectMany(report => report.Providers).GroupBy(report => report.Provider.Split(' ')[0], StringComparer.Ordinal)
            .Select(same => new LaneProvider(
                same.Key,
                same.All(report => report.State == "open" && report.OpenForSeconds is > 0) ? asOf.AddSeconds(Math.Min(same.Min(report =>
                    report.OpenForSeconds!.Value), 86_400)) : null,
                workers.RunningByProvider.GetValueOrDefault(same.Key))),
    ];

    /// <summary>Each kind of job of the lane over all workers: the means of their percentiles, by how many jobs they measured.</summary>
    private List<DurationReport> DurationsOf(string lane, IReadOnlyList<WorkerReport> reports) =>
    [
        .. reports.SelectMany(report => report.Durations ?? [])
            .Where(report => report.Count > 0 && (models.Find(report.Model) is not { } model || model.Lane == lane)
                && double.IsFinite(report.P20 + report.P50 + report.P90))
            .GroupBy(report => (report.Model, report.Variant))
            .Select(same =>
            {
                double Mean(Func<DurationReport, double> of) => Math.Round(same.Sum(one => of(one) * one.Count) / same.Sum(one => one.Count), 3);
                return new DurationReport(same.Key.Model, same.Key.Variant, same.Sum(one => one.Count), Mean(one => one.P20), Mean(one => one.P50),
                    Mean(one => one.P90));
            }),
    ];
}
