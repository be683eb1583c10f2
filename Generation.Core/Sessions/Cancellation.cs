using Generation.Core.Realtime;
using Npgsql;

namespace Generation.Core.Sessions;

public enum CancelOutcome
{
    /// <summary>It had not started; it has ended.</summary>
    Canceled,

    /// <summary>A worker has it, or a provider; it will end soon.</summary>
    Requested,

    /// <summary>It had ended before.</summary>
    AlreadyEnded,

    /// <summary>This user has no such session.</summary>
    NotFound,
}

/// <summary>The cancel protocol: a queued session ends at once, a running one is asked, an ended one stays as it is.</summary>
public sealed class Cancellation(NpgsqlDataSource database, Settlement settlement, ChangeNotifier notifier)
{
    public async Task<CancelOutcome> CancelAsync(Guid userId, Guid sessionId, CancellationToken ct)
    {
        // Asking first, ending second: a worker that claims in between finds the wish in its claim. Of several who ask, the first is told
        // of the cancel, whoever of us or of the workers then carries it out.
        bool isFirst;
        string? traceParent;
        await using (var ask = database.CreateCommand(
            """
            WITH asked AS (
                UPDATE generation_sessions AS s
                SET cancel_requested_at = coalesce(cancel_requested_at, now()), version = version + 1, updated_at = now()
                WHERE session_id = $1 AND user_id = $2 AND completed_at IS NULL
                RETURNING session_id, user_id, job_type, lane, status, version, traceparent, cancel_requested_at = now() AS is_first,
                          phase = 'awaiting_provider' -- or comes again for a task that it has there: a retry, a hand-back, a dead worker
                          OR status = 'queued' AND EXISTS (SELECT FROM provider_tasks AS t WHERE t.session_id = s.session_id
                              AND t.state = 'running') AS at_provider
            ),
            woken AS ( -- somebody has to take it from the provider
                INSERT INTO outbox (event_type, lane, session_id, traceparent)
                SELECT job_type, lane, session_id, traceparent FROM asked WHERE at_provider
            )
            SELECT status, version, is_first, at_provider, traceparent FROM asked
            UNION ALL
            SELECT 'ended', version, false, false, traceparent FROM generation_sessions WHERE session_id = $1 AND user_id = $2
                AND completed_at IS NOT NULL
            """))
        {
            ask.Parameters.AddWithValue(sessionId);
            ask.Parameters.AddWithValue(userId);
            await using var reader = await ask.ExecuteReaderAsync(ct);
            if (!await reader.ReadAsync(ct))
            {
                await reader.CloseAsync();
                return await StatusAsync(userId, sessionId, ct) is null ? CancelOutcome.NotFound : CancelOutcome.AlreadyEnded;
            }

            isFirst = reader.GetBoolean(2);
            traceParent = await reader.IsDBNullAsync(4, ct) ? null : reader.GetString(4);
            var status = reader.GetString(0);
            if (status == "ended")
            {
                return CancelOutcome.AlreadyEnded;
            }

            notifier.Changed(ChangeChannel.SessionChanged, new Change(sessionId, userId, reader.GetInt64(1)));
            notifier.OutboxWritten();
            if (status != SessionStatus.Queued.Name() || reader.GetBoolean(3))
            {
                Telemetry.Mark("request cancel", sessionId, traceParent); // the worker that holds the lease ends it, in its trace
                return CancelOutcome.Requested;
            }
        }

        var settled = await settlement.SettleAsync(
            [new Settle(sessionId, SettleGuard.Queued) { Canceled = true, Trace = Telemetry.ParseTraceParent(traceParent) }], ct);
        return (settled is [var end] ? EnumNames.Parse<SessionStatus>(end.Status) : await StatusAsync(userId, sessionId, ct)) switch
        {
            SessionStatus.Canceled when isFirst => CancelOutcome.Canceled,
            SessionStatus.Queued or SessionStatus.Processing => CancelOutcome.Requested, // a worker has claimed it meanwhile, and knows of it
            _ => CancelOutcome.AlreadyEnded,
        };
    }

    /// <summary>On a fresh snapshot: the session may have ended while the statement before waited for its row. Null when there is none.</summary>
    private async Task<SessionStatus?> StatusAsync(Guid userId, Guid sessionId, CancellationToken ct)
    {
        await using var look = database.CreateCommand("SELECT status FROM generation_sessions WHERE session_id = $1 AND user_id = $2");
        look.Parameters.AddWithValue(sessionId);
        look.Parameters.AddWithValue(userId);
        return await look.ExecuteScalarAsync(ct) is string status ? EnumNames.Parse<SessionStatus>(status) : null;
    }
}
