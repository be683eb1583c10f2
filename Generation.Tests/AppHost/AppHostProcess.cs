using System.Text;
using Generation.LocalServers;
using Generation.Tests.Harness;

namespace Generation.Tests.AppHost;

/// <summary>One run of the AppHost as <c>eng/run</c> starts it: its output, everything that it has started, its end.</summary>
internal sealed class AppHostProcess : IAsyncDisposable
{
    private const string MarkerVariable = "GENERATION_TEST_RUN";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120); // a machine that builds at the same time is slow

    private readonly string marker = Guid.NewGuid().ToString("N");
    private readonly Lock gate = new();
    private readonly StringBuilder output = new();
    private TaskCompletionSource changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ChildProcess? host;

    private AppHostProcess(string dataFolder, int port)
    {
        DataFolder = dataFolder;
        Port = port;
    }

    public string DataFolder { get; }

    public int Port { get; }

    public int Id => host!.Id;

    public string Output
    {
        get
        {
            lock (gate) return output.ToString();
        }
    }

    /// <summary>Starts it in a new folder at a free port, unless told otherwise, without waiting for anything.</summary>
    public static async Task<AppHostProcess> StartAsync(string? dataFolder = null, int? port = null, params string[] arguments)
    {
        var run = new AppHostProcess(dataFolder ?? TestServers.NewFolder("apphost"), port ?? Ports.Free());
        var project = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../..", "Generation.AppHost"));
        var program = Path.Combine(project, AppContext.BaseDirectory[AppContext.BaseDirectory.LastIndexOf("/bin/", StringComparison.Ordinal)..].Trim(
            '/'), "Generation.AppHost.dll");
        run.host = await ChildProcess.StartAsync(new ChildCommand("dotnet", [program, .. arguments])
        {
            WorkingDirectory = project,
            Environment = new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["PORT"] = run.Port.ToString(),
                ["DATA_DIR"] = run.DataFolder,
                ["SERVERS"] = "local",
                [MarkerVariable] = run.marker,
            },
        }, run.OnLine);
        return run;
    }

    /// <summary>Waits until a text was printed so many times.</summary>
    public async Task WaitForAsync(string text, int times = 1)
    {
        using var limit = new CancellationTokenSource(Limit);
        while (true)
        {
            Task next;
            lock (gate)
            {
                if (Output.Split(text).Length > times) return;
                next = changed.Task;
            }

            try
            {
                await Task.WhenAny(next, host!.Exited).WaitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Fail($"'{text}' was not printed {times} times within {Limit}:\n{Output}");
            }

            if (host!.Exited.IsCompleted && Output.Split(text).Length <= times) Assert.Fail(
                $"It exited before it printed '{text}' {times} times:\n{Output}");
        }
    }

    public void Signal(UnixSignal signal) => host!.Signal(signal);

    public Task<int> ExitCodeAsync() => host!.Exited.WaitAsync(Limit);

    /// <summary>The processes of this run that live, with their command lines: whoever has inherited its marker.</summary>
    public IReadOnlyDictionary<int, string> Living()
    {
        var living = new Dictionary<int, string>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out var id)) continue;
            try
            {
                if (File.ReadAllText(Path.Combine(folder, "environ")).Contains($"{MarkerVariable}={marker}", StringComparison.Ordinal))
                    living[id] = File.ReadAllText(Path.Combine(folder, "cmdline")).Replace('\0', ' ');
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It has just ended.
            }
        }

        return living;
    }

    /// <summary>Fails unless everything that this run has started is gone by then.</summary>
    public async Task AssertNothingIsLeftAsync(TimeSpan within)
    {
        using var limit = new CancellationTokenSource(within);
        while (Living() is { Count: > 0 } left)
        {
            if (limit.IsCancellationRequested) Assert.Fail(
                $"Left after {within}:\n{string.Join('\n', left.Select(process => $"{process.Key} {process.Value}"))}\n{Output}");
            // no children of ours: there is nothing to wait on
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!host!.Exited.IsCompleted) await host.StopAsync(TimeSpan.FromSeconds(30), TimeProvider.System, CancellationToken.None);
        foreach (var id in Living().Keys) _ = Native.Kill(id, (int)UnixSignal.Kill);
        host.Dispose();
    }

    private void OnLine(string line)
    {
        TaskCompletionSource told;
        lock (gate)
        {
            output.AppendLine(line);
            told = changed;
            changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        told.SetResult();
    }
}
