using System.Diagnostics;

namespace Generation.Tests.Harness;

/// <summary>
/// A server from npm in a process of its own: a script of the folder Servers that prints its port when it listens, and ends when its
/// standard input does, so that it does not outlive a killed test run.
/// </summary>
internal sealed class NodeServer : IAsyncDisposable
{
    private readonly Process process;

    private NodeServer(Process process, int port) => (this.process, Endpoint) = (process, $"http://127.0.0.1:{port}");

    public string Endpoint { get; }

    /// <summary>Starts <c>node</c> with these arguments, the script among them.</summary>
    public static async Task<NodeServer> StartAsync(params string[] arguments)
    {
        var started = await NodePackages.StartAsync(arguments);
        using var timeout = new CancellationTokenSource(NodePackages.StartTimeout);
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
}
