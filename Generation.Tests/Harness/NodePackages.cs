using System.Diagnostics;

namespace Generation.Tests.Harness;

/// <summary>Programs of npm that tests talk to (Servers/), installed by the first test that wants one.</summary>
internal static class NodePackages
{
    public static readonly TimeSpan StartTimeout = TimeSpan.FromMinutes(3); // npm ci included

    private static readonly Lazy<Task<string>> Installed = new(() => Task.Run(InstallAsync));

    /// <summary>Starts one of the scripts; whoever starts it ends it.</summary>
    public static async Task<Process> StartAsync(params string[] arguments) => Start("node", await Installed.Value, arguments);

    /// <summary>Runs one of the scripts to its end, which has to be one without an error, and returns what it printed.</summary>
    public static async Task<string> RunAsync(params string[] arguments)
    {
        using var node = await StartAsync(arguments);
        using var timeout = new CancellationTokenSource(StartTimeout);
        var errors = node.StandardError.ReadToEndAsync(timeout.Token);
        var output = await node.StandardOutput.ReadToEndAsync(timeout.Token);
        await node.WaitForExitAsync(timeout.Token);
        Assert.True(node.ExitCode == 0, $"node {string.Join(' ', arguments)} ended with {node.ExitCode}:\n{output}{await errors}");
        return output;
    }

    private static async Task<string> InstallAsync()
    {
        var servers = Repository.PathOf("Generation.Tests", "Servers");
        // npm writes its own file last, so a folder that a killed run left half full, or that an older lock file filled, is filled again.
        var done = new FileInfo(Path.Combine(servers, "node_modules", ".package-lock.json"));
        if (!done.Exists || done.LastWriteTimeUtc < File.GetLastWriteTimeUtc(Path.Combine(servers, "package-lock.json")))
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
}
