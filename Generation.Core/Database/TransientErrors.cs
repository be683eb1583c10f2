using Microsoft.Extensions.Logging;
using Npgsql;
using Polly;
using Polly.Retry;

namespace Generation.Core.Database;

/// <summary>
/// Tells transient database errors from others, and retries statements on them. Only for statements that are safe to repeat: a commit whose reply
/// was lost has happened, and the statement must find that out (<c>ON CONFLICT</c>, ids that are the same in every try, fencing) instead of doing it
/// twice.
/// </summary>
public static class TransientErrors
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Whether the same statement may succeed later. Beside the errors that Npgsql calls transient: a deadlock or a conflict of transactions (class
    /// 40), a locked row (55P03), a statement or transaction that was canceled or ended for taking too long (57014, 25P03, 25P04), a server that
    /// shuts down (57P), lacks resources (53), fails at its disk (58), or has become read-only, as the old primary does in a failover.
    /// </summary>
    public static bool IsTransient(Exception? e) => e switch
    {
        PostgresException { IsTransient: true } or TimeoutException => true,
        PostgresException { SqlState: PostgresErrorCodes.ReadOnlySqlTransaction } => true,
        PostgresException { SqlState: PostgresErrorCodes.QueryCanceled or PostgresErrorCodes.LockNotAvailable } => true,
        PostgresException { SqlState: "25P03" or "25P04" } => true,
        PostgresException refusal => refusal.SqlState[..2] is "08" or "40" or "53" or "58"
            || refusal.SqlState.StartsWith("57P", StringComparison.Ordinal),
        NpgsqlException => true, // no answer of the server's: the connection
        ObjectDisposedException or IOException => true, // what Npgsql lets out when a connection dies between two steps of a command
        _ => false,
    };

    /// <summary>
    /// Whether the connection is gone rather than the database slow or unwilling: an operator, a proxy or a failover ended it, perhaps while it
    /// idled in the pool. On another one the same statement may succeed at once.
    /// </summary>
    public static bool IsDisconnect(Exception e) => e switch
    {
        PostgresException refusal => refusal.SqlState.StartsWith("57P", StringComparison.Ordinal),
        NpgsqlException => e.InnerException is not TimeoutException,
        ObjectDisposedException or IOException => true,
        _ => false,
    };

    /// <summary>Runs a statement, and once more where its connection turns out to be gone.</summary>
    public static async Task<T> RepeatOnDisconnectAsync<T>(Func<Task<T>> statement)
    {
        ArgumentNullException.ThrowIfNull(statement);
        try
        {
            return await statement();
        }
        catch (Exception e) when (IsDisconnect(e))
        {
            return await statement();
        }
    }

    /// <summary>
    /// Runs <paramref name="statement"/> until it succeeds, fails for good, or <paramref name="giveUp"/> fires (it then gets one last try).
    /// The first retry is immediate, because the connection may have died while idle; then the delay grows exponentially, with jitter.
    /// </summary>
    public static async Task<T> RetryAsync<T>(Func<Task<T>> statement, TimeProvider time, ILogger log, CancellationToken giveUp)
    {
        ArgumentNullException.ThrowIfNull(statement);
        try
        {
            return await statement();
        }
        catch (Exception e) when (!giveUp.IsCancellationRequested && IsTransient(e))
        {
            log.LogWarning("A database statement failed ({Problem}); retrying", e.Message);
        }

        var pipeline = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = args => ValueTask.FromResult(!giveUp.IsCancellationRequested && IsTransient(args.Outcome.Exception)),
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                Delay = FirstPause,
                MaxDelay = MaxPause,
                OnRetry = args =>
                {
                    log.LogWarning("A database statement failed ({Problem}); next attempt in {Pause}", args.Outcome.Exception?.Message,
                        args.RetryDelay);
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
