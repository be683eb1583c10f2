using System.Data;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// The roles that the services log in as: <c>generation_api</c>, <c>generation_relay</c>, <c>generation_worker</c>. Each is a member of
/// <see cref="Group"/>, which has the grants, owns nothing, and may do nothing else: what a service gains by leaving the role that it acts
/// as is what it had before.
/// <para>
/// Roles belong to the cluster and not to the database, so they are made at every migration and not by one: a database restored elsewhere
/// gets its logins, and a new password takes effect, with the next <c>migrate</c>.
/// </para>
/// </summary>
public static class ServiceLogins
{
    /// <summary>Has the grants, and cannot log in.</summary>
    public const string Group = "generation_service";

    public const string Api = "generation_api";
    public const string Relay = "generation_relay";
    public const string Worker = "generation_worker";

    /// <summary>What no service may do, even where somebody else created its role.</summary>
    private const string Nothing = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";

    /// <summary>Migrations of other databases on the cluster change the same roles, and no lock of ours spans databases.</summary>
    private const int MaxTries = 50;

    public static IReadOnlyList<string> All { get; } = [Api, Relay, Worker];

    /// <summary>
    /// Makes what is missing and sets the passwords. A role without one is made unable to log in, and left as it is when it exists. The
    /// owner needs no more than CREATEROLE.
    /// </summary>
    /// <param name="ownerConnectionString">The login that owns the schema, after the migrations.</param>
    /// <param name="passwords">By role; printable ASCII.</param>
    /// <param name="ct">Stops; what was done stays, and is found by the next run.</param>
    /// <returns>The roles that cannot log in, for want of a password.</returns>
    public static async Task<IReadOnlyList<string>> EnsureAsync(
        string ownerConnectionString, IReadOnlyDictionary<string, string> passwords, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(passwords);
        await using var owner = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(ownerConnectionString) { Pooling = false }.ConnectionString);
        await owner.OpenAsync(ct);
        var withoutLogin = new List<string>();
        foreach (var role in All)
        {
            if (!await RetryAsync(owner, () => EnsureAsync(owner, role, passwords.GetValueOrDefault(role), ct), ct))
            {
                withoutLogin.Add(role);
            }
        }

        await RetryAsync(owner, () => GrantAsync(owner, ct), ct);
        return withoutLogin;
    }

    /// <summary>One role; whether it can log in.</summary>
    private static async Task<bool> EnsureAsync(NpgsqlConnection owner, string role, string? password, CancellationToken ct)
    {
        var found = await FindAsync(owner, role, ct);
        if (found is null)
        {
            await ExecuteAsync(owner, $"CREATE ROLE {role} NOLOGIN INHERIT {Nothing}", ct);
            found = new Found(CanLogIn: false, MayMore: false, IsMember: false);
        }

        if (found.MayMore)
        {
            await ExecuteAsync(owner, $"ALTER ROLE {role} {Nothing}", ct); // refused unless by a superuser, as it should be
        }

        if (!found.IsMember)
        {
            await ExecuteAsync(owner, $"GRANT {Group} TO {role}", ct);
        }

        if (password is null)
        {
            return found.CanLogIn;
        }

        // base64, dollars and colons: nothing to quote
        await ExecuteAsync(owner, $"ALTER ROLE {role} LOGIN PASSWORD '{ScramVerifier.Of(password)}'", ct);
        return true;
    }

    /// <summary>What the group needs and a migration cannot give, because it depends on the server.</summary>
    private static async Task<bool> GrantAsync(NpgsqlConnection owner, CancellationToken ct)
    {
        // Everybody may connect to a new database; where that was taken from PUBLIC, the services still must.
        await using (var connect = new NpgsqlCommand(
            $"SELECT format('GRANT CONNECT ON DATABASE %I TO {Group}', current_database()) WHERE NOT has_database_privilege('{Group}', "
                + "current_database(), 'CONNECT')", owner))
        {
            if (await connect.ExecuteScalarAsync(ct) is string grant)
            {
                await ExecuteAsync(owner, grant, ct);
            }
        }

        // From version 17 on the right to vacuum a table can be given away; before, it is the owner's alone (OutboxVacuum).
        if (owner.PostgreSqlVersion.Major >= 17)
        {
            await ExecuteAsync(owner, $"GRANT MAINTAIN ON outbox TO {Group}", ct);
        }

        return true;
    }

    private static async Task<Found?> FindAsync(NpgsqlConnection owner, string role, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(
            """
            SELECT r.rolcanlogin, r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls,
                   EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid
                       AND m.roleid = (SELECT g.oid FROM pg_roles AS g WHERE g.rolname = $2))
            FROM pg_roles AS r
            WHERE r.rolname = $1
            """,
            owner);
        command.Parameters.AddWithValue(role);
        command.Parameters.AddWithValue(Group);
        await using var reader = await command.ExecuteReaderAsync(ct);
        return await reader.ReadAsync(ct) ? new Found(reader.GetBoolean(0), reader.GetBoolean(1), reader.GetBoolean(2)) : null;
    }

    private static async Task ExecuteAsync(NpgsqlConnection owner, string statement, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(statement, owner);
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>A migration that loses a race against another one finds the work done, or repeats its own.</summary>
    private static async Task<bool> RetryAsync(NpgsqlConnection owner, Func<Task<bool>> work, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await work();
            }
            catch (PostgresException e) when (attempt < MaxTries && IsConflict(e))
            {
                // The server tells of it after the other one's commit, so there is nothing to wait for.
                if (owner.State != ConnectionState.Open) // Npgsql closes after an error of the server's class XX, which a conflict over a role is
                {
                    await owner.CloseAsync();
                    await owner.OpenAsync(ct);
                }
            }
        }
    }

    private static bool IsConflict(PostgresException e) => e.SqlState switch
    {
        PostgresErrorCodes.DuplicateObject or PostgresErrorCodes.UniqueViolation => true,
        PostgresErrorCodes.DeadlockDetected or PostgresErrorCodes.SerializationFailure => true,
        PostgresErrorCodes.InternalError => e.MessageText.StartsWith("tuple concurrently ", StringComparison.Ordinal),
        _ => false,
    };

    private sealed record Found(bool CanLogIn, bool MayMore, bool IsMember);
}
