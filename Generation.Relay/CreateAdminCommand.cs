using Generation.Core.Identity;
using Generation.ServiceDefaults;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.Relay;

/// <summary>
/// <c>Generation.Relay create-admin NAME</c>: a user with the role admin and one API key, which is the only thing on the standard output and
/// is shown this once; only its hash is kept. What there is to say beside it goes to the standard error.
/// </summary>
public static class CreateAdminCommand
{
    public const int Done = 0;
    public const int Refused = 1;
    public const int CouldNotRun = 2;

    /// <param name="services">The relay's.</param>
    /// <param name="arguments">Those after the command's name.</param>
    /// <param name="output">Gets the key.</param>
    /// <param name="errors">Gets everything else.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(IServiceProvider services, IReadOnlyList<string> arguments, TextWriter output, TextWriter errors)
    {
        if (arguments is not [var name])
        {
            await errors.WriteLineAsync("Usage: Generation.Relay create-admin NAME");
            return Refused;
        }

        if (Administrators.HandleProblem(name) is { } problem)
        {
            await errors.WriteLineAsync($"'{name}' cannot be a name: it {problem}.");
            return Refused;
        }

        try
        {
            await using var ownerDatabase = OwnerDatabase(services);
            var key = ApiKeys.NewKey();
            var database = ownerDatabase ?? services.GetRequiredService<NpgsqlDataSource>();
            if (!await Administrators.TryCreateAsync(database, name, key, services.GetRequiredService<TimeProvider>(), CancellationToken.None))
            {
                await errors.WriteLineAsync($"There is a user '{name}' already, who stays as he is. Choose another name.");
                return Refused;
            }

            await errors.WriteLineAsync($"Made the administrator '{name}'. This is the API key; it is shown this once:");
            await output.WriteLineAsync(key);
            return Done;
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException or InvalidOperationException or OptionsValidationException)
        {
            await errors.WriteLineAsync(e switch
            {
                PostgresException
                {
                    SqlState: PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.UndefinedColumn or PostgresErrorCodes.CheckViolation
                        or PostgresErrorCodes.InvalidParameterValue,
                } => $"No administrator was made: the database does not have this version's schema ({e.Message}). Run `Generation.Relay migrate` "
                    + "first.",
                _ => $"No administrator was made: {e.Message}",
            });
            return CouldNotRun;
        }
    }

    /// <summary>The owner's login where this process has it; else the relay's own will do.</summary>
    private static NpgsqlDataSource? OwnerDatabase(IServiceProvider services) =>
        DatabaseConnections.ReadOwner(services.GetRequiredService<IConfiguration>(), services.GetRequiredService<IHostEnvironment>()) is { } owner
            ? NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(owner) { Pooling = false })
            : null;
}
