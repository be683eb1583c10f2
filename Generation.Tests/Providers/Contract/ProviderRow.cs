using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Contract;

/// <summary>How outputs are bought, and so what is known when a call breaks off.</summary>
internal enum CallStyle
{
    /// <summary>A call for each output, which answers with it or with its address.</summary>
    Each,

    /// <summary>One call for all outputs, each announced as it comes.</summary>
    Group,

    /// <summary>A task for each output, which is asked for until it ends.</summary>
    Task,
}

/// <summary>
/// A provider and a kind of call: what the contract's scenarios must know of it, and nothing else. A new provider gets a row in
/// <see cref="ProviderRows"/>, and every scenario of this folder applies to it.
/// </summary>
/// <param name="Name">As test results show it.</param>
/// <param name="Model">A model of it, by the public name.</param>
/// <param name="UnitPrice">Credits for one output with <paramref name="Params"/>.</param>
/// <param name="Style">How outputs are bought.</param>
/// <param name="Params">The rest of a request, beside the prompt and the number of outputs.</param>
internal sealed record ProviderRow(string Name, string Model, int UnitPrice, CallStyle Style, params (string Name, object Value)[] Params)
{
    /// <summary>Outputs of an ordinary request.</summary>
    public int Outputs => Style == CallStyle.Group ? 2 : 1;

    /// <summary>Outputs of a request of which one is to come and another is not; 0: the model makes one a request.</summary>
    public int Several { get; init; }

    /// <summary>What is captured for a stored output: the price, or what the provider counts where that is less.</summary>
    public int Cost { get; init; } = UnitPrice;

    /// <summary>Whether the simulator counts what the provider bills; our own GPUs and mocks bill nothing.</summary>
    public bool IsBilled { get; init; } = true;

    /// <summary>Whether the provider's name for a call is kept for its support.</summary>
    public bool KeepsRequestIds { get; init; }

    /// <summary>Settings of the services in scenarios that have a system of their own.</summary>
    public Dictionary<string, string> Settings { get; init; } = new(StringComparer.Ordinal);

    /// <summary>
    /// What becomes of a session that meets a fault of the simulator. What follows the word is a remark: two rows may have one word.
    /// </summary>
    public Dictionary<string, FaultOutcome> Faults { get; init; } = new(StringComparer.Ordinal);

    /// <summary>Words for the simulator that do not show in the session: no failure, no attempt, no second call.</summary>
    public string[] Harmless { get; init; } = [];

    /// <summary>A fault after which the same call is made again, when one of several outputs meets it.</summary>
    public string? Passing { get; init; }

    /// <summary>A fault that one of several outputs meets for good, with the failure's code.</summary>
    public string? RefusesOne { get; init; }

    /// <summary>What a cancel does to work that the provider has begun.</summary>
    public CancelOutcome[] Cancels { get; init; } = [];

    /// <summary>After a worker was killed while the provider had the call, before it answered.</summary>
    public Aftermath? AfterCall { get; init; }

    /// <summary>After a worker was killed in the download; null: the answer is the output, or comes whole.</summary>
    public Aftermath? AfterDownload { get; init; }

    /// <summary>After a worker was killed between an output's object and its row; null: tested elsewhere.</summary>
    public Aftermath? AfterUpload { get; init; }

    /// <summary>After a worker was killed, or lost its lease, when the first of <see cref="Several"/> outputs was stored.</summary>
    public Aftermath? AfterFirst { get; init; }

    /// <summary>After a worker was killed at a statement.</summary>
    public Dictionary<string, Aftermath> AfterStatement { get; init; } = new(StringComparer.Ordinal);

    /// <summary>Waits until the provider was told to stop what the worker left behind, where that can be told.</summary>
    public Func<TestSystem, Task> UntilTakenOverAsync { get; init; } = _ => Task.CompletedTask;

    /// <summary>Posts a request, which must be accepted.</summary>
    /// <param name="system">Where.</param>
    /// <param name="name">The prompt: what the simulator's calls are found by.</param>
    /// <param name="words">More of the prompt, for the simulator.</param>
    /// <param name="outputs">0: an ordinary request.</param>
    public Task<Guid> SubmitAsync(TestSystem system, string name, string words = "", int outputs = 0)
    {
        var parameters = Params.ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal);
        outputs = outputs == 0 ? Outputs : outputs;
        if (outputs > 1)
        {
            parameters["n"] = outputs;
        }

