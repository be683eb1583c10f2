using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Generation.LocalServers;

/// <summary>A sentence for the person at the terminal: what is wrong and what to do. Shown without a stack trace.</summary>
internal sealed class StartFailure(string message) : Exception(message);

/// <summary>The POSIX signals used here; their numbers are the same on Linux and macOS.</summary>
internal enum UnixSignal
{
    Interrupt = 2,
    Quit = 3,
    Kill = 9,
    Terminate = 15,
}

/// <summary>What the supervisor can do with anything that runs: a database server, a queue server, a service.</summary>
internal interface IServerProcess
{
    /// <summary>Where it listens, for the progress line; known once started.</summary>
    string Address { get; }

    /// <summary>Starts it and waits until it answers. False: it exited before it did, and <see cref="Exited"/> says how.</summary>
    /// <exception cref="StartFailure">It cannot run here at all; trying again is of no use.</exception>
    Task<bool> StartAsync(CancellationToken ct);

    /// <summary>Completes with the exit code of the run that <see cref="StartAsync"/> began; 128 + n for signal n.</summary>
    Task<int> Exited { get; }

    /// <summary>Asks it to stop, waits up to <paramref name="grace"/> or until <paramref name="hurry"/>, then kills it.</summary>
    Task StopAsync(TimeSpan grace, CancellationToken hurry);
}

/// <summary>A command to run as a child. A null value in <see cref="Environment"/> removes an inherited variable.</summary>
internal sealed record ChildCommand(string FileName, params IReadOnlyList<string> Arguments)
{
    public string? WorkingDirectory { get; init; }

    public IReadOnlyDictionary<string, string?> Environment { get; init; } = new Dictionary<string, string?>(StringComparer.Ordinal);

    /// <summary>Run as this user; only root can.</summary>
    public UnixUser? RunAs { get; init; }

    /// <summary>The signal for an orderly stop; also what the kernel sends the child when we are killed.</summary>
    public UnixSignal StopSignal { get; init; } = UnixSignal.Terminate;

    /// <summary>A file that names the child while it runs, for <see cref="ChildRecords"/>; null for short commands.</summary>
    public string? RecordPath { get; init; }
}

/// <summary>
/// A child process in a session of its own: Ctrl-C in the terminal goes to the whole foreground group, and a database that
/// gets it together with us would be gone before its clients have finished. So we alone get it, and stop the children in order.
/// Where the machine has setpriv (Linux), the kernel stops the child should we be killed; elsewhere the next start finds it by its record.
/// </summary>
internal sealed class ChildProcess : IDisposable
{
    /// <summary>
    /// The kernel ties "parent died" to the thread that forked. Pool threads come and go, so children are forked by one thread
    /// that lives as long as the process; otherwise they would be stopped at random.
    /// </summary>
    private static readonly BlockingCollection<Action> Forks = StartForkingThread();

    private static readonly string? Setpriv = OperatingSystem.IsLinux() ? Programs.Find("setpriv") : null;
    private static readonly string? Setsid = Programs.Find("setsid");
    private static readonly string? Perl = Programs.Find("perl");

    private const int KeptLines = 20;

    private readonly Process process;
    private readonly ChildCommand command;
    private readonly Queue<string> lastLines = new();
    private readonly Action<string> onLine;

    private ChildProcess(Process process, ChildCommand command, Action<string> onLine)
    {
        this.process = process;
        this.command = command;
        this.onLine = onLine;
        Id = process.Id;
        if (command.RecordPath is not null)
        {
            ChildRecords.Write(command.RecordPath, Id, command.StopSignal);
        }

        Exited = WatchAsync(PumpAsync(process.StandardOutput), PumpAsync(process.StandardError));
    }

    public int Id { get; }

    /// <summary>The exit code, 128 + n for signal n, once the child is gone and its last line has been read.</summary>
    public Task<int> Exited { get; }

    /// <summary>The last lines it wrote, for a message that says why it died.</summary>
    public string LastLines
    {
        get
        {
            lock (lastLines)
            {
                return string.Join('\n', lastLines);
            }
        }
    }

