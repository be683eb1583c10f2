using System.Globalization;
using System.Net.Http.Headers;
using Generation.Core.Providers;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Kie;

/// <summary>
/// Kie's codes, sorted. They come in the body, mostly under HTTP 200, as the refusal of a call and as the end of a
/// task. A refusal bills nothing; a task that failed bills nothing either, but only where its <c>creditsConsumed</c> says so may another
/// be made. An answer that is not Kie's says nothing about whether a call was executed.
/// </summary>
public static class KieFailures
{
    /// <summary>A provider that asks for more than this would hold a session longer than it should wait.</summary>
    public static readonly TimeSpan MaxRetryAfter = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan MaintenancePause = TimeSpan.FromMinutes(1);

    private const int MaxDetailChars = 500;

    private const string Key = "Providers:Kie:ApiKey and the account's rights";
    private const string Model = "Providers:Kie:Models and Kie's market";
    private const string Address = "Providers:Kie:BaseUrl";
    private const string Bill = "the account's credits at Kie";

    private static readonly Row[] Table =
    [
        new(400, FailureKind.InvalidRequest),
        new(401, FailureKind.Unauthorized, Key),
        new(402, FailureKind.QuotaExhausted, Bill),
        new(404, FailureKind.Unauthorized, Address), // of a creation; that a task is not known is told apart before
        new(408, FailureKind.Unavailable),
        new(422, FailureKind.InvalidRequest), // four things in one: see Unprocessable
        new(429, FailureKind.RateLimited) { Pause = KieOptions.CreationWindow }, // refused, not queued: a whole window must pass
        new(455, FailureKind.Unavailable) { Pause = MaintenancePause },
        new(500, FailureKind.Unavailable),
        new(501, FailureKind.Unavailable) { IsFinal = true }, // the generation failed; Kie advises against another try
        new(505, FailureKind.Unauthorized, Model), // the feature is disabled
    ];

    // What moderation says of itself, in lower case: documented are "prohibited content" and "content_policy".
    private static readonly string[] ModerationWords = ["prohibited", "content_policy", "content policy", "sensitive", "nsfw", "moderation", "safety",
        "violat"];

    private static readonly string[] InputWords = ["prompt", "input", "your image", "text contains"];

    /// <summary>An answer in Kie's words whose code is not 200.</summary>
    /// <param name="reply">The answer.</param>
    /// <param name="headers">Its headers.</param>
    /// <param name="now">For delays that are given as a date.</param>
    /// <param name="createsTask">See <see cref="TaskCreation"/>; 501 says itself that the generation has failed, which costs nothing.</param>
    public static Failure Of(KieReply reply, HttpResponseHeaders headers, DateTimeOffset now, bool createsTask = false)
    {
        ArgumentNullException.ThrowIfNull(reply);
        ArgumentNullException.ThrowIfNull(headers);
        var failure = Finish(Find(reply.Code, reply.Text, isOfTask: false), Code(reply.Code), reply.Text, RetryAfter(headers.RetryAfter, now));
        return createsTask && !failure.IsFinal ? TaskCreation.Judge(failure, reply.Code) : failure;
    }

