using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.Core.Media;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.Core.Webhooks;
using Generation.ServiceDefaults;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Microsoft.Extensions.Hosting;

/// <summary>What the three services share of Core, put together once.</summary>
public static class GenerationPipeline
{
    /// <summary>Options, catalog, settings, queue, realtime, sessions and media. What runs by itself is added by the service that runs it.</summary>
    public static TBuilder AddPipeline<TBuilder>(this TBuilder builder)
        where TBuilder : IHostApplicationBuilder
    {
        var services = builder.Services;
        builder.AddGenerationData();
        builder.AddSchemaCheck(DatabaseMigrator.IsCurrentAsync);
        builder.AddStartChecks();
        builder.AddChecked<SettingsOptions>(SettingsOptions.Section, o => o.Problem());
        builder.AddChecked<MockOptions>(MockOptions.Section, _ => null);
        builder.AddChecked<QueueOptions>(QueueOptions.Section, o => o.Problem());
        builder.AddChecked<CreditOptions>(CreditOptions.Section, o => o.Problem());
        builder.AddChecked<AuditOptions>(AuditOptions.Section, o => o.Problem());
        services.AddMedia(builder.Configuration);

        services.TryAddSingleton(_ => new ModelRegistry(OpenAiModels.WithGateway(ModelRegistry.BuiltIn, builder.Configuration["Providers:OpenAi:VideoBaseUrl"])));
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
        services.AddSingleton<Settlement>();
        services.AddSingleton<Cancellation>();
        services.AddSingleton<Leases>();
        services.AddSingleton<SessionSweeps>();
        services.AddSingleton<Holds>();
        services.AddSingleton<LedgerAudit>();
        services.AddSingleton<SessionReader>();
        services.AddSingleton<WebhookInbox>();
        services.AddSingleton<Uploads>();
        services.AddSingleton<OrphanedObjectCollector>();
        services.AddSingleton<MaintenanceLease>();
        return builder;
    }

    /// <summary>
    /// Binds a section to a singleton of <typeparamref name="TOptions"/>. <paramref name="problem"/> says what is wrong, naming the
    /// setting; then the service does not start.
    /// </summary>
    public static void AddChecked<TOptions>(this IHostApplicationBuilder builder, string section, Func<TOptions, string?> problem)
        where TOptions : class
    {
        builder.Services.AddOptions<TOptions>().BindConfiguration(section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<TOptions>>(new Check<TOptions>(problem));
        builder.Services.AddSingleton(s => s.GetRequiredService<IOptions<TOptions>>().Value);
    }

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
            async () => (await services.GetRequiredService<RedisConnections>().ConnectDedicatedAsync("jobs", TimeSpan.FromSeconds(2))).Multiplexer,
            options, services.GetRequiredService<TimeProvider>(), log);
    }

    /// <summary>With settings as they are now: a queue URL can be put right while the service runs.</summary>
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

    private sealed class Check<TOptions>(Func<TOptions, string?> problem) : IValidateOptions<TOptions>
        where TOptions : class
    {
        public ValidateOptionsResult Validate(string? name, TOptions options) =>
            problem(options) is { } wrong ? ValidateOptionsResult.Fail(wrong) : ValidateOptionsResult.Success;
    }
}
