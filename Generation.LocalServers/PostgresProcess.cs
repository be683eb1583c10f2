using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Generation.LocalServers;

/// <summary>How to run a PostgreSQL server of our own.</summary>
internal sealed record PostgresOptions
{
    /// <summary>The folder that belongs to this server: data, password, remembered port. It need not exist.</summary>
    public required string Folder { get; init; }

    /// <summary>Where the file lies that names the server's process while it runs; null: inside <see cref="Folder"/>.</summary>
    public string? RecordPath { get; init; }

    /// <summary>The port to ask for on first run; when it is taken, a free one is taken and remembered. 0: any free one.</summary>
    public int PreferredPort { get; init; }

    /// <summary>For tests: no password, and nothing is written with care. Fast, and not to be kept.</summary>
    public bool IsEphemeral { get; init; }

    /// <summary>More arguments for the server, such as <c>-c max_connections=300</c>.</summary>
    public IReadOnlyList<string> ServerArguments { get; init; } = [];

    /// <summary>Gets the server's warnings and errors, line by line, from any thread.</summary>
    public Action<string> OnLine { get; init; } = _ => { };
}

/// <summary>
/// A PostgreSQL server as a child process, on 127.0.0.1 only. It is initialised into a folder that gets its name when it is
/// complete, so a killed initdb leaves nothing half done; and it runs as an unprivileged user when we are root, because it insists.
/// </summary>
internal sealed class PostgresProcess(PostgresOptions options, TimeProvider time) : IServerProcess
{
    public const string User = "postgres";

    private const int StartAttempts = 20;
    private static readonly TimeSpan PauseBetweenAttempts = TimeSpan.FromMilliseconds(250);

    private readonly UnixUser? runAs = UnixUser.ToAvoidRoot();
    private string binFolder = "";
    private string folder = Path.GetFullPath(options.Folder);
    private ChildProcess? server;
    private TaskCompletionSource ready = new();
    private bool portIsPublished;

    /// <summary>The port it listens on; 0 before the first start, then the same for the life of this object.</summary>
    public int Port { get; private set; }

    /// <summary>The password of <see cref="User"/>: letters and digits; null for an ephemeral server.</summary>
    public string? Password { get; private set; }

    /// <summary>Where its files are: the folder of its options, unless its user cannot get in there.</summary>
    public string Folder => folder;

    public string Address => $"127.0.0.1:{Port}";

    public Task<int> Exited => server?.Exited ?? throw new InvalidOperationException("PostgreSQL was never started.");

    private string Cluster => Path.Combine(folder, "cluster");

    private string PortPath => Path.Combine(folder, "port");

    private string PasswordPath => Path.Combine(folder, "password");

    /// <summary>The connection string for one of its databases, in the form that Aspire gives.</summary>
    public string ConnectionString(string database) =>
        $"Host=127.0.0.1;Port={Port};Username={User};{(Password is null ? "" : $"Password={Password};")}Database={database}";

    public async Task<bool> StartAsync(CancellationToken ct)
    {
        folder = await ReachableFolderAsync(ct);
        if (binFolder.Length == 0)
        {
            binFolder = await FindBinFolderAsync(ct); // a restart uses the same
        }

        await InitialiseAsync(ct);
        await ClearStaleLockAsync(ct);

        for (var attempt = 1; ; attempt++)
        {
            if (await TryStartAsync(ct))
            {
                return true;
            }

            var said = server!.LastLines;
            var portIsTaken = said.Contains("could not bind", StringComparison.Ordinal);
            // The processes of a killed server let go of its memory a moment after it.
            var predecessorLingers = said.Contains("pre-existing shared memory block", StringComparison.Ordinal);
            if (attempt == StartAttempts || !(portIsTaken || predecessorLingers))
            {
                throw new StartFailure(
                $"PostgreSQL does not start from {Cluster}:\n{said}");
            }

            if (portIsTaken && !portIsPublished)
            {
                Port = Ports.Free();
            }
            else
            {
                await Task.Delay(PauseBetweenAttempts, time, ct);
            }
        }
    }

    /// <summary>Creates a database unless it exists.</summary>
    public async Task EnsureDatabaseAsync(string database, CancellationToken ct)
    {
        if (await SqlAsync($"SELECT 1 FROM pg_database WHERE datname = '{database}'", ct) == "")
        {
            await SqlAsync($"CREATE DATABASE \"{database}\"", ct);
        }
    }

