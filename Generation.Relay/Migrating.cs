using Generation.Core.Database;
using Generation.Core.Identity;
using Npgsql;

namespace Generation.Relay;

/// <summary>Brings the schema up before anything else of the relay starts, and waits for the database as long as it takes.</summary>
public sealed class Migrating(
    IServiceScopeFactory scopes, NpgsqlDataSource database, IHostEnvironment environment, TimeProvider time, ILogger<Migrating> log) : IHostedService
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                await using var scope = scopes.CreateAsyncScope(); // a context for each try
                foreach (var migration in await DatabaseMigrator.MigrateAsync(scope.ServiceProvider.GetRequiredService<GenerationDbContext>(), cancellationToken))
                {
                    log.LogInformation("Applied migration {Migration}", migration);
                }

                if (environment.IsDevelopment())
                {
                    await DevelopmentAccounts.CreateAsync(database, cancellationToken);
                }

                return;
            }
            catch (Exception e) when (Transient.IsPassing(e) || e is PostgresException { SqlState: PostgresErrorCodes.InvalidCatalogName or PostgresErrorCodes.UndefinedObject })
            {
                log.LogWarning("The database cannot be migrated yet: {Problem}", e.Message);
                await Task.Delay(Pause, time, cancellationToken);
            }
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
