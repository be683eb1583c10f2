using System.Text.Json;
using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Credits;

/// <summary>
/// What the statements of admin actions have in common. Each writes its audit row unless its key was used before, and is followed by one that reads
/// the row of the key: <c>admin_action_id, request_hash, result</c>.
/// </summary>
internal static class AdminActionBatch
{
    /// <summary>The statement of a file: action id, key, request hash, actor, user and reason as $1 to $6, and what it takes more.</summary>
    public static NpgsqlBatchCommand Command(string file, Guid actionId, AdminAction adminAction, params NpgsqlParameter[] more)
    {
        var statement = new NpgsqlBatchCommand(Sql.Text(file))
        {
            Parameters =
            {
                new() { Value = actionId },
                new() { Value = adminAction.Key },
                new() { Value = adminAction.RequestHash },
                new() { Value = adminAction.ActorId },
                new() { Value = adminAction.UserId },
                new() { Value = adminAction.Reason },
            },
        };
        foreach (var parameter in more)
        {
            statement.Parameters.Add(parameter);
        }

        return statement;
    }

    /// <summary>Runs an action, and again where its key was used for something else at this moment: now that can be read.</summary>
    public static async Task<AdminActionResult> DoAsync(Func<Task<AdminActionResult>> action)
    {
        try
        {
            return await action();
        }
        catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.UniqueViolation)
        {
            return await action();
        }
    }

    /// <summary>Whether the row of the key is that of <paramref name="act"/>, of an equal request before it, or of another.</summary>
    public static AdminActionResult Read(NpgsqlDataReader reader, NpgsqlBatchCommand act, AdminAction adminAction, long available = 0,
        long reserved = 0)
    {
        var outcome = reader.GetGuid(0) == (Guid)act.Parameters[0].Value! ? AdminActionOutcome.Done
            : reader.GetFieldValue<byte[]>(1).AsSpan().SequenceEqual(adminAction.RequestHash) ? AdminActionOutcome.Replayed
            : AdminActionOutcome.KeyReused;
        var result = outcome == AdminActionOutcome.KeyReused ? default : JsonSerializer.Deserialize<JsonElement>(reader.GetString(2));
        return new AdminActionResult(outcome, result, available, reserved);
    }
}
