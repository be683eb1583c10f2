using System.Diagnostics;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>By what right a session is ended; see <c>settle.sql</c>.</summary>
public enum SettleGuard
{
    /// <summary>The caller holds the lease.</summary>
    Fenced,

    /// <summary>Nobody has it: cancel of a queued session.</summary>
    Queued,

    /// <summary>Past its own deadline, whoever has it.</summary>
    Deadline,

    /// <summary>Its worker is dead, cancel was asked, and no provider is at work on it.</summary>
    Dead,
}

/// <summary>A wish to end a session. How it ends is decided from what is stored, under the row lock.</summary>
public sealed record Settle(Guid SessionId, SettleGuard Guard)
{
    /// <summary>Of the holder; only with <see cref="SettleGuard.Fenced"/>.</summary>
    public long? LeaseToken { get; init; }

    /// <summary>Whose session it is, where that is known; see <see cref="GroupCommitOptions{TRequest}.Owner"/>.</summary>
    public Guid? UserId { get; init; }

    public bool Canceled { get; init; }

    /// <summary>A stable code, should the session end as failed.</summary>
    public string? ErrorCode { get; init; }

    /// <summary>Words for the user; no provider's request id in it.</summary>
    public string? ErrorMessage { get; init; }

    /// <summary>Whether asking again may help.</summary>
    public bool? ErrorRetryable { get; init; }

    /// <summary>What the provider counted, as JSON.</summary>
    public string? ProviderUsage { get; init; }

    /// <summary>What the provider takes from us, where it says so; else it is computed from the price row.</summary>
    public decimal? ProviderUsd { get; init; }

    /// <summary>Stored with the end, in its transaction, before it is decided how the session ends: the last one that was missing.</summary>
    public StoredOutput? LastOutput { get; init; }

    /// <summary>Outputs that were asked for and did not come, as JSON <c>[{ordinal, code, message}]</c>.</summary>
    public string? FailedOutputs { get; init; }

    /// <summary>What the end is a part of: the session's trace, or the span of its job.</summary>
    public ActivityContext Trace { get; init; }
}

/// <summary>How a session ended.</summary>
/// <param name="SessionId">Which.</param>
/// <param name="UserId">Whose.</param>
/// <param name="Status"><c>completed</c>, <c>failed</c> or <c>canceled</c>.</param>
/// <param name="Version">Of its last event.</param>
/// <param name="Captured">Credits paid, those beyond the hold included.</param>
/// <param name="Released">Credits of the hold that went back.</param>
/// <param name="ErrorCode">Why it failed.</param>
/// <param name="Mock">Whether no provider was asked.</param>
public sealed record Settled(
    Guid SessionId, Guid UserId, string Status, long Version, long Captured, long Released, string? ErrorCode, bool Mock, Guid ReservationId)
{
    /// <summary>The place of <see cref="Settle.LastOutput"/> was taken by another object, which stays.</summary>
    public bool LastOutputIsDuplicate { get; init; }
}

/// <summary>Invariant 4: the one place where sessions end and money follows the work.</summary>
public sealed class Settlement
{
    /// <summary>Ends a transaction. More does not pay: docs/benchmarks/pipeline.md.</summary>
    public const int MaxGroup = 64;

    private readonly NpgsqlDataSource database;
    private readonly ChangeNotifier notifier;
    private readonly CreditOptions options;
    private readonly ILogger<Settlement> log;
    private readonly GroupCommit<Settle, Settled?> ends;

    public Settlement(
        NpgsqlDataSource database, ChangeNotifier notifier, CreditOptions options, TimeProvider time, ILogger<Settlement> log)
    {
        (this.database, this.notifier, this.options, this.log) = (database, notifier, options, log);
        ends = new GroupCommit<Settle, Settled?>(
            new GroupCommitOptions<Settle>(MaxGroup)
            {
                Key = request => request.SessionId,
                Owner = request => request.UserId ?? request.SessionId,
            },
            (requests, _) => SettleGroupAsync(requests), time);
    }

