using Generation.Core.Database;
using Generation.Core.Media;
using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Generation.ServiceDefaults;

/// <summary>Section <c>Security</c>.</summary>
public sealed class SecurityOptions
{
    public const string Section = "Security";

    /// <summary>
    /// Default false. True lets a service log in as the schema's owner or a superuser outside Development, and the relay migrate with that
    /// login: one password for everything, as before the services had logins of their own. Whoever takes over a service then has the database.
    /// </summary>
    public bool AllowOwnerLogin { get; set; }

    /// <summary>What is dangerous outside Development and can be seen in the settings of other sections.</summary>
    internal static void Check(SettingsCheck check, IConfiguration configuration)
    {
        if (IsSet("Providers:Kie:ApiKey") && !IsSet("Providers:Kie:WebhookHmacKey"))
        {
            check.Fail("Providers:Kie:WebhookHmacKey is not set while Providers:Kie:ApiKey is: without it anybody's callback counts as Kie's. "
                + "Set the key of Kie's account.");
        }

        if (Uri.TryCreate(configuration["Worker:PublicBaseUrl"], UriKind.Absolute, out var url) && url.Scheme == Uri.UriSchemeHttp
            && !url.IsLoopback)
        {
            check.Fail("Worker:PublicBaseUrl (PUBLIC_BASE_URL) must be https, or on this machine: callbacks and signed addresses would go "
                + "over the network in clear.");
        }

        bool IsSet(string key) => !string.IsNullOrWhiteSpace(configuration[key]);
    }
}

/// <summary>What the start checks have found, for the process's exit code.</summary>
internal sealed class StartVerdict
{
    private volatile bool isRefused;

    public bool IsRefused => isRefused;

    public void Refuse() => isRefused = true;
}

/// <summary>
/// Outside Development, what a running service must not or should not be. What is dangerous and may be meant is said once, by the setting's
/// name. A login that may do more than its service needs ends the process as soon as the database reports it; the database may be unavailable at
/// the start, and then it is asked when it is back.
/// </summary>
internal sealed class StartChecks(
    DatabaseConnections connections, AppSettings settings, IOptions<SecurityOptions> security, IOptions<MediaOptions> media,
        IConfiguration configuration,
    IHostEnvironment environment, IHostApplicationLifetime lifetime, StartVerdict verdict, TimeProvider time, ILogger<StartChecks> log)
        : BackgroundService
{
    private const int ConnectSeconds = 3;
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly EventId Refused = new(1901, "start.refused");
    private static readonly EventId Unsafe = new(1902, "start.unsafe");

    private bool isLoginUnknownSaid;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (environment.IsDevelopment())
        {
            return;
        }

        foreach (var warning in Warnings())
        {
            log.LogCritical(Unsafe, "{Warning}", warning);
        }

        while (!await TryAskDatabaseAsync(stoppingToken))
        {
            await Task.Delay(Pause, time, stoppingToken);
        }
    }

    private IEnumerable<string> Warnings()
    {
        if (configuration.GetValue("Mock:Enabled", false))
        {
            yield return "Mock:Enabled (MOCK_MODE) is on: what is sold are samples, and no provider is called";
        }

        if (media.Value.AllowPrivateAddresses)
        {
            yield return "Media:AllowPrivateAddresses is on: whoever can name a URL reaches the internal network; Media:PrivateHosts opens single "
                + "hosts";
        }

        if (media.Value.Store == MediaStoreKind.Folder)
        {
            yield return "Media:Store is folder: results are on one machine's disk; services on several machines need s3";
        }

        if (RedisConnections.CrossesNetworkInClear(configuration))
        {
            yield return "ConnectionStrings:redis has no TLS (ssl=true) and is not on this machine: its password and everybody's progress go over "
                + "the network in clear";
        }
    }

    /// <summary>Whether it has answered.</summary>
    private async Task<bool> TryAskDatabaseAsync(CancellationToken ct)
    {
        try
        {
            if (!security.Value.AllowOwnerLogin && await FindExcessAsync(ct) is { } login)
            {
                log.LogCritical(
                    Refused,
                    "ConnectionStrings:{Connection} logs in as {Login}: a service must not. `Generation.Relay migrate` makes logins for the "
                        + "services; Security:AllowOwnerLogin=true overrules this",
                    DatabaseConnections.ConnectionName, login);
                verdict.Refuse();
                lifetime.StopApplication();
                return true;
            }

            if (!configuration.GetValue("Mock:Enabled", false) && await settings.MockModeAsync(ct))
            {
                log.LogCritical(Unsafe, "app_settings.mock_mode is on: what is sold are samples, and no provider is called");
            }

            return true;
        }
        catch (PostgresException e) when (e.SqlState is PostgresErrorCodes.InvalidPassword or PostgresErrorCodes.InvalidAuthorizationSpecification)
        {
            if (!isLoginUnknownSaid)
            {
                log.LogError("The database refuses this service's login ({Problem}): `Generation.Relay migrate` makes it and sets its password",
                    e.MessageText);
            }

            isLoginUnknownSaid = true;
            return false;
        }
        catch (Exception e) when (e is NpgsqlException || TransientErrors.IsTransient(e))
        {
            log.LogDebug(e, "The database could not be asked for the rights of this service's login");
            return false;
        }
    }

    // As itself and not as the group that it acts as: before the first migration there is none.
    private async Task<string?> FindExcessAsync(CancellationToken ct)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(connections.Login)
            {
                Pooling = false,
                Timeout = ConnectSeconds,
                CommandTimeout =
                ConnectSeconds
            }.ConnectionString);
        await connection.OpenAsync(ct);
        return await LoginPrivileges.FindExcessAsync(connection, ct);
    }
}

internal static class StartCheckRegistration
{
    public static void AddStartChecks(this IHostApplicationBuilder builder)
    {
        builder.AddChecked<SecurityOptions>(SecurityOptions.Section, (_, check) =>
        {
            if (!builder.Environment.IsDevelopment())
            {
                SecurityOptions.Check(check, builder.Configuration);
            }
        });
        builder.Services.AddSingleton<StartVerdict>();
        builder.Services.AddHostedService<StartChecks>();
    }
}
