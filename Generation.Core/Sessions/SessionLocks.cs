using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// The locks at the beginning of a transaction that changes sessions, in the order in which they are taken everywhere: sessions, accounts, lots.
/// </summary>
internal static class SessionLocks
{
    public static NpgsqlBatchCommand Sessions(Guid[] sessionIds) =>
        new(Sql.Text("Sessions/lock_sessions.sql")) { Parameters = { new() { Value = sessionIds } } };

    /// <summary>The accounts of locked sessions.</summary>
    public static NpgsqlBatchCommand Accounts(Guid[] sessionIds) =>
        new(Sql.Text("Sessions/lock_session_accounts.sql")) { Parameters = { new() { Value = sessionIds } } };
}