    /// <summary>Starts a child; every line it writes to stdout or stderr goes to <paramref name="onLine"/> (from any thread).</summary>
    public static Task<ChildProcess> StartAsync(ChildCommand command, Action<string> onLine)
    {
        var started = new TaskCompletionSource<ChildProcess>(TaskCreationOptions.RunContinuationsAsynchronously);
        Forks.Add(() =>
        {
            try
            {
                var fork = new Process { StartInfo = StartInfo(command) };
                fork.Start();
                fork.StandardInput.Close();
                started.SetResult(new ChildProcess(fork, command, onLine));
            }
            catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException or InvalidOperationException)
            {
                started.SetException(new StartFailure($"{command.FileName} does not start: {e.Message}"));
            }
        });
        return started.Task;
    }

    /// <summary>Runs a short command to its end, and returns its exit code and all it wrote. Cancelling kills it.</summary>
    public static async Task<(int ExitCode, string Output)> RunAsync(ChildCommand command, CancellationToken ct)
    {
        var lines = new ConcurrentQueue<string>();
        using var child = await StartAsync(command, lines.Enqueue);
        try
        {
            var exitCode = await child.Exited.WaitAsync(ct);
            return (exitCode, string.Join('\n', lines));
        }
        catch (OperationCanceledException)
        {
            child.Signal(UnixSignal.Kill);
            await child.Exited;
            throw;
        }
    }

    /// <summary>Sends a signal; a child that is gone already is no error. Kill takes the child's children along.</summary>
    public void Signal(UnixSignal signal)
    {
        if (process.HasExited)
        {
            return; // its number may be somebody else's by now
        }

        if (signal == UnixSignal.Kill)
        {
            _ = Native.Kill(-Id, (int)signal);
        }

        _ = Native.Kill(Id, (int)signal);
    }

    /// <summary>Sends the stop signal, waits up to <paramref name="grace"/> or until <paramref name="hurry"/>, then kills.</summary>
    public async Task StopAsync(TimeSpan grace, TimeProvider time, CancellationToken hurry)
    {
        Signal(command.StopSignal);
        try
        {
            await Exited.WaitAsync(grace, time, hurry);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            Signal(UnixSignal.Kill);
            await Exited;
        }
    }

    public void Dispose() => process.Dispose();

    private async Task<int> WatchAsync(params Task[] pumps)
    {
        await process.WaitForExitAsync();
        // A grandchild may hold the pipe open for as long as it likes; the child's own last words are there at once.
        await Task.WhenAny(Task.WhenAll(pumps), Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System));
        if (command.RecordPath is not null)
        {
            File.Delete(command.RecordPath);
        }

        return process.ExitCode;
    }

    private async Task PumpAsync(StreamReader reader)
    {
        try
        {
            while (await reader.ReadLineAsync() is { } line)
            {
                lock (lastLines)
                {
                    lastLines.Enqueue(line);
                    if (lastLines.Count > KeptLines)
                    {
                        lastLines.Dequeue();
                    }
                }

                onLine(line);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The pipe broke: the exit code says what happened.
        }
    }

    private static ProcessStartInfo StartInfo(ChildCommand command)
    {
        var words = new List<string>();
        if (Setsid is not null)
        {
            words.Add(Setsid);
        }
        // macOS has no setsid
        else if (Perl is not null)
        {
            words.AddRange([Perl, "-e", "use POSIX; POSIX::setsid(); exec { $ARGV[0] } @ARGV or exit 127;"]);
        }

        if (Setpriv is not null)
        {
            words.AddRange([Setpriv, "--pdeathsig", command.StopSignal == UnixSignal.Interrupt ? "INT" : "TERM"]);
            if (command.RunAs is { } user)
            {
                words.AddRange([$"--reuid={user.Id}", $"--regid={user.GroupId}", "--init-groups"]);
            }

            words.Add("--");
        }
        else if (command.RunAs is { } user)
        {
            words.AddRange([Programs.Find("runuser") ?? throw new StartFailure(
                $"{command.FileName} must not run as root, and there is neither setpriv nor runuser to change the user. Run this as an ordinary "
                + "user."), "-u", user.Name, "--"]);
        }

        words.Add(command.FileName);
        words.AddRange(command.Arguments);

        var start = new ProcessStartInfo(words[0], words.Skip(1))
        {
            WorkingDirectory = command.WorkingDirectory ?? "/",
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in command.Environment)
        {
            if (value is null)
            {
                start.Environment.Remove(name);
            }
            else
            {
                start.Environment[name] = value;
            }
        }

        return start;
    }

    private static BlockingCollection<Action> StartForkingThread()
    {
        var forks = new BlockingCollection<Action>();
        new Thread(() =>
        {
            foreach (var fork in forks.GetConsumingEnumerable())
            {
                fork();
            }
        })
        { IsBackground = true, Name = "forks children" }.Start();
        return forks;
    }
}

/// <summary>A user of this machine, from /etc/passwd.</summary>
internal sealed record UnixUser(string Name, int Id, int GroupId)
{
    /// <summary>Whom to run a server as that refuses to be root: "postgres" where it exists, else "nobody"; null when we are not root.</summary>
    public static UnixUser? ToAvoidRoot()
    {
        if (Native.EffectiveUserId() != 0)
        {
            return null;
        }

        if (!OperatingSystem.IsLinux())
        {
            throw new StartFailure("PostgreSQL refuses to run as root. Run this as an ordinary user.");
        }

        var users = File.ReadLines("/etc/passwd")
            .Select(line => line.Split(':'))
            .Where(fields => fields.Length >= 4 && fields[0] is "postgres" or "nobody")
            .ToDictionary(fields => fields[0], fields => new UnixUser(fields[0], int.Parse(fields[2]), int.Parse(fields[3])), StringComparer.Ordinal);
        return users.GetValueOrDefault("postgres") ?? users.GetValueOrDefault("nobody")
            ?? throw new StartFailure(
                "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody. Run this as an ordinary user.");
    }
}

/// <summary>Finds executables.</summary>
internal static class Programs
{
    /// <summary>The full path of a program in PATH or the system's folders; null when it is nowhere.</summary>
    public static string? Find(string name, params IEnumerable<string> moreFolders) =>
        Folders().Concat(moreFolders).Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);

    /// <summary>The folders of PATH, then those that a bare environment (cron, a container) leaves out.</summary>
    public static IEnumerable<string> Folders() =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Concat(["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/opt/homebrew/bin"]);
}

internal static class Native
{
    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static extern int Kill(int processId, int signal);

    [DllImport("libc", EntryPoint = "geteuid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static extern uint EffectiveUserId();
}