    /// <summary>Stops fast (sessions are cut, nothing committed is lost), then at once, then by force.</summary>
    public async Task StopAsync(TimeSpan grace, CancellationToken hurry)
    {
        if (server is null)
        {
            return;
        }

        try
        {
            server.Signal(UnixSignal.Interrupt);
            await server.Exited.WaitAsync(grace, time, hurry);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            server.Signal(UnixSignal.Quit); // without a checkpoint: the next start recovers from the log
            await server.StopAsync(TimeSpan.FromSeconds(5), time, CancellationToken.None);
        }
    }

    /// <summary>Kills it and all its processes, as a crash would: the next start recovers from the log.</summary>
    public async Task KillAsync()
    {
        if (server is null)
        {
            return;
        }

        server.Signal(UnixSignal.Kill);
        await server.Exited;
    }

    /// <summary>Copies the running server's data into a new folder (pg_basebackup), from which <see cref="RestoreAsync"/> can go on.</summary>
    /// <param name="backup">Its name within <see cref="Folder"/>.</param>
    /// <param name="ct">Stops.</param>
    public async Task BackUpAsync(string backup, CancellationToken ct)
    {
        var command = Command("pg_basebackup", "-D", Path.Combine(folder, backup), "-h", "127.0.0.1", "-p",
            Port.ToString(CultureInfo.InvariantCulture), "-U", User, "--checkpoint=fast", "--wal-method=stream");
        var (exitCode, output) = await ChildProcess.RunAsync(
            command with { Environment = new Dictionary<string, string?>(command.Environment, StringComparer.Ordinal) { ["PGPASSWORD"] = Password } },
                ct);
        if (exitCode != 0)
        {
            throw new StartFailure($"pg_basebackup failed with exit code {exitCode}:\n{output}");
        }
    }

    /// <summary>
    /// Puts a backup in the place of a stopped server's data and starts it: it replays the archived log to a point in time, and opens there.
    /// </summary>
    /// <param name="backup">As given to <see cref="BackUpAsync"/>; it is used up.</param>
    /// <param name="archive">The folder that archive_command copies to.</param>
    /// <param name="target">Later than the backup. Transactions that committed after it are gone.</param>
    /// <param name="ct">Stops.</param>
    public async Task RestoreAsync(string backup, string archive, DateTimeOffset target, CancellationToken ct)
    {
        Directory.Delete(Cluster, recursive: true);
        Directory.Move(Path.Combine(folder, backup), Cluster);
        await File.WriteAllTextAsync(Path.Combine(Cluster, "recovery.signal"), "", ct);
        await File.AppendAllLinesAsync(
            Path.Combine(Cluster, "postgresql.auto.conf"),
            [$"restore_command = 'cp \"{archive}/%f\" \"%p\"'", $"recovery_target_time = '{target.UtcDateTime:yyyy-MM-dd HH:mm:ss.ffffff}+00'",
                "recovery_target_action = 'promote'"],
            ct);
        if (!await StartAsync(ct))
        {
            throw new StartFailure($"PostgreSQL did not recover:\n{server!.LastLines}");
        }
    }

