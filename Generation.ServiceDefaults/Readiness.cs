using System.Text.Json.Serialization;
using Generation.Core.Database;
using Generation.Core.Queue;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Npgsql;
using OpenTelemetry;
using StackExchange.Redis;

namespace Generation.ServiceDefaults;

internal sealed record SchemaCheck(Func<NpgsqlConnection, CancellationToken, Task<bool>> IsCurrent);

/// <summary>What <c>/readyz</c> answers.</summary>
/// <param name="Status"><c>ready</c>, <c>degraded</c> (works without Redis), <c>unready</c>, or <c>draining</c>.</param>
/// <param name="Checks">
/// <c>postgres</c>: ok, unreachable. <c>schema</c>: ok, outdated, unknown (Postgres is unavailable). <c>redis</c>: ok, read-only (a
/// replica, out of memory, or still loading), unreachable. A check that the service has not registered is missing.
/// </param>
public sealed record ReadinessReport(string Status, IReadOnlyDictionary<string, string> Checks)
{
    [JsonIgnore]
    public bool TakesTraffic => Status is "ready" or "degraded";
}

/// <summary>
/// Whether this process should get traffic. Asked by every prober, it asks the servers at most once a second: callers
/// in between share the answer, callers during a probe share the probe. Draining is seen at once.
/// </summary>
public sealed class Readiness(IServiceProvider services, DrainState drain, TimeProvider time, ILogger<Readiness> logger) : IAsyncDisposable
{
    private static readonly TimeSpan AnswerLifetime = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan PostgresTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan RedisTimeout = TimeSpan.FromSeconds(1);

    private readonly Lock gate = new();
    private readonly SchemaCheck? schema = services.GetService<SchemaCheck>();
    private readonly RedisConnections? redis = services.GetService<RedisConnections>();

