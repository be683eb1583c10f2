using System.Diagnostics;
using Generation.Api.Admin;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Api.Overload;
using Generation.Core;
using Generation.Core.Credits;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>
/// Handles a submit: check → price → one transaction → response. Rejections take precedence in the order 401, replay, 429, 400 (404,
/// 410), 402: repeating an accepted request returns the first response again, also when it would be rejected today. 503 precedes them all.
/// </summary>
public sealed class SubmitHandler(
    Quotes quotes, SubmitWriter writer, SessionReader sessions, CreditReader credits, AppSettings settings, MockOverrides overrides,
    RateLimits rates, SubmitOptions submits, ApiOptions options, TimeProvider time)
{
    /// <summary>What a submit is refused for.</summary>
    public static readonly ProblemCode[] Refusals =
    [
        .. Quotes.Refusals, ProblemCodes.InsufficientCredits, ProblemCodes.AccountFrozen, ProblemCodes.MockOverrideInvalid,
            ProblemCodes.IdempotencyKeyReused, ProblemCodes.RateLimited,
        ProblemCodes.TooManySessions, ProblemCodes.Overloaded,
    ];

    /// <summary>Accepts the request, or returns the problem.</summary>
    public async Task<(Accepted? Accepted, ProblemHttpResult? Refusal)> SubmitAsync(HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        var started = time.GetTimestamp();
        var user = command.UserId ?? context.Caller().UserId;
        var allowance = rates.Take(context.Caller().KeyName);
        allowance.Announce(context.Response.Headers);
        var (request, refusal) = allowance.IsRefused ? (null, TooFast(allowance)) : await CheckAsync(context, user, command, ct);
        if (refusal is not null)
        {
            if (command.HasInvalidKey)
            {
                return (null, refusal);
            }

            return !await sessions.IsKeyKnownAsync(user, command.ClientKey, ct)
                || await sessions.FindByKeyAsync(user, command.ClientKey, ct) is not { } known ? (null, refusal)
                : known.RequestHash.AsSpan().SequenceEqual(command.Fingerprint)
                    ? (new Accepted(known.Session.SessionId, command.ClientKey, known.ReservationId, known.Session.Held, true), null)
                : (null, KeyReused());
        }

        var result = await writer.SubmitAsync(request!, ct);
        Telemetry.SubmitDuration.Record(
            time.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("outcome", result.Outcome.ToString().ToLowerInvariant()));
        Activity.Current.SetSession(result.SessionId);
        return result.Outcome switch
        {
            SubmitOutcome.Accepted or SubmitOutcome.Replayed =>
                (new Accepted(result.SessionId, command.ClientKey, result.ReservationId, result.HeldCredits,
                    result.Outcome == SubmitOutcome.Replayed)
                { Job = JobOf(request!, result) }, null),
            SubmitOutcome.Conflict => (null, KeyReused()),
            SubmitOutcome.NotEnoughCredits => (null, await NotEnoughAsync(user, result, ct)),
            SubmitOutcome.NoAccount => (null, await NotEnoughAsync(user, result with { HeldCredits = request!.Price.Credits * request.Outputs }, ct)),
            SubmitOutcome.Frozen => (null, Problems.Of(ProblemCodes.AccountFrozen, $"This account is frozen. Write to support.")),
            SubmitOutcome.TooMany => (null, TooMany(context)),
            SubmitOutcome.Overloaded => (null, LoadShedding.Overloaded(context)),
            SubmitOutcome.AccountBusy => (null, Problems.RetryLater(context, ProblemCodes.DatabaseUnavailable,
                $"Your account is busy with another change. Nothing was stored; try again with the same key: it cannot be charged twice.")),
            _ => (null, Problems.RetryLater(context, ProblemCodes.DatabaseUnavailable,
                $"The database does not answer at the moment. Try again with the same key: it cannot be charged twice.")),
        };
    }

    private async Task<(SubmitRequest? Request, ProblemHttpResult? Refusal)> CheckAsync(
        HttpContext context, Guid user, SubmitCommand command, CancellationToken ct)
    {
        var (quoted, refusal) = await quotes.QuoteAsync(context, command, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        if (!overrides.TryRead(context, out var mock))
        {
            return (null, Problems.Of(ProblemCodes.MockOverrideInvalid, $"The token in {MockOverrides.Header} is not ours, or is over."));
        }

        quoted!.Input["providerModel"] = quoted.Model.ProviderModel;
        var isMock = mock ?? await settings.MockModeAsync(ct);
        return (new SubmitRequest
        {
            UserId = user,
            ClientKey = command.ClientKey,
            RequestHash = command.Fingerprint,
            Model = quoted.Model,
            Params = command.Params.GetRawText(),
            InputSettings = quoted.Input.ToJsonString(),
            Mock = isMock,
            Variant = JobVariant.NameOf(quoted.Input, quoted.Quote.Outputs, isMock),
            Outputs = quoted.Quote.Outputs,
            Price = quoted.Quote.PerOutput,
            Lifetime = options.SessionLifetime,
            RetryOf = command.RetryOf,
            Priority = command.Priority,
            TraceParent = Telemetry.CurrentTraceParent,
        }, null);
    }

    private static OpenJob? JobOf(SubmitRequest request, SubmitResult result) => result.Place is null ? null : new OpenJob
    {
        Lane = request.Model.Lane,
        Provider = request.Model.Provider,
        Model = request.Model.Id,
        Variant = request.Variant,
        Work = request.Work,
        Phase = "queued",
        Place = result.Place,
    };

    private static ProblemHttpResult TooFast(Allowance allowance) => allowance.Policy == "key"
        ? Problems.Of(ProblemCodes.RateLimited,
            $"This key takes {allowance.Limit} submits a minute. Nothing was stored; try again in {allowance.ResetSeconds} s.",
            ("limit", allowance.Limit), ("policy", allowance.Policy))
        : Problems.Of(ProblemCodes.RateLimited,
        $"The service takes {allowance.Limit} submits a minute. Nothing was stored; try again in {allowance.ResetSeconds} s.",
        ("limit", allowance.Limit), ("policy", allowance.Policy));

    private ProblemHttpResult TooMany(HttpContext context)
    {
        context.Response.Headers.RetryAfter = "5";
        return Problems.Of(ProblemCodes.TooManySessions,
            $"You have {submits.OutstandingPerUser} generations that have not ended, which is as many as one may have. Nothing was stored; try "
                + $"again when some have ended.",
            ("limit", submits.OutstandingPerUser));
    }

    private static ProblemHttpResult KeyReused() => Problems.Of(ProblemCodes.IdempotencyKeyReused,
        $"This idempotency key was used for a request with another body. Use a new key for a new request.");

    /// <summary>402 with one code, because a client does the same first, and <c>reason</c>: not_enough (buy more) or held (waiting helps).</summary>
    private async Task<ProblemHttpResult> NotEnoughAsync(Guid user, SubmitResult result, CancellationToken ct)
    {
        if (result.Available + result.Reserved < result.HeldCredits)
        {
            (string, object?)[] lacking =
                [("reason", "not_enough"), ("available", result.Available), ("needed", result.HeldCredits), ("held", result.Reserved)];
            return result.Reserved > 0
                ? Problems.Of(ProblemCodes.InsufficientCredits, $"This needs {result.HeldCredits} credits; you have {result.Available}, and even "
                    + $"with the {result.Reserved} that running jobs hold it is not enough. Buy more, or ask for less.", lacking)
                : Problems.Of(ProblemCodes.InsufficientCredits,
                    $"This needs {result.HeldCredits} credits; you have {result.Available}. Buy more, or ask for less.", lacking);
        }

        var holds = await credits.OpenHoldsAsync(user, ct);
        (string, object?)[] held =
        [
            ("reason", "held"), ("available", result.Available), ("needed", result.HeldCredits), ("held", result.Reserved),
            ("runningJobs", holds.RunningJobs), ("earliestRelease", holds.EarliestRelease),
        ];
        return holds.RunningJobs == 1
            ? Problems.Of(ProblemCodes.InsufficientCredits, $"This needs {result.HeldCredits} credits; you have {result.Available}, and "
                + $"{result.Reserved} more are held by 1 running job. What it does not use comes back when it ends; wait, cancel it, or buy "
                + $"more.", held)
            : Problems.Of(ProblemCodes.InsufficientCredits, $"This needs {result.HeldCredits} credits; you have {result.Available}, and "
                + $"{result.Reserved} more are held by {holds.RunningJobs} running jobs. What they do not use comes back when they end; wait, "
                + $"cancel one, or buy more.", held);
    }
}
