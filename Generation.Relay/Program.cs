using Generation.Core.Database;
using Generation.Relay;
using Generation.Relay.Duties;
using Generation.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddPipeline();
builder.AddChecked<RelayOptions>(RelayOptions.Section, o => o.Problem());

// Hosted services start in this order: nothing runs on an old schema.
builder.Services.AddHostedService<Migrating>();
AddDuty<LostDispatches>();
AddDuty<Dispatch>();
AddDuty<DeadLeases>();
AddDuty<Deadlines>();
AddDuty<Strays>();
AddDuty<HoldsAndLots>();
AddDuty<Measuring>();
builder.Services.AddHostedService<OutboxListener>();

var app = builder.Build();
if (args is ["migrate"])
{
    await DatabaseMigrator.MigrateAsync(app.Services.GetRequiredService<DatabaseConnections>().Owner, CancellationToken.None);
    return;
}

app.MapServiceDefaults();
await app.RunAsync();

void AddDuty<TDuty>()
    where TDuty : Duty
{
    builder.Services.AddSingleton<TDuty>();
    builder.Services.AddHostedService(services => services.GetRequiredService<TDuty>());
}
