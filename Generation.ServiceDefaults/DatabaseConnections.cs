using Generation.Core.Database;
using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Generation.ServiceDefaults;

/// <summary>Section <c>Database</c>. Server and login are named by <c>ConnectionStrings:generation</c>.</summary>
public sealed class DatabaseOptions
{
    public const string Section = "Database";

    /// <summary>
    /// Default 20, between 2 and 500. Connections this process may hold. Too few: requests queue for one and time out;
    /// too many: the sum over all processes passes the server's <c>max_connections</c> and some cannot start.
    /// </summary>
    public int PoolSize { get; set; } = 20;

    /// <summary>
    /// Seconds that a statement without a specific limit may take; default 5 in the Api, where a request waits for it, else 30.
    /// Then it is cancelled. Too short cuts off sweeps over large tables; too long lets requests hang on a database that does not answer.
    /// </summary>
    public int? CommandTimeoutSeconds { get; set; }

    internal void Check(SettingsCheck check, IConfiguration configuration)
    {
        check.Range(nameof(PoolSize), PoolSize, 2, 500);
        check.Range(nameof(CommandTimeoutSeconds), CommandTimeoutSeconds, 1, 3600);
        if (check.Errors.Count > 0)
        {
            return;
        }

        try
        {
            DatabaseConnections.Read(configuration, this, "validation");
            RedisConnections.ReadOptions(configuration, "validation");
        }
        catch (InvalidOperationException e)
        {
            check.Fail(e.Message);
        }
    }
}

/// <summary>The connection strings behind <c>ConnectionStrings:generation</c>, each for its purpose.</summary>
/// <param name="Login">As given: the service's own login, as itself.</param>
/// <param name="Service">
/// Pooled, acting as <see cref="ServiceLogins.Group"/>, which owns nothing and is bound by grants and row-level security. The login is a
/// member that may do no more; acting as the group all the same binds a login that may, on a developer's machine.
/// </param>
/// <param name="Dedicated">As <paramref name="Service"/> but not pooled: for LISTEN, which must not go back into a pool.</param>
public sealed record DatabaseConnections(string Login, string Service, string Dedicated)
{
    public const string ConnectionName = "generation";
    public const string OwnerConnectionName = "generation-owner";

    // The values hold a password, and records print themselves.
    public override string ToString() => nameof(DatabaseConnections);

    /// <summary>
    /// The login that owns the schema, for migrations alone: <c>ConnectionStrings:generation-owner</c>. In Development, and where
    /// <c>Security:AllowOwnerLogin</c> says so, the services' login may be it. Null when this process has none.
    /// </summary>
    /// <exception cref="InvalidOperationException">It is malformed; the message names the setting, not the value.</exception>
    public static string? ReadOwner(IConfiguration configuration, IHostEnvironment environment)
    {
        var name = !string.IsNullOrWhiteSpace(configuration.GetConnectionString(OwnerConnectionName)) ? OwnerConnectionName
            : environment.IsDevelopment() || configuration.GetValue($"{SecurityOptions.Section}:{nameof(SecurityOptions.AllowOwnerLogin)}", false)
                ? ConnectionName
            : null;
        return name is null ? null : Parse(configuration, name).ConnectionString;
    }

    internal static DatabaseConnections Read(IConfiguration configuration, DatabaseOptions options, string serviceName)
    {
        var service = Parse(configuration, ConnectionName);
        service.ApplicationName = serviceName;
        var login = service.ConnectionString;

        // The server, too, must notice a peer whose machine is gone, or that stops in the middle of a transaction (SIGSTOP, a frozen machine): until
        // then its transaction holds the rows it has locked, by default for two hours, or for ever.
        service.Options = $"{service.Options} -c role={ServiceLogins.Group} -c idle_in_transaction_session_timeout=10s -c tcp_keepalives_idle=15 -c "
            + "tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c lock_timeout=1s".TrimStart(); // nobody waits for one user's row without a limit
        service.MaxPoolSize = options.PoolSize;
        service.MinPoolSize = Math.Min(service.MinPoolSize, options.PoolSize);
        service.Timeout = 3; // seconds to connect or to get a connection from the pool; then the request is refused, not hung
        service.KeepAlive = 15; // seconds; finds a dead peer behind a load balancer before a request does
        service.TcpKeepAlive = true; // the same below the protocol, also while a statement runs
        service.TcpKeepAliveTime = 15; // seconds
        service.TcpKeepAliveInterval = 5; // seconds
        service.CommandTimeout = options.CommandTimeoutSeconds ?? 30; // seconds
        service.MaxAutoPrepare = 64;

        // Resetting a session between uses halves small statements (measured on two cores: 11,400/s with, 24,300/s without).
        // It is not needed as long as no code changes session state: roles and app.user_id are SET LOCAL, a transaction left open is
        // rolled back by Npgsql all the same, LISTEN uses dedicated connections, advisory locks are the transaction's.
        // TidyTests holds us to that.
        service.NoResetOnClose = true;
        var dedicated = new NpgsqlConnectionStringBuilder(service.ConnectionString) { Pooling = false, MaxAutoPrepare = 0 };
        return new DatabaseConnections(login, service.ConnectionString, dedicated.ConnectionString);
    }

    private static NpgsqlConnectionStringBuilder Parse(IConfiguration configuration, string name)
    {
        var setting = $"ConnectionStrings:{name}";
        var given = configuration.GetConnectionString(name);
        if (string.IsNullOrWhiteSpace(given))
        {
            throw new SettingException($"{setting} is not set (environment: ConnectionStrings__{name})");
        }

        try
        {
            var parsed = new NpgsqlConnectionStringBuilder(given);
            return string.IsNullOrWhiteSpace(parsed.Host) ? throw new ArgumentException("It has no Host.", name) : parsed;
        }
        catch (Exception e) when (e is ArgumentException or FormatException)
        {
            // Without the inner exception: it may quote the value, password included.
#pragma warning disable MA0054
            throw new SettingException(
                $"{setting} is not a valid Npgsql connection string (Host=…;Port=…;Username=…;Password=…;Database=…)");
#pragma warning restore MA0054
        }
    }
}
