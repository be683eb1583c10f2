using Microsoft.Extensions.Logging;
using Npgsql;
using Polly;
using Polly.Retry;

namespace Generation.Core.Database;

/// <summary>
/// Repeats a statement while the database is away. Only for what is safe to repeat: a commit whose reply was lost has happened, and the
/// statement must find that out (<c>ON CONFLICT</c>, ids that are the same in every try, fencing) instead of doing it twice.
/// </summary>
public static class Transient
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Whether it is the database that is in trouble and not the statement: the same statement may succeed later. Beside what Npgsql
    /// calls transient that is a server that shuts down, has no room (class 53), fails at its disk (58), or has become read-only, as
    /// the old primary does in a failover.
    /// </summary>
    public static bool IsPassing(Exception? e) => e switch
    {
        PostgresException { IsTransient: true } or TimeoutException => true,
        PostgresException { SqlState: PostgresErrorCodes.ReadOnlySqlTransaction } => true,
        PostgresException refusal => refusal.SqlState[..2] is "08" or "53" or "58" || refusal.SqlState.StartsWith("57P", StringComparison.Ordinal),
        NpgsqlException => true, // no answer of the server's: the connection
        ObjectDisposedException or IOException => true, // what Npgsql lets out when a connection dies between two steps of a command
        _ => false,
    };

    /// <summary>
    /// Runs <paramref name="statement"/> until it succeeds, fails for good, or <paramref name="giveUp"/> fires (it then gets one last try).
    /// The first repeat is immediate, because the connection may have died while nobody used it; then pauses grow, with jitter, so that
    /// not all come back at once.
    /// </summary>
    public static async Task<T> RetryAsync<T>(Func<Task<T>> statement, TimeProvider time, ILogger log, CancellationToken giveUp)
    {
        ArgumentNullException.ThrowIfNull(statement);
        try
        {
            return await statement();
        }
        catch (Exception e) when (!giveUp.IsCancellationRequested && IsPassing(e))
        {
            log.LogWarning("The database did not take a statement ({Problem})", e.Message);
        }

        var pipeline = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = args => ValueTask.FromResult(!giveUp.IsCancellationRequested && IsPassing(args.Outcome.Exception)),
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                Delay = FirstPause,
                MaxDelay = MaxPause,
                OnRetry = args =>
                {
                    log.LogWarning("The database did not take a statement ({Problem}); again in {Pause}", args.Outcome.Exception?.Message, args.RetryDelay);
                    return ValueTask.CompletedTask;
                },
            })
            .Build();
        try
        {
            return await pipeline.ExecuteAsync(async _ => await statement(), giveUp);
        }
        catch (OperationCanceledException) when (giveUp.IsCancellationRequested)
        {
            return await statement();
        }
    }
}
