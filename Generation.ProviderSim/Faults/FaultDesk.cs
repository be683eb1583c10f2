using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Faults;

/// <summary>A fault that strikes calls which did not ask for it.</summary>
public sealed class FaultRule
{
    /// <summary>How many calls it strikes; null: no limit.</summary>
    public int? Count { get; set; }

    /// <summary>Share of calls it strikes, above 0 to 1; null: every one.</summary>
    public double? Probability { get; set; }

    /// <summary>Only calls whose prompt contains this; null: all.</summary>
    public string? Prompt { get; set; }

    /// <summary>Seconds in Retry-After; null: 1.</summary>
    public int? RetryAfterSeconds { get; set; }

    internal bool IsValid => (Count is not null || Probability is not null) && Count is null or >= 1 && Probability is null or (> 0 and <= 1);
}

/// <summary>What goes wrong next: words in the prompt first, then the operator's rules in the order they were made.</summary>
public sealed class FaultDesk
{
    /// <summary>Beyond this many prompts with a limited fault the counts start anew: a simulator must not grow with its load test.</summary>
    private const int MaxCountedPrompts = 100_000;

    private readonly Lock gate = new();
    private readonly Dictionary<(ulong PromptKey, string Source), int> struck = [];
    private readonly Dictionary<ulong, int> occurrences = [];
    private readonly List<(Fault Fault, FaultRule Rule)> rules = [];
    private readonly Dice dice;

    public FaultDesk(IOptions<SimOptions> options)
    {
        dice = new Dice(Dice.Mix(options.Value.Seed));
        foreach (var (word, rule) in options.Value.Faults)
        {
            rules.Add((Fault.Find(word)!, rule));
        }
    }

    /// <summary>What strikes a call, and what will strike the download of its results.</summary>
    /// <param name="Fault">Null: nothing.</param>
    /// <param name="RetryAfterSeconds">For a 429.</param>
    /// <param name="DownloadWords">A rule's download fault, as a word to travel in the result URL; empty: none.</param>
    public sealed record Verdict(Fault? Fault, int RetryAfterSeconds, string DownloadWords);

    public Verdict ForCall(string prompt, ulong promptKey, PromptWords words)
    {
        lock (gate)
        {
            var retryAfterSeconds = words.RetryAfterSeconds ?? 1;
            var downloadWords = "";
            var fault = Strike(promptKey, words, stage => stage is not (FaultStage.Download or FaultStage.Poll or FaultStage.Callback));
            foreach (var (candidate, rule) in rules)
            {
                var isDownload = candidate.Stage == FaultStage.Download;
                if (candidate.Stage is FaultStage.Poll or FaultStage.Callback || (isDownload ? downloadWords.Length > 0 : fault is not null)
                    || !Strikes(rule, prompt))
                {
                    continue;
                }

                if (isDownload)
                {
                    downloadWords = $"[fault={candidate.Word}]";
                }
                else
                {
                    (fault, retryAfterSeconds) = (candidate, rule.RetryAfterSeconds ?? retryAfterSeconds);
                }
            }

            return new Verdict(fault, retryAfterSeconds, downloadWords);
        }
    }

    /// <summary>What strikes a download; <c>times</c> counts downloads of all results of one prompt.</summary>
    public Fault? ForDownload(ulong promptKey, PromptWords words)
    {
        lock (gate)
        {
            return Strike(promptKey, words, stage => stage == FaultStage.Download);
        }
    }

    /// <summary>What strikes a question about a task; <c>times</c> counts the questions.</summary>
    public Fault? ForPoll(string prompt, ulong promptKey, PromptWords words) => Of(FaultStage.Poll, prompt, promptKey, words);

    /// <summary>What strikes the callback of a task; <c>times</c> counts the tasks.</summary>
    public Fault? ForCallback(string prompt, ulong promptKey, PromptWords words) => Of(FaultStage.Callback, prompt, promptKey, words);

    /// <summary>How often this prompt has been drawn before: the next picture of it shall look different.</summary>
    public int Occurrence(ulong promptKey)
    {
        lock (gate)
        {
            if (occurrences.Count >= MaxCountedPrompts)
            {
                occurrences.Clear();
            }

            var before = occurrences.GetValueOrDefault(promptKey);
            occurrences[promptKey] = before + 1;
            return before;
        }
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sim/faults", (FaultDesk desk) => new { rules = desk.List() });
        routes.MapPost("/sim/faults", (FaultOrder order, FaultDesk desk) => desk.Add(order) is { } problem
            ? Results.Problem(problem, statusCode: StatusCodes.Status400BadRequest)
            : Results.Ok(new { rules = desk.List() }));
        routes.MapDelete("/sim/faults", (FaultDesk desk) =>
        {
            desk.Clear();
            return Results.NoContent();
        });
    }

    /// <summary>Body of <c>POST /sim/faults</c>.</summary>
    public sealed record FaultOrder(string? Fault, int? Count, double? Probability, string? Prompt, int? RetryAfterSeconds);

    private Fault? Of(FaultStage stage, string prompt, ulong promptKey, PromptWords words)
    {
        lock (gate)
        {
            return Strike(promptKey, words, candidate => candidate == stage)
                ?? rules.FirstOrDefault(entry => entry.Fault.Stage == stage && Strikes(entry.Rule, prompt)).Fault;
        }
    }

    private string? Add(FaultOrder order)
    {
        if (Fault.Find(order.Fault ?? "") is not { } fault)
        {
            return $"fault must be one of: {string.Join(", ", Fault.All.Select(known => known.Word))}.";
        }

        var rule = new FaultRule
        {
            Count = order.Count,
            Probability = order.Probability,
            Prompt = order.Prompt,
            RetryAfterSeconds = order.RetryAfterSeconds,
        };
        if (!rule.IsValid)
        {
            return "count (at least 1) or probability (above 0, at most 1) is needed.";
        }

        lock (gate)
        {
            rules.Add((fault, rule));
        }

        return null;
    }

    private void Clear()
    {
        lock (gate)
        {
            rules.Clear();
            struck.Clear();
        }
    }

    private object[] List()
    {
        lock (gate)
        {
            return
            [
                .. rules.Where(entry => entry.Rule.Count != 0).Select(entry =>
                    new { fault = entry.Fault.Word, entry.Rule.Count, entry.Rule.Probability, entry.Rule.Prompt, entry.Rule.RetryAfterSeconds }),
            ];
        }
    }

    /// <summary>Whether a rule strikes; if so it is counted.</summary>
    private bool Strikes(FaultRule rule, string prompt)
    {
        if (rule.Count == 0 || (rule.Prompt is { } part && !prompt.Contains(part, StringComparison.Ordinal)))
        {
            return false;
        }

        if (rule.Probability is { } probability && !dice.Chance((float)probability))
        {
            return false;
        }

        if (rule.Count is { } count)
        {
            rule.Count = count - 1;
        }

        return true;
    }

    private Fault? Strike(ulong promptKey, PromptWords words, Func<FaultStage, bool> isStage)
    {
        foreach (var word in words.Faults.Where(word => isStage(word.Fault.Stage)))
        {
            if (word.Times is not { } times)
            {
                return word.Fault;
            }

            if (struck.Count >= MaxCountedPrompts)
            {
                struck.Clear();
            }

            var before = struck.GetValueOrDefault((promptKey, word.Source));
            if (before >= times)
            {
                continue;
            }

            struck[(promptKey, word.Source)] = before + 1;
            return word.Fault;
        }

        return null;
    }
}
