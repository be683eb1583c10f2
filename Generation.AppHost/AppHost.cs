// The system on one screen: what runs, who talks to whom, who waits for whom.
using Generation.AppHost;
using Generation.AppHost.Resources;

var builder = DistributedApplication.CreateBuilder(args);
var onThisMachine = builder.ExecutionContext.IsRunMode;
var run = LocalRun.Read(builder); // PORT, DATA_DIR: of this machine only
var inContainers = onThisMachine ? run.HasContainerEngine() : builder.HasServersInContainers();

var database = onThisMachine ? builder.AddGenerationDatabase(run.DataFolder, inContainers) : builder.AddPublishedDatabase(inContainers);
var redis = onThisMachine ? builder.AddGenerationRedis(run.DataFolder, inContainers) : builder.AddPublishedRedis(inContainers);

// The relay runs the migrations, so services that need the schema wait for it.
var relay = builder.AddService<Projects.Generation_Relay>("relay")
    .WithHttpHealthCheck("/readyz")
    .WithDatabase(database)
    .WithMigration(database)
    .WithReference(redis);

var api = builder.AddService<Projects.Generation_Api>("api", run.ApiPort, isExternal: true)
    .WithHttpHealthCheck("/readyz")
    .WithDatabase(database)
    .WithReference(redis)
    .WaitFor(relay);

var worker = builder.AddService<Projects.Generation_Worker>("worker")
    .WithHttpHealthCheck("/readyz")
    .WithDatabase(database)
    .WithReference(redis)
    .WaitFor(relay);

if (onThisMachine)
{
    // A developer's machine has no provider accounts and no bucket: the simulator answers as they do, and media are files.
    var simulator = builder.AddService<Projects.Generation_ProviderSim>("provider-sim").WithHttpHealthCheck("/healthz");
    api.WithSimulatedProviders(simulator);
    worker.WithSimulatedProviders(simulator).WithPublicBaseUrl(api.GetEndpoint("http"));
    foreach (var service in new[] { api, worker, relay })
    {
        service.WithEnvironment("Media__Folder__Root", Path.Combine(run.DataFolder, "media"));
    }

    api.WithLinks().WithMakeAPicture()
        .WithEnvironment("Mock__OverrideKey", Guid.NewGuid().ToString("N")); // signs x-mock-override; a new one every run
    simulator.WithUrlForEndpoint("http", url => url.DisplayText = "Simulator");
    foreach (var service in new[] { worker, relay })
    {
        service.WithUrlForEndpoint("http", url => (url.Url, url.DisplayText) = ("/readyz", "Readiness"));
    }

    builder.ChooseDashboardPorts();
    run.Supervise(builder);
}
else
{
    builder.WithPublishedMediaStore(api, worker, relay);
    builder.WithPublishedQueue(api, worker, relay);
    builder.WithPublishedProviders(api, worker);
    worker.WithPublicBaseUrl(api.GetEndpoint("https"));
}

builder.Build().Run();
