using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Generation.Tests.ServiceDefaults;

/// <summary>A real redis-server or postgres on a free port of 127.0.0.1, gone with its files when disposed.</summary>
internal sealed class LocalServer : IAsyncDisposable
{
    private static readonly TimeSpan StartDeadline = TimeSpan.FromSeconds(30);

    private readonly DirectoryInfo directory;
    private readonly Process process;

    private LocalServer(int port, DirectoryInfo directory, Process process)
    {
        Port = port;
        this.directory = directory;
        this.process = process;
    }

    public int Port { get; }

    public string Redis => $"127.0.0.1:{Port}";

    public string Postgres => $"Host=127.0.0.1;Port={Port};Username=postgres;Database=postgres";

    /// <summary>A port that nobody listens on, for as long as nobody else takes it.</summary>
    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public static async Task<LocalServer> StartRedisAsync(int? port = null)
    {
        var listenPort = port ?? FreePort();
        var folder = Directory.CreateTempSubdirectory("generation-redis-");
        var server = Start("redis-server", "--port", $"{listenPort}", "--bind", "127.0.0.1", "--dir", folder.FullName, "--save", "", "--daemonize",
            "no");
        var local = new LocalServer(listenPort, folder, server);
        await local.WaitForLineAsync(server.StandardOutput, "Ready to accept connections");
        return local;
    }

    public static async Task<LocalServer> StartPostgresAsync()
    {
        var port = FreePort();
        var folder = Directory.CreateTempSubdirectory("generation-postgres-");
        var data = Path.Combine(folder.FullName, "data");
        using (var chown = Start("chown", "postgres", folder.FullName))
            await chown.WaitForExitAsync();
        using (var initdb = StartAsPostgres("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"))
        {
            var output = initdb.StandardOutput.ReadToEndAsync();
            var errors = await initdb.StandardError.ReadToEndAsync();
            await output;
            await initdb.WaitForExitAsync();
            Assert.True(initdb.ExitCode == 0, errors);
        }

        var server = StartAsPostgres(
            "postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", $"port={port}", "-c", $"unix_socket_directories={folder.FullName}",
                "-c", "fsync=off");
        var local = new LocalServer(port, folder, server);
        await local.WaitForLineAsync(server.StandardError, "ready to accept connections");
        return local;
    }

    public async ValueTask DisposeAsync()
    {
        if (!process.HasExited)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }

        process.Dispose();
        directory.Delete(recursive: true);
    }

    private static Process StartAsPostgres(string program, params string[] arguments)
    {
        var newest = Directory.GetDirectories("/usr/lib/postgresql").Order().Last();
        var path = Path.Combine(newest, "bin", program);
        return Environment.IsPrivilegedProcess // Postgres refuses to run as root
            ? Start("setpriv", ["--reuid=postgres", "--regid=postgres", "--clear-groups", path, .. arguments])
            : Start(path, arguments);
    }

    private static Process Start(string program, params string[] arguments) => Process.Start(new ProcessStartInfo(program, arguments)
    {
        UseShellExecute = false,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        WorkingDirectory = Path.GetTempPath(),
    })!;

    private async Task WaitForLineAsync(StreamReader output, string awaited)
    {
        using var deadline = new CancellationTokenSource(StartDeadline);
        var seen = new List<string>();
        while (await output.ReadLineAsync(deadline.Token) is { } line)
        {
            seen.Add(line);
            if (line.Contains(awaited, StringComparison.Ordinal))
            {
                // Whoever does not read a pipe stops its writer once it is full.
                _ = process.StandardOutput.ReadToEndAsync();
                _ = process.StandardError.ReadToEndAsync();
                return;
            }
        }

        await DisposeAsync();
        Assert.Fail($"The server ended before it was ready:\n{string.Join('\n', seen)}");
    }
}
