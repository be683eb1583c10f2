using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Generation.AppHost.Embedded;
using Generation.Tests.Harness;

namespace Generation.Tests.AppHost;

/// <summary>One run of the SampleHost as a process: its output, its children, its end.</summary>
internal sealed class SampleRun : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60); // a machine that builds at the same time is slow

    private readonly Lock gate = new();
    private readonly List<string> lines = [];
    private readonly ConcurrentDictionary<string, int> childIds = [];
    private TaskCompletionSource changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ChildProcess? host;

    private SampleRun(string dataFolder, int port)
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
            lock (gate) return string.Join('\n', lines);
        }
    }

    /// <summary>Starts it in a new folder at a free port, unless told otherwise, without waiting for anything.</summary>
    public static async Task<SampleRun> StartAsync(string? dataFolder = null, int? port = null)
    {
        var run = new SampleRun(dataFolder ?? TestServers.NewFolder("sample"), port ?? Ports.Free());
        run.host = await ChildProcess.StartAsync(new ChildCommand("dotnet", AssemblyPath())
        {
            Environment = new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["DATA_DIR"] = run.DataFolder,
                ["PORT"] = $"{run.Port}",
                ["NO_COLOR"] = "1",
            },
            RecordPath = TestServers.NewRecordPath("sample"),
        }, run.OnLine);
        return run;
    }

    /// <summary>Waits until it has written so many lines with this text.</summary>
    public async Task WaitForAsync(string text, int times = 1)
    {
        using var deadline = new CancellationTokenSource(Patience);
        while (true)
        {
            Task next;
            lock (gate)
            {
                if (lines.Count(line => line.Contains(text, StringComparison.Ordinal)) >= times) return;
                next = changed.Task;
            }

            var first = await Task.WhenAny(next, host!.Exited, Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, deadline.Token));
            if (first != next) Assert.Fail($"\"{text}\" did not come {times} times. {(host.Exited.IsCompleted ? $"It exited with {await host.Exited}" : "It runs")} and wrote:\n{Output}");
        }
    }

    public void Signal(UnixSignal signal) => host!.Signal(signal);

    public async Task<int> ExitCodeAsync()
    {
        try
        {
            return await host!.Exited.WaitAsync(Patience);
        }
        catch (TimeoutException)
        {
            Assert.Fail($"It does not exit. It wrote:\n{Output}");
            throw;
        }
    }

    /// <summary>The process numbers of its children, by name, from its records.</summary>
    public IReadOnlyDictionary<string, int> ChildIds()
    {
        foreach (var path in Directory.GetFiles(Path.Combine(DataFolder, "run"), "*.pid"))
            childIds[Path.GetFileNameWithoutExtension(path)] = int.Parse(File.ReadAllText(path).Split(' ')[0]);
        return childIds;
    }

    /// <summary>Those of its children that still live.</summary>
    public IEnumerable<string> Living() => childIds.Where(child => Native.Kill(child.Value, 0) == 0).Select(child => child.Key);

    public async ValueTask DisposeAsync()
    {
        Signal(UnixSignal.Terminate);
        await ExitCodeAsync();
        host!.Dispose();
    }

    private void OnLine(string line)
    {
        lock (gate)
        {
            lines.Add(line);
            changed.TrySetResult();
            changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    /// <summary>Built with the tests, in the same configuration.</summary>
    private static string AssemblyPath([CallerFilePath] string thisFile = "")
    {
        var outputFolder = AppContext.BaseDirectory[AppContext.BaseDirectory.LastIndexOf("/bin/", StringComparison.Ordinal)..].Trim('/');
        return Path.Combine(Path.GetDirectoryName(thisFile)!, "SampleHost", outputFolder, "SampleHost.dll");
    }
}
