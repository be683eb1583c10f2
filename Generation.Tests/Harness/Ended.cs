using System.Diagnostics;

namespace Generation.Tests.Harness;

/// <summary>One of our programs run to its end, in Production, with nothing but the settings given.</summary>
/// <param name="ExitCode">0 when all went well.</param>
/// <param name="Output">The standard output; log lines of a service among it.</param>
/// <param name="Errors">The standard error.</param>
internal sealed record Ended(int ExitCode, string Output, string Errors)
{
    private static readonly TimeSpan MaxWait = TimeSpan.FromMinutes(2);

    /// <param name="project">Generation.Api, for example.</param>
    /// <param name="arguments">A command, or none to run the service.</param>
    /// <param name="settings">Names with colons.</param>
    public static async Task<Ended> RunAsync(string project, IReadOnlyList<string> arguments, params IEnumerable<(string Key, string Value)> settings)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, $"{project}.dll"), .. arguments])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = AppContext.BaseDirectory,
        };
        foreach (var (key, value) in settings)
        {
            start.Environment[key.Replace(":", "__", StringComparison.Ordinal)] = value;
        }

        using var process = Process.Start(start)!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var timeout = new CancellationTokenSource(MaxWait);
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        return new Ended(process.ExitCode, await output, await errors);
    }

    /// <summary>A command of the relay, with the owner's login.</summary>
    public static Task<Ended> RelayAsync(string owner, IReadOnlyList<string> arguments, params IEnumerable<(string Key, string Value)> settings) =>
        RunAsync("Generation.Relay", arguments, [("ConnectionStrings:generation-owner", owner), .. settings]);
}