    /// <summary>
    /// Ends one session, in a transaction with those that end at the same time. Null when the right to do so was lost or the session has ended
    /// already. Safe to repeat, as below.
    /// </summary>
    public Task<Settled?> EndAsync(Settle request, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        return ends.WriteAsync(request with { Trace = Activity.Current?.Context ?? request.Trace }, ct);
    }

    /// <summary>
    /// Ends the sessions that the guards allow; the others are left alone and are not in the answer (ended already, the right was lost, or locked
    /// for too long). Safe to repeat: an end stays an end.
    /// </summary>
    /// <exception cref="PostgresException">The database refuses one of them; the others have ended.</exception>
    public async Task<IReadOnlyList<Settled>> SettleAsync(IReadOnlyList<Settle> requests, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(requests);
        return [.. (await Task.WhenAll(requests.Select(TryEndAsync))).OfType<Settled>()];

        async Task<Settled?> TryEndAsync(Settle request)
        {
            try
            {
                return await ends.WriteAsync(request, ct);
            }
            catch (RowLockedException)
            {
                return null;
            }
        }
    }

    private async Task<IReadOnlyList<GroupAnswer<Settled?>>> SettleGroupAsync(IReadOnlyList<Settle> requests)
    {
        var cause = Activity.Current?.Context ?? default; // of a cancel: its request, which has a trace of its own
        using var lead = Telemetry.Continue("settle", requests[0].Trace, ActivityKind.Internal, cause: cause);
        lead.SetSession(requests[0].SessionId); // before the statement, which takes it over
        try
        {
            var (settled, locked) = await WriteAsync(requests);
            Describe(requests, settled, lead, cause);
            foreach (var end in settled)
            {
                Tell(end);
            }

            var byId = settled.ToDictionary(end => end.SessionId);
            return [.. requests.Select(request => byId.TryGetValue(request.SessionId, out var end) ? GroupCommit.Done<Settled?>(end)
                : locked.Contains(request.SessionId) ? GroupCommit.Done<Settled?>(null) : GroupCommit.Locked<Settled?>())];
        }
        catch (Exception e)
        {
            lead.SetFailed(e.GetType().FullName!);
            throw;
        }
    }

    /// <summary>
    /// One statement ends many sessions, and each of them is somebody's trace: the first one's span has the statement in it, the others get a
    /// span of their own of the same time, with a link to it.
    /// </summary>
    private static void Describe(IReadOnlyList<Settle> requests, IReadOnlyList<Settled> settled, Activity? lead, ActivityContext cause)
    {
        if (!Telemetry.Source.HasListeners())
        {
            return;
        }

        var ended = settled.ToDictionary(end => end.SessionId);
        Describe(lead, requests[0], ended.GetValueOrDefault(requests[0].SessionId), requests.Count);
        var described = new HashSet<Guid> { requests[0].SessionId };
        foreach (var request in requests.Where(r => ended.ContainsKey(r.SessionId) && described.Add(r.SessionId)))
        {
            using var span = Telemetry.Continue("settle", request.Trace, ActivityKind.Internal, lead is null ? default : new DateTimeOffset(
                lead.StartTimeUtc), lead?.Context ?? cause);
            Describe(span, request, ended[request.SessionId], requests.Count);
        }
    }

    private static void Describe(Activity? span, Settle request, Settled? end, int batch)
    {
        if (span is not { IsAllDataRequested: true })
        {
            return;
        }

        span.SetSession(request.SessionId)!
            .SetTag("generation.settle.guard", request.Guard.ToString().ToLowerInvariant())
            .SetTag("generation.settle.batch_size", batch)
            .SetTag("generation.session.status", end?.Status ?? "not_ended") // ended before, or the right to end it was lost
            .SetTag("generation.credits.captured", end?.Captured)
            .SetTag("generation.credits.released", end?.Released);
        if (end?.Status == "failed")
        {
            span.SetFailed(end.ErrorCode ?? "failed");
        }
    }

