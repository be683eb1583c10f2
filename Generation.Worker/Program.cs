using System.Security.Cryptography;
using Generation.Core.Catalog;
using Generation.Core.Hosting;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.ServiceDefaults;
using Generation.Worker;
using Generation.Worker.Calls;
using Generation.Worker.Hosting;
using Generation.Worker.Jobs;
using Generation.Worker.Providers.Ark;
using Generation.Worker.Providers.Forge;
using Generation.Worker.Providers.Google;
using Generation.Worker.Providers.Kie;
using Generation.Worker.Providers.OpenAi;
using Microsoft.Extensions.Options;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddInfrastructure();
builder.AddCore();
builder.Services.AddSingleton(s => new LeaseConnections(s.GetRequiredService<DatabaseConnections>().Service));
builder.AddChecked<WorkerOptions>(WorkerOptions.Section, (options, check) => options.Check(check));
builder.Services.AddOptions<SettingsOptions>().PostConfigure<IOptions<WorkerOptions>>((settings, worker) => settings.CacheMs =
    worker.Value.SettingsRefreshMs ?? settings.CacheMs);

builder.Services.AddHandlers(typeof(IGenerationHandler).Assembly);
ToolAssemblies.Load(builder.Configuration).All.ToList().ForEach(tools => builder.Services.AddHandlers(tools));
builder.Services.AddArk(builder.Configuration);
builder.Services.AddOpenAi(builder.Configuration);
builder.Services.AddGoogle(builder.Configuration);
builder.Services.AddForge(builder.Configuration);
builder.Services.AddKie(builder.Configuration);
builder.Services.ConfigureOptions<GracePeriod>();
builder.Services.AddSingleton<HandlerRegistry>();
builder.Services.AddSingleton<ProviderBreakers>();
builder.Services.AddSingleton<ProviderLimits>();
builder.Services.AddSingleton<GpuSlots>();
builder.Services.AddSingleton<JobDependencies>();
builder.Services.AddSingleton<UploadResolver>();
builder.Services.AddSingleton(_ => new Random(RandomNumberGenerator.GetInt32(int.MaxValue)));
builder.Services.AddSingleton<JobDurations>();
builder.Services.AddSingleton<JobRunner>();
builder.Services.AddSingleton<LeaseRenewer>();
builder.Services.AddSingleton<LaneActivity>();
builder.Services.AddSingleton<LaneBypass>();
builder.Services.AddSingleton<EndedTasks>();

// Stopped in reverse order: leases are renewed until the last job has ended.
builder.Services.AddHostedService(services => services.GetRequiredService<LeaseRenewer>());
builder.Services.AddHostedService<LaneConsumer>();
builder.Services.AddHostedService<HealthReporting>();
builder.Services.AddHostedService<EndedTaskFollower>();

var app = builder.Build();
app.MapServiceDefaults();
return await app.RunToEndAsync();
