using System.Text.Json;
using System.Text.RegularExpressions;

namespace Generation.ProviderSim.Faults;

/// <summary>When a fault strikes, which decides who pays.</summary>
public enum FaultStage
{
    /// <summary>At once, instead of any work. Nothing is paid.</summary>
    Refusal,

    /// <summary>After the time of the work, in place of a picture. Nothing is paid for that picture.</summary>
    Outcome,

    /// <summary>After the picture was made: it is paid, and the caller does not learn of it properly.</summary>
    Reply,

    /// <summary>When the result URL is fetched.</summary>
    Download,

    /// <summary>When a task is asked for. It does not affect the task, which continues and is billed when it succeeds.</summary>
    Poll,

    /// <summary>When a task's end is called back. It says nothing about the task either.</summary>
    Callback,
}

/// <summary>Something that goes wrong on demand. Every provider says it in its own words; these are what a prompt or an operator asks for.</summary>
/// <param name="Word">As written in <c>[fault=word]</c>.</param>
/// <param name="Stage">When it strikes.</param>
/// <param name="Says">What the caller sees.</param>
public sealed record Fault(string Word, FaultStage Stage, string Says)
{
    public const string AbsurdUsage = "absurd-usage";

    public static readonly IReadOnlyList<Fault> All =
    [
        new("moderation-input", FaultStage.Refusal, "400 InputTextSensitiveContentDetected"),
        new("unauthorized", FaultStage.Refusal, "401 AuthenticationError"),
        new("forbidden", FaultStage.Refusal, "403 AccessDenied"),
        new("overdue", FaultStage.Refusal, "403 AccountOverdueError"),
        new("not-found", FaultStage.Refusal, "404 InvalidEndpointOrModel.NotFound"),
        new("rate-limit", FaultStage.Refusal, "429 with Retry-After: 1, or [retry-after=n] seconds"),
        new("rate-limit-bare", FaultStage.Refusal, "429 without Retry-After"),
        new("overload", FaultStage.Refusal, "429 ServerOverloaded"),
        new("quota", FaultStage.Refusal, "429 SetLimitExceeded"),
        new("server-error", FaultStage.Refusal, "500 InternalServiceError"),
        new("bad-gateway", FaultStage.Refusal, "502 with an HTML body"),
        new("error-200", FaultStage.Refusal, "200 with a top-level error object"),
        new("disabled", FaultStage.Refusal, "Kie: code 505, the feature is disabled"),
        new("moderation-output", FaultStage.Outcome, "400 OutputImageSensitiveContentDetected for the whole request"),
        new("image-error", FaultStage.Outcome, "200, the first image is an OutputImageSensitiveContentDetected error inside data[]"),
        new("image-500", FaultStage.Outcome, "200, the first image is an InternalServiceError inside data[], the rest is not attempted"),
        new("empty-data", FaultStage.Outcome, "200 with an empty data[]"),
        new(AbsurdUsage, FaultStage.Outcome, "it is made, and every number about it is beyond sense; not Veo and Forge, which tell none; paid"),
        new("malformed-result", FaultStage.Outcome, "Kie: a task that succeeds, with a resultJson that breaks off; paid"),
        new("late-result", FaultStage.Outcome, "Kie: a task that succeeds, with an empty resultJson for the first two times that this is said; paid"),
        new("no-task-id", FaultStage.Reply, "Kie: code 200 without a task id; paid"),
        new("malformed", FaultStage.Reply, "200, JSON that breaks off in the middle; paid"),
        new("timeout", FaultStage.Reply, "no answer until the caller disconnects; paid"),
        new("cut-reply", FaultStage.Reply, "the connection is aborted instead of a reply; paid"),
        new("cut-reply-half", FaultStage.Reply, "200 and half of the body, then the connection is aborted; paid"),
        new("server-error-paid", FaultStage.Reply, "500 InternalServiceError although the picture was made; paid"),
        new("slow-body", FaultStage.Download, "the file drips, 512 bytes every 100 ms"),
        new("cut-body", FaultStage.Download, "half of what Content-Length says, then the connection is aborted"),
        new("half-file", FaultStage.Download, "half of the file without Content-Length, and a proper end"),
        new("zipped-file", FaultStage.Download, "the file with Content-Encoding: gzip, which nobody asked for"),
        new("oversized", FaultStage.Download, "a JPEG that never ends"),
        new("wrong-type", FaultStage.Download, "200 text/html"),
        new("html-as-png", FaultStage.Download, "HTML that is called image/png"),
        new("zip-as-png", FaultStage.Download, "a ZIP archive that is called image/png"),
        new("dead-url", FaultStage.Download, "404 NoSuchKey"),
        new("expired-url", FaultStage.Download, "403, as if the URL had expired"),
        new("locked-url", FaultStage.Download, "423 Locked, while the file is written"),
        new("not-ready", FaultStage.Download, "200 with JSON that says that the file is not ready"),
        new("redirect-private", FaultStage.Download, "302 to http://169.254.169.254/"),
        new("callback-disordered", FaultStage.Callback, "Ark: the callbacks come in the wrong order, the last first"),
        new("redirect", FaultStage.Download, "one harmless 302, then the file"),
        new("redirect-host", FaultStage.Download, "302 to a signed URL on another host, which refuses whoever brings a key along"),
        new("poll-error", FaultStage.Poll, "500 InternalServiceError when a task is asked for"),
        new("poll-gateway", FaultStage.Poll, "502 with an HTML body when a task is asked for"),
        new("poll-rate-limit", FaultStage.Poll, "429 when a task is asked for"),
        new("poll-timeout", FaultStage.Poll, "no answer until the caller disconnects when a task is asked for"),
        new("poll-lost", FaultStage.Poll, "404 NotFound.Task although the task is there"),
        new("poll-expired", FaultStage.Poll, "the task is expired"),
        new("poll-unknown", FaultStage.Poll, "the task is in a state that no documentation has a word for; not Veo, which has no states"),
        new("poll-cancelled", FaultStage.Poll, "the task is cancelled, as if by somebody in the console"),
        new("callback-none", FaultStage.Callback, "no callback"),
        new("callback-early", FaultStage.Callback, "the callback comes before the answer to the creation"),
        new("callback-duplicate", FaultStage.Callback, "three callbacks"),
        new("callback-unsigned", FaultStage.Callback, "a callback without signature"),
        new("callback-forged", FaultStage.Callback, "a callback that is signed with another key"),
        new("callback-stale", FaultStage.Callback, "a callback that is signed with the time of an hour ago"),
        new("callback-lying", FaultStage.Callback, "a callback at once that says success, well signed; and the true one at the end"),
        new("callback-snake", FaultStage.Callback, "a callback whose data has task_id instead of taskId"),
    ];

