using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Forge;
using static Generation.Tests.Providers.Contract.FaultOutcome;

namespace Generation.Tests.Providers.Contract;

/// <summary>The providers under contract. What a row says beside the common outcomes is where its provider differs.</summary>
internal static class ProviderRows
{
    /// <summary>Statements at which a worker is killed.</summary>
    public const string Intent = "BEFORE INSERT ON provider_tasks FOR EACH ROW";

    public const string Delivered = "BEFORE UPDATE ON provider_tasks FOR EACH ROW WHEN (NEW.state = 'delivered')";

    public const string Settlement = "BEFORE UPDATE ON generation_sessions FOR EACH ROW WHEN (NEW.completed_at IS NOT NULL)";

    /// <summary>Refusals and lost answers that are alike at every provider that sends a bill.</summary>
    private static readonly (string Word, FaultOutcome Outcome)[] Billed =
    [
        ("moderation-input", Refused("moderation_input")),
        ("moderation-output", Refused("moderation_output")),
        ("unauthorized", Refused("provider_unauthorized")),
        ("quota", Refused("provider_quota_exhausted")),
        ("rate-limit", Limited),

        // Whether it was made is not known: never again, also where it was not.
        ("bad-gateway", Unknown(paid: 0)),
        ("malformed", Unknown(paid: 1)),
        ("timeout", Unknown(paid: 1)),
        ("cut-reply", Unknown(paid: 1)),
    ];

    /// <summary>Outputs that are fetched from an address.</summary>
    private static readonly (string Word, FaultOutcome Outcome)[] Fetched =
    [
        ("dead-url", Pending), ("wrong-type", Pending), ("oversized", Unusable), ("redirect-private", Unusable), ("cut-body", Torn),
    ];

    private static readonly (string Word, FaultOutcome Outcome)[] Tasks = [("image-500", TaskFailed), ("poll-lost", Unknown(paid: 1))];

    private static readonly ProviderRow ArkImages = new("Ark", "seedream-4", 4, CallStyle.Each, ("size", "1K"))
    {
        Several = 3,
        KeepsRequestIds = true,
        Settings = { ["Providers:Ark:ImageBatch"] = "1" },
        Faults = Table(Billed, Fetched,
        [
            ("forbidden", Refused("provider_unauthorized")),
            ("not-found", Refused("provider_unauthorized")),
            ("overdue", Refused("provider_quota_exhausted")),
            ("image-error", Refused("moderation_output")),
            ("cut-reply-half", Unknown(paid: 1)),
            ("rate-limit-bare", Limited),
            ("overload", Limited),
            ("server-error", Unavailable),
            ("error-200", Unavailable),
            ("image-500", Unavailable),
            ("empty-data", Unavailable),
            // Ark says that it bills no error of its own; here it does
            ("server-error-paid", Unavailable with { Paid = 4, Once = new Passed(2, 2, 0) }),
            ("html-as-png", Pending),
            ("zip-as-png", Unusable),
            ("half-file", Torn),
            ("expired-url", Pending),
            ("locked-url", Pending),
            ("not-ready", Pending),
        ]),
        Harmless = ["[fault=slow-body][bytes=6000]", "[fault=redirect]", "[fault=zipped-file]", "[fault=absurd-usage]"],
        Passing = "overload",
        RefusesOne = "image-error",
        Cancels = [new("[gate=", "unknown")],
        AfterCall = new(0, 1, 0),
        AfterDownload = new(1, 1, 1),
        AfterUpload = new(1, 1, 2),
        AfterFirst = new(2, 3, 2), // the second is unknown, the third was not begun
        AfterStatement = { [Delivered] = new(0, 1, 0) },
    };

