using System.Runtime.InteropServices;
using Generation.LocalServers;
using Spectre.Console;

namespace Generation.Bench;

/// <summary>Runs something that Ctrl-C and SIGTERM stop in order: its servers are stopped and its folder is removed first.</summary>
internal static class Interruptible
{
    /// <summary>The run's exit code; 2 when it could not start, or was stopped.</summary>
    public static async Task<int> RunAsync(Func<CancellationToken, Task<int>> run)
    {
        using var stop = new CancellationTokenSource();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        try
        {
            return await run(stop.Token);
        }
        catch (Exception e) when (e is StartFailure || stop.IsCancellationRequested)
        {
            AnsiConsole.WriteLine(e.Message);
            return 2;
        }

        void Stop(PosixSignalContext signal)
        {
            signal.Cancel = true;
            stop.Cancel();
        }
    }
}