    private static readonly Dictionary<string, Fault> ByWord = All.ToDictionary(fault => fault.Word, StringComparer.Ordinal);

    public static Fault? Find(string word) => ByWord.GetValueOrDefault(word);

    /// <summary>A number of <see cref="AbsurdUsage"/>: no counter holds it.</summary>
    public static void WriteAbsurd(Utf8JsonWriter json, string name, string number = "1e300")
    {
        json.WritePropertyName(name);
        json.WriteRawValue(number);
    }
}

/// <summary>A fault as a prompt asks for it.</summary>
/// <param name="Fault">Which.</param>
/// <param name="Times">How often, for one prompt; null: always.</param>
/// <param name="Source">As it stands in the prompt.</param>
public sealed record FaultWord(Fault Fault, int? Times, string Source);

/// <summary>The bracketed words in a prompt that steer the simulator; unknown brackets are left alone, they may be art.</summary>
public sealed partial class PromptWords
{
    /// <summary>The prompt without them.</summary>
    public string Text { get; private init; } = "";

    /// <summary><c>[fault=word]</c> and <c>[fault=word:times=n]</c>, in order.</summary>
    public IReadOnlyList<FaultWord> Faults { get; private init; } = [];

    /// <summary><c>[latency=n]</c>: milliseconds instead of <c>Sim:LatencyMs</c>, without jitter.</summary>
    public int? LatencyMs { get; private init; }

