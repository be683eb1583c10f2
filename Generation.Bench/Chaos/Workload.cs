using System.Text.Json.Nodes;

namespace Generation.Bench.Chaos;

/// <summary>One request that a user is going to make, and what may come of it.</summary>
/// <param name="Number">Of the run; a part of its key and its prompt.</param>
/// <param name="User">Who asks.</param>
/// <param name="Tool">For the table.</param>
/// <param name="Model">As in <c>GET /api/models</c>.</param>
/// <param name="Params">As sent.</param>
internal sealed record Plan(int Number, int User, string Tool, string Model, JsonObject Params)
{
    /// <summary>What every call for it carries, and no other.</summary>
    public required string Tag { get; init; }

    public required string Key { get; init; }

    public int Outputs { get; init; } = 1;

    /// <summary>How many outputs come is for the model to say.</summary>
    public bool IsGroup { get; init; }

    public bool IsMock { get; init; }

    /// <summary>Running it twice is free: a paid call is not counted.</summary>
    public bool IsFree { get; init; }

    /// <summary>The error code that the script in its prompt leads to; null: it is to be completed.</summary>
    public string? ScriptedCode { get; init; }

    /// <summary>
    /// The answer to the creation is lost, and the provider may call back: then the task is found by its callback, and the session completes.
    /// </summary>
    public bool MayBeLookedUp { get; init; }

    /// <summary>Watched over SSE; else asked for now and then.</summary>
    public bool Watches { get; init; }

    /// <summary>The same request is sent to both Apis at once.</summary>
    public bool AsksTwice { get; init; }

    /// <summary>The user's wish to cancel, so long after it was accepted; null: none.</summary>
    public TimeSpan? CancelAfter { get; init; }

    /// <summary>Tried again by the user when it failed.</summary>
    public bool Retries { get; init; }
}

/// <summary>What is asked for: every model that is sold, with scripts in some prompts. The same for the same seed.</summary>
internal sealed class Workload(int seed)
{
    /// <summary>In the prompts of those providers whose 500 says that nothing was made, so that it may be repeated.</summary>
    public const string AnswersWord = "answers at once";

    /// <summary>In the prompts of those whose files are a few kilobytes: half a kilobyte at a time they still come in seconds.</summary>
    public const string SmallWord = "a small picture";

    /// <summary>In the prompts of those whose creation makes a task, which a 500 says nothing about.</summary>
    public const string TaskWord = "takes its time";

    private static readonly Offer[] Offers =
    [
        new("seedream4", "seedream-4", Way.Answer) { MaxCount = 3, Weight = 4, Size = "1K" },
        new("seedream4", "seedream-4.5", Way.Answer) { MaxCount = 2, Weight = 2 },
        new("seedream5", "seedream-5-lite", Way.Answer) { MaxCount = 2, Weight = 2 },
        new("seedream5", "seedream-5-pro", Way.Answer) { Weight = 1 },
        new("seedream4 group", "seedream-4", Way.Group) { MaxCount = 5, Weight = 2, Size = "1K" },
        new("seedream5 group", "seedream-5-lite", Way.Group) { MaxCount = 4, Weight = 1 },
        new("openai-image", "gpt-image-2", Way.Inline) { MaxCount = 2, Weight = 2, Quality = "low" },
        new("openai-image", "gpt-image-2.6", Way.Inline) { Weight = 1, Quality = "low" },
        new("forge", "forge-sdxl", Way.Gpu) { MaxCount = 2, Weight = 1 },
        new("kie image", "nano-banana", Way.KieTask) { MaxCount = 2, Weight = 2 },
        new("kie image", "flux-2-pro", Way.KieTask) { Weight = 1 },
        new("kie video", "kling-2.6", Way.KieTask) { Weight = 1 },
        new("kie video", "wan-2.6", Way.KieTask) { Weight = 1 },
        new("kie sound", "sound-effect-2", Way.KieTask) { Weight = 1 },
        new("speech", "speech-multilingual-2", Way.KieTask) { Weight = 1 },
        new("seedance", "seedance-2", Way.ArkTask) { Weight = 1 },
        new("seedance", "seedance-2-fast", Way.ArkTask) { Weight = 1 },
        new("seedance", "seedance-2-mini", Way.ArkTask) { Weight = 1 },
        new("seedance", "seedance-1-pro", Way.ArkTask) { Weight = 1 },
        new("veo31", "veo-3.1", Way.Task) { Weight = 1 },
        new("veo31", "veo-3.1-fast", Way.Task) { Weight = 1 },
        new("sora", "sora-2", Way.Task) { Weight = 1 },
        new("mock", "seedream-4", Way.Mock) { MaxCount = 3, Weight = 2, Size = "1K" },
    ];