    /// <summary>One transaction: those that ended, and all that could be locked.</summary>
    private async Task<(List<Settled> Ended, HashSet<Guid> Locked)> WriteAsync(IReadOnlyList<Settle> requests)
    {
        var ct = CancellationToken.None; // others wait for it, too
        var sessions = requests.Select(r => r.SessionId).ToArray();
        var outputs = requests.Select(r => r.LastOutput).OfType<StoredOutput>().ToList();
        return await DataErrors.ExecuteAsync(database, async connection =>
        {
            await using var batch = connection.CreateBatch();
            batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
            batch.BatchCommands.Add(SessionLocks.Sessions(sessions));
            batch.BatchCommands.Add(SessionLocks.Accounts());
            if (outputs.Count > 0)
            {
                batch.BatchCommands.Add(StoredOutput.Insert(outputs, areLast: true));
            }

            batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/settle.sql"))
            {
                Parameters =
                {
                    JsonRows.Parameter(requests.Select(Row)),
                    new() { Value = options.CostPolicy == CostPolicy.ChargeAvailable },
                    new() { Value = options.MaxChargeFactor },
                },
            });

            var answer = new List<Settled>();
            var duplicates = new HashSet<Guid>();
            await using var reader = await batch.ExecuteReaderAsync(ct);
            await reader.SkipResultsAsync(2, ct); // planner settings, locks of sessions
            var locked = await SessionLocks.ReadAsync(reader, ct);
            await reader.SkipResultsAsync(1, ct);
            if (outputs.Count > 0)
            {
                while (await reader.ReadAsync(ct))
                {
                    if (reader.GetBoolean(2))
                    {
                        duplicates.Add(outputs[(int)reader.GetInt64(0) - 1].Session.SessionId);
                    }
                }

                await reader.SkipResultsAsync(1, ct);
            }

            while (await reader.ReadAsync(ct))
            {
                answer.Add(new Settled(
                    reader.GetGuid(0), reader.GetGuid(1), reader.GetString(2), reader.GetInt64(3), reader.GetInt64(4), reader.GetInt64(5),
                    await reader.IsDBNullAsync(6, ct) ? null : reader.GetString(6), reader.GetBoolean(7), reader.GetGuid(8))
                { LastOutputIsDuplicate = duplicates.Contains(reader.GetGuid(0)) });
            }

            await reader.FinishAsync(ct);
            return (answer, locked);
        }, ct);
    }

    /// <summary>As <c>settle.sql</c> reads it.</summary>
    private static object Row(Settle request, int n) => new
    {
        N = n,
        request.SessionId,
        Guard = request.Guard.ToString().ToLowerInvariant(),
        request.LeaseToken,
        request.Canceled,
        ErrorCode = request.ErrorCode ?? "failed",
        request.ErrorMessage,
        request.ErrorRetryable,
        request.ProviderUsage,
        request.ProviderUsd,
        request.FailedOutputs,
    };

    private void Tell(Settled end)
    {
        // Both for every one that completed: the last output may have been stored with the end or before it, and a listener need not know.
        var change = new Change(end.SessionId, end.UserId, end.Version, end.ReservationId);
        if (end.Status == "completed")
        {
            notifier.Changed(ChangeChannel.ImagesAttached, change);
        }

        notifier.Changed(ChangeChannel.SessionCompleted, change);
        if (end.Captured > 0)
        {
            Telemetry.Credits.Add(end.Captured, new KeyValuePair<string, object?>("type", "usage"));
            log.LogInformation(LogEvents.CreditsCapture, "Captured {Credits} credits of {SessionId}", end.Captured, end.SessionId);
        }

        if (end.Released > 0)
        {
            Telemetry.Credits.Add(end.Released, new KeyValuePair<string, object?>("type", end.Captured > 0 ? "adjustment" : "refund"));
            log.LogInformation(LogEvents.CreditsRelease, "Released {Credits} credits of {SessionId}", end.Released, end.SessionId);
        }

        if (end.Status == "completed")
        {
            log.LogInformation(end.Mock ? LogEvents.CompletedMock : LogEvents.CompletedReal, "Completed {SessionId}", end.SessionId);
        }
    }
}
