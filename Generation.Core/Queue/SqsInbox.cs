using Microsoft.Extensions.Logging;

namespace Generation.Core.Queue;

/// <summary>
/// The receiving side of one SQS queue in one process, for all lanes that share it.
/// <para>At most one receive is under way. It begins when a lane asks, waits at the server for as long as <c>WaitTimeSeconds</c> says,
/// and outlives the one who asked: a worker asks for a second at a time, so that it can be stopped, and must not pay for a call each time.
/// What arrives lies here until its lane asks. What no lane here takes within <see cref="Hold"/> is given back to the queue for others: its
/// lane is full, or not served by this process, or the process is stopping.</para>
/// </summary>
internal sealed class SqsInbox(SqsConnection client, Func<QueueOptions> read, TimeProvider time, ILogger log) : IAsyncDisposable
{
    /// <summary>Messages that may lie here, so that a lane looks past a backlog of its neighbours, but not without end.</summary>
    private const int MaxHeld = 100;

    /// <summary>A server that does not wait is asked no more often than this.</summary>
    private static readonly TimeSpan ShortPollPause = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan Hold = TimeSpan.FromSeconds(2);

    /// <summary>
    /// A receive that is cut off may still be given a message, by a server that does not notice; so its end is waited for this long.
    /// </summary>
    private static readonly TimeSpan LastReceiveTimeout = TimeSpan.FromSeconds(5);

    private readonly Lock gate = new();
    private readonly List<Held> held = [];
    private readonly HashSet<Task> handBacks = [];
    private readonly CancellationTokenSource stopping = new();
    private readonly CancellationTokenSource cutting = new();
    private Task? receiving;

    /// <summary>Messages of a lane, and those that name none; waits up to <paramref name="wait"/> for the first.</summary>
    public async Task<IReadOnlyList<SqsMessage>> TakeAsync(SqsQueue queue, string lane, int max, TimeSpan wait, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        while (true)
        {
            Task? arriving;
            lock (gate)
            {
                var mine = held.Where(h => h.Lane is null || h.Lane == lane).Take(max).ToList();
                if (mine.Count > 0)
                {
                    held.RemoveAll(mine.Contains);
                    return [.. mine.Select(h => h.Message)];
                }

                arriving = receiving ??= held.Count < MaxHeld && !stopping.IsCancellationRequested
                    ? Task.Run(() => ReceiveAsync(queue, max), CancellationToken.None) : null;
            }

            var left = wait - time.GetElapsedTime(started);
            if (left <= TimeSpan.Zero)
            {
                return [];
            }

            try
            {
                await (arriving ?? Task.Delay(ShortPollPause, time, ct)).WaitAsync(left, time, ct);
            }
            catch (TimeoutException)
            {
                return [];
            }
        }
    }

    /// <summary>Begins no receive any more, waits for the last one, and gives back what lies here.</summary>
    public async ValueTask DisposeAsync()
    {
        Task? last;
        await stopping.CancelAsync();
        lock (gate)
        {
            last = receiving;
        }

        if (last is not null)
        {
            await Task.WhenAny(last, Task.Delay(LastReceiveTimeout, time, CancellationToken.None));
            await cutting.CancelAsync();
            await last.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        Task[] open;
        lock (gate)
        {
            open = [.. handBacks];
        }

        await Task.WhenAll(open);
    }

    private async Task ReceiveAsync(SqsQueue queue, int max)
    {
        try
        {
            var options = read();
            var visibility = options.SqsVisibility;
            var messages = await client.ReceiveAsync(queue, max, TimeSpan.FromSeconds(options.Sqs.WaitTimeSeconds), visibility, cutting.Token);
            if (messages.Count > 0)
            {
                var batch = messages.ConvertAll(message => new Held(message.Attributes.GetValueOrDefault(SqsJobQueue.LaneAttribute), message));
                lock (gate)
                {
                    held.AddRange(batch);
                    var handBack = Task.Run(() => HandBackAsync(queue, batch, Hold < visibility / 3 ? Hold : visibility / 3), CancellationToken.None);
                    handBacks.Add(handBack);
                    handBacks.RemoveWhere(task => task.IsCompleted);
                }
            }
            else
            {
                var pause = TimeSpan.FromMilliseconds(options.Sqs.IdleDelayMs);
                pause = options.Sqs.WaitTimeSeconds == 0 && pause < ShortPollPause ? ShortPollPause : pause;
                if (pause > TimeSpan.Zero)
                {
                    await Task.Delay(pause, time, stopping.Token);
                }
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // Cut off at the server, or in the pause after it.
        }
        finally
        {
            lock (gate)
            {
                receiving = null; // the next who asks begins another
            }
        }
    }

    private async Task HandBackAsync(SqsQueue queue, List<Held> batch, TimeSpan hold)
    {
        await Task.Delay(hold, time, stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        List<string> left;
        lock (gate)
        {
            left = [.. batch.Where(held.Remove).Select(h => h.Message.Receipt)];
        }

        if (left.Count == 0)
        {
            return;
        }

        try
        {
            await client.ChangeVisibilityAsync(queue, left, TimeSpan.Zero, CancellationToken.None);
            log.LogDebug("{Count} messages that no lane here had room for are given back to {Queue}", left.Count, queue.Setting);
        }
        catch (QueueException e)
        {
            log.LogDebug(e, "{Count} messages could not be given back and come again after the visibility timeout", left.Count);
        }
    }

    /// <summary>Deliveries are compared by reference: two are never equal, even with equal content.</summary>
    private sealed class Held(string? lane, SqsMessage message)
    {
        public string? Lane => lane;

        public SqsMessage Message => message;
    }
}
