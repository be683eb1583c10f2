using System.Security.Cryptography;
using Generation.Core.Hosting;
using Generation.Core.Settings;
using Generation.Relay;
using Generation.Relay.Maintenance;

var builder = WebApplication.CreateBuilder(args);
var services = builder.Services;
builder.AddServiceDefaults();
builder.AddInfrastructure();
builder.AddCore();
services.AddMaintenance();
builder.AddChecked<RelayOptions>(RelayOptions.Section, (options, check) => options.Check(check));
builder.AddChecked<ServiceLoginOptions>(ServiceLoginOptions.Section, (options, check) => options.Check(check));
services.AddSingleton<MigrationStep>();
services.AddSingleton(_ => new Random(RandomNumberGenerator.GetInt32(int.MaxValue)));

// Hosted services start in this order: nothing runs on an old schema.
services.AddHostedService<MigrationService>();
services.AddSingleton<LaneWindows>();
services.AddPeriodicService<DispatchService>();
services.AddPeriodicService<QueueMetricsService>();
services.AddPeriodicService<PositionService>();
services.AddPeriodicService<LedgerAuditService>();

// The sweeps: each repairs one thing, on its own timer.
services.AddPeriodicService<LostDispatchSweep>();
services.AddPeriodicService<DeadLeaseSweep>();
services.AddPeriodicService<StuckJobSweep>();
services.AddPeriodicService<DeadlineSweep>();
services.AddPeriodicService<MissingDispatchSweep>();
services.AddPeriodicService<ExpiringHoldSweep>();
services.AddPeriodicService<AbandonedHoldSweep>();
services.AddPeriodicService<OverdueLotSweep>();
services.AddPeriodicService<UnbookedCallbackSweep>();
services.AddPeriodicService<OldRowSweep>();
services.AddPeriodicService<OutboxVacuumSweep>();
services.AddPeriodicService<OldUploadSweep>();
services.AddPeriodicService<UnfinishedTransferSweep>();
services.AddPeriodicService<OrphanedObjectSweep>();
services.AddPeriodicService<ObjectStoreScan>();
services.AddHostedService<OutboxListener>();

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
