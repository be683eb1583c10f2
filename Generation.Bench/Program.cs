using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using Generation.AppHost.Embedded;
using Generation.Bench;
using Generation.Bench.Chaos;
using Generation.Bench.Ledger;
using Generation.Bench.Submit;
using Spectre.Console;

Benchmark[] benchmarks = [SubmitBenchmark.Entry, GrowthBenchmark.Entry, LedgerBenchmark.Entry, AuditBenchmark.Entry, MediaBenchmark.Entry];

using var stop = new CancellationTokenSource();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
if (args is ["chaos", .. var words] && ChaosOptions.Parse(words) is { } chaos) return await GuardAsync(() => ChaosRun.RunAsync(chaos, stop.Token));

var (name, jsonPath) = args switch
{
    [var only] => (only, null),
    [var first, "--json", var path] => (first, path),
    _ => ((string?)null, (string?)null),
};
if (Array.Find(benchmarks, benchmark => benchmark.Name == name) is not { } chosen)
{
    AnsiConsole.WriteLine("dotnet run -c Release --project Generation.Bench -- NAME [--json FILE]");
    foreach (var benchmark in benchmarks) AnsiConsole.WriteLine($"  {benchmark.Name,-14} {benchmark.Claim}");
    AnsiConsole.WriteLine($"  {ChaosOptions.Usage}: every part of the system is killed, stopped, wiped and slowed down under load, and nothing is lost.");
    return args.Length == 0 ? 0 : 2;
}

// The services come from the same configuration as this program, so one check covers all.
if (typeof(Benchmark).Assembly.GetCustomAttribute<DebuggableAttribute>() is { IsJITOptimizerDisabled: true })
{
    AnsiConsole.WriteLine("A Debug build is not what anybody runs: dotnet run -c Release");
    return 2;
}

var report = new Report(chosen);
return await GuardAsync(async () =>
{
    await chosen.RunAsync(report, stop.Token);
    report.Print();
    if (jsonPath is not null) await report.WriteJsonAsync(jsonPath);
    return report.Holds ? 0 : 1;
});

async Task<int> GuardAsync(Func<Task<int>> run)
{
    try
    {
        return await run();
    }
    catch (Exception e) when (e is StartFailure || stop.IsCancellationRequested)
    {
        AnsiConsole.WriteLine(e.Message);
        return 2;
    }
}

void Stop(PosixSignalContext signal)
{
    signal.Cancel = true; // the servers are stopped and their folder removed first
    stop.Cancel();
}
