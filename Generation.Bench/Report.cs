using System.Text.Json;
using Spectre.Console;

namespace Generation.Bench;

/// <summary>One entry of the list in Program.cs.</summary>
/// <param name="Name">The word on the command line.</param>
/// <param name="Claim">What it proves, as a sentence that a number can refute.</param>
/// <param name="RunAsync">Measures into the report. An exception means that nothing was measured.</param>
internal sealed record Benchmark(string Name, string Claim, Func<Report, CancellationToken, Task> RunAsync);

/// <param name="Name">Lower case, parts joined by dots.</param>
/// <param name="Unit">As shown: <c>s</c>, <c>MB</c> (a million bytes), <c>MB/s</c>.</param>
internal sealed record Measurement(string Name, double Value, string Unit);

/// <summary>What a run has measured, and whether the claim held.</summary>
internal sealed class Report(Benchmark benchmark)
{
    private static readonly JsonSerializerOptions Indented = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    private readonly List<Measurement> results = [];
    private readonly SortedDictionary<string, double> ratios = new(StringComparer.Ordinal);
    private readonly List<string> refutations = [];

    /// <summary>No check has failed.</summary>
    public bool Holds => refutations.Count == 0;

    /// <summary>What was added under a name, rounded.</summary>
    public double this[string name] => results.Single(result => result.Name == name).Value;

    /// <summary>A line for whoever waits. Not part of the result.</summary>
    public static void Say(string line) => AnsiConsole.MarkupLineInterpolated($"[grey]{line}[/]");

    /// <summary>A name that comes again (another round) replaces what was there.</summary>
    public void Add(string name, double value, string unit)
    {
        results.RemoveAll(result => result.Name == name);
        results.Add(new Measurement(name, Math.Round(value, 3), unit));
    }

    /// <summary>What was reached, as a share of a limit that was measured in the same run: 1 is the limit, more is better.</summary>
    public void AddRatio(string name, double share) => ratios.Add(name, Math.Round(share, 3));

    /// <summary>Unless the condition is true the run ends with exit code 1 and says why.</summary>
    public void Check(bool condition, string refutation)
    {
        if (!condition)
        {
            refutations.Add(refutation);
        }
    }

    public void Print()
    {
        var table = new Table().Title(Markup.Escape(benchmark.Claim)).AddColumn("").AddColumn(new TableColumn("measured").RightAligned())
            .AddColumn("unit");
        foreach (var (name, value, unit) in results)
        {
            table.AddRow(Markup.Escape(name), Number(value), Markup.Escape(unit));
        }

        foreach (var (name, value) in ratios)
        {
            table.AddRow(Markup.Escape(name), value.ToString("0.00"), "of the limit");
        }

        AnsiConsole.Write(table);
        foreach (var refutation in refutations)
        {
            AnsiConsole.MarkupLineInterpolated($"[red]{refutation}[/]");
        }

        if (Holds)
        {
            AnsiConsole.MarkupLine("[green]The claim holds.[/]");
        }
    }

    /// <summary>Of an odd number of rounds: one that the machine was busy with something else in does not count.</summary>
    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted[sorted.Length / 2];
    }

    /// <summary>Writes <c>{ name, results: [ { name, value, unit } ], ratios: { … } }</c>.</summary>
    public Task WriteJsonAsync(string path) =>
        File.WriteAllTextAsync(path, JsonSerializer.Serialize(new { benchmark.Name, results, ratios }, Indented) + "\n");

    private static string Number(double value) => value == Math.Truncate(value) ? value.ToString("#,0") : value.ToString("#,0.00");
}
