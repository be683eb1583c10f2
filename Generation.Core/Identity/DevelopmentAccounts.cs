using Npgsql;

namespace Generation.Core.Identity;

/// <summary>
/// The two accounts of a developer's machine, with fixed keys: <c>gk_dev_demo</c> with 1,000 credits and <c>gk_dev_admin</c>. Made by
/// the relay in the environment Development and nowhere else. A database may see another environment later, so elsewhere the keys are
/// revoked by the migration and refused by the Api.
/// </summary>
public static class DevelopmentAccounts
{
    public const string DemoKey = "gk_dev_demo";
    public const string AdminKey = "gk_dev_admin";

    private static readonly byte[][] KeyHashes = [ApiKeys.Hash(DemoKey), ApiKeys.Hash(AdminKey)];

    /// <summary>Whether it is the hash of one of the two keys.</summary>
    public static bool HasKey(ReadOnlySpan<byte> hash) => hash.SequenceEqual(KeyHashes[0]) || hash.SequenceEqual(KeyHashes[1]);

    public static async Task CreateAsync(NpgsqlDataSource database, CancellationToken ct)
    {
        await CreateUserAsync(database, "demo", "user", DemoKey, credits: 1_000, ct);
        await CreateUserAsync(database, "admin", "admin", AdminKey, credits: 1_000, ct);

        // A migration outside Development has revoked them, for example because an environment variable was missing.
        await using var restore = database.CreateCommand(
            "UPDATE api_keys SET revoked_at = NULL WHERE key_hash = ANY ($1) AND revoked_at IS NOT NULL");
        restore.Parameters.AddWithValue(KeyHashes);
        await restore.ExecuteNonQueryAsync(ct);
    }

    /// <summary>For a database that is used outside Development. How many of the keys worked until now.</summary>
    public static async Task<int> RevokeKeysAsync(string ownerConnectionString, CancellationToken ct)
    {
        await using var owner = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(ownerConnectionString) { Pooling = false }.ConnectionString);
        await owner.OpenAsync(ct);
        await using var revoke = new NpgsqlCommand("UPDATE api_keys SET revoked_at = now() WHERE key_hash = ANY ($1) AND revoked_at IS NULL", owner);
        revoke.Parameters.AddWithValue(KeyHashes);
        return await revoke.ExecuteNonQueryAsync(ct);
    }

    /// <summary>
    /// A user with a key and one purchased lot. Does nothing when the handle exists; null when another process is making it just now.
    /// </summary>
    public static async Task<Guid?> CreateUserAsync(
        NpgsqlDataSource database, string handle, string role, string key, long credits, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            WITH person AS (
                INSERT INTO users (user_id, handle, role) VALUES ($1, $2, $3) ON CONFLICT (handle) DO NOTHING RETURNING user_id
            ),
            key AS (
                INSERT INTO api_keys (key_hash, user_id, name) SELECT $4, user_id, 'made with the account' FROM person
            ),
            account AS (
                INSERT INTO credit_accounts (user_id, available) SELECT user_id, $5 FROM person
            ),
            lot AS (
                INSERT INTO credit_lots (lot_id, user_id, kind, granted, available, reference, reason)
                SELECT $6, user_id, 'purchase', $5, $5, 'opening', 'opening balance' FROM person WHERE $5 > 0
            ),
            ledger AS (
                INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
                SELECT user_id, 'purchase', 'external', 'available', $5, $5, 0, $6 FROM person WHERE $5 > 0
            )
            SELECT user_id FROM person
            UNION ALL
            SELECT user_id FROM users WHERE handle = $2
            """);
        command.Parameters.AddWithValue(Guid.CreateVersion7());
        command.Parameters.AddWithValue(handle);
        command.Parameters.AddWithValue(role);
        command.Parameters.AddWithValue(ApiKeys.Hash(key));
        command.Parameters.AddWithValue(credits);
        command.Parameters.AddWithValue(Guid.CreateVersion7());
        return await command.ExecuteScalarAsync(ct) as Guid?;
    }
}
