using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Generation.Core.Database;
using Generation.Core.Realtime;
using Npgsql;

namespace Generation.Core.Webhooks;

public enum CallbackOutcome
{
    /// <summary>No task has this token.</summary>
    Unknown,

    /// <summary>Kept; the session is looked at now, or by the worker that has it.</summary>
    Received,

    /// <summary>This very body came before.</summary>
    Duplicate,

    /// <summary>Not kept: its task or its session had ended.</summary>
    Late,

    /// <summary>Not kept: <see cref="WebhookInbox.MaxBodiesPerTask"/> bodies of its task were.</summary>
    Excess,
}

/// <summary>
/// Where providers' callbacks are kept, raw. Nothing is booked from them: they wake the session, and its handler asks the provider.
/// </summary>
public sealed class WebhookInbox(NpgsqlDataSource database, ChangeNotifier notifier)
{
    /// <summary>Characters of a token: 32 random bytes in base64url.</summary>
    public const int TokenLength = 43;

    /// <summary>Callbacks that one sweep books at most.</summary>
    public const int Batch = 1_000;

    /// <summary>Bodies of one task that are kept, and wake its session. Kie sends three at most; polling finds whatever came after them.</summary>
    public const int MaxBodiesPerTask = 20;

    /// <summary>A burst of callbacks of one session waits for its row in turn.</summary>
    private static readonly TimeSpan MaxLockWait = TimeSpan.FromSeconds(4);

    /// <summary>Callbacks are kept this long.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromDays(7);

    /// <summary>What stands in a callback URL instead of any id, and what of it is kept.</summary>
    public static (string Token, byte[] Hash) NewToken()
    {
        var token = System.Buffers.Text.Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));
        return (token, HashOf(token));
    }

    public static byte[] HashOf(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));

    /// <summary>Keeps a callback and wakes its session; one round trip.</summary>
    public Task<CallbackOutcome> ReceiveAsync(string provider, string token, string body, CancellationToken ct) =>
        DataErrors.ExecuteAsync(database, async connection =>
    {
        await using var batch = new NpgsqlBatch(connection);
        batch.BatchCommands.Add(PlannerSettings.Command(MaxLockWait));
        var tokenHash = HashOf(token);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Webhooks/lock_task.sql"))
        {
            Parameters = { new() { Value = provider }, new() { Value = tokenHash } },
        });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Webhooks/receive.sql"))
        {
            Parameters =
            {
                new() { Value = provider },
                new() { Value = tokenHash },
                new() { Value = SHA256.HashData(Encoding.UTF8.GetBytes(body)) },
                new() { Value = body },
                new() { Value = MaxBodiesPerTask },
            },
        });
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(2, ct);
        if (!await reader.ReadAsync(ct))
        {
            return CallbackOutcome.Unknown;
        }

        // The provider's request is a trace of its own; the session's shows when it came.
        Activity.Current.SetSession(reader.GetGuid(2));
        Telemetry.Mark($"callback {provider}", reader.GetGuid(2), await reader.IsDBNullAsync(3, ct) ? null : reader.GetString(3));
        if (reader.GetBoolean(1))
        {
            notifier.OutboxWritten();
        }

        return EnumNames.Parse<CallbackOutcome>(reader.GetString(0));
    }, ct);

    /// <summary>Books what has nothing left to say: its task or its session has ended without it. Answers how many.</summary>
    public async Task<int> BookAsync(CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            UPDATE webhook_inbox SET booked_at = now()
            WHERE inbox_id IN (
                SELECT i.inbox_id
                FROM webhook_inbox AS i
                JOIN provider_tasks AS t USING (provider_task_id)
                JOIN generation_sessions AS s USING (session_id)
                WHERE i.booked_at IS NULL AND (t.state NOT IN ('intent', 'running') OR s.completed_at IS NOT NULL)
                ORDER BY i.inbox_id
                LIMIT $1
                FOR UPDATE OF i SKIP LOCKED)
            """);
        command.Parameters.AddWithValue(Batch);
        return await command.ExecuteNonQueryAsync(ct);
    }
}
