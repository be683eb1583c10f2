using System.Security.Cryptography;
using Generation.Relay;
using Generation.Relay.Duties;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddPipeline();
builder.AddChecked<RelayOptions>(RelayOptions.Section, o => o.Problem());
builder.AddChecked<ServiceLoginOptions>(ServiceLoginOptions.Section, o => o.Problem());
builder.Services.AddSingleton<MigrationStep>();
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

await using var app = builder.Build(); // disposing writes the last lines of a command's log
int? ended = args switch
{
    ["migrate"] => await MigrateCommand.RunAsync(app.Services, Console.Error),
    ["create-admin", .. var arguments] => await CreateAdminCommand.RunAsync(app.Services, arguments, Console.Out, Console.Error),
    ["reconcile", .. var arguments] => await ReconcileCommand.RunAsync(app.Services, arguments, Console.Out, Console.Error),
    ["audit", ..] => await AuditCommand.RunAsync(app.Services, Console.Out),
    _ => null,
};
if (ended is { } exitCode)
{
    return exitCode;
}

app.MapServiceDefaults();
return await app.RunToEndAsync();

void AddDuty<TDuty>()
    where TDuty : Duty
{
    builder.Services.AddSingleton<TDuty>();
    builder.Services.AddHostedService(services => services.GetRequiredService<TDuty>());
}
