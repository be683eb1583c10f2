using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Forge;

/// <summary>What the one graphics card is doing: at most one job samples, the others wait for the lock in the order in which they came.</summary>
public sealed class ForgeGpu(TimeProvider time)
{
    /// <summary>Finished tasks that <c>/internal/progress</c> remembers.</summary>
    private const int RememberedTasks = 16;

    private readonly SemaphoreSlim queueLock = new(1, 1);
    private readonly Lock gate = new();
    private readonly List<string> pending = [];
    private readonly Queue<string> finished = new();
    private ForgeJob? running;
    private string? currentTask;
    private int jobs;
    private int inside;
    private int mostInside;
    private int interrupts;
    private int skips;

    /// <summary>The job on the card; null: idle.</summary>
    internal ForgeJob? Running
    {
        get
        {
            lock (gate)
            {
                return running;
            }
        }
    }

    /// <summary>The task that was started last and has not finished. One that failed stays it until the next begins, as in the WebUI.</summary>
    public string? CurrentTask
    {
        get
        {
            lock (gate)
            {
                return currentTask;
            }
        }
    }

    public IReadOnlyList<string> Pending
    {
        get
        {
            lock (gate)
            {
                return [.. pending];
            }
        }
    }

    public (bool Active, bool Queued, bool Completed, int Place, int Waiting) StateOf(string task)
    {
        lock (gate)
        {
            return (task == currentTask, pending.Contains(task), finished.Contains(task), pending.IndexOf(task) + 1, pending.Count);
        }
    }

    /// <summary>Waits for the card. The job is inside txt2img from here until the place is given up.</summary>
    internal async Task<Place> EnterAsync(ForgeJob job, CancellationToken stopping)
    {
        lock (gate)
        {
            jobs++;
            mostInside = Math.Max(mostInside, ++inside);
            pending.Add(job.TaskId);
        }

        try
        {
            await queueLock.WaitAsync(stopping);
        }
        catch (OperationCanceledException)
        {
            lock (gate)
            {
                pending.Remove(job.TaskId);
                inside--;
            }

            throw;
        }

        lock (gate)
        {
            pending.Remove(job.TaskId);
            (running, currentTask) = (job, job.TaskId);
            job.StartedAt = time.GetUtcNow();
        }

        return new Place(this, job);
    }

    /// <summary>Stops the job that runs now, whosever it is; nothing when none does.</summary>
    public void Interrupt()
    {
        lock (gate)
        {
            interrupts++;
            running?.Interrupt();
        }
    }

    /// <summary>Ends the picture that is made now.</summary>
    public void Skip()
    {
        lock (gate)
        {
            skips++;
            running?.Skip();
        }
    }

    /// <summary>Answer of <c>GET /sim/forge</c>.</summary>
    /// <param name="Jobs">Calls of txt2img that were accepted.</param>
    /// <param name="Inside">Of them, those not answered yet.</param>
    /// <param name="MostInside">The most that there ever were at a time: 1 proves that none was sent while another was running.</param>
    /// <param name="Interrupts">Calls of interrupt.</param>
    /// <param name="Skips">Calls of skip.</param>
    /// <param name="Running">The task on the card.</param>
    /// <param name="Pending">The tasks that wait for it.</param>
    public sealed record GpuReport(int Jobs, int Inside, int MostInside, int Interrupts, int Skips, string? Running, IReadOnlyList<string> Pending);

    public GpuReport Report()
    {
        lock (gate)
        {
            return new GpuReport(jobs, inside, mostInside, interrupts, skips, running?.TaskId, [.. pending]);
        }
    }

    /// <summary>Counts from here on.</summary>
    public void Reset()
    {
        lock (gate)
        {
            (jobs, mostInside, interrupts, skips) = (inside, inside, 0, 0);
        }
    }

    /// <summary>A job's time on the card, and then its way out of txt2img.</summary>
    internal sealed class Place(ForgeGpu gpu, ForgeJob job)
    {
        /// <summary>The card is free for the next; the answer may still be on its way.</summary>
        public void Leave(bool hasFailed)
        {
            lock (gpu.gate)
            {
                gpu.running = null;
                if (!hasFailed)
                {
                    gpu.currentTask = null;
                    gpu.finished.Enqueue(job.TaskId);
                    if (gpu.finished.Count > RememberedTasks)
                    {
                        gpu.finished.Dequeue();
                    }
                }
            }

            gpu.queueLock.Release();
        }

        public void Answered()
        {
            lock (gpu.gate)
            {
                gpu.inside--;
            }
        }
    }
}

/// <summary>A job's way through its sampling steps.</summary>
internal sealed class ForgeJob(string taskId, ForgeRequest request, string prompt)
{
    private readonly Lock gate = new();
    private readonly TaskCompletionSource stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource skipped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private (int Job, int Step) done;

    public string TaskId => taskId;

    public ForgeRequest Request => request;

    /// <summary>As it came, with the words for the simulator.</summary>
    public string Prompt => prompt;

    public DateTimeOffset StartedAt { get; set; }

    /// <summary>The picture that is being made; null before the first.</summary>
    public Recipe? Picture { get; set; }

    /// <summary>Ends when the job is interrupted, or the current picture is skipped.</summary>
    public Task Stopped
    {
        get
        {
            lock (gate)
            {
                return Task.WhenAny(stopped.Task, skipped.Task);
            }
        }
    }

    public bool IsInterrupted => stopped.Task.IsCompleted;

    public bool IsSkipped
    {
        get
        {
            lock (gate)
            {
                return skipped.Task.IsCompleted;
            }
        }
    }

    /// <summary>Batches that are done, and steps of the one that is being made.</summary>
    public (int Job, int Step) Done
    {
        get
        {
            lock (gate)
            {
                return done;
            }
        }
    }

    /// <summary>From 0 to 1, over all of its pictures.</summary>
    public double Progress
    {
        get
        {
            var (job, step) = Done;
            return Math.Min(1, ((double)job / request.Iterations) + ((double)step / request.Steps / request.Iterations));
        }
    }

    public void Interrupt() => stopped.TrySetResult();

    public void Skip()
    {
        lock (gate)
        {
            skipped.TrySetResult();
        }
    }

    public void Step()
    {
        lock (gate)
        {
            done.Step++;
        }
    }

    public void NextBatch()
    {
        lock (gate)
        {
            done = (done.Job + 1, 0);
            skipped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }
}