    private readonly Random random = new(seed);
    private readonly Queue<Offer> deck = new();
    private int count;

    /// <summary>How the provider works, which decides what can go wrong with it.</summary>
    private enum Way
    {
        Answer,
        Group,
        Inline,
        Gpu,
        KieTask,
        ArkTask,
        Task,
        Mock,
    }

    public Plan Next()
    {
        if (deck.Count == 0)
        {
            var cards = Offers.SelectMany(offer => Enumerable.Repeat(offer, offer.Weight)).ToArray();
            random.Shuffle(cards);
            foreach (var card in cards)
            {
                deck.Enqueue(card);
            }
        }

        var chosen = deck.Dequeue();
        var number = ++count;
        var tag = $"chaos-{seed}-{number:D6}.";
        var outputs = 1 + random.Next(chosen.MaxCount);
        var (words, code) = Script(chosen.Way);
        if (chosen.Way is Way.Answer or Way.Inline or Way.Gpu)
        {
            words += " " + AnswersWord;
        }
        else if (chosen.Way is Way.KieTask or Way.ArkTask or Way.Task)
        {
            words += " " + TaskWord;
        }

        if (random.Next(10) == 0 && chosen.Way is Way.Answer or Way.KieTask)
        {
            words += " [bytes=300000]";
        }
        else
        {
            words += " " + SmallWord;
        }

        var parameters = new JsonObject { ["prompt"] = $"{tag} a lighthouse at dusk {words}".TrimEnd() };
        if (chosen.MaxCount > 1)
        {
            parameters["n"] = outputs;
        }

        if (chosen.Size is not null)
        {
            parameters["size"] = chosen.Size;
        }

        if (chosen.Quality is not null)
        {
            parameters["quality"] = chosen.Quality;
        }

        if (chosen.Way == Way.Group)
        {
            parameters["group"] = true;
        }

        return new Plan(number, random.Next(ChaosSystem.Users), chosen.Tool, chosen.Model, parameters)
        {
            Tag = tag,
            Key = $"key-{seed}-{number}",
            Outputs = outputs,
            IsGroup = chosen.Way == Way.Group,
            IsMock = chosen.Way == Way.Mock,
            IsFree = chosen.Way == Way.Gpu,
            ScriptedCode = code,
            MayBeLookedUp = code == "outcome_unknown" && chosen.Way is (Way.KieTask or Way.ArkTask),
            Watches = random.Next(3) > 0,
            AsksTwice = random.Next(12) == 0,
            CancelAfter = random.Next(14) == 0 ? TimeSpan.FromMilliseconds(random.Next(0, 2_000)) : null,
            Retries = code is null || random.Next(4) == 0,
        };
    }

    /// <summary>A third of the requests bring some trouble of their own along; of these few are without hope.</summary>
    private (string Words, string? Code) Script(Way way)
    {
        if (way == Way.Mock || random.Next(3) > 0)
        {
            return ("", null);
        }

        List<(string, string?)> scripts = [("[fault=rate-limit:times=1]", null), ("[latency=1500]", null)];
        if (way is Way.Answer or Way.Inline or Way.Gpu)
        {
            scripts.Add(("[fault=server-error:times=1]", null));
        }

        if (way is Way.Answer or Way.KieTask or Way.ArkTask)
        {
            scripts.Add(("[fault=cut-body:times=1]", null));
        }

        if (way is Way.KieTask or Way.ArkTask or Way.Task)
        {
            scripts.AddRange(
            [("[fault=poll-error:times=2]", null), ("[fault=poll-gateway:times=1]", null)]);
        }

        if (way is Way.KieTask)
        {
            scripts.AddRange(
            [("[fault=callback-duplicate]", null), ("[fault=callback-none]", null), ("[fault=callback-early]", null),
            ("[fault=callback-lying]", null), ("[fault=callback-forged]", null)]);
        }

        if (way is Way.ArkTask)
        {
            scripts.AddRange(
            [("[fault=callback-duplicate]", null), ("[fault=callback-none]", null), ("[fault=callback-disordered]", null)]);
        }

        if (way is not (Way.Gpu or Way.Mock))
        {
            scripts.AddRange(
            [("[fault=moderation-input]", "moderation_input"), ("[fault=cut-reply]", "outcome_unknown")]);
        }

        return scripts[random.Next(scripts.Count)];
    }

    private sealed record Offer(string Tool, string Model, Way Way)
    {
        public int MaxCount { get; init; } = 1;

        public int Weight { get; init; } = 1;

        public string? Size { get; init; }

        public string? Quality { get; init; }
    }
}
