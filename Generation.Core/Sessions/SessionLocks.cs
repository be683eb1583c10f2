using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// The locks at the beginning of a transaction that changes sessions, in the order in which they are taken everywhere: sessions, accounts, lots.
/// What another transaction has locked is skipped and left for later.
/// </summary>
internal static class SessionLocks
{
    public static NpgsqlBatchCommand Sessions(Guid[] sessionIds) =>
        new(Sql.Text("Sessions/lock_sessions.sql")) { Parameters = { new() { Value = sessionIds } } };

    /// <summary>The accounts of the locked sessions.</summary>
    public static NpgsqlBatchCommand Accounts() => new(Sql.Text("Sessions/lock_session_accounts.sql"));

    /// <summary>Reads the answer of either statement: the sessions that the transaction has locked.</summary>
    public static async Task<HashSet<Guid>> ReadAsync(NpgsqlDataReader reader, CancellationToken ct)
    {
        await reader.ReadAsync(ct);
        return reader.GetString(0) is { Length: > 0 } ids ? [.. ids.Split(',').Select(Guid.Parse)] : [];
    }
}