    private static readonly ProviderRow ArkGroup = new("Ark, a group", "seedream-4", 4, CallStyle.Group, ("size", "1K"), ("group", true))
    {
        Several = 3,
        // what comes after the announcements is kept, and another matter: SeedreamGroupTests
        Faults = Table([.. Billed.Where(entry => entry.Word is not ("malformed" or "timeout"))], Fetched,
        [
            ("server-error", Unavailable),
            ("overload", Limited),
            ("error-200", Unavailable),
            ("image-500", Unavailable),
            ("empty-data", Unavailable),
        ]),
        Cancels = [new("[gate=", "unknown")],
        AfterCall = new(0, 1, 0),
        AfterDownload = new(2, 1, 2),
        AfterFirst = new(1, 1, 1), // and with the first in the upload: GroupCrashTests
    };

    private static readonly ProviderRow Seedance = new("Seedance", "seedance-2-fast", 64, CallStyle.Task, ("duration", 4))
    {
        Faults = Table(Billed, Fetched, Tasks,
        [
            ("forbidden", Refused("provider_unauthorized")),
            ("server-error", Unknown(paid: 0)), // in Ark's words, but a task may be queued all the same
            ("server-error-paid", Unknown(paid: 1)),
            ("empty-data", Unusable),
        ]),
        Harmless =
        [
            "[fault=absurd-usage]",
            "[fault=poll-error:times=3]", "[fault=poll-gateway:times=3]", "[fault=poll-rate-limit:times=3]", "[fault=poll-timeout:times=1]",
            "[fault=poll-unknown:times=2]",
        ],
        Cancels =
        [
            new("[queued=600000]", "running") { AssertAtProviderAsync = (system, id) => AssertArkSaysAsync(system, id, "cancelled") },
            // Ark refuses, and will bill it
            new("[latency=600000]", "running") { AssertAtProviderAsync = (system, id) => AssertArkSaysAsync(system, id, "running") },
        ],
        AfterCall = new(0, 1, 0),
        AfterDownload = new(1, 1, 1),
        AfterUpload = new(1, 1, 2),
    };

    private static readonly ProviderRow Veo = new("Veo", "veo-3.1-fast", 64, CallStyle.Task, ("duration", 4))
    {
        Faults = Table(Billed, Fetched, Tasks,
        [
            ("forbidden", Refused("provider_unauthorized")),
            ("not-found", Refused("provider_unauthorized")),
            ("overdue", Refused("provider_quota_exhausted")),
            ("image-error", Refused("moderation_input")), // the operation ends with the refusal
            ("rate-limit in an array", Limited with { Words = "[wrap=array]" }),
            ("quota in an array", Refused("provider_quota_exhausted") with { Words = "[wrap=array]" }),
            ("server-error", Unknown(paid: 0)), // in Google's words, but an operation may have begun all the same
            ("overload", Unknown(paid: 0)),
            ("error-200", Unknown(paid: 0)),
            ("server-error-paid", Unknown(paid: 1)),
            ("empty-data", Unusable),
        ]),
        Harmless =
        [
            "[fault=poll-error:times=3]", "[fault=poll-error:times=2][wrap=array]", "[fault=poll-gateway:times=2]", "[fault=poll-rate-limit:times=2]",
            "[fault=redirect]",
            "[fault=redirect-host]", // to an allowed host, which rejects requests that carry the key
        ],
        Cancels = [new("[latency=600000]", "running")], // Google goes on
        AfterCall = new(0, 1, 0),
        AfterDownload = new(1, 1, 1),
        AfterUpload = new(1, 1, 2),
    };

    private static readonly ProviderRow OpenAiImages = new("OpenAI", "gpt-image-2", 11, CallStyle.Each, ("previews", 0))
    {
        Several = 3,
        Cost = 6,
        Faults = Table(Billed,
        [
            ("forbidden", Refused("provider_unauthorized")),
            ("not-found", Refused("provider_unauthorized")),
            ("overdue", Refused("provider_quota_exhausted")),
            ("overload", Unavailable),
            ("server-error", Unavailable),
            ("error-200", Unavailable),
            ("empty-data", Unknown(paid: 0)),
            ("cut-reply-half", Unknown(paid: 1)),
            ("cut-body", Unknown(paid: 1)), // the picture is the answer, and cannot be fetched again
            ("html-as-png", Unusable),
            ("zip-as-png", Unusable),
            ("oversized", Unusable),
        ]),
        Harmless = ["[fault=absurd-usage]"],
        Passing = "server-error",
        RefusesOne = "moderation-output",
        Cancels = [new("[gate=", "unknown")],
    };

