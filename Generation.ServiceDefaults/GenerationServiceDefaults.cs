using Generation.Core.Database;
using Generation.Core.Queue;
using Generation.Core.Settings;
using Generation.ServiceDefaults;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Npgsql;

namespace Microsoft.Extensions.Hosting;

/// <summary>The defaults that every service of Generation shares.</summary>
public static class GenerationServiceDefaults
{
    /// <summary>
    /// Defaults that a person would not want to read past. They are the weakest configuration source, so any
    /// <c>Logging:LogLevel</c> in a file or variable overrides them. Npgsql and HttpClient would otherwise log
    /// every statement and every address, signed ones included.
    /// </summary>
    private static readonly Dictionary<string, string?> QuietCategories = new()
    {
        ["Logging:LogLevel:Default"] = "Information",
        ["Logging:LogLevel:Microsoft.AspNetCore"] = "Warning",
        ["Logging:LogLevel:Generation.Api.Identity.ApiKeyAuthentication"] = "Warning", // two lines of the framework's a 401, beside the request's own
        ["Logging:LogLevel:Microsoft.EntityFrameworkCore"] = "Warning",
        ["Logging:LogLevel:Npgsql"] = "Warning",
        ["Logging:LogLevel:System.Net.Http"] = "Warning",
        ["Logging:LogLevel:Polly"] = "Warning",
        ["Logging:LogLevel:StackExchange.Redis"] = "Warning", // fifty lines at every connect
    };

    /// <summary>
    /// Flat setting names, console logs, telemetry, readiness, drained shutdown, <see cref="TimeProvider"/>.
    /// Call it right after the builder is made; <see cref="MapServiceDefaults"/> is its other half.
    /// </summary>
    public static TBuilder AddServiceDefaults<TBuilder>(this TBuilder builder)
        where TBuilder : IHostApplicationBuilder
    {
        SettingsErrors.ExitWithSentence();
        builder.Configuration.Sources.Insert(0, new MemoryConfigurationSource { InitialData = QuietCategories });
        builder.Configuration.AddFlatNames();
        builder.Configuration.IgnoreEmptyVariables();
        builder.Services.Configure<KestrelServerOptions>(kestrel => kestrel.AddServerHeader = false);
        builder.Services.TryAddSingleton(TimeProvider.System);
        builder.AddConsoleLines();
        builder.AddTelemetry();
        builder.AddDrainedShutdown();
        builder.Services.TryAddSingleton<Readiness>();
        return builder;
    }

    /// <summary>
    /// Postgres and Redis as every service sees them: <see cref="NpgsqlDataSource"/> (pooled, acting as the service role),
    /// <see cref="DatabaseConnections"/> (for the migrator and for listeners), <see cref="RedisConnections"/> and
    /// <c>IConnectionMultiplexer</c>. Neither server has to be there at start; a missing or malformed setting stops the start.
    /// </summary>
    /// <param name="configureDataSource">Type mappings and the like, applied to the pooled data source.</param>
    public static TBuilder AddGenerationData<TBuilder>(this TBuilder builder, Action<NpgsqlDataSourceBuilder>? configureDataSource = null)
        where TBuilder : IHostApplicationBuilder
    {
        var serviceName = RedisConnections.ServiceName(builder);
        builder.AddChecked<DatabaseOptions>(DatabaseOptions.Section, (options, check) => options.Check(check, builder.Configuration));
        builder.Services.AddSingleton(services => DatabaseConnections.Read(
            services.GetRequiredService<IConfiguration>(), services.GetRequiredService<IOptions<DatabaseOptions>>().Value, serviceName));
        builder.Services.AddSingleton(services =>
        {
            var dataSource = new NpgsqlDataSourceBuilder(services.GetRequiredService<DatabaseConnections>().Service);
            dataSource.UseLoggerFactory(services.GetRequiredService<ILoggerFactory>());
            dataSource.Name = DatabaseConnections.ConnectionName; // on every span and metric: else the whole connection string
            dataSource.AddSpanNames();
            configureDataSource?.Invoke(dataSource);
            return dataSource.Build();
        });

        // The context that migrates, as the owner. It also registers traces and metrics of Npgsql, for every connection. Readiness has a probe of
        // the database, so the health check is disabled; the migrator retries itself, and EF's retry would wrap its transactions.
        builder.Services.AddDbContext<GenerationDbContext>((services, options) =>
        {
            var owner = DatabaseConnections.ReadOwner(services.GetRequiredService<IConfiguration>(), services.GetRequiredService<IHostEnvironment>());
            GenerationDbContext.Configure(options, owner ?? throw new SettingException(
                $"ConnectionStrings:{DatabaseConnections.OwnerConnectionName} is not set"));
            options.UseApplicationServiceProvider(new WithoutDataSource(services));
        });
        builder.EnrichNpgsqlDbContext<GenerationDbContext>(settings => (settings.DisableHealthChecks, settings.DisableRetry) = (true, true));

        // Registers the shared multiplexer, connected on first use. Readiness has a probe of Redis, so the client's health check is disabled.
        builder.AddRedisClient(
            RedisConnections.ConnectionName,
            settings => settings.DisableHealthChecks = true,
            options => RedisConnections.Harden(options, serviceName));
        builder.Services.AddSingleton(new RedisConnections.ClientIdentity(serviceName));
        builder.Services.AddSingleton<RedisConnections>();
        builder.Services.AddHostedService(services => services.GetRequiredService<RedisConnections>());
        builder.Services.AddSingleton<ConnectDedicatedRedis>(services => async (name, timeout) =>
            (await services.GetRequiredService<RedisConnections>().ConnectDedicatedAsync(name, timeout)).Multiplexer);
        return builder;
    }

