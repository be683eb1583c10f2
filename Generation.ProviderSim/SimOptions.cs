using Generation.ProviderSim.Faults;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim;

/// <summary>Section <c>Sim</c>. The defaults are those of a developer who watches; tests set <see cref="LatencyMs"/> to 0.</summary>
public sealed class SimOptions
{
    /// <summary>Bearer keys that Ark's endpoints accept. Default: <c>sim-ark-key</c>. Any other key is answered with 401.</summary>
    public string[] ArkKeys { get; set; } = [];

    /// <summary>Bearer keys that OpenAI's endpoints accept. Default: <c>sim-openai-key</c>.</summary>
    public string[] OpenAiKeys { get; set; } = [];

    /// <summary>
    /// Whether <c>/v1/videos</c> is as it has been since 2026-09-24: every call is refused. Default false: a gateway that still speaks it.
    /// </summary>
    public bool OpenAiVideosShutDown { get; set; }

    /// <summary>Keys that the Gemini API accepts. Default: <c>sim-google-key</c>.</summary>
    public string[] GoogleKeys { get; set; } = [];

    /// <summary>Address that result URLs start with, e.g. <c>http://sim:8081</c>. Default: scheme and host of the request.</summary>
    public string? PublicUrl { get; set; }

    /// <summary>Milliseconds that one picture takes. Default 1500. <c>[latency=n]</c> in a prompt overrides it for one call.</summary>
    public int LatencyMs { get; set; } = 1500;

    /// <summary>Share by which the latency varies up and down, 0…1. Default 0.3. The variation follows from the picture's seed.</summary>
    public double LatencyJitter { get; set; } = 0.3;

    /// <summary>
    /// Milliseconds that one video takes once it has a slot. Default 12000. <c>[latency=n]</c> in a prompt overrides it for one task.
    /// </summary>
    public int VideoLatencyMs { get; set; } = 12_000;

    /// <summary>Milliseconds that a video task is queued at least. Default 3000. <c>[queued=n]</c> in a prompt overrides it for one task.</summary>
    public int VideoQueueMs { get; set; } = 3_000;

    /// <summary>Video tasks that run at once for one key, as Ark's plans have it. Default 10; others wait their turn.</summary>
    public int VideoConcurrency { get; set; } = 10;

    /// <summary>Video tasks that may be queued for one key. Default 100; one more is 429 QuotaExceeded.</summary>
    public int VideoQueueLength { get; set; } = 100;

    /// <summary>Times a second that a key may ask for one task by its id. Default 20, as Ark's; 0: no limit. Lists: once a second.</summary>
    public int VideoReadsPerSecond { get; set; } = 20;

    /// <summary>
    /// <c>user:password</c> that Forge's endpoints accept by HTTP Basic. Default: none, and no password is asked for, as without <c>--api-auth</c>.
    /// </summary>
    public string[] ForgeUsers { get; set; } = [];

    /// <summary>
    /// Forge's errors in its own dialect, <c>{"detail"}</c> and "Internal Server Error". Default false: in AUTOMATIC1111's, which names the
    /// exception.
    /// </summary>
    public bool ForgeBareErrors { get; set; }
    /// <summary>Bearer keys that Kie's endpoints accept. Default: <c>sim-kie-key</c>. Any other key is answered with code 401.</summary>
    public string[] KieKeys { get; set; } = [];

    /// <summary>Signs Kie's callbacks, as the account's webhookHmacKey. Default: <c>sim-kie-webhook-key</c>; empty: they are not signed.</summary>
    public string KieWebhookKey { get; set; } = "sim-kie-webhook-key";

    /// <summary>Milliseconds that a task of Kie's waits and queues. Default 1000. <c>[queued=n]</c> in a prompt overrides it for one task.</summary>
    public int KieQueueMs { get; set; } = 1_000;

    /// <summary>Tasks that a key may create in any ten seconds. Default 20, as Kie's; 0: no limit. One more is refused, not queued.</summary>
    public int KieCreationsPerWindow { get; set; } = 20;

    /// <summary>Times a second that a key may ask for tasks. Default 10, as Kie's; 0: no limit.</summary>
    public int KieReadsPerSecond { get; set; } = 10;

    /// <summary>Kie's credits in the account at the start. Default 1,000,000; a task that costs more than is left is refused with code 402.</summary>
    public decimal KieCredits { get; set; } = 1_000_000;

    /// <summary>Seconds a result URL of Kie's is valid from the moment it was told. Default 1200, as observed.</summary>
    public int KieUrlLifetimeSeconds { get; set; } = 1_200;

    /// <summary>Keys that ElevenLabs' endpoint accepts in <c>xi-api-key</c>. Default: <c>sim-elevenlabs-key</c>.</summary>
    public string[] ElevenLabsKeys { get; set; } = [];

    /// <summary>Voices in the workspace. Default 23: three pages of ten.</summary>
    public int ElevenLabsVoices { get; set; } = 23;

