using System.Diagnostics;
using System.Reflection;
using Generation.Bench;
using Generation.Bench.Chaos;
using Generation.Bench.Fairness;
using Generation.Bench.Ledger;
using Generation.Bench.Overload;
using Generation.Bench.Pipeline;
using Generation.Bench.Pressure;
using Generation.Bench.Submit;
using Spectre.Console;

Benchmark[] benchmarks =
[
    SubmitBenchmark.Entry, GrowthBenchmark.Entry, LedgerBenchmark.Entry, AuditBenchmark.Entry, PipelineBenchmark.Entry, PositionBenchmark.Entry,
        OverloadBenchmark.Entry, PressureBenchmark.Entry, FairnessBenchmark.Entry, MediaBenchmark.Entry,
];

if (args is ["chaos", .. var words] && ChaosOptions.Parse(words) is { } chaos)
{
    return await Interruptible.RunAsync(ct => ChaosRun.RunAsync(chaos, ct));
}

if (args is ["restore"] or ["restore", _] && (args.Length == 1 ? 60 : int.TryParse(args[1], out var given) ? given : 0) is >= 10 and <= 3_600
    and var seconds)
{
    return await Interruptible.RunAsync(ct => RestoreDrill.RunAsync(TimeSpan.FromSeconds(seconds), ct));
}

var (name, jsonPath) = args switch
{
    [var only] => (only, null),
    [var first, "--json", var path] => (first, path),
    _ => ((string?)null, (string?)null),
};
if (Array.Find(benchmarks, benchmark => benchmark.Name == name) is not { } chosen)
{
    return Usage.Print(benchmarks, isAsked: args.Length == 0);
}

// The services come from the same configuration as this program, so one check covers all.
if (typeof(Benchmark).Assembly.GetCustomAttribute<DebuggableAttribute>() is { IsJITOptimizerDisabled: true })
{
    AnsiConsole.WriteLine("A Debug build is not what anybody runs: dotnet run -c Release");
    return 2;
}

var report = new Report(chosen);
return await Interruptible.RunAsync(async ct =>
{
    await chosen.RunAsync(report, ct);
    report.Print();
    if (jsonPath is not null)
    {
        await report.WriteJsonAsync(jsonPath);
    }

    return report.Holds ? 0 : 1;
});
