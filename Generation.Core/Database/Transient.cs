using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>Repeats a statement that is safe to repeat while the database is away.</summary>
public static class Transient
{
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);

    /// <summary>Runs <paramref name="statement"/> until it succeeds, fails for good, or <paramref name="giveUp"/> fires (it then gets one last try).</summary>
    public static async Task<T> RetryAsync<T>(Func<Task<T>> statement, TimeProvider time, ILogger log, CancellationToken giveUp)
    {
        ArgumentNullException.ThrowIfNull(statement);
        var pause = TimeSpan.FromMilliseconds(50);
        while (true)
        {
            try
            {
                return await statement();
            }
            catch (Exception e) when (!giveUp.IsCancellationRequested && (e is TimeoutException or NpgsqlException { IsTransient: true }))
            {
                log.LogWarning("The database did not take a statement ({Problem}); again in {Pause}", e.Message, pause);
                await Task.Delay(pause, time, giveUp).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                pause = pause * 2 > MaxPause ? MaxPause : pause * 2;
            }
        }
    }
}
