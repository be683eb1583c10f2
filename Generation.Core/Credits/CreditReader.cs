using System.ComponentModel.DataAnnotations;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Credits;

public sealed record LotView(Guid LotId, [property: AllowedValues("purchase", "bonus", "grant", "plan")] string Kind, long Available, long Held,
    DateTimeOffset? ExpiresAt);

/// <param name="Available">What can be spent: the sum over the lots.</param>
/// <param name="Reserved">What open sessions hold.</param>
/// <param name="Lots">Those that still have something, in the order in which they are drawn.</param>
public sealed record Balance(long Available, long Reserved, IReadOnlyList<LotView> Lots);

/// <summary>A row of the ledger as its user sees it.</summary>
/// <param name="TransactionId">Grows with time.</param>
/// <param name="Type"><c>reservation</c>, <c>usage</c>, <c>refund</c>, <c>adjustment</c>, <c>purchase</c>, <c>bonus</c> or <c>expiry</c>.</param>
/// <param name="Direction"><c>credit</c> when it made more available, else <c>debit</c>, as the usage of a hold is.</param>
/// <param name="Amount">Always positive.</param>
/// <param name="FromBucket">Double entry: it left <c>external</c>, <c>available</c>, <c>reserved</c>, <c>spent</c> or <c>expired</c> …</param>
/// <param name="ToBucket">… and went there.</param>
/// <param name="AvailableAfter">The balance after it.</param>
/// <param name="ReservedAfter">The holds after it.</param>
/// <param name="SessionId">The work it was for.</param>
/// <param name="ReservationId">The hold.</param>
/// <param name="LotId">The lot that came or expired.</param>
/// <param name="CreatedAt">When.</param>
public sealed record TransactionView(
    long TransactionId, [property: AllowedValues("reservation", "usage", "refund", "adjustment", "purchase", "bonus", "expiry")] string Type,
    [property: AllowedValues("credit", "debit")] string Direction, long Amount, string FromBucket, string ToBucket, long AvailableAfter,
        long ReservedAfter,
    Guid? SessionId, Guid? ReservationId, Guid? LotId, DateTimeOffset CreatedAt);

/// <summary>Which rows of the ledger; null is no limit.</summary>
public sealed record TransactionFilter
{
    public string? Type { get; init; }

    /// <summary><c>credit</c> or <c>debit</c>.</summary>
    public string? Direction { get; init; }

    public Guid? SessionId { get; init; }

    /// <summary>At or after.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>Before.</summary>
    public DateTimeOffset? Until { get; init; }
}

/// <summary>What of a user's credits is held, and when some of it comes back.</summary>
/// <param name="RunningJobs">Sessions that are not over.</param>
/// <param name="EarliestRelease">When the first of them is expected to end, by its progress; by its deadline when nothing is known.</param>
public sealed record OpenHolds(int RunningJobs, DateTimeOffset? EarliestRelease);

