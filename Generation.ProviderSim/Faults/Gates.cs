namespace Generation.ProviderSim.Faults;

/// <summary>
/// Where a call can be held at an exact point, so that a crash test needs no sleep: it waits until a call is at the gate, does its
/// damage, opens the gate. An open gate stays open; DELETE closes it again.
/// </summary>
public sealed class Gates(TimeProvider time)
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(60);

    private readonly Lock sync = new();
    private readonly Dictionary<string, Gate> gates = new(StringComparer.Ordinal);

    private sealed class Gate
    {
        public TaskCompletionSource Opened { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Arrived { get; set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Waiting { get; set; }
    }

    /// <summary>Waits until the gate is open; gives up when the token says that the caller has gone.</summary>
    public async Task PassAsync(string name, CancellationToken gone)
    {
        Gate gate;
        lock (sync)
        {
            gate = Find(name);
            gate.Waiting++;
            gate.Arrived.TrySetResult();
        }

        try
        {
            await gate.Opened.Task.WaitAsync(gone);
        }
        finally
        {
            lock (sync)
            {
                if (--gate.Waiting == 0)
                {
                    gate.Arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                }
            }
        }
    }

    public void Open(string name)
    {
        lock (sync)
        {
            Find(name).Opened.TrySetResult();
        }
    }

    /// <summary>A gate of that name created later is a new one; callers that wait at the old one pass.</summary>
    public void Remove(string name)
    {
        lock (sync)
        {
            if (gates.Remove(name, out var gate))
            {
                gate.Opened.TrySetResult();
            }
        }
    }

    /// <summary>How many wait, as soon as at least one does, or 0 after the timeout.</summary>
    public async Task<int> WaitingAsync(string name, TimeSpan timeout, CancellationToken gone)
    {
        Gate gate;
        Task arrived;
        lock (sync)
        {
            gate = Find(name);
            arrived = gate.Arrived.Task;
        }

        try
        {
            await arrived.WaitAsync(timeout < LongestWait ? timeout : LongestWait, time, gone);
        }
        catch (TimeoutException)
        {
            return 0;
        }

        lock (sync)
        {
            return gate.Waiting;
        }
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sim/gates/{name}/waiting", async (string name, int? timeoutSeconds, Gates gates, CancellationToken gone) =>
            new { waiting = await gates.WaitingAsync(name, TimeSpan.FromSeconds(Math.Clamp(timeoutSeconds ?? 30, 0, 60)), gone) });
        routes.MapPost("/sim/gates/{name}", (string name, Gates gates) =>
        {
            gates.Open(name);
            return Results.NoContent();
        });
        routes.MapDelete("/sim/gates/{name}", (string name, Gates gates) =>
        {
            gates.Remove(name);
            return Results.NoContent();
        });
    }

    private Gate Find(string name)
    {
        if (!gates.TryGetValue(name, out var gate))
        {
            gates[name] = gate = new Gate();
        }

        return gate;
    }
}
