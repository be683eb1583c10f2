using System.Security.Cryptography;
using Generation.Core.Database;
using Generation.Relay;
using Generation.Relay.Duties;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddPipeline();
builder.AddChecked<RelayOptions>(RelayOptions.Section, o => o.Problem());

builder.Services.AddSingleton(_ => new Random(RandomNumberGenerator.GetInt32(int.MaxValue)));

// Hosted services start in this order: nothing runs on an old schema.
builder.Services.AddHostedService<Migrating>();
AddDuty<Dispatch>();
AddDuty<Measuring>();
AddDuty<Auditing>();

// The sweeps: each repairs one thing, on its own timer.
AddDuty<LostDispatches>();
AddDuty<DeadLeases>();
AddDuty<StuckJobs>();
AddDuty<Deadlines>();
AddDuty<Strays>();
AddDuty<ExpiringHolds>();
AddDuty<AbandonedHolds>();
AddDuty<OverdueLots>();
AddDuty<UnbookedCallbacks>();
AddDuty<OldRows>();
AddDuty<DeadRows>();
AddDuty<OldUploads>();
AddDuty<UnfinishedTransfers>();
AddDuty<OrphanedObjects>();
AddDuty<ForgottenObjects>();
builder.Services.AddHostedService<OutboxListener>();

var app = builder.Build();
if (args is ["migrate"])
{
    await using var scope = app.Services.CreateAsyncScope();
    await DatabaseMigrator.MigrateAsync(scope.ServiceProvider.GetRequiredService<GenerationDbContext>(), CancellationToken.None);
    return 0;
}

if (args is ["audit", ..])
{
    return await AuditCommand.RunAsync(app.Services, Console.Out);
}

app.MapServiceDefaults();
await app.RunToEndAsync();
return 0;

void AddDuty<TDuty>()
    where TDuty : Duty
{
    builder.Services.AddSingleton<TDuty>();
    builder.Services.AddHostedService(services => services.GetRequiredService<TDuty>());
}