/// <summary>What users read about their credits, under row-level security like <see cref="Sessions.SessionReader"/>.</summary>
public sealed class CreditReader(NpgsqlDataSource database)
{
    public async Task<Balance> BalanceAsync(Guid userId, CancellationToken ct)
    {
        await using var batch = ActingAs(userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT a.available, a.reserved, l.lot_id, l.kind, l.available, l.held, l.expires_at
            FROM credit_accounts AS a
            LEFT JOIN credit_lots AS l ON l.user_id = a.user_id AND l.available + l.held > 0
            WHERE a.user_id = $1
            ORDER BY l.priority, l.expires_at NULLS LAST, l.created_at, l.lot_id
            """)
        { Parameters = { new() { Value = userId } } });

        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        var (available, reserved) = (0L, 0L);
        var lots = new List<LotView>();
        while (await reader.ReadAsync(ct))
        {
            (available, reserved) = (reader.GetInt64(0), reader.GetInt64(1));
            if (!await reader.IsDBNullAsync(2, ct))
            {
                lots.Add(new LotView(
                    reader.GetGuid(2), reader.GetString(3), reader.GetInt64(4), reader.GetInt64(5),
                    await reader.IsDBNullAsync(6, ct) ? null : reader.GetFieldValue<DateTimeOffset>(6)));
            }
        }

        return new Balance(available, reserved, lots);
    }

    /// <summary>A page of the ledger, newest first; <paramref name="before"/> is the last id of the page before.</summary>
    public async Task<IReadOnlyList<TransactionView>> TransactionsAsync(
        Guid userId, TransactionFilter filter, long? before, int limit, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(filter);
        await using var batch = ActingAs(userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT transaction_id, type, CASE to_bucket WHEN 'available' THEN 'credit' ELSE 'debit' END, amount, from_bucket, to_bucket,
                   available_after, reserved_after, session_id, reservation_id, lot_id, created_at
            FROM credit_transactions
            WHERE user_id = $1
              AND ($2::bigint IS NULL OR transaction_id < $2)
              AND ($3::text IS NULL OR type = $3)
              AND ($4::text IS NULL OR (to_bucket = 'available') = ($4 = 'credit'))
              AND ($5::uuid IS NULL OR reservation_id = (SELECT v.reservation_id FROM credit_reservations AS v WHERE v.session_id = $5))
              AND ($6::timestamptz IS NULL OR created_at >= $6)
              AND ($7::timestamptz IS NULL OR created_at < $7)
            ORDER BY transaction_id DESC
            LIMIT $8
            """)
        {
            Parameters =
            {
                new() { Value = userId },
                Optional(NpgsqlDbType.Bigint, before),
                Optional(NpgsqlDbType.Text, filter.Type),
                Optional(NpgsqlDbType.Text, filter.Direction),
                Optional(NpgsqlDbType.Uuid, filter.SessionId),
                Optional(NpgsqlDbType.TimestampTz, filter.Since?.ToUniversalTime()),
                Optional(NpgsqlDbType.TimestampTz, filter.Until?.ToUniversalTime()),
                new() { Value = limit },
            },
        });

        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        async Task<Guid?> IdAsync(int column) => await reader.IsDBNullAsync(column, ct) ? null : reader.GetGuid(column);
        var rows = new List<TransactionView>();
        while (await reader.ReadAsync(ct))
        {
            rows.Add(new TransactionView(
                reader.GetInt64(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), reader.GetString(4), reader.GetString(5),
                reader.GetInt64(6), reader.GetInt64(7), await IdAsync(8), await IdAsync(9), await IdAsync(10),
                    reader.GetFieldValue<DateTimeOffset>(11)));
        }

        return rows;
    }

    /// <summary>For a refusal that says how long to wait.</summary>
    public async Task<OpenHolds> OpenHoldsAsync(Guid userId, CancellationToken ct)
    {
        await using var batch = ActingAs(userId);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT count(*)::integer,
                   min(CASE WHEN s.status = 'processing' AND s.progress BETWEEN 10 AND 99
                            THEN least(s.deadline, greatest(now(), s.started_at + (now() - s.started_at) * (100.0 / s.progress)))
                            WHEN typical.duration IS NOT NULL
                            THEN least(s.deadline, greatest(now(), coalesce(s.started_at, now()) + typical.duration)) END)
            FROM generation_sessions AS s
            LEFT JOIN (
                SELECT model, percentile_cont(0.5) WITHIN GROUP (ORDER BY completed_at - started_at) AS duration
                FROM (
                    SELECT model, started_at, completed_at
                    FROM generation_sessions
                    WHERE user_id = $1 AND status = 'completed' AND started_at IS NOT NULL
                    ORDER BY session_id DESC
                    LIMIT 50
                ) AS recent
                GROUP BY model
            ) AS typical ON typical.model = s.model
            WHERE s.user_id = $1 AND s.completed_at IS NULL
            """)
        { Parameters = { new() { Value = userId } } });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct);
        await reader.ReadAsync(ct);
        return new OpenHolds(reader.GetInt32(0), await reader.IsDBNullAsync(1, ct) ? null : reader.GetFieldValue<DateTimeOffset>(1));
    }

    private NpgsqlBatch ActingAs(Guid userId)
    {
        var batch = database.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand("SELECT set_config('role', 'generation_reader', true), set_config('app.user_id', $1, true)")
        {
            Parameters = { new() { Value = userId.ToString() } },
        });
        return batch;
    }

    private static NpgsqlParameter Optional(NpgsqlDbType type, object? value) => new() { NpgsqlDbType = type, Value = value ?? DBNull.Value };
}
