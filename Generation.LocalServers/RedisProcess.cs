using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Generation.LocalServers;

/// <summary>How to run a Redis server of our own.</summary>
internal sealed record RedisOptions
{
    /// <summary>The folder that belongs to this server: data, configuration with the password, remembered port. It need not exist.</summary>
    public required string Folder { get; init; }

    /// <summary>Where the file lies that names the server's process while it runs; null: inside <see cref="Folder"/>.</summary>
    public string? RecordPath { get; init; }

    /// <summary>The port to ask for on first run; when it is taken, a free one is taken and remembered. 0: any free one.</summary>
    public int PreferredPort { get; init; }

    /// <summary>For tests: no password, and nothing is written to disk.</summary>
    public bool IsEphemeral { get; init; }

    /// <summary>Gets the server's warnings, line by line, from any thread.</summary>
    public Action<string> OnLine { get; init; } = _ => { };
}

/// <summary>
/// A Redis (or Valkey) server as a child process, on 127.0.0.1 only. It keeps an append-only file, synced every second: what a
/// killed server had acknowledged is there again after a restart, as it would be with a managed Redis.
/// </summary>
internal sealed class RedisProcess(RedisOptions options, TimeProvider time) : IServerProcess
{
    private const int StartAttempts = 5;

    private readonly string folder = Path.GetFullPath(options.Folder);
    private ChildProcess? server;
    private TaskCompletionSource ready = new();
    private bool portIsPublished;
    private bool isStopping;

    /// <summary>The port it listens on; 0 before the first start, then the same for the life of this object.</summary>
    public int Port { get; private set; }

    /// <summary>Letters and digits; null for an ephemeral server.</summary>
    public string? Password { get; private set; }

    public string Address => $"127.0.0.1:{Port}";

    public Task<int> Exited => server?.Exited ?? throw new InvalidOperationException("Redis was never started.");

    /// <summary>In StackExchange's form, as Aspire gives it.</summary>
    public string ConnectionString => Password is null ? Address : $"{Address},password={Password}";

    private string ConfigurationPath => Path.Combine(folder, "redis.conf");

    private string PortPath => Path.Combine(folder, "port");

    private string PasswordPath => Path.Combine(folder, "password");

    public async Task<bool> StartAsync(CancellationToken ct)
    {
        Directory.CreateDirectory(folder);
        var program = Programs.Find("redis-server") ?? Programs.Find("valkey-server") ?? throw new StartFailure(OperatingSystem.IsMacOS()
            ? "Redis is not installed. Install it: brew install redis"
            : "Redis is not installed. Install it: sudo apt-get install redis-server");
        if (!options.IsEphemeral)
        {
            Password ??= await LoadOrCreatePasswordAsync(ct);
        }

        for (var attempt = 1; ; attempt++)
        {
            if (Port == 0)
            {
                Port = ChoosePort();
            }

            ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await WriteConfigurationAsync(ct);
            server = await ChildProcess.StartAsync(new ChildCommand(program, ConfigurationPath)
            {
                WorkingDirectory = folder,
                RecordPath = options.RecordPath ?? Path.Combine(folder, "redis.pid"),
            }, OnServerLine);
            await Task.WhenAny(ready.Task, server.Exited).WaitAsync(ct);
            if (ready.Task.IsCompleted)
            {
                portIsPublished = true;
                await File.WriteAllTextAsync(PortPath, Port.ToString(CultureInfo.InvariantCulture), ct);
                return true;
            }

            var portIsTaken = server.LastLines.Contains("Address already in use", StringComparison.Ordinal);
            if (attempt == StartAttempts || !portIsTaken || portIsPublished)
            {
                throw new StartFailure(
                $"Redis does not start from {folder}:\n{server.LastLines}");
            }

            Port = 0;
        }
    }

    /// <summary>Stops in order: what is in memory is written first.</summary>
    public Task StopAsync(TimeSpan grace, CancellationToken hurry)
    {
        isStopping = true;
        return server?.StopAsync(grace, time, hurry) ?? Task.CompletedTask;
    }

    /// <summary>Kills it, as a crash would.</summary>
    public async Task KillAsync()
    {
        if (server is null)
        {
            return;
        }

        server.Signal(UnixSignal.Kill);
        await server.Exited;
    }

    /// <summary>Sends one command and returns the first line of the answer, such as <c>+OK</c>.</summary>
    public async Task<string> CommandAsync(string command, CancellationToken ct)
    {
        using var client = new TcpClient();
        await client.ConnectAsync("127.0.0.1", Port, ct);
        await using var stream = client.GetStream();
        using var reader = new StreamReader(stream, Encoding.ASCII);
        if (Password is not null)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"AUTH {Password}\r\n"), ct);
            if (await reader.ReadLineAsync(ct) is var reply && reply != "+OK")
            {
                return reply ?? "";
            }
        }

        await stream.WriteAsync(Encoding.ASCII.GetBytes(command + "\r\n"), ct);
        return await reader.ReadLineAsync(ct) ?? "";
    }

    private void OnServerLine(string line)
    {
        if (line.Contains("Ready to accept connections", StringComparison.Ordinal))
        {
            ready.TrySetResult(); // after its file is loaded
        }

        // "123:M 01 Jan 2026 00:00:00.000 # text": # marks a warning. At start it lectures about the kernel's settings, at the end it says goodbye.
        if (portIsPublished && !isStopping && line.Split(" # ", 2) is [_, var warning])
        {
            options.OnLine(warning);
        }
    }

    private int ChoosePort()
    {
        var remembered = File.Exists(PortPath) && int.TryParse(File.ReadAllText(PortPath), out var port) ? port : options.PreferredPort;
        return remembered == 0 || Ports.IsTaken(remembered) ? Ports.Free() : remembered;
    }

    private async Task<string> LoadOrCreatePasswordAsync(CancellationToken ct)
    {
        if (File.Exists(PasswordPath) && await File.ReadAllTextAsync(PasswordPath, ct)
            is { Length: > 0 } existing)
        {
            return existing.Trim();
        }

        var password = Secrets.NewPassword();
        await Secrets.WriteAsync(PasswordPath, password, ct);
        return password;
    }

    /// <summary>A file, because arguments (and so a password among them) can be read by everyone on the machine.</summary>
    private Task WriteConfigurationAsync(CancellationToken ct) => Secrets.WriteAsync(ConfigurationPath, $"""
        bind 127.0.0.1
        port {Port}
        dir "{folder.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}"
        daemonize no
        logfile ""
        loglevel notice
        save ""
        appendonly {(options.IsEphemeral ? "no" : "yes")}
        appendfsync everysec
        {(Password is null ? "" : $"requirepass {Password}")}

        """, ct);
}
