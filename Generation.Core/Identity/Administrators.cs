using System.Text;
using System.Text.RegularExpressions;
using Generation.Core.Database;
using Npgsql;

namespace Generation.Core.Identity;

/// <summary>The first administrator of a database, who cannot be made by another one.</summary>
public static partial class Administrators
{
    /// <summary>Why this cannot be a handle; null when it can.</summary>
    public static string? HandleProblem(string handle) => Handle().IsMatch(handle)
        ? null
        : "must be 1 to 63 characters: small letters, digits, dots, dashes and underscores, the first a letter or a digit";

    /// <summary>
    /// Makes the user with this one key and an audit row, in one statement. False, and nothing is written, when the handle is taken.
    /// </summary>
    public static async Task<bool> TryCreateAsync(NpgsqlDataSource database, string handle, string key, TimeProvider time, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(database);
        ArgumentNullException.ThrowIfNull(time);
        await using var command = database.CreateCommand(Sql.Text("Identity/create_admin.sql"));
        command.Parameters.AddWithValue(Guid.CreateVersion7(time.GetUtcNow()));
        command.Parameters.AddWithValue(handle);
        command.Parameters.AddWithValue(ApiKeys.Hash(key));
        command.Parameters.AddWithValue(Guid.CreateVersion7(time.GetUtcNow()));
        command.Parameters.AddWithValue(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes($"create-admin {handle}")));
        return await command.ExecuteScalarAsync(ct) is true;
    }

    /// <summary>As the table's own CHECK.</summary>
    [GeneratedRegex(@"\A[a-z0-9][a-z0-9._-]{0,62}\z", RegexOptions.NonBacktracking)]
    private static partial Regex Handle();
}
