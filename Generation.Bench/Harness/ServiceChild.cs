using System.Net;
using Generation.LocalServers;

namespace Generation.Bench.Harness;

/// <summary>
/// One of our services as a process of its own, on a port of its own, run from its project's own output folder: its runtime
/// configuration (garbage collector, tiering) is part of what is measured.
/// </summary>
internal sealed class ServiceChild : IAsyncDisposable
{
    private const string ListeningLine = "Now listening on: ";
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(20);

    private readonly string project;
    private readonly ChildProcess child;
    private bool isDisposed;
    private bool isPaused;

    private ServiceChild(string project, ChildProcess child, Uri address) => (this.project, this.child, Address) = (project, child, address);

    public Uri Address { get; }

    public int ProcessId => child.Id;

    /// <summary>Completes with its exit code; 128 + n for signal n.</summary>
    public Task<int> Exited => child.Exited;

    /// <summary>Starts it and waits until <paramref name="healthPath"/> answers 200.</summary>
    /// <param name="project">Its name, which is its assembly's too.</param>
    /// <param name="healthPath">Beginning with a slash.</param>
    /// <param name="settings">Names with colons, as in configuration files.</param>
    /// <param name="folder">Where its process is recorded.</param>
    /// <param name="ct">Stops the start, and the process with it.</param>
    /// <param name="port">Where it listens on 127.0.0.1; 0: on any free port.</param>
    /// <param name="onLine">Gets what it logs, line by line, from any thread.</param>
    /// <param name="checkout">The checkout whose build is run; null: this one.</param>
    /// <exception cref="StartFailure">It ended before, with its last lines.</exception>
    public static async Task<ServiceChild> StartAsync(
        string project, string healthPath, IReadOnlyDictionary<string, string> settings, RunFolder folder, CancellationToken ct, int port = 0,
            Action<string>? onLine = null,
        string? checkout = null)
    {
        var assembly = Repository.Assembly(project, checkout);
        var environment = ToEnvironment(settings);
        environment["Logging__LogLevel__Microsoft.Hosting.Lifetime"] = "Information"; // says the port
        var listening = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        var started = await ChildProcess.StartAsync(
            new ChildCommand(Programs.Find("dotnet") ?? throw new StartFailure("There is no dotnet command."), assembly, "--urls",
                $"http://127.0.0.1:{port}")
            {
                WorkingDirectory = Path.GetDirectoryName(assembly),
                Environment = environment,
                RecordPath = folder.RecordPath(project),
            },
            line =>
            {
                onLine?.Invoke(line);
                if (line.IndexOf(ListeningLine, StringComparison.Ordinal) is >= 0 and var at)
                {
                    listening.TrySetResult(new Uri(line[(at + ListeningLine.Length)..].Split('"', ' ')[0].Trim()));
                }
            });
        try
        {
            await Task.WhenAny(listening.Task, started.Exited).WaitAsync(ct);
            using var http = new HttpClient();
            while (!started.Exited.IsCompleted)
            {
                var address = await listening.Task;
                if (await IsHealthyAsync(http, new Uri(address, healthPath), ct))
                {
                    return new ServiceChild(project, started, address);
                }

                await Task.Delay(PollInterval, TimeProvider.System, ct);
            }

            throw new StartFailure($"{project} ended with {await started.Exited}:\n{started.LastLines}");
        }
        catch
        {
            started.Signal(UnixSignal.Kill);
            throw;
        }
    }

    /// <summary>Waits for a result, or fails as soon as the process has ended instead.</summary>
    public async Task<T> WhileItLivesAsync<T>(Task<T> result)
    {
        if (await Task.WhenAny(result, child.Exited) != result)
        {
            throw new StartFailure(
            $"{project} ended with {await child.Exited}:\n{child.LastLines}");
        }

        return await result;
    }

    /// <summary>kill -9, and waits until it is gone.</summary>
    public Task KillAsync()
    {
        child.Signal(UnixSignal.Kill);
        return child.Exited;
    }

