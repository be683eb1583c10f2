using Generation.ServiceDefaults;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Relay;

/// <summary><c>Generation.Relay migrate</c>: does the migration step as the owner, and ends. For a deployment's first step.</summary>
public static class MigrateCommand
{
    public const int Done = 0;
    public const int CouldNotRun = 2;

    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(IServiceProvider services, TextWriter errors)
    {
        try
        {
            var owner = DatabaseConnections.ReadOwner(services.GetRequiredService<IConfiguration>(), services.GetRequiredService<IHostEnvironment>())
                ?? throw new InvalidOperationException(
                    $"ConnectionStrings:{DatabaseConnections.OwnerConnectionName} is not set (environment: "
                        + $"ConnectionStrings__{DatabaseConnections.OwnerConnectionName}); it is the login that owns the schema");
            await services.GetRequiredService<MigrationStep>().RunAsync(owner, CancellationToken.None);
            return Done;
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or InvalidOperationException or OptionsValidationException)
        {
            await errors.WriteLineAsync($"The database could not be migrated: {e.Message}");
            return CouldNotRun;
        }
    }
}