    private async Task<bool> TryStartAsync(CancellationToken ct)
    {
        if (Port == 0)
        {
            Port = ChoosePort();
        }

        ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        string[] arguments = ["-D", Cluster, "-c", "listen_addresses=127.0.0.1", "-c", $"port={Port}", "-c", "unix_socket_directories=",
            "-c", "lc_messages=C", "-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "log_line_prefix=",
                .. options.ServerArguments];
        if (options.IsEphemeral)
        {
            arguments = [.. arguments, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"];
        }

        server = await ChildProcess.StartAsync(Command("postgres", arguments) with
        {
            RecordPath = options.RecordPath ?? Path.Combine(folder, "postgres.pid"),
            StopSignal = UnixSignal.Interrupt,
        }, OnServerLine);

        await Task.WhenAny(ready.Task, server.Exited).WaitAsync(ct);
        if (!ready.Task.IsCompleted)
        {
            return false;
        }

        portIsPublished = true; // from here on clients have it in their connection strings
        await File.WriteAllTextAsync(PortPath, Port.ToString(CultureInfo.InvariantCulture), ct);
        return true;
    }

    private void OnServerLine(string line)
    {
        if (line.Contains("database system is ready to accept connections", StringComparison.Ordinal))
        {
            ready.TrySetResult();
        }

        if (!line.StartsWith("LOG:", StringComparison.Ordinal) || line.Contains("recovery in progress", StringComparison.Ordinal))
        {
            options.OnLine(
            line);
        }
    }

    private int ChoosePort()
    {
        var remembered = File.Exists(PortPath) && int.TryParse(File.ReadAllText(PortPath), out var port) ? port : options.PreferredPort;
        return remembered == 0 || Ports.IsTaken(remembered) ? Ports.Free() : remembered;
    }

    private async Task InitialiseAsync(CancellationToken ct)
    {
        var isInitialised = File.Exists(Path.Combine(Cluster, "global", "pg_control"));
        if (!options.IsEphemeral)
        {
            if (File.Exists(PasswordPath))
            {
                Password = (await File.ReadAllTextAsync(PasswordPath, ct)).Trim();
            }
            else if (isInitialised)
            {
                throw new StartFailure(
                $"{PasswordPath} is gone, and {Cluster} cannot be opened without it. Put it back, or remove {folder} to start with an empty "
                + "database.");
            }
            else
            {
                Password = await CreatePasswordAsync(ct);
            }
        }

        if (isInitialised)
        {
            return;
        }

        // Both names can only hold what a killed run has left: a cluster has its control file before it gets its name.
        var unfinished = Cluster + ".new";
        foreach (var previous in new[] { unfinished, Cluster }.Where(Directory.Exists))
        {
            Directory.Delete(previous, recursive: true);
        }

        string[] arguments = ["-D", unfinished, "-U", User, "--encoding=UTF8", "--no-locale"];
        arguments = options.IsEphemeral ? [.. arguments, "-A", "trust", "--no-sync"]
            : [.. arguments, "-A", "scram-sha-256", $"--pwfile={PasswordPath}"];
        var (exitCode, output) = await ChildProcess.RunAsync(Command("initdb", arguments), ct);
        if (exitCode != 0)
        {
            throw new StartFailure($"initdb failed with exit code {exitCode}:\n{output}");
        }

        Directory.Move(unfinished, Cluster);
    }

    private async Task<string> CreatePasswordAsync(CancellationToken ct)
    {
        var password = Secrets.NewPassword();
        var unfinished = PasswordPath + ".new";
        await Secrets.WriteAsync(unfinished, password, ct);
        await GiveToServerAsync(unfinished, ct); // initdb reads it
        File.Move(unfinished, PasswordPath, overwrite: true);
        return password;
    }

    /// <summary>
    /// Our folder, or one under /var/lib when we are root and the server's user cannot get into ours (a checkout below /root).
    /// </summary>
    private async Task<string> ReachableFolderAsync(CancellationToken ct)
    {
        var wanted = Path.GetFullPath(options.Folder);
        Directory.CreateDirectory(wanted);
        if (runAs is null)
        {
            return wanted;
        }

        await GiveToServerAsync(wanted, ct);
        var (exitCode, _) = await ChildProcess.RunAsync(new ChildCommand("/bin/sh", "-c", "cd \"$0\" && test -w .", wanted) { RunAs = runAs },
            ct);
        if (exitCode == 0)
        {
            return wanted;
        }

        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(wanted)))[..12];
        var reachable = $"/var/lib/generation/{hash}";
        Directory.CreateDirectory(reachable);
        await GiveToServerAsync(reachable, ct);
        options.OnLine($"keeps its data in {reachable}: the user {runAs.Name}, whom it runs as because root may not, cannot enter {wanted}");
        return reachable;
    }

    private async Task GiveToServerAsync(string path, CancellationToken ct)
    {
        if (runAs is null)
        {
            return;
        }

        var (exitCode, output) = await ChildProcess.RunAsync(new ChildCommand("/bin/chown", $"{runAs.Id}:{runAs.GroupId}", path), ct);
        if (exitCode != 0)
        {
            throw new StartFailure($"The user {runAs.Name} cannot be given {path}: {output}");
        }
    }

    /// <summary>
    /// A killed server leaves postmaster.pid. PostgreSQL ignores it unless the number in it belongs to a living process by now;
    /// so it is removed when that process is none of ours. A server that still runs on our data is stopped.
    /// </summary>
    private async Task ClearStaleLockAsync(CancellationToken ct)
    {
        var lockPath = Path.Combine(Cluster, "postmaster.pid");
        if (!File.Exists(lockPath))
        {
            return;
        }

        if (int.TryParse(File.ReadLines(lockPath).FirstOrDefault(), out var processId) && await IsServerOfOursAsync(processId, ct))
        {
            var (exitCode, output) = await ChildProcess.RunAsync(
                Command("pg_ctl", "stop", "-D", Cluster, "-m", "fast", "-w", "-t", "30"), ct);
            if (exitCode != 0)
            {
                throw new StartFailure($"A PostgreSQL server (process {processId}) runs on {Cluster} and does not stop: {output}");
            }
        }

        File.Delete(lockPath);
    }

    private async Task<bool> IsServerOfOursAsync(int processId, CancellationToken ct)
    {
        if (OperatingSystem.IsLinux())
        {
            try
            {
                // a server's working directory is its data
                return new DirectoryInfo($"/proc/{processId}/cwd").ResolveLinkTarget(returnFinalTarget: false)?.FullName == Cluster;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return false;
            }
        }

        var (exitCode, output) = await ChildProcess.RunAsync(
            new ChildCommand("/bin/ps", "-o", "command=", "-p", processId.ToString(CultureInfo.InvariantCulture)), ct);
        return exitCode == 0 && output.Contains("postgres", StringComparison.Ordinal) && output.Contains(Cluster, StringComparison.Ordinal);
    }

    private async Task<string> SqlAsync(string sql, CancellationToken ct)
    {
        var command = new ChildCommand(Path.Combine(binFolder, "psql"), "-XAtq", "-h", "127.0.0.1", "-p", Port.ToString(CultureInfo.InvariantCulture),
            "-U", User, "-d", "postgres", "-c", sql)
        {
            Environment = new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["PGPASSWORD"] = Password,
                ["PGOPTIONS"] = null,
                ["PGSSLMODE"] =
                null
            },
        };
        var (exitCode, output) = await ChildProcess.RunAsync(command, ct);
        return exitCode == 0 ? output.Trim() : throw new StartFailure($"PostgreSQL refused \"{sql}\": {output}");
    }

    private ChildCommand Command(string program, params IReadOnlyList<string> arguments) => new(Path.Combine(binFolder, program), arguments)
    {
        RunAs = runAs,
        WorkingDirectory = folder,
        Environment = new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["LC_ALL"] = "C",
            ["PGDATA"] = null,
            ["PGPORT"] = null,
            ["HOME"] =
            folder
        },
    };

    /// <summary>The newest installed version, or, for a cluster that exists, the one that wrote it: no other can read it.</summary>
    private async Task<string> FindBinFolderAsync(CancellationToken ct)
    {
        var versionPath = Path.Combine(Cluster, "PG_VERSION");
        int? needed = File.Exists(versionPath) && int.TryParse(await File.ReadAllTextAsync(versionPath, ct), out var version)
            ? version : null;

        var found = new List<(string Folder, int Major)>();
        foreach (var candidate in Programs.Folders().Concat(InstallFolders()).Distinct().Where(IsComplete))
        {
            var (_, output) = await ChildProcess.RunAsync(new ChildCommand(Path.Combine(candidate, "initdb"), "--version"), ct);
            var words = output.Split(' ', '.'); // initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
            if (words.Length > 2 && int.TryParse(words[2], out var major))
            {
                found.Add((candidate, major));
            }
        }

        if (found.Count == 0)
        {
            throw new StartFailure(OperatingSystem.IsMacOS()
                ? "PostgreSQL is not installed. Install it: brew install postgresql@17"
                : "PostgreSQL is not installed. Install it: sudo apt-get install postgresql");
        }

        if (needed is null)
        {
            return found.MaxBy(installed => installed.Major).Folder;
        }

        return found.Find(installed => installed.Major == needed).Folder
            ?? throw new StartFailure(
                $"{Cluster} was written by PostgreSQL {needed}, and only {string.Join(", ", found.Select(installed => installed.Major))} is "
                + $"installed. Install version {needed}, or remove {folder} to start with an empty database.");
    }

    /// <summary>All that is called here; a folder with only some of them holds links that somebody made by hand.</summary>
    private static bool IsComplete(string candidate) =>
        new[] { "initdb", "postgres", "pg_ctl", "psql" }.All(program => File.Exists(Path.Combine(candidate, program)));

    private static IEnumerable<string> InstallFolders()
    {
        foreach (var (parent, pattern, bin) in new[]
        {
            ("/usr/lib/postgresql", "*", "bin"), // Debian, Ubuntu
            ("/opt/homebrew/opt", "postgresql*", "bin"),
            ("/usr/local/opt", "postgresql*", "bin"),
            ("/usr", "pgsql-*", "bin"), // Red Hat
            ("/Applications/Postgres.app/Contents/Versions", "*", "bin"),
        })
        {
            if (!Directory.Exists(parent))
            {
                continue;
            }

            foreach (var installed in Directory.EnumerateDirectories(parent, pattern))
            {
                yield return Path.Combine(installed, bin);
            }
        }
    }
}
