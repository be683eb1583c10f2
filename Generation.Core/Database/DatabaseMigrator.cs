using System.Runtime.ExceptionServices;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// Brings a database to the schema of this build. Any number of processes may start it at once: an advisory lock lets one
/// through at a time (EF's own lock is a lock on a table that does not exist before the first run), the rest find nothing to do.
/// </summary>
public static class DatabaseMigrator
{
    /// <summary>"generatn" in ASCII: any number that nobody else uses.</summary>
    private const long LockKey = 0x67656e657261746e;

    /// <summary>The newest migration of this build: what <see cref="IsCurrentAsync"/> looks for.</summary>
    public const string LatestMigration = QueueActions.Id;

    /// <summary>Applies what is missing, as the database's owner. Returns the names of the migrations applied.</summary>
    /// <exception cref="NpgsqlException">Also when the database becomes unavailable: transient, so that the caller may retry.</exception>
    public static async Task<IReadOnlyList<string>> MigrateAsync(string ownerConnectionString, CancellationToken ct)
    {
        var options = new DbContextOptionsBuilder<GenerationDbContext>();
        GenerationDbContext.Configure(options, ownerConnectionString);
        await using var context = new GenerationDbContext(options.Options);
        return await MigrateAsync(context, ct);
    }

    /// <inheritdoc cref="MigrateAsync(string, CancellationToken)"/>
    /// <param name="context">As the database's owner, without a pool and without a retry of EF's.</param>
    /// <param name="ct">Stops.</param>
    public static async Task<IReadOnlyList<string>> MigrateAsync(GenerationDbContext context, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(context);
        await using var owner = new NpgsqlConnection(context.Database.GetConnectionString());
        await owner.OpenAsync(ct);
        await using var transaction = await owner.BeginTransactionAsync(ct); // its end releases the lock in every case
        await using (var take = new NpgsqlCommand("SELECT pg_advisory_xact_lock($1)", owner, transaction) { CommandTimeout = 120 })
        {
            take.Parameters.AddWithValue(LockKey);
            await take.ExecuteNonQueryAsync(ct);
        }

        List<string> pending;
        try
        {
            await context.GetService<IHistoryRepository>().CreateIfNotExistsAsync(ct); // asking an empty database would be an error in its log
            pending = [.. await context.Database.GetPendingMigrationsAsync(ct)];
            if (pending.Count > 0) await context.Database.GetService<IMigrator>().MigrateAsync(cancellationToken: ct);
        }
        catch (InvalidOperationException e) when (e.InnerException is NpgsqlException { IsTransient: true } transient)
        {
            // EF wraps what is worth repeating, as an advice to switch its own repetition on; callers tell it by what it was.
            ExceptionDispatchInfo.Throw(transient);
            throw;
        }

        if (pending.Count > 0)
        {
            await using var grant = new NpgsqlCommand($"""GRANT SELECT ON "__EFMigrationsHistory" TO {ServiceLogins.Group}""", owner, transaction);
            await grant.ExecuteNonQueryAsync(ct);
        }

        await transaction.CommitAsync(ct);
        return pending;
    }

    /// <summary>
    /// Whether the schema of this build is there; throws when not even the history is. A newer one counts: services of two versions
    /// overlap during a deploy.
    /// </summary>
    public static async Task<bool> IsCurrentAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand("""SELECT EXISTS (SELECT FROM "__EFMigrationsHistory" WHERE "MigrationId" >= $1)""", connection);
        command.Parameters.AddWithValue(LatestMigration);
        return (bool)(await command.ExecuteScalarAsync(ct))!;
    }
}