    /// <summary>Another seed makes other pictures of the same prompts and another sequence of probable faults. Default 0.</summary>
    public ulong Seed { get; set; }

    /// <summary>Signs result URLs. They stay valid across a restart as long as it stays the same. Default: <c>sim-signing-key</c>.</summary>
    public string SigningKey { get; set; } = "sim-signing-key";

    /// <summary>Seconds a result URL is valid. Default 86400, as Ark's.</summary>
    public int UrlLifetimeSeconds { get; set; } = 86_400;

    /// <summary>Bytes every result has, as if each prompt said <c>[bytes=n]</c>: grey pictures that cost no drawing. Default 0: draw.</summary>
    public long PictureBytes { get; set; }

    /// <summary>Pictures drawn at the same time, a core and some seven bytes of memory a pixel each. Default: the machine's cores.</summary>
    public int DrawingConcurrency { get; set; } = Environment.ProcessorCount;

    /// <summary>Finished files kept in memory, about half a megabyte each. Default 24; the home page alone shows 12.</summary>
    public int CachedPictures { get; set; } = 24;

    /// <summary>Calls remembered for <c>GET /sim/calls</c>. Default 100,000; the oldest is forgotten first.</summary>
    public int RememberedCalls { get; set; } = 100_000;

    /// <summary>Faults from the start, by fault word: <c>Sim:Faults:rate-limit:Probability=0.1</c>, <c>Sim:Faults:server-error:Count=3</c>.</summary>
    public Dictionary<string, FaultRule> Faults { get; set; } = [];
}

/// <summary>Stops the start with a message that names the setting.</summary>
internal sealed class SimOptionsValidation : IValidateOptions<SimOptions>
{
    public ValidateOptionsResult Validate(string? name, SimOptions options)
    {
        var problems = new List<string>();
        Check(options.PublicUrl is null || Uri.TryCreate(options.PublicUrl, UriKind.Absolute, out _), "Sim:PublicUrl must be an absolute URL.");
        Check(options.LatencyMs is >= 0 and <= 600_000, "Sim:LatencyMs must be 0 to 600000 milliseconds.");
        Check(options.VideoLatencyMs is >= 0 and <= 3_600_000, "Sim:VideoLatencyMs must be 0 to 3600000 milliseconds.");
        Check(options.VideoQueueMs is >= 0 and <= 3_600_000, "Sim:VideoQueueMs must be 0 to 3600000 milliseconds.");
        Check(options.VideoConcurrency >= 1, "Sim:VideoConcurrency must be at least 1.");
        Check(options.VideoQueueLength >= 1, "Sim:VideoQueueLength must be at least 1.");
        Check(options.VideoReadsPerSecond >= 0, "Sim:VideoReadsPerSecond must not be negative.");
        Check(options.ForgeUsers.All(user => user.IndexOf(':') > 0), "Sim:ForgeUsers must be of the form user:password.");
        Check(options.KieQueueMs is >= 0 and <= 3_600_000, "Sim:KieQueueMs must be 0 to 3600000 milliseconds.");
        Check(options.KieCreationsPerWindow >= 0, "Sim:KieCreationsPerWindow must not be negative.");
        Check(options.KieReadsPerSecond >= 0, "Sim:KieReadsPerSecond must not be negative.");
        Check(options.KieCredits >= 0, "Sim:KieCredits must not be negative.");
        Check(options.KieUrlLifetimeSeconds is >= 1 and <= 604_800, "Sim:KieUrlLifetimeSeconds must be 1 to 604800 seconds.");
        Check(options.ElevenLabsVoices is >= 0 and <= 10_000, "Sim:ElevenLabsVoices must be 0 to 10000.");
        Check(options.LatencyJitter is >= 0 and <= 1, "Sim:LatencyJitter must be 0 to 1.");
        Check(options.SigningKey.Length > 0, "Sim:SigningKey must not be empty.");
        Check(options.UrlLifetimeSeconds is >= 1 and <= 604_800, "Sim:UrlLifetimeSeconds must be 1 to 604800 seconds.");
        Check(options.PictureBytes >= 0, "Sim:PictureBytes must not be negative.");
        Check(options.DrawingConcurrency >= 1, "Sim:DrawingConcurrency must be at least 1.");
        Check(options.CachedPictures >= 1, "Sim:CachedPictures must be at least 1.");
        Check(options.RememberedCalls >= 1, "Sim:RememberedCalls must be at least 1.");
        foreach (var (word, rule) in options.Faults)
        {
            Check(Fault.Find(word) is not null, $"Sim:Faults:{word} is no fault. Known: {string.Join(", ", Fault.All.Select(fault => fault.Word))}.");
            Check(rule.IsValid, $"Sim:Faults:{word} needs a Count of at least 1 or a Probability above 0 and at most 1.");
        }

        return problems.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems);

        void Check(bool holds, string problem)
        {
            if (!holds)
            {
                problems.Add(problem);
            }
        }
    }
}
