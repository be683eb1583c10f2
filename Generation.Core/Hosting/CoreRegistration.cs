using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Identity;
using Generation.Core.Maintenance;
using Generation.Core.Media;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.Core.Webhooks;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Generation.Core.Hosting;

/// <summary>The composition of Core, shared by the services.</summary>
public static class CoreRegistration
{
    /// <summary>
    /// Options, catalog, settings, queue, realtime, sessions and media. Background services are added by the service that runs them. Needs a data
    /// source, Redis and <see cref="ConnectDedicatedRedis"/>, which the service defaults bring.
    /// </summary>
    public static TBuilder AddCore<TBuilder>(this TBuilder builder)
        where TBuilder : IHostApplicationBuilder
    {
        var services = builder.Services;
        builder.AddChecked<SettingsOptions>(SettingsOptions.Section, (options, check) => options.Check(check));
        builder.AddChecked<MockOptions>(MockOptions.Section);
        builder.AddChecked<QueueOptions>(QueueOptions.Section, (options, check) => options.Check(check));
        builder.AddChecked<CreditOptions>(CreditOptions.Section, (options, check) => options.Check(check));
        builder.AddChecked<AuditOptions>(AuditOptions.Section, (options, check) => options.Check(check));
        services.AddMedia(builder.Configuration);

        var tools = ToolAssemblies.Load(builder.Configuration);
        services.AddSingleton(tools);
        services.TryAddSingleton(_ => new ModelRegistry(
            [.. OpenAiModels.WithGateway(ModelRegistry.BuiltIn, builder.Configuration["Providers:OpenAi:VideoBaseUrl"]), .. tools.Models]));
        services.AddSingleton<PriceList>();
        services.AddSingleton<ApiKeys>();
        services.AddSingleton<AppSettings>();

        services.AddSingleton<IJobQueue>(s => s.GetRequiredService<QueueOptions>().TransportInUse switch
        {
            QueueTransport.Sqs => NewSqsQueue(s),
            _ => NewRedisQueue(s),
        });

        services.AddSingleton<ProgressChannel>();
        services.AddSingleton<ProviderHealth>();
        services.AddSingleton<ChangeNotifier>();
        services.AddHostedService(s => s.GetRequiredService<ChangeNotifier>());

        services.AddSingleton<OutboxDispatcher>();
        services.AddSingleton<LanePositions>();
        services.AddSingleton<Settlement>();
        services.AddSingleton<Cancellation>();
        services.AddSingleton<Leases>();
        services.AddSingleton<LedgerAudit>();
        services.AddSingleton<SessionReader>();
        services.AddSingleton<WebhookInbox>();
        services.AddSingleton<Uploads>();
        return builder;
    }

    /// <summary>The sweeps of the database and the object store; for the relay alone.</summary>
    public static IServiceCollection AddMaintenance(this IServiceCollection services) => services
        .AddSingleton<SessionSweeps>()
        .AddSingleton<HoldSweeps>()
        .AddSingleton<OrphanedObjectCollector>()
        .AddSingleton<PositionIndexer>()
        .AddSingleton<MaintenanceLease>();

    private static RedisJobQueue NewRedisQueue(IServiceProvider services)
    {
        var options = services.GetRequiredService<QueueOptions>();
        var log = services.GetRequiredService<ILogger<RedisJobQueue>>();
        if (options.NamedSqsQueue is { } setting)
        {
            log.LogWarning("Queue:Transport is redis: jobs go through Redis, and the SQS queue in {Setting} is not used", setting);
        }

        return new RedisJobQueue(
            services.GetRequiredService<IConnectionMultiplexer>(),
            () => services.GetRequiredService<ConnectDedicatedRedis>()("jobs", TimeSpan.FromSeconds(2)),
            options, services.GetRequiredService<TimeProvider>(), log);
    }

    /// <summary>Reads the settings at every call: a queue URL can be corrected while the service runs.</summary>
    private static SqsJobQueue NewSqsQueue(IServiceProvider services)
    {
        var options = services.GetRequiredService<IOptionsMonitor<QueueOptions>>();
        var time = services.GetRequiredService<TimeProvider>();
        QueueOptions Read()
        {
            try
            {
                return options.CurrentValue;
            }
            catch (OptionsValidationException e)
            {
                throw new QueueException(e.Message, e);
            }
        }

        return new SqsJobQueue(new SqsConnection(Read, time), Read, time, services.GetRequiredService<ILogger<SqsJobQueue>>());
    }
}
