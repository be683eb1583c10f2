using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using Generation.AppHost.Embedded;
using Generation.Bench;
using Generation.Bench.Ledger;
using Generation.Bench.Overload;
using Generation.Bench.Pipeline;
using Generation.Bench.Submit;
using Spectre.Console;

Benchmark[] benchmarks =
[
    SubmitBenchmark.Entry, GrowthBenchmark.Entry, LedgerBenchmark.Entry, AuditBenchmark.Entry, PipelineBenchmark.Entry, OverloadBenchmark.Entry, MediaBenchmark.Entry,
];

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
    return args.Length == 0 ? 0 : 2;
}

// The services come from the same configuration as this program, so one check covers all.
if (typeof(Benchmark).Assembly.GetCustomAttribute<DebuggableAttribute>() is { IsJITOptimizerDisabled: true })
{
    AnsiConsole.WriteLine("A Debug build is not what anybody runs: dotnet run -c Release");
    return 2;
}

using var stop = new CancellationTokenSource();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
var report = new Report(chosen);
try
{
    await chosen.RunAsync(report, stop.Token);
}
catch (Exception e) when (e is StartFailure || stop.IsCancellationRequested)
{
    AnsiConsole.WriteLine(e.Message);
    return 2;
}

report.Print();
if (jsonPath is not null) await report.WriteJsonAsync(jsonPath);
return report.Holds ? 0 : 1;

void Stop(PosixSignalContext signal)
{
    signal.Cancel = true; // the servers are stopped and their folder removed first
    stop.Cancel();
}