    /// <summary><c>[queued=n]</c>: milliseconds that a video task is queued instead of <c>Sim:VideoQueueMs</c>.</summary>
    public int? QueuedMs { get; private init; }

    /// <summary><c>[retry-after=n]</c>: seconds in Retry-After of a 429.</summary>
    public int? RetryAfterSeconds { get; private init; }

    /// <summary><c>[bytes=n]</c>: the result is a valid grey picture of exactly so many bytes.</summary>
    public long? Bytes { get; private init; }

    /// <summary><c>[gate=name]</c>: the call waits there after it has been paid.</summary>
    public string? Gate { get; private init; }

    /// <summary><c>[download-gate=name]</c>: each download waits there after half of the file.</summary>
    public string? DownloadGate { get; private init; }

    /// <summary><c>[callback-gate=name]</c>: the callback of a task waits there before it is sent.</summary>
    public string? CallbackGate { get; private init; }

    /// <summary><c>[callback-delay=n]</c>: milliseconds that the callback of a task comes later than its end.</summary>
    public int? CallbackDelayMs { get; private init; }
    /// <summary><c>[wrap=array]</c>: Google's errors come inside an array of one.</summary>
    public bool WrapsErrors { get; private init; }

    /// <summary>Those words that matter when the result is fetched, as they stand in the prompt.</summary>
    public string ForDownload { get; private init; } = "";

    public static PromptWords Parse(string prompt)
    {
        var faults = new List<FaultWord>();
        int? latencyMs = null, queuedMs = null, retryAfterSeconds = null, callbackDelayMs = null;
        long? bytes = null;
        string? gate = null, downloadGate = null, callbackGate = null;
        var forDownload = "";
        var wrapsErrors = false;
        var text = Words().Replace(prompt, match =>
        {
            var value = match.Groups["value"].Value;
            var known = true;
            switch (match.Groups["name"].Value)
            {
                case "fault" when ReadFault(value, match.Value) is { } fault:
                    faults.Add(fault);
                    if (fault.Fault.Stage == FaultStage.Download)
                    {
                        forDownload += match.Value;
                    }

                    break;
                case "latency" when int.TryParse(value, out var number) && number is >= 0 and <= 3_600_000: latencyMs = number; break;
                case "queued" when int.TryParse(value, out var number) && number is >= 0 and <= 3_600_000: queuedMs = number; break;
                case "retry-after" when int.TryParse(value, out var number) && number >= 0: retryAfterSeconds = number; break;
                case "bytes" when long.TryParse(value, out var number) && number > 0:
                    (bytes, forDownload) = (number, forDownload + match.Value);
                    break;
                case "callback-delay" when int.TryParse(value, out var number) && number is >= 0 and <= 3_600_000: callbackDelayMs = number; break;
                case "wrap" when value == "array": wrapsErrors = true; break;
                case "gate": gate = value; break;
                case "callback-gate": callbackGate = value; break;
                case "download-gate": (downloadGate, forDownload) = (value, forDownload + match.Value); break;
                default: known = false; break;
            }

            return known ? "" : match.Value;
        });
        return new PromptWords
        {
            Text = text.Trim(),
            Faults = faults,
            LatencyMs = latencyMs,
            QueuedMs = queuedMs,
            RetryAfterSeconds = retryAfterSeconds,
            Bytes = bytes,
            Gate = gate,
            DownloadGate = downloadGate,
            CallbackGate = callbackGate,
            CallbackDelayMs = callbackDelayMs,
            WrapsErrors = wrapsErrors,
            ForDownload = forDownload,
        };
    }

    private static FaultWord? ReadFault(string value, string source)
    {
        var parts = value.Split(":times=");
        if (Fault.Find(parts[0]) is not { } fault)
        {
            return null;
        }

        if (parts.Length == 1)
        {
            return new FaultWord(fault, null, source);
        }

        return parts.Length == 2 && int.TryParse(parts[1], out var times) && times >= 0 ? new FaultWord(fault, times, source) : null;
    }

    [GeneratedRegex(@"\[(?<name>[a-z-]{1,20})=(?<value>[^\[\]\s]{1,100})\]", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Words();
}
