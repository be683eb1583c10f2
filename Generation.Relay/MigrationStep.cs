using Generation.Core;
using Generation.Core.Catalog;
using Generation.Core.Database;
using Generation.Core.Identity;
using Microsoft.Extensions.Options;

namespace Generation.Relay;

/// <summary>Section <c>Database:Roles</c>: what the migration step sets, and no service reads.</summary>
public sealed class ServiceLoginOptions
{
    public const string Section = "Database:Roles";

    public ServiceLoginSetting Api { get; set; } = new();

    public ServiceLoginSetting Relay { get; set; } = new();

    public ServiceLoginSetting Worker { get; set; } = new();

    /// <summary>Those that are given, by role.</summary>
    public IReadOnlyDictionary<string, string> Passwords() => All()
        .Where(login => !string.IsNullOrEmpty(login.Password))
        .ToDictionary(login => login.Role, login => login.Password!, StringComparer.Ordinal);

    public string? Problem() => All().FirstOrDefault(login => !IsUsable(login.Password)) is { Setting: { } wrong }
        ? $"{Section}:{wrong}:Password must be 12 to 200 printable ASCII characters."
        : null;

    private static bool IsUsable(string? password) =>
        string.IsNullOrEmpty(password) || (password.Length is >= 12 and <= 200 && password.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0);

    private IEnumerable<(string Role, string Setting, string? Password)> All() =>
    [
        (ServiceLogins.Api, nameof(Api), Api.Password),
        (ServiceLogins.Relay, nameof(Relay), Relay.Password),
        (ServiceLogins.Worker, nameof(Worker), Worker.Password),
    ];
}

/// <summary>One login.</summary>
public sealed class ServiceLoginSetting
{
    /// <summary>
    /// Default none: the role is made unable to log in, or left as it is. Set at every migration, so a changed one takes effect with the next
    /// <c>migrate</c>; connections that are open stay.
    /// </summary>
    public string? Password { get; set; }
}

/// <summary>
/// Everything that is done to a database before the services of this release may use it: schema, prices, logins, keys that must not work.
/// </summary>
public sealed class MigrationStep(IServiceScopeFactory scopes, IOptions<ServiceLoginOptions> logins, ModelRegistry models,
    IHostEnvironment environment, ILogger<MigrationStep> log)
{
    /// <summary>Any number of processes may do it at once, and it may be done again at any time.</summary>
    public async Task RunAsync(string ownerConnectionString, CancellationToken ct)
    {
        var passwords = logins.Value.Passwords();
        await using var scope = scopes.CreateAsyncScope(); // a context for each try
        foreach (var migration in await DatabaseMigrator.MigrateAsync(scope.ServiceProvider.GetRequiredService<GenerationDbContext>(), ct))
        {
            log.LogInformation(OperationEvents.DatabaseMigrate, "Applied migration {Migration}", migration);
        }

        foreach (var model in await DefaultPrice.InsertMissingAsync(ownerConnectionString, models.Models, ct))
        {
            log.LogInformation(OperationEvents.DatabaseMigrate, "Wrote the default price of {Model}", model);
        }

        var withoutLogin = await ServiceLogins.EnsureAsync(ownerConnectionString, passwords, ct);
        if (passwords.Count > 0)
        {
            log.LogInformation(OperationEvents.DatabaseMigrate, "Set the passwords of {Roles}", string.Join(", ", passwords.Keys));
        }

        if (withoutLogin.Count > 0)
        {
            log.LogInformation(OperationEvents.DatabaseMigrate, "{Roles} cannot log in: they have no password ({Section}:…:Password)",
                string.Join(", ", withoutLogin), ServiceLoginOptions.Section);
        }

        if (!environment.IsDevelopment() && await DevelopmentAccounts.RevokeKeysAsync(ownerConnectionString, ct) is > 0 and var revoked)
        {
            log.LogWarning("Revoked {Count} development API keys: this database was used in Development before", revoked);
        }
    }
}
