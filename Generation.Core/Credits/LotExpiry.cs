using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Credits;

/// <summary>Expires the overdue lots of the accounts that the transaction has locked (<c>generation.locked</c>).</summary>
internal static class LotExpiry
{
    public static NpgsqlBatchCommand Command() => new(Sql.Text("Credits/expire_lots.sql"));
}
