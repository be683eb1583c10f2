using Generation.Api.Errors;
using Generation.Core.Database;
using Generation.ServiceDefaults;

namespace Generation.Api.Overload;

/// <summary>
/// The circuit breaker of the Api for Postgres: while it is open, every request is answered 503 with <c>Retry-After</c> within
/// milliseconds, instead of waiting three seconds for a connection. It is open while the probe of <see cref="Readiness"/>, once a second
/// on a connection of its own, gets no answer within two seconds; the first answer closes it.
/// <para>
/// It relies on one probe instead of the outcomes of requests, as Polly's breaker does: no caller's request serves as the probe, a stream
/// that stays open for hours does not keep it half open, and a single broken connection does not open it. Failures that the probe does not
/// see (read-only, no connections left, a lock) are handled by the requests themselves, and for submits by <see cref="Core.Submit.SubmitWriter"/>.
/// </para>
/// </summary>
public sealed class DatabaseCircuit(Readiness readiness, TimeProvider time, ILogger<DatabaseCircuit> log) : BackgroundService
{
    private static readonly TimeSpan ProbeInterval = TimeSpan.FromSeconds(1);

    private volatile bool isOpen;

    /// <summary>Middleware: refuses what needs the database while it is unavailable. Health, readiness and documents need none.</summary>
    public static Task RefuseWhileOpenAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        return context.Request.Path.StartsWithSegments("/api", StringComparison.OrdinalIgnoreCase) // as routes are
            && context.RequestServices.GetRequiredService<DatabaseCircuit>().isOpen
            ? Problems.RetryLater(context, ProblemCodes.DatabaseUnavailable,
                $"The database does not answer at the moment. Nothing was lost; try again.").ExecuteAsync(context)
            : next(context);
    }

    /// <summary>
    /// Middleware: a GET whose connection to the database turns out to be gone is answered by running it once more. A pool finds out that a
    /// connection was ended only when it is used.
    /// </summary>
    public static async Task RepeatReadAsync(HttpContext context, RequestDelegate next)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        try
        {
            await next(context);
        }
        catch (Exception e) when (TransientErrors.IsDisconnect(e) && !context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested
            && (HttpMethods.IsGet(context.Request.Method) || HttpMethods.IsHead(context.Request.Method)))
        {
            context.Response.Clear();
            await next(context);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(ProbeInterval, time);
        try
        {
            do
            {
                var report = await readiness.GetAsync().WaitAsync(stoppingToken);
                var isUnavailable = report.Checks.GetValueOrDefault("postgres", "ok") != "ok";
                if (isUnavailable != isOpen)
                {
                    isOpen = isUnavailable;
                    log.LogWarning("Postgres is {State}: {Consequence}", isUnavailable ? "unavailable" : "available", isUnavailable
                        ? "requests are answered with 503" : "requests are accepted again");
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException)
        {
            log.LogDebug("Stopped probing Postgres");
        }
    }
}