    /// <summary>Runs one of a service's commands to its end.</summary>
    /// <param name="project">Its name.</param>
    /// <param name="command">Such as <c>migrate</c>, with its arguments.</param>
    /// <param name="settings">Names with colons.</param>
    /// <param name="folder">Where its process is recorded.</param>
    /// <param name="ct">Kills it.</param>
    /// <returns>Its last lines.</returns>
    /// <exception cref="StartFailure">Its exit code was not 0; with its last lines.</exception>
    public static async Task<IReadOnlyList<string>> RunAsync(
        string project, IReadOnlyList<string> command, IReadOnlyDictionary<string, string> settings, RunFolder folder, CancellationToken ct)
    {
        var assembly = Repository.Assembly(project, null);
        using var run = await ChildProcess.StartAsync(
            new ChildCommand(Programs.Find("dotnet") ?? throw new StartFailure("There is no dotnet command."), [assembly, .. command])
            {
                WorkingDirectory = Path.GetDirectoryName(assembly),
                Environment = ToEnvironment(settings),
                RecordPath = folder.RecordPath(project),
            },
            _ => { });
        using var kill = ct.Register(() => run.Signal(UnixSignal.Kill));
        if (await run.Exited is not 0 and var exitCode)
        {
            throw new StartFailure(
            $"{project} {string.Join(' ', command)} ended with {exitCode}:\n{run.LastLines}");
        }

        return run.LastLines.Split('\n');
    }

    /// <summary>SIGTERM, and waits for the orderly end; after <paramref name="grace"/> it is killed. The exit code.</summary>
    public async Task<int> StopAsync(TimeSpan grace)
    {
        await child.StopAsync(grace, TimeProvider.System, CancellationToken.None);
        return await child.Exited;
    }

    /// <summary>SIGSTOP: it exists, but does nothing.</summary>
    public void Pause()
    {
        isPaused = true;
        if (!child.Exited.IsCompleted)
        {
            _ = Native.Kill(child.Id, OperatingSystem.IsLinux() ? 19 : 17);
        }
    }

    /// <summary>SIGCONT.</summary>
    public void Resume()
    {
        isPaused = false;
        if (!child.Exited.IsCompleted)
        {
            _ = Native.Kill(child.Id, OperatingSystem.IsLinux() ? 18 : 19);
        }
    }

    /// <summary>Stops it. A benchmark may do so before its system does.</summary>
    public async ValueTask DisposeAsync()
    {
        if (isDisposed)
        {
            return;
        }

        isDisposed = true;
        if (isPaused)
        {
            Resume(); // else it would not hear
        }

        await child.StopAsync(StopGrace, TimeProvider.System, CancellationToken.None);
        child.Dispose();
    }

    private static Dictionary<string, string?> ToEnvironment(IReadOnlyDictionary<string, string> settings) =>
        settings.ToDictionary(pair => pair.Key.Replace(":", "__", StringComparison.Ordinal), pair => (string?)pair.Value, StringComparer.Ordinal);

    private static async Task<bool> IsHealthyAsync(HttpClient http, Uri health, CancellationToken ct)
    {
        try
        {
            using var answer = await http.GetAsync(health, ct);
            return answer.StatusCode == HttpStatusCode.OK;
        }
        catch (HttpRequestException)
        {
            return false; // it has just ended: its exit code and last lines say more
        }
    }
}

/// <summary>Where things are in the checkout that this program was built from.</summary>
internal static class Repository
{
    /// <summary>The folder of Generation.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Where a project's assembly is, built in the same configuration as this one.</summary>
    /// <param name="project">Its name, which is its assembly's too.</param>
    /// <param name="checkout">The folder of another checkout's Generation.sln; null: this one.</param>
    public static string Assembly(string project, string? checkout) =>
        Path.Combine(checkout ?? Root, project, Path.GetRelativePath(Path.Combine(Root, "Generation.Bench"), AppContext.BaseDirectory),
            $"{project}.dll");

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Generation.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new StartFailure("The benchmarks run inside the repository only: they start its services.");
    }
}