    // A dedicated connection: under load the pool may be empty for seconds, and taking a busy process out of
    // rotation would only pass its load on.
    private readonly NpgsqlDataSource? postgres = services.GetService<DatabaseConnections>() is { } connections
        ? NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(connections.Service) { MaxPoolSize = 1, MinPoolSize = 0, MaxAutoPrepare = 0 })
        : null;

    private Task<ReadinessReport>? probe;
    private long probedAt;
    private string lastStatus = "";

    public async Task<ReadinessReport> GetAsync()
    {
        Task<ReadinessReport> current;
        lock (gate)
        {
            if (probe is null || (probe.IsCompleted && time.GetElapsedTime(probedAt) >= AnswerLifetime))
            {
                probe = ProbeAsync();
            }

            current = probe;
        }

        var report = await current;
        return drain.IsDraining ? report with { Status = "draining" } : report;
    }

    public async ValueTask DisposeAsync()
    {
        if (postgres is not null)
        {
            await postgres.DisposeAsync();
        }
    }

    private async Task<ReadinessReport> ProbeAsync()
    {
        await Task.Yield(); // leave the lock
        using var noSpans = SuppressInstrumentationScope.Begin();
        var redisProbe = ProbeRedisAsync();
        var checks = await ProbePostgresInTimeAsync();
        if (await redisProbe is { } redisAnswer)
        {
            checks["redis"] = redisAnswer;
        }

        var unready = checks.GetValueOrDefault("postgres", "ok") != "ok" || checks.GetValueOrDefault("schema", "ok") != "ok";
        var degraded = checks.GetValueOrDefault("redis", "ok") != "ok";
        var report = new ReadinessReport(unready ? "unready" : degraded ? "degraded" : "ready", checks);
        LogChange(report);
        probedAt = time.GetTimestamp();
        return report;
    }

    // Cancelling a statement waits for the server: on a broken network much longer than the timeout.
    private async Task<Dictionary<string, string>> ProbePostgresInTimeAsync()
    {
        try
        {
            return await ProbePostgresAsync().WaitAsync(PostgresTimeout * 1.25, time);
        }
        catch (TimeoutException)
        {
            return PostgresIsUnavailable();
        }
    }

    private Dictionary<string, string> PostgresIsUnavailable()
    {
        var checks = new Dictionary<string, string>(StringComparer.Ordinal) { ["postgres"] = "unreachable" };
        if (schema is not null)
        {
            checks["schema"] = "unknown";
        }

        return checks;
    }

    private async Task<Dictionary<string, string>> ProbePostgresAsync()
    {
        var checks = new Dictionary<string, string>();
        if (postgres is null)
        {
            return checks;
        }

        using var timeout = new SafeTimeout(PostgresTimeout, time);
        try
        {
            // That the connection of the last probe is gone says nothing about the server: this one may have been ended alone.
            var isCurrent = await TransientErrors.RepeatOnDisconnectAsync(async () =>
            {
                await using var connection = await postgres.OpenConnectionAsync(timeout.Token);
                await using var command = new NpgsqlCommand("SELECT 1", connection);
                await command.ExecuteScalarAsync(timeout.Token);
                return schema is null ? (bool?)null : await schema.IsCurrent(connection, timeout.Token);
            });
            checks["postgres"] = "ok";
            if (isCurrent is { } current)
            {
                checks["schema"] = current ? "ok" : "outdated";
            }
        }
        catch (PostgresException e) when (IsMissingSchema(e))
        {
            checks["postgres"] = "ok";
            checks["schema"] = "outdated";
        }
        catch (Exception e) when (e is NpgsqlException or OperationCanceledException || TransientErrors.IsTransient(e))
        {
            logger.LogDebug(e, "Postgres did not answer the readiness probe");
            return PostgresIsUnavailable();
        }

        return checks;
    }

    // Before the first migration not even the role exists that we connect as, nor any table.
    private static bool IsMissingSchema(PostgresException answer) => answer.SqlState switch
    {
        PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.InvalidSchemaName or PostgresErrorCodes.UndefinedObject => true,
        PostgresErrorCodes.InvalidParameterValue => answer.MessageText.Contains(ServiceLogins.Group, StringComparison.Ordinal),
        _ => false,
    };

    private async Task<string?> ProbeRedisAsync()
    {
        if (redis is null)
        {
            return null;
        }

        IConnectionMultiplexer? multiplexer = null;
        try
        {
            multiplexer = await redis.SharedAsync().WaitAsync(RedisTimeout, time);
            if (!multiplexer.IsConnected)
            {
                return "unreachable";
            }

            await redis.TryWriteAsync().WaitAsync(RedisTimeout, time);
            return "ok";
        }
        catch (Exception e) when (e is RedisException or TimeoutException or OperationCanceledException or ObjectDisposedException)
        {
            logger.LogDebug(e, "Redis took no write of the readiness probe");
            return e is RedisServerException || (multiplexer is not null && RedisFailover.IsNotWritable(multiplexer, e))
                ? "read-only"
                : "unreachable";
        }
    }

    // Once a change, not once a probe.
    private void LogChange(ReadinessReport report)
    {
        if (report.Status == lastStatus)
        {
            return;
        }

        logger.Log(
            report.Status == "ready" ? LogLevel.Information : LogLevel.Warning,
            "Readiness is now {Status}: {Checks}",
            report.Status,
            string.Join(", ", report.Checks.Select(check => $"{check.Key} {check.Value}")));
        lastStatus = report.Status;
    }
}

internal static class HealthEndpoints
{
    /// <summary><c>/healthz</c>: 200 while the process can answer at all. <c>/readyz</c>: 200 or 503 with a <see cref="ReadinessReport"/>.</summary>
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var health = routes.MapGroup("").AllowAnonymous().DisableHttpMetrics().ExcludeFromDescription().WithMetadata(new UnobservedEndpoint());
        health.MapGet("/healthz", (HttpContext context) => Answer(context, new { status = "ok" }, StatusCodes.Status200OK));
        health.MapGet("/readyz", async (HttpContext context, Readiness readiness) =>
        {
            var report = await readiness.GetAsync();
            return Answer(context, report, report.TakesTraffic ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
        });
    }

    private static IResult Answer<T>(HttpContext context, T body, int status)
    {
        context.Response.Headers.CacheControl = "no-store";
        return Results.Json(body, statusCode: status);
    }
}
