using System.Collections.Concurrent;
using Spectre.Console;

namespace Generation.Bench.Chaos;

/// <summary>What a run has shown, for eyes: faults, outcomes, promises, times.</summary>
internal sealed class ChaosReport(ChaosOptions options)
{
    private const int ExamplesShown = 5;

    private readonly List<(string Name, double Seconds)> laps = [];
    private readonly List<(string Promise, string Detail, IReadOnlyList<string> Broken)> promises = [];
    private readonly ConcurrentQueue<string> story = new();
    private IReadOnlyList<Struck> struck = [];
    private IReadOnlyDictionary<string, Dictionary<string, int>> outcomes = new Dictionary<string, Dictionary<string, int>>();
    private IReadOnlyDictionary<string, int> weather = new Dictionary<string, int>();
    private long lap = TimeProvider.System.GetTimestamp();

    /// <summary>No promise broke.</summary>
    public bool Holds => promises.Count > 0 && promises.All(promise => promise.Broken.Count == 0);

    public void Begin(IReadOnlyList<Injection> schedule)
    {
        AnsiConsole.WriteLine($"Seed {options.Seed}: {options.RequestsPerSecond} requests/s for {options.Minutes} min, {schedule.Count} faults.");
        foreach (var injection in schedule)
        {
            Note($"planned {injection}");
        }
    }

    /// <summary>Ends a part of the run.</summary>
    public void Lap(string name)
    {
        laps.Add((name, TimeProvider.System.GetElapsedTime(lap).TotalSeconds));
        lap = TimeProvider.System.GetTimestamp();
    }

    /// <summary>A line of the run's story, which is kept when a promise broke.</summary>
    public void Note(string line) => story.Enqueue(line);

    /// <summary>A promise, and what breaks it.</summary>
    public void Add(string promise, string detail, IReadOnlyList<string> broken) => promises.Add((promise, detail, broken));

    public void Add(IReadOnlyList<Struck> faults, IReadOnlyDictionary<string, Dictionary<string, int>> outcomesByTool, IReadOnlyDictionary<string,
        int> seen) =>
        (struck, outcomes, weather) = (faults, outcomesByTool, seen);

    public void Print()
    {
        var faults = new Table().Title("Faults injected").AddColumn("kind").AddColumn(Right("times")).AddColumn(Right("with work in flight"))
            .AddColumn(Right("sessions in flight")).AddColumn("on");
        foreach (var kind in options.Faults)
        {
            var those = struck.Where(one => one.Injection.Kind == kind).ToList();
            faults.AddRow(kind.ToString(), $"{those.Count}", $"{those.Count(one => one.HadWork)}",
                Markup.Escape(string.Join(", ", those.Take(ExamplesShown).Select(one => one.UnderWay.Open))),
                Markup.Escape(string.Join(", ", those.Select(one => one.On).Distinct(StringComparer.Ordinal).Take(3))));
        }

        AnsiConsole.Write(faults);

        var ends = outcomes.Values.SelectMany(own => own.Keys).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        var sessions = new Table().Title("Sessions by outcome").AddColumn("tool");
        foreach (var end in ends)
        {
            sessions.AddColumn(Right(end));
        }

        foreach (var (tool, own) in outcomes.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            sessions.AddRow(
            [Markup.Escape(tool), .. ends.Select(end => own.TryGetValue(end, out var count) ? $"{count}" : "")]);
        }

        sessions.AddRow(["all", .. ends.Select(end => $"{outcomes.Values.Sum(own => own.GetValueOrDefault(end))}")]);
        AnsiConsole.Write(sessions);

        var held = new Table().Title("Promises").AddColumn("promise").AddColumn("").AddColumn("");
        foreach (var (promise, detail, broken) in promises)
        {
            held.AddRow(Markup.Escape(promise), broken.Count == 0 ? "[green]held[/]" : $"[red]BROKEN: {broken.Count}[/]", Markup.Escape(detail));
        }

        AnsiConsole.Write(held);
        foreach (var (promise, _, broken) in promises.Where(promise => promise.Broken.Count > 0))
        {
            AnsiConsole.MarkupLineInterpolated($"[red]BROKEN: {promise}[/]");
            foreach (var example in broken.Take(ExamplesShown))
            {
                AnsiConsole.WriteLine($"  {example}");
            }
        }

        var counts = weather.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"{pair.Key} {pair.Value}");
        AnsiConsole.WriteLine($"The weather: {string.Join(", ", counts)}.");
        AnsiConsole.WriteLine($"Time: {string.Join(", ", laps.Select(one => $"{one.Name} {one.Seconds:0.0} s"))}, {laps.Sum(one => one.Seconds):0} "
            + "s in all.");
        AnsiConsole.WriteLine($"The same again: {options.Command}");
        AnsiConsole.MarkupLine(Holds ? "[green]Every promise held.[/]" : "[red]A promise broke.[/]");
    }

    public Task WriteAsync(string path) => File.WriteAllLinesAsync(path,
    [
        options.Command, .. struck.Select(one => $"{one.At.TotalSeconds,6:0.0} s  {one.Injection.Kind} {one.On}, {one.UnderWay}"),
            .. promises.SelectMany(promise => promise.Broken.Select(line => $"BROKEN {promise.Promise}: {line}")), .. story,
    ]);

    private static TableColumn Right(string title) => new TableColumn(Markup.Escape(title)).RightAligned();
}
