using System.Collections.Concurrent;
using Generation.Bench.Harness;
using Generation.LocalServers;

namespace Generation.Bench.Chaos;

/// <summary>A process that did not live on as if nothing had been: what it was doing may have been cut off.</summary>
/// <param name="ProcessId">Of the service.</param>
/// <param name="From">When it was killed or stopped.</param>
/// <param name="To">When it went on; null: never.</param>
internal sealed record Cut(int ProcessId, DateTimeOffset From, DateTimeOffset? To);

/// <summary>A release of a service, as it is deployed.</summary>
/// <param name="Name">For people: <c>new</c>, <c>previous</c>.</param>
/// <param name="Checkout">The folder of the Generation.sln that it was built from; null: this one.</param>
/// <param name="Settings">Names with colons.</param>
internal sealed record Deployment(string Name, string? Checkout, IReadOnlyDictionary<string, string> Settings);

/// <summary>
/// The instances of one service, each at an address that stays. One that has ended is followed by another, as an orchestrator does it.
/// </summary>
internal sealed class Fleet(string project, int count, Deployment deployment, RunFolder folder, ConcurrentQueue<string> events, int firstPort = 0)
    : IAsyncDisposable
{
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan RestartPause = TimeSpan.FromMilliseconds(300);

    private readonly Slot[] slots = [.. Enumerable.Range(1, count)
        .Select(number => new Slot($"{project["Generation.".Length..].ToLowerInvariant()}-{number}", number == 1 && firstPort != 0 ? firstPort
        : Ports.Free(), deployment))];
    private readonly CancellationTokenSource stop = new();

    /// <summary>What was killed or stopped, and when.</summary>
    public ConcurrentQueue<Cut> Cuts { get; } = new();

    /// <summary>Instances that ended although nobody had asked them to.</summary>
    public ConcurrentQueue<string> Collapses { get; } = new();

    /// <summary>Which release each process that was ever started was of, by its id.</summary>
    public ConcurrentDictionary<int, string> Releases { get; } = new();

    public IReadOnlyList<Uri> Addresses => [.. slots.Select(slot => slot.Address)];

    /// <summary>The most memory that any of its processes had, in bytes, of those that we could still ask.</summary>
    public long PeakBytes => slots.Max(slot => Math.Max(slot.PeakBytes, PeakOf(slot)));

    /// <summary>The memory of its processes now.</summary>
    public long MostBytes => slots.Max(slot => slot.Process is { } process ? Memory(process).Resident() : 0);

    public Task StartAsync(CancellationToken ct) => Task.WhenAll(slots.Select(slot => StartAsync(slot, ct)));

    /// <summary>kill -9; after a moment a new one.</summary>
    /// <param name="victim">Which; another when it is down already.</param>
    /// <param name="down">Until the new one is started.</param>
    /// <param name="struck">Called when it is gone, with its name.</param>
    public Task KillAsync(int victim, TimeSpan down, Action<string> struck) => WithAsync(victim, async slot =>
    {
        var process = slot.Process!;
        slot.PeakBytes = Math.Max(slot.PeakBytes, PeakOf(slot));
        Cuts.Enqueue(new Cut(process.ProcessId, TimeProvider.System.GetUtcNow(), null));
        slot.Process = null;
        await process.KillAsync();
        struck($"{slot.Name} ({process.ProcessId})");
        await Task.Delay(down, TimeProvider.System, stop.Token);
        await StartAsync(slot, stop.Token);
    });

    /// <summary>SIGSTOP, and SIGCONT after a while.</summary>
    public Task PauseAsync(int victim, TimeSpan duration, Action<string> struck) => WithAsync(victim, async slot =>
    {
        var process = slot.Process!;
        var from = TimeProvider.System.GetUtcNow();
        process.Pause();
        struck($"{slot.Name} ({process.ProcessId})");
        await Task.Delay(duration, TimeProvider.System, stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        process.Resume();
        Cuts.Enqueue(new Cut(process.ProcessId, from, TimeProvider.System.GetUtcNow()));
    });

    /// <summary>SIGTERM to one after the other; each is replaced before the next is stopped.</summary>
    public async Task RollAsync(Action<string> struck)
    {
        struck(project);
        for (var i = 0; i < slots.Length; i++)
        {
            await WithAsync(i, isThis: true, use: ReplaceAsync);
        }
    }

    /// <summary>SIGTERM to one instance, which is followed by one of another release.</summary>
    public Task DeployAsync(int instance, Deployment release) => WithAsync(instance, isThis: true, use: slot =>
    {
        slot.Deployment = release;
        return ReplaceAsync(slot);
    });

    private async Task ReplaceAsync(Slot slot)
    {
        var process = slot.Process!;
        slot.PeakBytes = Math.Max(slot.PeakBytes, PeakOf(slot));
        slot.Process = null;
        var started = TimeProvider.System.GetTimestamp();
        var exitCode = await process.StopAsync(StopGrace);
        events.Enqueue($"{slot.Name} ({process.ProcessId}) ended with {exitCode} after "
            + $"{TimeProvider.System.GetElapsedTime(started).TotalSeconds:0.0} s");
        if (exitCode != 0)
        {
            Collapses.Enqueue($"{slot.Name} ended with {exitCode} when it was asked to stop");
        }

        await StartAsync(slot, stop.Token);
    }

    /// <summary>kill -9 for all. <see cref="CompleteAsync"/> starts others.</summary>
    public Task KillAllAsync() => Task.WhenAll(slots.Select((_, i) => WithAsync(i, isThis: true, use: async slot =>
    {
        if (slot.Process is not { } process)
        {
            return;
        }

        slot.Process = null;
        Cuts.Enqueue(new Cut(process.ProcessId, TimeProvider.System.GetUtcNow(), null));
        await process.KillAsync();
    })));

    /// <summary>Waits until every instance is up and ready.</summary>
    public async Task CompleteAsync()
    {
        for (var i = 0; i < slots.Length; i++)
        {
            await WithAsync(
            i, isThis: true, use: slot => slot.Process is null ? StartAsync(slot, stop.Token) : Task.CompletedTask);
        }
    }

    /// <summary>kill -9 for all: everything has been asked by now.</summary>
    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await Task.WhenAll(slots.Select(async slot =>
        {
            using var turn = await slot.TakeAsync();
            if (slot.Process is not { } process)
            {
                return;
            }

            slot.Process = null;
            await process.KillAsync();
            await process.DisposeAsync();
        }));
        stop.Dispose();
    }

    private static long PeakOf(Slot slot) => slot.Process is { Exited.IsCompleted: false } process ? Memory(process).Peak() : 0;

    private static ResidentMemory Memory(ServiceChild process) => new(process.ProcessId, "Generation.");

    /// <summary>Uses one instance that is up, and nobody else uses it meanwhile.</summary>
    private async Task WithAsync(int victim, Func<Slot, Task> use, bool isThis = false)
    {
        var slot = slots[victim % slots.Length];
        if (!isThis && slot.IsTaken)
        {
            slot = slots.FirstOrDefault(other => !other.IsTaken) ?? slot;
        }

        using var turn = await slot.TakeAsync();
        if (!stop.IsCancellationRequested)
        {
            await use(slot);
        }
    }

    private async Task StartAsync(Slot slot, CancellationToken ct)
    {
        while (true)
        {
            try
            {
                var log = slot.Log(folder);
                slot.Process = await ServiceChild.StartAsync(
                    project, "/readyz", slot.Deployment.Settings, folder, ct, slot.Port, log.Write, slot.Deployment.Checkout);
                Releases[slot.Process.ProcessId] = slot.Deployment.Name;
                _ = WatchAsync(slot, slot.Process, log);
                return;
            }
            catch (StartFailure e) when (!ct.IsCancellationRequested)
            {
                Collapses.Enqueue($"{slot.Name} did not start: {e.Message}");
                await Task.Delay(RestartPause, TimeProvider.System, ct);
            }
        }
    }

    /// <summary>Puts another in the place of one that ended by itself.</summary>
    private async Task WatchAsync(Slot slot, ServiceChild process, LogFile log)
    {
        var exitCode = await process.Exited;
        log.Dispose();
        if (slot.Process != process || stop.IsCancellationRequested)
        {
            return; // we did it
        }

        Collapses.Enqueue($"{slot.Name} ({process.ProcessId}) ended by itself with {exitCode}");
        using var turn = await slot.TakeAsync();
        if (slot.Process != process || stop.IsCancellationRequested)
        {
            return;
        }

        slot.Process = null;
        try
        {
            await StartAsync(slot, stop.Token);
        }
        catch (OperationCanceledException)
        {
            // The run is over.
        }
    }

    /// <summary>One place of the fleet.</summary>
    private sealed class Slot(string name, int port, Deployment deployment)
    {
        private readonly SemaphoreSlim turns = new(1);
        private int starts;

        public string Name => name;

        public int Port => port;

        public Uri Address { get; } = new($"http://127.0.0.1:{port}");

        public ServiceChild? Process { get; set; }

        /// <summary>What the next process here runs.</summary>
        public Deployment Deployment { get; set; } = deployment;

        public long PeakBytes { get; set; }

        public bool IsTaken => turns.CurrentCount == 0;

        public async Task<IDisposable> TakeAsync()
        {
            await turns.WaitAsync();
            return new Turn(turns);
        }

        /// <summary>A file for each process that stood here.</summary>
        public LogFile Log(RunFolder folder) => new(Path.Combine(folder["logs"], $"{name}.{++starts}.log"));
    }

    private sealed class Turn(SemaphoreSlim turns) : IDisposable
    {
        public void Dispose() => turns.Release();
    }

    /// <summary>What one process has said.</summary>
    private sealed class LogFile(string path) : IDisposable
    {
        private readonly Lock gate = new();
        private readonly StreamWriter file = new(path) { AutoFlush = true };
        private bool isClosed;

        public void Write(string line)
        {
            lock (gate)
            {
                if (!isClosed)
                {
                    file.WriteLine(line);
                }
            }
        }

        public void Dispose()
        {
            lock (gate)
            {
                isClosed = true;
                file.Dispose();
            }
        }
    }
}
