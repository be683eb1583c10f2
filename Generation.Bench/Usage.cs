using Generation.Bench.Chaos;
using Spectre.Console;

namespace Generation.Bench;

internal static class Usage
{
    /// <summary>Prints what can be run, and returns the exit code: 0 when that was asked for, 2 when a name was wrong.</summary>
    public static int Print(IEnumerable<Benchmark> benchmarks, bool isAsked)
    {
        AnsiConsole.WriteLine("dotnet run -c Release --project Generation.Bench -- NAME [--json FILE]");
        foreach (var benchmark in benchmarks)
        {
            AnsiConsole.WriteLine($"  {benchmark.Name,-14} {benchmark.Claim}");
        }

        AnsiConsole.WriteLine($"  {ChaosOptions.Usage}: every part of the system is killed, stopped, wiped and slowed down under load, and nothing is "
            + "lost.");
        AnsiConsole.WriteLine($"  {RestoreDrill.Usage}: the database is restored to a point in time, and reconciled with store, providers and "
            + "clients.");
        return isAsked ? 0 : 2;
    }
}
