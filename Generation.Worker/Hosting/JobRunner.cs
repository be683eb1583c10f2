using System.Diagnostics;
using System.Text.Json;
using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Localization;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Core.Sessions;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Mock;

namespace Generation.Worker.Hosting;

/// <summary>
/// Runs one claimed session to its end, or to the point where it waits: step → outcome → settle, retry, suspend or hand back.
/// Every path ends in exactly one fenced statement, or in none when the lease is lost.
/// </summary>
public sealed class JobRunner(
    HandlerRegistry handlers, MockHandler mock, JobDependencies parts, UploadResolver uploads, Settlement settlement, JobDurations durations,
    Random random, ILogger<JobRunner> log)
{
    private static readonly TimeSpan[] DefaultSlotRetries = [TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(4)];

    /// <summary>A job without progress is tried once more, elsewhere if there is another worker.</summary>
    private const int MaxTimesStuck = 1;

    private readonly Leases leases = parts.Leases;
    private readonly WorkerOptions options = parts.Options;
    private readonly TimeProvider time = parts.Time;
    private readonly SampledLog summaries = new(parts.Time);

    private TimeSpan[] SlotRetries => options.SlotRetries is { Length: > 0 } some ? some : DefaultSlotRetries;

    public async Task RunAsync(ActiveJob job)
    {
        ArgumentNullException.ThrowIfNull(job);
        var session = job.Session;
        log.LogInformation(LogEvents.JobStart, "Job {JobType} {SessionId}, lease {LeaseToken}, attempt {Attempt}", session.JobType, session.SessionId,
            session.LeaseToken, session.Attempt);
        if (summaries.Take())
        {
            log.LogInformation(LogEvents.JobPayloadSummary,
                "Payload {PayloadVersion} of {SessionId}: {RequestedOutputs} outputs of {Model} at {Resolution}, {Stored} stored, mock {Mock}",
                JobMessage.PayloadVersion, session.SessionId, session.RequestedOutputs, session.Model,
                session.Settings["size"]?.ToString() ?? "default", session.StoredOrdinals.Count, session.Mock);
        }

        var context = new JobContext(job, parts, log);
        var handler = session.Mock ? mock : handlers.Find(session.JobType);
        if (session.CancelRequested)
        {
            job.Stop(StopReason.Canceled);
        }
        else if (session.TimesStuck > MaxTimesStuck)
        {
            await GiveUpAsync("expired", isRetryable: true); // it took too long, here and elsewhere: nothing says that the request is to blame
            return;
        }
        else if (session.LostLeases > options.MaxLostLeases)
        {
            await GiveUpAsync("worker_lost", isRetryable: false);
            return;
        }

        try
        {
            var outcome = handler is null
                ? new StepOutcome.Failed(new Failure(FailureKind.Unavailable, "no_handler", $"This worker has no handler for {session.JobType}."), [])
                : await StepAsync(handler, context, job);
            job.FinishWork();
            await ConcludeAsync(job, context, outcome);
        }
        catch (LeaseLostException)
        {
            Conclude("lease_lost");
            log.LogWarning("Lease of {SessionId} was lost to another worker", session.SessionId);
        }
        catch (OperationCanceledException) when (job.Stopped.IsCancellationRequested)
        {
            try
            {
                await StopAsync(job, handler, context);
            }
            catch (LeaseLostException)
            {
                Conclude("lease_lost");
                log.LogWarning("Lease of {SessionId} was lost to another worker", session.SessionId);
            }
        }

        Task GiveUpAsync(string code, bool isRetryable)
        {
            Activity.Current?.SetTag("generation.job.outcome", "failed").SetFailed(code);
            return SettleAsync(job, context, new Settle(session.SessionId, SettleGuard.Fenced)
            {
                ErrorCode = code,
                ErrorMessage = UserMessages.ForFailure(code, UserMessages.DefaultLanguage),
                ErrorRetryable = isRetryable,
            });
        }
    }

    /// <summary>Runs the handler; when the provider is unavailable it is tried again in the slot a few times, then through the outbox.</summary>
    private async Task<StepOutcome> StepAsync(IGenerationHandler handler, JobContext context, ActiveJob job)
    {
        Failure? last = null;
        for (var tried = 0; ; tried++)
        {
            job.Stopped.ThrowIfCancellationRequested();
            StepOutcome outcome;
            try
            {
                outcome = !job.Session.Mock && await uploads.ResolveAsync(context, job.Stopped) is { } missing ? new StepOutcome.Failed(missing, [])
                    : await handler.StepAsync(context, job.Stopped);
            }
            catch (Exception e) when (e is not (OperationCanceledException or LeaseLostException))
            {
                log.LogError(e, "The handler of {JobType} failed on {SessionId}", job.Session.JobType, job.Session.SessionId);
                outcome = new StepOutcome.Failed(new Failure(FailureKind.Unavailable, "handler." + e.GetType().Name, e.Message), []);
            }

            if (outcome is StepOutcome.Failed { Failure: { NotTried: true, IsFinal: false } postponed } later && last is not null)
            {
                // This run made a call that failed, such as the probe of a breaker that opened again behind it: it is an attempt, whatever kept the
                // next try from being made.
                return later with { Failure = last with { RetryAfter = postponed.RetryAfter } };
            }

            if (outcome is not StepOutcome.Failed { Failure: { Kind: FailureKind.Unavailable, RetryAfter: null, IsRetryable: true } failed }
                || tried >= SlotRetries.Length)
            {
                return outcome;
            }

            last = failed;

            Activity.Current?.AddEvent(new ActivityEvent(
                "retry", tags: new() { ["error.type"] = failed.Code, ["generation.provider.failure_code"] = failed.ProviderCode }));
            await Task.Delay(SlotRetries[tried] * (0.75 + (Jitter() / 2)), time, job.Stopped);
        }
    }

    private async Task ConcludeAsync(ActiveJob job, JobContext context, StepOutcome outcome)
    {
        var session = job.Session;
        if (outcome is not StepOutcome.Completed)
        {
            await context.Outputs.WriteLastOutputAsync();
        }

        switch (outcome)
        {
            case StepOutcome.Suspended suspended:
                Conclude("suspended");
                await TransientErrors.RetryAsync(() => leases.SuspendAsync(session, suspended.WakeAfter, CancellationToken.None), time, log,
                    job.GivenUp);
                break;

            case StepOutcome.Completed completed:
                Conclude("completed");
                durations.Completed(session, time.GetElapsedTime(job.ClaimedAt));
                LogAccountRefusal(session, completed.FailedOutputs.Select(f => f.Failure));
                await SettleAsync(job, context, new Settle(session.SessionId, SettleGuard.Fenced)
                {
                    ProviderUsage = completed.Usage?.ToJsonString(),
                    FailedOutputs = Describe(completed.FailedOutputs),
                    ErrorCode = completed.FailedOutputs is [var first, ..] ? first.Failure.Code : null,
                    ErrorMessage = completed.FailedOutputs is [var one, ..] ? one.Failure.UserMessage : null,
                    ErrorRetryable = completed.FailedOutputs is [var only, ..] ? only.Failure.UserMayRetry : null,
                });
                break;

            case StepOutcome.Failed { Failure: { IsRetryable: true, NotTried: true } failure }:
                Conclude("postponed")?.SetTag("generation.provider.failure_code", failure.ProviderCode);
                var pause = failure.RetryAfter ?? options.RetryBackoff;
                log.LogInformation(OperationEvents.JobPostponed, "Postponed {SessionId} by {Delay}: {ProviderCode} {Detail}", session.SessionId,
                    pause, failure.ProviderCode, failure.Detail);
                await TransientErrors.RetryAsync(() => leases.PostponeAsync(session, pause * (1 + (Jitter() / 8)), CancellationToken.None), time, log,
                    job.GivenUp);
                break;

            case StepOutcome.Failed { Failure: { IsRetryable: true } failure } when session.Attempt + 1 < options.MaxAttempts:
                Conclude("retry", failure);
                var delay = Backoff(session.Attempt, failure.RetryAfter);
                log.LogWarning("Retrying {SessionId} in {Delay}: {Code} {ProviderCode}", session.SessionId, delay, failure.Code,
                    failure.ProviderCode);
                await TransientErrors.RetryAsync(
                    () => leases.RetryAsync(session, delay, failure.Code, failure.UserMessage, CancellationToken.None), time, log, job.GivenUp);
                break;

            case StepOutcome.Failed { Failure: var failure } failed:
                Conclude("failed", failure);
                LogAccountRefusal(session, failed.FailedOutputs.Select(f => f.Failure).Append(failure));
                log.LogWarning("{SessionId} failed: {Code} {ProviderCode} {Detail} (request {RequestId})",
                    session.SessionId, failure.Code, failure.ProviderCode, failure.Detail, failure.RequestId ?? "unknown");
                await SettleAsync(job, context, new Settle(session.SessionId, SettleGuard.Fenced)
                {
                    ErrorCode = failure.Code,
                    ErrorMessage = failure.UserMessage,
                    ErrorRetryable = failure.UserMayRetry,
                    ProviderUsage = failed.Usage?.ToJsonString(),
                    FailedOutputs = Describe(failed.FailedOutputs),
                });
                break;
        }
    }

    /// <summary>
    /// Ends a session whose row this version cannot read, with a record for the operator. Never throws: what cannot be written comes again when the
    /// lease expires.
    /// </summary>
    public async Task FailUnreadableAsync(UnreadableSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        log.LogError(session.Problem, "The row of {SessionId} cannot be read and the session fails: {Problem}", session.SessionId,
            session.Problem.Message);
        try
        {
            await settlement.EndAsync(
                new Settle(session.SessionId, SettleGuard.Fenced)
                {
                    UserId = session.UserId,
                    LeaseToken = session.LeaseToken,
                    ErrorCode = "internal_error",
                    ErrorMessage = UserMessages.ForFailure("internal_error", UserMessages.DefaultLanguage),
                    ErrorRetryable = true,
                },
                CancellationToken.None);
        }
        catch (Exception e)
        {
            log.LogError(e, "Could not fail {SessionId}; it is requeued when its lease expires", session.SessionId);
        }
    }

    /// <summary>Records on the span how this run of the job ends.</summary>
    private static Activity? Conclude(string outcome, Failure? failure = null)
    {
        var span = Activity.Current?.SetTag("generation.job.outcome", outcome);
        return failure is null ? span : span.SetFailed(failure.Code, failure.ProviderCode)?.SetTag("generation.provider.failure_code",
            failure.ProviderCode);
    }

    /// <summary>
    /// Logs that the provider rejects us (the key, the account, an address or a model id that is not there), also when some outputs were made before.
    /// </summary>
    private void LogAccountRefusal(ClaimedSession session, IEnumerable<Failure> failures)
    {
        if (failures.FirstOrDefault(f => f.Kind is FailureKind.Unauthorized or FailureKind.QuotaExhausted) is { } refusal)
        {
            log.LogCritical("{Provider} rejects our calls ({ProviderCode}): {Detail}", session.Provider, refusal.ProviderCode, refusal.Detail);
        }
    }

    /// <summary>The job was stopped: what happens depends on why.</summary>
    private async Task StopAsync(ActiveJob job, IGenerationHandler? handler, JobContext context)
    {
        switch (job.Reason)
        {
            case StopReason.Canceled:
                Conclude("canceled");
                if (handler is not null && context.Tasks.Count > 0)
                {
                    using var timeout = new SafeTimeout(TimeSpan.FromSeconds(5), time);
                    try
                    {
                        await handler.CancelAsync(context, timeout.Token);
                    }
                    catch (Exception e) when (e is not LeaseLostException)
                    {
                        log.LogWarning(e, "Could not cancel {SessionId} at the provider", job.Session.SessionId);
                    }
                }

                await SettleAsync(job, context, new Settle(job.Session.SessionId, SettleGuard.Fenced) { Canceled = true });
                break;

            case StopReason.Drained:
                Conclude("handed_back");
                await context.Outputs.WriteLastOutputAsync();
                await leases.HandBackAsync(job.Session, CancellationToken.None);
                break;
        }
    }

    private async Task SettleAsync(ActiveJob job, JobContext context, Settle settle)
    {
        parts.Progress.Publish(job.Report(0, "finalising")); // a phase, not a step: the stages a watcher counts on are the handler's, and then 100
        var settled = await TransientErrors.RetryAsync(
            () => settlement.EndAsync(
                settle with { UserId = job.Session.UserId, LeaseToken = job.Session.LeaseToken, LastOutput = context.Outputs.LastOutput },
                CancellationToken.None),
            time, log, job.GivenUp);
        if (settled is null)
        {
            log.LogWarning("{SessionId} was settled or claimed by another process first", job.Session.SessionId);
        }
        else if (context.Outputs.LastOutput is { } last)
        {
            await context.Outputs.OnOutputStoredAsync(last, settled.LastOutputIsDuplicate);
        }
    }

    /// <summary>The provider's delay, or ours, doubled with every attempt; with jitter, so that a burst does not come back as one.</summary>
    private TimeSpan Backoff(int attempt, TimeSpan? wanted)
    {
        var own = options.RetryBackoff * Math.Pow(2, Math.Min(attempt, 16));
        var bounded = own > options.MaxRetryBackoff ? options.MaxRetryBackoff : own;
        var delay = wanted is { } asked && (attempt == 0 || asked > bounded) ? asked : bounded;
        return delay * (1 + (Jitter() / 4));
    }

    /// <summary>From 0 to 1. A seeded <see cref="Random"/> is not safe for concurrent use.</summary>
    private double Jitter()
    {
        lock (random)
        {
            return random.NextDouble();
        }
    }

    private static string? Describe(IReadOnlyList<FailedOutput> failed) => failed.Count == 0 ? null : JsonSerializer.Serialize(
        failed.Select(f => new { f.Ordinal, f.Failure.Code, Message = f.Failure.UserMessage }), JsonSerializerOptions.Web);
}
