using Generation.ProviderSim.Faults;
using Generation.Tests.Tidy;

namespace Generation.Tests.Providers.Contract;

/// <summary>
/// docs/provider-outcomes.md says what follows from every kind of failure at every provider. It says what <see cref="ProviderRows"/> says, which the
/// scenarios of this folder hold the product to. UPDATE_OUTCOMES=1 writes the table.
/// </summary>
public sealed class OutcomeTableTests
{
    private const string Document = "docs/provider-outcomes.md";

    private static readonly IReadOnlyList<ProviderRow> Providers = [.. ProviderRows.All.Where(row => row.Faults.Count > 0)];

    private static readonly IReadOnlyList<Fault> Faults =
        [.. Fault.All.Where(fault => fault.Stage != FaultStage.Callback && Providers.Any(row => WordIn(row, fault.Word) != "–"))
            .OrderBy(fault => fault.Stage)];

    public static TheoryData<string> Rows => [.. Faults.Select(fault => fault.Word)];

    [Theory]
    [MemberData(nameof(Rows))]
    public void Every_row_says_what_the_scenarios_hold_the_providers_to(string word)
    {
        var row = Assert.Single(Documented(), line => line.Contains($" `{word}` ", StringComparison.Ordinal));
        Assert.Equal(LineOf(Faults.Single(fault => fault.Word == word)), row);
    }

    [Fact]
    public void The_table_has_a_row_for_every_failure_and_a_column_for_every_provider()
    {
        string[] table =
        [
            $"| step | what happens | word | {string.Join(" | ", Providers.Select(row => row.Name))} |",
            $"|---|---|---|{string.Concat(Providers.Select(_ => "---|"))}",
            .. Faults.Select(LineOf),
        ];
        if (Environment.GetEnvironmentVariable("UPDATE_OUTCOMES") == "1")
        {
            var kept = TidyTests.Read(Document).Split('\n').Where(line => !line.StartsWith('|')).ToList();
            kept.InsertRange(kept.IndexOf("## The table") + 2, table);
            File.WriteAllText(Path.Combine(TidyTests.Root, Document), string.Join('\n', kept));
        }

        Assert.Equal(table, Documented());
    }

    [Fact]
    public void Every_word_of_the_table_is_explained()
    {
        var text = TidyTests.Read(Document);
        Assert.All(Faults.SelectMany(fault => Providers.Select(row => WordIn(row, fault.Word))).Distinct().Where(word => word != "–"),
            word => Assert.Contains($"- **{word}**: ", text, StringComparison.Ordinal));
    }

    private static string[] Documented() => [.. TidyTests.Read(Document).Split('\n').Where(line => line.StartsWith('|'))];

    private static string LineOf(Fault fault) =>
        $"| {StepOf(fault.Stage)} | {fault.Says} | `{fault.Word}` | {string.Join(" | ", Providers.Select(row => WordIn(row, fault.Word)))} |";

    private static string StepOf(FaultStage stage) => stage switch
    {
        FaultStage.Refusal => "call",
        FaultStage.Outcome => "result",
        FaultStage.Reply => "answer",
        FaultStage.Poll => "poll",
        _ => "download",
    };

    /// <summary>What follows, in a word of the document; a dash where it cannot happen or is not tried.</summary>
    private static string WordIn(ProviderRow row, string fault) =>
        row.Harmless.Any(words => PromptWords.Parse(words).Faults.Any(word => word.Fault.Word == fault)) ? "harmless"
        : !row.Faults.TryGetValue(fault, out var outcome) ? "–"
        : outcome switch
        {
            { IsUnknown: true } => "unknown",
            { Code: "provider_rate_limited" } => "later",
            { Code: "output_unusable", Once: null } => "lost",
            { Once: { Calls: 1 } } => "fetched",
            { Once: not null } => row.Style == CallStyle.Task ? "another" : "again",
            _ => "refused",
        };
}