        // the simulator's group takes the number from the prompt, as the model does
        var number = Style != CallStyle.Group ? "" : outputs == 2 ? "two pictures of " : "three pictures of ";
        parameters["prompt"] = $"{number}{name} {words}".TrimEnd();
        return system.SubmitAsync(Model, parameters);
    }
}

/// <summary>How a session ends that meets a fault.</summary>
/// <param name="Code">The error's code.</param>
/// <param name="Calls">Made for it.</param>
/// <param name="Paid">Of them, those that the provider bills.</param>
internal sealed record FaultOutcome(string Code, int Calls, int Paid)
{
    /// <summary>How it goes when the fault strikes once; null: it ends the session also then, although another call would succeed.</summary>
    public Passed? Once { get; init; }

    /// <summary>The provider's code as it is recorded, where the row says which.</summary>
    public string? Recorded { get; init; }

    /// <summary>More for the prompt.</summary>
    public string Words { get; init; } = "";

    /// <summary>How often the session came again through the outbox before it was given up.</summary>
    public int Attempts => Once is null || Code == "output_unusable" ? 0 : 1;

    /// <summary>Whether an operator has a call to reconcile.</summary>
    public bool IsUnknown => Code == "outcome_unknown";

    public static FaultOutcome Refused(string code) => new(code, 1, 0);

    public static FaultOutcome Unknown(int paid) => new("outcome_unknown", 1, paid);

    /// <summary>It was made, and is of no use: a second download would not help, and a second call would be paid again.</summary>
    public static FaultOutcome Unusable { get; } = new("output_unusable", 1, 1);

    /// <summary>It was made, and its address does not have it, which may pass: asked again for a while, and no attempt is counted.</summary>
    public static FaultOutcome Pending { get; } = new("output_unusable", 1, 1) { Once = new Passed(1, 1, 0) };

    /// <summary>Not executed: again after a pause, through the outbox.</summary>
    public static FaultOutcome Limited { get; } = new("provider_rate_limited", 2, 0) { Once = new Passed(2, 1, 1) };

    /// <summary>Not executed, or failed without a bill: again in the slot, then through the outbox.</summary>
    public static FaultOutcome Unavailable { get; } = new("provider_unavailable", 4, 0) { Once = new Passed(2, 1, 0) };

    /// <summary>A task that failed and was not billed: another through the outbox, and given up.</summary>
    public static FaultOutcome TaskFailed { get; } = new("provider_unavailable", 2, 0) { Once = new Passed(2, 1, 1) };

    /// <summary>Made, and the download breaks off: fetched again, never bought again.</summary>
    public static FaultOutcome Torn { get; } = new("provider_unavailable", 1, 1) { Once = new Passed(1, 1, 0) };
}

/// <param name="Calls">Made for the session until it was completed.</param>
/// <param name="Paid">Of them, those that the provider bills.</param>
/// <param name="Attempt">How often the session came again through the outbox.</param>
internal sealed record Passed(int Calls, int Paid, int Attempt);

/// <summary>A cancel while the provider works.</summary>
/// <param name="Words">For the simulator, so that it works on until the test has seen enough.</param>
/// <param name="State">Of the call, as it is recorded.</param>
internal sealed record CancelOutcome(string Words, string State)
{
    /// <summary>How many calls an operator has to reconcile.</summary>
    public int Unknown => State == "unknown" ? 1 : 0;

    /// <summary>Looks at the provider's side: the task's id, or null where there is none.</summary>
    public Func<TestSystem, string?, Task> AssertAtProviderAsync { get; init; } = (_, _) => Task.CompletedTask;
}

/// <summary>What is left after a worker died and another took over. Outputs that are missing are of unknown outcome.</summary>
/// <param name="Stored">Outputs that the session has, and is charged for.</param>
/// <param name="Calls">Made for it, before and after.</param>
/// <param name="Objects">In the store: more than outputs when the dead worker's upload was complete, or its row was not written.</param>
internal sealed record Aftermath(int Stored, int Calls, int Objects);
