using Npgsql;

namespace Generation.Core.Credits;

public sealed record LotView(Guid LotId, string Kind, long Available, long Held, DateTimeOffset? ExpiresAt);

/// <param name="Available">What can be spent: the sum over the lots.</param>
/// <param name="Reserved">What open sessions hold.</param>
/// <param name="Lots">Those that still have something, in the order in which they are drawn.</param>
public sealed record Balance(long Available, long Reserved, IReadOnlyList<LotView> Lots);

/// <summary>What users read about their credits, under row-level security like <see cref="Sessions.SessionReader"/>.</summary>
public sealed class CreditReader(NpgsqlDataSource database)
{
    public async Task<Balance> BalanceAsync(Guid userId, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand("SELECT set_config('role', 'generation_reader', true), set_config('app.user_id', $1, true)")
        {
            Parameters = { new() { Value = userId.ToString() } },
        });
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
}
