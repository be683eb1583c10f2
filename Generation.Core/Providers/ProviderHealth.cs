using System.Text.Json;
using Generation.Core.Queue;
using StackExchange.Redis;

namespace Generation.Core.Providers;

/// <summary>One worker's view of one provider.</summary>
/// <param name="Provider">Its name.</param>
/// <param name="State"><c>closed</c> (calls go through), <c>half_open</c> (one call probes) or <c>open</c> (left alone).</param>
/// <param name="OpenForSeconds">Until the next probe; null when it is not open.</param>
/// <param name="Calls">In the last five minutes.</param>
/// <param name="Errors">Of these, those that failed, whatever the reason.</param>
/// <param name="P50Ms">Half of the calls were answered in this time; null without any.</param>
/// <param name="P95Ms">95 of 100 calls were.</param>
/// <param name="LastError">The provider's code of the last failure in that time.</param>
public sealed record ProviderReport(
    string Provider, string State, double? OpenForSeconds, int Calls, int Errors, double? P50Ms, double? P95Ms, string? LastError);

/// <summary>A lane in one worker.</summary>
/// <param name="Lane">Its name.</param>
/// <param name="Slots">Jobs that it runs at once; in <c>gpu</c> the GPUs that it could use now.</param>
/// <param name="Running">Jobs that hold a slot.</param>
/// <param name="Providers">By provider.</param>
public sealed record LaneReport(string Lane, int Slots, int Running, IReadOnlyList<LaneProviderReport> Providers)
{
    /// <summary>In <c>gpu</c>: the GPUs that it could use now, which other workers may share.</summary>
    public IReadOnlyList<string>? Gpus { get; init; }
}

/// <summary>A provider's jobs of a lane in one worker.</summary>
/// <param name="Provider">Its name.</param>
/// <param name="Running">Jobs that hold a slot.</param>
/// <param name="Claimed">Jobs since the worker started; only differences say something.</param>
/// <param name="Work">Slot-seconds that were expected of these jobs, since the worker started.</param>
public sealed record LaneProviderReport(string Provider, int Running, long Claimed, double Work);

/// <summary>How long a worker's last jobs of one kind took from claim to end, in seconds.</summary>
/// <param name="Model">Its name.</param>
/// <param name="Variant">What the duration depends on beside the model: size, quality, seconds, outputs.</param>
/// <param name="Count">Jobs that were measured, at most the last 200.</param>
/// <param name="P20">A fifth were quicker.</param>
/// <param name="P50">Half were.</param>
/// <param name="P90">Nine tenths were.</param>
public sealed record DurationReport(string Model, string Variant, int Count, double P20, double P50, double P90);

/// <summary>One worker's report.</summary>
/// <param name="Worker">Its name.</param>
/// <param name="At">When it was made.</param>
/// <param name="Providers">As it finds them.</param>
public sealed record WorkerReport(string Worker, DateTimeOffset At, IReadOnlyList<ProviderReport> Providers)
{
    /// <summary>Those that it serves; null from a worker of the release before.</summary>
    public IReadOnlyList<LaneReport>? Lanes { get; init; }

    /// <summary>Of the kinds of jobs that it has done lately.</summary>
    public IReadOnlyList<DurationReport> Durations { get; init; } = [];
}

/// <summary>The workers' reports on their providers, for operators. Kept in Redis and expiring; nothing depends on them.</summary>
public sealed class ProviderHealth(IConnectionMultiplexer redis, QueueOptions options)
{
    /// <summary>How often a worker reports.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(15);

    private string Index => $"{options.Prefix}:workers";

    /// <exception cref="RedisException">Redis is unavailable.</exception>
    public async Task PublishAsync(WorkerReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        var database = redis.GetDatabase();
        await database.StringSetAsync($"{Index}:{report.Worker}", JsonSerializer.Serialize(report, JsonSerializerOptions.Web), Lifetime);
        await database.SetAddAsync(Index, report.Worker);
    }

    /// <summary>For a worker that stops; the report of one that is killed expires after 15 seconds.</summary>
    /// <exception cref="RedisException">Redis is unavailable.</exception>
    public Task ForgetAsync(string worker) => redis.GetDatabase().KeyDeleteAsync($"{Index}:{worker}");

    /// <summary>The reports of the workers that live.</summary>
    /// <exception cref="RedisException">Redis is unavailable.</exception>
    public async Task<IReadOnlyList<WorkerReport>> ReadAsync()
    {
        var database = redis.GetDatabase();
        var workers = await database.SetMembersAsync(Index);
        if (workers.Length == 0)
        {
            return [];
        }

        var values = await database.StringGetAsync([.. workers.Select(w => (RedisKey)$"{Index}:{w}")]);
        var gone = workers.Where((_, i) => values[i].IsNull).ToArray();
        if (gone.Length > 0)
        {
            await database.SetRemoveAsync(Index, gone);
        }

        return [.. values.Where(v => !v.IsNull).Select(v => JsonSerializer.Deserialize<WorkerReport>((string)v!, JsonSerializerOptions.Web)!)];
    }
}
