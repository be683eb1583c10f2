using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Generation.Core.Database;
using Generation.Core.Settings;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Generation.Core.Identity;

/// <param name="UserId">Whose key it is.</param>
/// <param name="Handle">The user's name.</param>
/// <param name="IsAdmin">Role <c>admin</c>.</param>
public sealed record Caller(Guid UserId, string Handle, bool IsAdmin)
{
    /// <summary>The key's hash in hex: a name for it that opens nothing.</summary>
    public string KeyName { get; init; } = "";
}

/// <summary>
/// Who an API key belongs to. Only hashes are stored and compared; answers are believed for the settings' cache time. The keys that everybody
/// knows (<see cref="DevelopmentAccounts"/>) open nothing outside Development, whatever the database says.
/// </summary>
public sealed class ApiKeys(NpgsqlDataSource database, SettingsOptions options, IHostEnvironment environment, TimeProvider time)
{
    /// <summary>Bounds the cache against callers that try keys.</summary>
    private const int MaxCached = 10_000;

    private readonly ConcurrentDictionary<string, (Caller? Caller, long ReadAt)> cache = new(StringComparer.Ordinal);

    /// <summary>256 bits of chance behind a prefix by which a key that got lost is recognised.</summary>
    public static string NewKey() => "gk_live_" + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    public static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    /// <summary>The key's owner, or null when there is no such key or it was revoked.</summary>
    public async ValueTask<Caller?> FindAsync(string key, CancellationToken ct)
    {
        var hash = Hash(key);
        if (!environment.IsDevelopment() && DevelopmentAccounts.HasKey(hash))
        {
            return null;
        }

        var name = Convert.ToHexString(hash);
        if (cache.TryGetValue(name, out var known) && time.GetElapsedTime(known.ReadAt) < options.CacheDuration)
        {
            return known.Caller;
        }

        var caller = await TransientErrors.RepeatOnDisconnectAsync(() => ReadAsync(hash, name, ct));
        if (cache.Count >= MaxCached)
        {
            cache.Clear();
        }

        cache[name] = (caller, time.GetTimestamp());
        return caller;
    }

    private async Task<Caller?> ReadAsync(byte[] hash, string name, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            SELECT u.user_id, u.handle, u.role
            FROM api_keys AS k
            JOIN users AS u USING (user_id)
            WHERE k.key_hash = $1 AND k.revoked_at IS NULL
            """);
        command.Parameters.AddWithValue(hash);
        await using var reader = await command.ExecuteReaderAsync(ct);
        return await reader.ReadAsync(ct)
            ? new Caller(reader.GetGuid(0), reader.GetString(1), reader.GetString(2) == "admin") { KeyName = name }
            : null;
    }
}
