using Generation.Core;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.ServiceDefaults;
using Npgsql;

namespace Generation.Relay;

/// <summary>
/// Nothing else of the relay starts on an old schema. A relay that was given the owner's login brings the schema up itself; any other waits
/// until somebody has. Either waits for the database as long as it takes.
/// </summary>
public sealed class MigrationService(
    MigrationStep step, NpgsqlDataSource database, IConfiguration configuration, IHostEnvironment environment, TimeProvider time,
        ILogger<MigrationService> log) : IHostedService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private readonly ThrottledLog waiting = new(time);

    public async Task StartAsync(CancellationToken ct)
    {
        var owner = DatabaseConnections.ReadOwner(configuration, environment);
        while (!await TryAsync(owner, ct))
        {
            await Task.Delay(Pause, time, ct);
        }
    }

    public Task StopAsync(CancellationToken ct) => Task.CompletedTask;

    private async Task<bool> TryAsync(string? owner, CancellationToken ct)
    {
        try
        {
            if (owner is null)
            {
                return await IsCurrentAsync(ct);
            }

            await step.RunAsync(owner, ct);
            if (environment.IsDevelopment())
            {
                await DevelopmentAccounts.CreateAsync(database, ct);
            }

            return true;
        }
        catch (Exception e) when (TransientErrors.IsTransient(e) || e
            is PostgresException { SqlState: PostgresErrorCodes.InvalidCatalogName or PostgresErrorCodes.UndefinedObject })
        {
            Report($"The database cannot be {(owner is null ? "read" : "migrated")} yet: {e.Message}");
            return false;
        }
    }

    private async Task<bool> IsCurrentAsync(CancellationToken ct)
    {
        try
        {
            await using var connection = await database.OpenConnectionAsync(ct);
            if (await DatabaseMigrator.IsCurrentAsync(connection, ct))
            {
                return true;
            }

            Report("The schema is of an older release.");
        }
        catch (PostgresException e) when (IsBeforeMigration(e))
        {
            Report($"The schema is not there, or this login is not ({e.MessageText}).");
        }

        return false;
    }

    /// <summary>Before the first migration there is no table, no role to act as, and no login.</summary>
    private static bool IsBeforeMigration(PostgresException e) => e.SqlState is
        PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.InvalidParameterValue or PostgresErrorCodes.InsufficientPrivilege
        or PostgresErrorCodes.InvalidPassword or PostgresErrorCodes.InvalidAuthorizationSpecification;

    private void Report(string problem)
    {
        if (!waiting.Report())
        {
            return;
        }

        log.LogWarning(
            "Waiting for the schema of this release ({Migration}): {Problem} The owner brings it: `Generation.Relay migrate` with "
                + "ConnectionStrings:{Owner}",
            DatabaseMigrator.LatestMigration, problem, DatabaseConnections.OwnerConnectionName);
    }
}