    /// <summary>A task that has failed. Another may be made only after a breakdown that demonstrably cost nothing.</summary>
    public static Failure OfTask(KieTask task)
    {
        ArgumentNullException.ThrowIfNull(task);
        var code = int.TryParse(task.FailCode, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : (int?)null;
        var row = Find(code ?? 0, task.FailText, isOfTask: true);
        if (row.Kind == FailureKind.Unavailable && task.CreditsConsumed is not 0)
        {
            row = row with { IsFinal = true };
        }

        return Finish(row, task.FailCode.Length > 0 ? task.FailCode : "kie.task_failed", task.FailText.Length > 0 ? task.FailText
            : "The task failed and Kie did not say why.", null);
    }

    /// <summary>A task that ended without having been executed, which Kie does not document: as <see cref="OfTask"/>.</summary>
    public static Failure OfDropped(KieTask task)
    {
        ArgumentNullException.ThrowIfNull(task);
        return new Failure(FailureKind.Unavailable, "kie.task_dropped", $"The task is {task.State}.")
        {
            IsFinal = task.CreditsConsumed is not 0,
            RetryAfter = task.CreditsConsumed is 0 ? MaintenancePause : null,
        };
    }

    /// <summary>An answer that is not Kie's: a gateway's page, nothing, half of something.</summary>
    /// <param name="response">Its status and headers.</param>
    /// <param name="mayHaveCost">Whether it answers a call that buys something.</param>
    /// <param name="now">For delays that are given as a date.</param>
    public static Failure OfUnrecognized(HttpResponseMessage response, bool mayHaveCost, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(response);
        var status = (int)response.StatusCode;
        var row = status switch
        {
            < 300 => new Row(status, mayHaveCost ? FailureKind.OutcomeUnknown : FailureKind.Unavailable), // half of an answer: the task may be there
            < 400 => new Row(status, FailureKind.Unauthorized, Address), // redirects are not followed: the key would go along
            401 or 403 => new Row(status, FailureKind.Unauthorized, Key),
            404 or 405 => new Row(status, FailureKind.Unauthorized, Address),
            429 => new Row(status, FailureKind.RateLimited) { Pause = KieOptions.CreationWindow },
            408 or >= 500 when mayHaveCost => new Row(status, FailureKind.OutcomeUnknown), // from between, when Kie may have the call already
            408 or >= 500 => new Row(status, FailureKind.Unavailable),
            _ => new Row(status, FailureKind.InvalidRequest),
        };
        var code = status < 300 ? "kie.malformed_reply" : $"http.{status}";
        return Finish(row, code, $"{status} without an answer of Kie's ({response.Content.Headers.ContentType?.MediaType ?? "no content type"}).",
            RetryAfter(response.Headers.RetryAfter, now));
    }

    private static Row Find(int code, string text, bool isOfTask)
    {
        var row = Array.Find(Table, candidate => candidate.Code == code) ?? code switch
        {
            >= 400 and < 500 => new Row(code, FailureKind.InvalidRequest),
            _ => new Row(code, FailureKind.Unavailable),
        };
        var mayBeModeration = row.Kind is (FailureKind.InvalidRequest or FailureKind.Unavailable) && Says(text, ModerationWords);
        return row.Code == 422 || mayBeModeration ? Unprocessable(row, text, isOfTask) : row;
    }

    /// <summary>
    /// 422 means a field that is wrong, a model that Kie does not have (any more), a prompt that it does not want, or a result that it keeps
    /// back; only the words tell. The last two also come under other codes, and then count the same.
    /// </summary>
    private static Row Unprocessable(Row row, string text, bool isOfTask) =>
        Says(text, ModerationWords) ? row with
        {
            Kind = isOfTask && !Says(text, InputWords) ? FailureKind.ModerationOutput
            : FailureKind.ModerationInput,
            Pause = null,
            IsFinal = false
        }
        : text.Contains("model name", StringComparison.OrdinalIgnoreCase) ? row with { Kind = FailureKind.Unauthorized, Check = Model }
        : row;

    private static Failure Finish(Row row, string code, string detail, TimeSpan? wanted)
    {
        var failure = new Failure(row.Kind, code, (detail.Length > MaxDetailChars ? detail[..MaxDetailChars] : detail) + (
            row.Check is null ? "" : $" (Check {row.Check}.)"))
        {
            IsFinal = row.IsFinal,
        };
        return failure.IsRetryable ? failure with { RetryAfter = wanted ?? row.Pause } : failure;
    }

    private static TimeSpan? RetryAfter(RetryConditionHeaderValue? header, DateTimeOffset now)
    {
        var wait = header?.Delta ?? (header?.Date is { } date ? date - now : null);
        return wait is not { } delay || delay <= TimeSpan.Zero ? null // "now" leaves the pause to us
            : delay > MaxRetryAfter ? MaxRetryAfter
            : delay;
    }

    private static bool Says(string text, string[] words) => Array.Exists(words, word => text.Contains(word, StringComparison.OrdinalIgnoreCase));

    private static string Code(int code) => code.ToString(CultureInfo.InvariantCulture);

    /// <param name="Code">Kie's.</param>
    /// <param name="Kind">What follows from it.</param>
    /// <param name="Check">For operators: where to look.</param>
    private sealed record Row(int Code, FailureKind Kind, string? Check = null)
    {
        /// <summary>Before it makes sense to come again.</summary>
        public TimeSpan? Pause { get; init; }

        /// <summary>Not again by us, although its kind would.</summary>
        public bool IsFinal { get; init; }
    }
}