    /// <summary>Postgres and Redis, readiness by the schema of this build, and the start checks.</summary>
    public static TBuilder AddInfrastructure<TBuilder>(this TBuilder builder)
        where TBuilder : IHostApplicationBuilder
    {
        builder.AddGenerationData();
        builder.AddSchemaCheck(DatabaseMigrator.IsCurrentAsync);
        builder.AddStartChecks();
        return builder;
    }

    /// <summary>
    /// Makes readiness depend on the schema. <paramref name="isCurrent"/> is asked at most once a second, on a connection
    /// with the service role, and is cancelled after two seconds. A missing table or role counts as "no".
    /// </summary>
    public static TBuilder AddSchemaCheck<TBuilder>(this TBuilder builder, Func<NpgsqlConnection, CancellationToken, Task<bool>> isCurrent)
        where TBuilder : IHostApplicationBuilder
    {
        builder.Services.AddSingleton(new SchemaCheck(isCurrent));
        return builder;
    }

    /// <summary>
    /// Runs until it is asked to stop. When a connection to Postgres dies while its statement is being cancelled, Npgsql throws out of the
    /// cancellation and so out of the host's stop: by then everything has been stopped, and it is no reason to end as if it had crashed.
    /// </summary>
    /// <returns>The exit code: 0, or 1 when a start check has stopped it.</returns>
    public static async Task<int> RunToEndAsync(this WebApplication app)
    {
        ArgumentNullException.ThrowIfNull(app);
        var stopping = app.Lifetime.ApplicationStopping;
        var start = app.Services.GetService<StartVerdict>(); // running disposes of the services
        try
        {
            await app.RunAsync();
        }
        catch (OperationCanceledException) when (start is { IsRefused: true })
        {
            // Refused while it was still starting: the host has stopped, and the log says why.
        }
        catch (Exception e) when (stopping.IsCancellationRequested && (
            e is AggregateException all ? all.Flatten().InnerExceptions.All(TransientErrors.IsTransient) : TransientErrors.IsTransient(e)))
        {
            await Console.Error.WriteLineAsync($"A connection died while it was being closed: {e.Message}"); // the log is closed by now
        }

        return start is { IsRefused: true } ? 1 : 0;
    }

    /// <summary>
    /// Adds the span and log of every request and maps <c>/healthz</c> and <c>/readyz</c>. Call it before any other
    /// middleware, so that what those answer is seen too.
    /// </summary>
    public static WebApplication MapServiceDefaults(this WebApplication app)
    {
        app.UseMiddleware<RequestObservation>();
        app.MapHealth();
        return app;
    }

    /// <summary>
    /// EF's provider asks for a data source even where it has a connection string: that of the services, which a migration neither has nor wants.
    /// </summary>
    private sealed class WithoutDataSource(IServiceProvider services) : IServiceProvider
    {
        public object? GetService(Type serviceType) => serviceType == typeof(NpgsqlDataSource) ? null : services.GetService(serviceType);
    }
}
