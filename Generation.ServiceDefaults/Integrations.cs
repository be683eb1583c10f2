using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using StackExchange.Redis;
#if !ASPIRE
using Microsoft.Extensions.Configuration;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;
#endif

namespace Generation.ServiceDefaults;

/// <summary>
/// The only file that differs with <c>UseAspire</c>: where Aspire's packages are to be had, its Redis integration and
/// OpenTelemetry's hosting package do this; elsewhere the same few lines stand here (docs/decisions).
/// </summary>
internal static class Integrations
{
#if ASPIRE
    public static IOpenTelemetryBuilder AddOpenTelemetryProviders(this IServiceCollection services) => services.AddOpenTelemetry();

    /// <summary>Registers the shared <see cref="IConnectionMultiplexer"/>, connected when it is first asked for.</summary>
    public static void AddSharedRedis(this IHostApplicationBuilder builder) => builder.AddRedisClient(
        RedisConnections.ConnectionName,
        settings => settings.DisableHealthChecks = true, // Readiness asks; a second answer could only differ
        options => RedisConnections.Harden(options, RedisConnections.ServiceName(builder)));
#else
    public static IOpenTelemetryBuilder AddOpenTelemetryProviders(this IServiceCollection services)
    {
        // First, so that the providers listen before anything else starts, and are flushed after everything has stopped.
        services.Insert(0, ServiceDescriptor.Singleton<IHostedService, TelemetryStart>());
        return new OpenTelemetryProviders(services);
    }

    /// <summary>Registers the shared <see cref="IConnectionMultiplexer"/>, connected when it is first asked for.</summary>
    public static void AddSharedRedis(this IHostApplicationBuilder builder) => builder.Services.AddSingleton<IConnectionMultiplexer>(services =>
        ConnectionMultiplexer.Connect(RedisConnections.ReadOptions(
            services.GetRequiredService<IConfiguration>(), RedisConnections.ServiceName(builder))));

    private sealed record OpenTelemetryProviders(IServiceCollection Services) : IOpenTelemetryBuilder;

    /// <summary>Providers live in the container but nobody asks for them: who starts them is whoever resolves them.</summary>
    private sealed class TelemetryStart(IServiceProvider services) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            services.GetService<TracerProvider>();
            services.GetService<MeterProvider>();
            services.GetService<LoggerProvider>();
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
#endif
}
