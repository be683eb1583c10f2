using System.Text.RegularExpressions;

namespace Generation.Tests.Tidy;

/// <summary>
/// One word for one thing: docs/glossary.md. A word that the glossary retired stays out of identifiers and file names, in C# and in SQL.
/// </summary>
public sealed partial class WordsTests
{
    /// <summary>Retired as a part of any name, however it is written (<c>StrayRows</c>, <c>stray_rows</c>), with the word to use.</summary>
    private static readonly Dictionary<string, string> RetiredParts = new(StringComparer.OrdinalIgnoreCase)
    {
        ["alarm"] = "timer (a scheduled wake-up) or alert (of an operator)",
        ["alarms"] = "timers or alerts",
        ["away"] = "unavailable",
        ["complain"] = "report",
        ["complaint"] = "throttled log",
        ["complaints"] = "throttled log",
        ["deed"] = "admin action",
        ["deeds"] = "admin actions",
        ["duties"] = "periodic services",
        ["duty"] = "periodic service",
        ["leftover"] = "orphaned object",
        ["leftovers"] = "orphaned objects",
        ["murderer"] = "poison job",
        ["owed"] = "overage",
        ["patience"] = "timeout or max wait",
        ["purse"] = "available lots",
        ["silence"] = "transport failure",
        ["stray"] = "missing dispatch",
        ["strays"] = "missing dispatches",
        ["unheard"] = "open (call)",
    };

    /// <summary>Retired as a whole name; a part of it is an ordinary word elsewhere.</summary>
    private static readonly Dictionary<string, string> RetiredNames = new(StringComparer.Ordinal)
    {
        ["ActiveJobs"] = "LeaseRenewer",
        ["Answers"] = "SubmitResponder",
        ["Asked"] = "SubmitCommand",
        ["BuyAsync"] = "SendPaidAsync",
        ["ByIndex"] = "PlannerSettings",
        ["ExpectCall"] = "CallStarted",
        ["ForgottenObjects"] = "ObjectStoreScan",
        ["Heard"] = "CallCompleted",
        ["IntendAsync"] = "TryBeginCallAsync",
        ["IsAboutContent"] = "DataErrors.IsDataError",
        ["IsPassing"] = "TransientErrors.IsTransient",
        ["Prelude"] = "PlannerSettings.Command",
        ["Submitting"] = "SubmitHandler",
        ["SweepTurns"] = "MaintenanceLease",
        ["TakeTurnAsync"] = "AcquireRateLimitAsync",
        ["ToldStoredAsync"] = "OnOutputStoredAsync",
        ["UserWords"] = "UserMessages",
        ["cut_off"] = "interrupted_call",
    };

    /// <summary>Names that are not ours to change: configuration keys, and those of .NET.</summary>
    private static readonly HashSet<string> Given = new(StringComparer.Ordinal)
    {
        "AwayFromZero", "StrayInterval",
    };

    [Fact]
    public void Retired_words_stay_out_of_identifiers_and_file_names()
    {
        var offenders =
            from file in TidyTests.Files
            where !IsHistory(file)
            from found in NamesIn(file)
            let name = found.Name
            where !Given.Contains(name)
            let word = Retired(name)
            where word is not null
            group found.Line by (file, name, word) into same
            select $"{same.Key.file}:{same.Min()}: {same.Key.name} → {same.Key.word}";
        TidyTests.Empty(offenders, "docs/glossary.md has one word for one thing; these names use a word that it retired (→ the word to use).");
    }

    [Theory]
    [InlineData("SessionStrays", "missing dispatches")]
    [InlineData("waiting_has_an_alarm", "timer (a scheduled wake-up) or alert (of an operator)")]
    [InlineData("UserWords", "UserMessages")]
    [InlineData("password", null)]
    [InlineData("DutyfreeZone", null)]
    public void A_name_is_split_into_its_words(string name, string? word) => Assert.Equal(word, Retired(name));

    [Theory]
    [InlineData("a.cs", "var x = 1; // an alarm", "var x")]
    [InlineData("a.cs", "Log(\"alarm\", duty);", "Log duty")]
    [InlineData("a.sql", "SELECT purse FROM lots -- owed", "SELECT purse FROM lots")]
    public void Comments_and_text_are_not_identifiers(string file, string text, string names) =>
        Assert.Equal(names, string.Join(' ', Identifiers(file, text).Select(found => found.Name)));

    private static string? Retired(string name) =>
        RetiredNames.TryGetValue(name, out var whole) ? whole
        : Part().Matches(name).Select(part => RetiredParts.GetValueOrDefault(part.Value)).FirstOrDefault(word => word is not null);

    private static IEnumerable<(string Name, int Line)> NamesIn(string file) => Path.GetExtension(file) is ".cs" or ".sql"
        ? Identifiers(file, TidyTests.Read(file)).Prepend((Path.GetFileNameWithoutExtension(file), 1))
        : [(Path.GetFileNameWithoutExtension(file), 1)];

    private static IEnumerable<(string Name, int Line)> Identifiers(string file, string text)
    {
        var number = 0;
        var code = file.EndsWith(".sql", StringComparison.Ordinal) ? SqlNoise() : CodeNoise();
        foreach (var line in code.Replace(text, Blank).Split('\n'))
        {
            number++;
            foreach (Match match in Identifier().Matches(line))
                yield return (match.Value, number);
        }
    }

    /// <summary>Nothing but the line breaks, so that lines keep their numbers.</summary>
    private static string Blank(Match noise) => new('\n', noise.Value.Count(character => character == '\n'));

    // Applied migrations do not change; schema.sql has the names that they gave, and the glossary and this test quote what they retire.
    private static bool IsHistory(string file) =>
        file.StartsWith("Generation.Core/Database/Migrations/", StringComparison.Ordinal) || file == "Generation.Tests/Tidy/WordsTests.cs";

    [GeneratedRegex(@"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")]
    private static partial Regex Part();

    [GeneratedRegex(@"[A-Za-z_]\w*")]
    private static partial Regex Identifier();

    [GeneratedRegex(@"//[^\n]*|/\*.*?\*/|""""""(?s:.*?)""""""|@""(?:[^""]|"""")*""|""(?:\\.|[^""\\\n])*""|'(?:\\.|[^'\\\n])+'", RegexOptions.Singleline)]
    private static partial Regex CodeNoise();

    [GeneratedRegex(@"--[^\n]*|'(?:[^']|'')*'", RegexOptions.Singleline)]
    private static partial Regex SqlNoise();
}