    /// <summary>The default: a preview on the way, in server-sent events.</summary>
    private static readonly ProviderRow OpenAiStream = new("OpenAI, streamed", "gpt-image-2", 11, CallStyle.Each, ("previews", 1))
    {
        Cost = 7,
        Harmless = ["[fault=absurd-usage]"],
        Faults = OpenAiImages.Faults,
        AfterCall = new(0, 1, 0),
        AfterDownload = new(0, 1, 0),
        AfterUpload = new(0, 1, 1),
        AfterStatement = { [Delivered] = new(1, 1, 1) },
    };

    private static readonly ProviderRow Sora = new("Sora", "sora-2", 56, CallStyle.Task)
    {
        Faults = Table(Billed, Fetched, Tasks,
        [
            ("server-error", Unknown(paid: 0)), // in OpenAI's words, but a video may have begun all the same
            ("overload", Unknown(paid: 0)),
            ("error-200", Unknown(paid: 0)),
            ("server-error-paid", Unknown(paid: 1)),
        ]),
        Harmless = ["[fault=poll-error:times=3]", "[fault=poll-gateway:times=2]", "[fault=poll-unknown:times=2]", "[fault=redirect]",
            "[fault=absurd-usage]"],
        Cancels = [new("[queued=600000]", "running") { AssertAtProviderAsync = AssertSoraIsDeletedAsync }],
        AfterCall = new(0, 1, 0),
        AfterDownload = new(1, 1, 1),
        AfterUpload = new(1, 1, 2),
    };

    private static readonly ProviderRow Kie = new("Kie", "flux-2-pro", 5, CallStyle.Task)
    {
        Faults = Table(Billed, Fetched, Tasks,
        [
            ("not-found", Refused("provider_unauthorized")),
            ("disabled", Refused("provider_unauthorized")),
            ("server-error", Unknown(paid: 0)), // in Kie's words, but a task may be there all the same
            ("server-error-paid", Unknown(paid: 1)),
            ("image-error", Refused("provider_unavailable")), // code 501 is not tried again
            ("no-task-id", Unknown(paid: 1)),
            ("empty-data", Unusable),
            ("malformed-result", Unusable),
        ]),
        Harmless =
        [
            "[fault=absurd-usage]",
            "[fault=poll-error:times=3]", "[fault=poll-gateway:times=3]", "[fault=poll-rate-limit:times=1]", "[fault=poll-timeout:times=1]",
            "[fault=poll-unknown:times=2]",
            "[fault=late-result]",
        ],
        Cancels = [new("[latency=600000]", "running")], // and the operator still pays for it
        AfterCall = new(0, 1, 0),
        AfterDownload = new(1, 1, 1),
        AfterUpload = new(1, 1, 2),
    };

