using Npgsql;

namespace Generation.Core.Database;

/// <summary>What the login behind a connection may do beyond its grants, whichever role it acts as: leaving that role is one statement.</summary>
public static class LoginPrivileges
{
    /// <summary>Why a service must not use this login, as the end of a sentence; null when it may.</summary>
    public static async Task<string?> FindExcessAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(connection);
        await using var command = new NpgsqlCommand(
            """
            SELECT r.rolname::text, r.rolsuper, r.rolbypassrls, r.rolcreaterole,
                   pg_has_role(r.oid, d.datdba, 'MEMBER')
                   OR EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                              WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public' AND pg_has_role(r.oid, c.relowner, 'MEMBER'))
            FROM pg_roles AS r, pg_database AS d
            WHERE r.rolname = session_user AND d.datname = current_database()
            """,
            connection);
        await using var reader = await command.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        var what = reader.GetBoolean(1) ? "is a superuser"
            : reader.GetBoolean(4) ? "owns the database or its tables"
            : reader.GetBoolean(2) ? "bypasses row-level security"
            : reader.GetBoolean(3) ? "may create roles"
            : null;
        return what is null ? null : $"{reader.GetString(0)}, which {what}";
    }
}
