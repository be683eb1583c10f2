using System.Diagnostics;

namespace Generation.Tests.Harness;

/// <summary>
/// A server from npm in a process of its own: a script of the folder Servers that prints its port when it listens, and ends when its
/// standard input does, so that it does not outlive a killed test run.
/// </summary>
internal sealed class NodeServer : IAsyncDisposable
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromMinutes(3); // npm ci included
    private static readonly Lazy<Task<string>> Installed = new(() => Task.Run(InstallAsync));

    private readonly Process process;

    private NodeServer(Process process, int port) => (this.process, Endpoint) = (process, $"http://127.0.0.1:{port}");

    public string Endpoint { get; }

    /// <summary>Starts <c>node</c> with these arguments, the script among them.</summary>
    public static async Task<NodeServer> StartAsync(params string[] arguments)
    {
        var started = Start("node", await Installed.Value, arguments);
        using var timeout = new CancellationTokenSource(StartTimeout);
        if (!int.TryParse(await started.StandardOutput.ReadLineAsync(timeout.Token), out var port))
        {
            Assert.Fail($"The server did not start: {string.Join(' ', arguments)}: {await started.StandardError.ReadToEndAsync(timeout.Token)}");
        }

        // Unread pipes would stop a server that complains a lot.
        started.OutputDataReceived += (_, _) => { };
        started.ErrorDataReceived += (_, _) => { };
        started.BeginErrorReadLine();
        return new NodeServer(started, port);
    }

    public async ValueTask DisposeAsync()
    {
        process.StandardInput.Close(); // its sign to clear up and end
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        await process.WaitForExitAsync(timeout.Token);
        process.Dispose();
    }

    private static async Task<string> InstallAsync()
    {
        var servers = Path.Combine(RepositoryRoot(), "Generation.Tests", "Servers");
        // npm writes this file last, so a folder that a killed run left half full is filled again, and one from before a new dependency too.
        var record = Path.Combine(servers, "node_modules", ".package-lock.json");
        if (!File.Exists(record) || File.GetLastWriteTimeUtc(record) < File.GetLastWriteTimeUtc(Path.Combine(servers, "package-lock.json")))
        {
            using var install = Start("npm", servers, "ci", "--no-audit", "--no-fund");
            var output = install.StandardOutput.ReadToEndAsync();
            var errors = await install.StandardError.ReadToEndAsync();
            using var timeout = new CancellationTokenSource(StartTimeout);
            await install.WaitForExitAsync(timeout.Token);
            Assert.True(install.ExitCode == 0, $"npm ci failed in {servers}: {await output}{errors}");
        }

        return servers;
    }

    private static Process Start(string program, string folder, params string[] arguments) => Process.Start(
        new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;

    private static string RepositoryRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Generation.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests run outside the repository.");
    }
}