    /// <summary>Our own GPUs: running twice is free, so nothing is of unknown outcome, and whatever breaks off is made again.</summary>
    private static readonly ProviderRow Forge = new("Forge", "forge-sdxl", (int)WebUiSystem.UnitPrice, CallStyle.Each, ("steps", 10),
        ("size", "512x512"), ("seed", 7))
    {
        Several = 3,
        IsBilled = false,
        Faults = Table(
        [
            ("unauthorized", Refused("provider_unauthorized") with { Recorded = "forge.unauthorized" }),
            ("not-found", Refused("provider_unauthorized") with { Recorded = "forge.no_route" }),
            ("overload", Limited with { Recorded = "forge.out_of_memory" }),
            ("server-error", Unavailable with { Recorded = "forge.exception" }),
            ("server-error-paid", Unavailable with { Recorded = "forge.exception" }),
            ("bad-gateway", Unavailable with { Recorded = "forge.gateway" }),
            ("empty-data", Unavailable with { Recorded = "forge.empty_reply" }),
            ("malformed", Unavailable),
            ("cut-reply", Unavailable with { Recorded = "forge.no_answer" }),
            ("cut-reply-half", Unavailable),
            ("timeout", Unavailable with { Recorded = "forge.timeout" }),
            ("html-as-png", Unusable with { Recorded = "media.WrongType" }),
            ("zip-as-png", Unusable with { Recorded = "media.WrongType" }),
            ("oversized", Unusable with { Recorded = "media.TooLarge" }),
        ]),
        Harmless =
        [
            "[fault=poll-error][latency=500]", "[fault=poll-gateway][latency=500]", "[fault=poll-timeout][latency=500]",
            "[fault=poll-lost][latency=500]",
        ],
        Passing = "server-error",
        Cancels =
        [
            new("[gate=", "unknown")
            {
                AssertAtProviderAsync = (system, _) => system.Sim.UntilGpuAsync(gpu => gpu is { Inside: 0, Interrupts: > 0 }),
            },
        ],
        AfterCall = new(1, 2, 1),
        AfterUpload = new(1, 2, 2),
        AfterFirst = new(3, 4, 3),
        AfterStatement = { [Intent] = new(1, 1, 1), [Delivered] = new(1, 1, 1), [Settlement] = new(1, 1, 1) },
        UntilTakenOverAsync = system => system.Sim.UntilGpuAsync(gpu => gpu is { Interrupts: 1 }),
    };

    private static readonly ProviderRow Mock = new("a mock", "seedream-4", 4, CallStyle.Each, ("size", "1K"))
    {
        IsBilled = false,
        Settings = { ["Mock:Enabled"] = "true" },
        AfterUpload = new(1, 0, 2),
    };

    public static IReadOnlyList<ProviderRow> All { get; } =
        [ArkImages, ArkGroup, Seedance, Veo, OpenAiImages, OpenAiStream, Sora, Kie, Forge, Mock];

    public static ProviderRow Of(string name) => All.Single(row => row.Name == name);

    /// <summary>The rows to which a scenario applies, for a theory.</summary>
    public static TheoryData<string> Where(Func<ProviderRow, bool> applies) => [.. All.Where(applies).Select(row => row.Name)];

    /// <summary>A row a word, for a theory.</summary>
    public static TheoryData<string, string> Each(Func<ProviderRow, IEnumerable<string>> words)
    {
        var data = new TheoryData<string, string>();
        foreach (var row in All)
        {
            foreach (var word in words(row))
            {
                data.Add(row.Name, word);
            }
        }

        return data;
    }

    /// <summary>A row's own outcome of a word comes last, and counts.</summary>
    private static Dictionary<string, FaultOutcome> Table(params (string Word, FaultOutcome Outcome)[][] parts)
    {
        var table = new Dictionary<string, FaultOutcome>(StringComparer.Ordinal);
        foreach (var (word, outcome) in parts.SelectMany(part => part))
        {
            table[word] = outcome;
        }

        return table;
    }

    private static async Task AssertArkSaysAsync(TestSystem system, string? taskId, string status)
    {
        using var ark = new HttpClient { BaseAddress = system.Sim.Address, DefaultRequestHeaders = { Authorization = new("Bearer", "sim-ark-key") } };
        var task = await ark.GetFromJsonAsync<JsonObject>($"/api/v3/contents/generations/tasks/{taskId}");
        Assert.Equal(status, (string?)task!["status"]);
    }

    private static async Task AssertSoraIsDeletedAsync(TestSystem system, string? taskId)
    {
        using var gateway = new HttpClient
        {
            BaseAddress = system.Sim.Address,
            DefaultRequestHeaders = { Authorization = new("Bearer", "sim-openai-key") },
        };
        using var gone = await gateway.GetAsync(new Uri($"/v1/videos/{taskId}", UriKind.Relative));
        Assert.Equal(HttpStatusCode.NotFound, gone.StatusCode);
    }
}
