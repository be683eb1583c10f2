// The system on one screen: what runs, who talks to whom, who waits for whom.
// With UseAspire=true this file compiles against Aspire (containers, dashboard, publish, deploy); with UseAspire=false
// against Embedded/, which runs the same as local processes. So it calls only what both have.
using Microsoft.Extensions.Configuration;

var builder = DistributedApplication.CreateBuilder(args);
var onThisMachine = builder.ExecutionContext.IsRunMode;
var apiPort = builder.Configuration.GetValue("PORT", 8080);
var dataFolder = Path.GetFullPath(builder.Configuration["DATA_DIR"] ?? Path.Combine(builder.AppHostDirectory, "..", ".data"));

// The image tag is pinned so that a data volume survives upgrades of Aspire; 300 connections are three services with their pools.
var postgres = builder.AddPostgres("postgres").WithImageTag("17").WithDataVolume().WithArgs("-c", "max_connections=300");
var database = postgres.AddDatabase("generation");
var redis = builder.AddRedis("redis").WithDataVolume();

// The relay runs the migrations, so whoever needs the schema waits for it.
var relay = AddService("relay", "../Generation.Relay/Generation.Relay.csproj")
    .WithHttpEndpoint()
    .WithHttpHealthCheck("/readyz")
    .WithReference(database).WaitFor(database)
    .WithReference(redis).WaitFor(redis);

var api = AddService("api", "../Generation.Api/Generation.Api.csproj")
    .WithHttpEndpoint(port: apiPort, isProxied: false)
    .WithExternalHttpEndpoints()
    .WithHttpHealthCheck("/readyz")
    .WithReference(database)
    .WithReference(redis)
    .WaitFor(relay);

var worker = AddService("worker", "../Generation.Worker/Generation.Worker.csproj")
    .WithHttpEndpoint()
    .WithHttpHealthCheck("/readyz")
    .WithReference(database)
    .WithReference(redis)
    .WaitFor(relay);

// A developer's machine has no provider accounts and no bucket: the simulator answers as Ark does, and media are files.
if (onThisMachine)
{
    var providerSim = AddService("provider-sim", "../Generation.ProviderSim/Generation.ProviderSim.csproj")
        .WithHttpEndpoint()
        .WithHttpHealthCheck("/healthz");

    var mediaFolder = Path.Combine(dataFolder, "media");
    api.WithEnvironment("Media__Folder__Root", mediaFolder)
        .WithEnvironment("Mock__OverrideKey", Guid.NewGuid().ToString("N")); // signs x-mock-override; a new one every run
    api.WithReference(providerSim).WaitFor(providerSim)
        .WithEnvironment("Providers__ElevenLabs__BaseUrl", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}"))
        .WithEnvironment("Providers__ElevenLabs__ApiKey", "sim-elevenlabs-key")
        .WithEnvironment("Providers__Kie__WebhookHmacKey", "sim-kie-webhook-key"); // signs the simulator's callbacks
    worker.WithEnvironment("Media__Folder__Root", mediaFolder)
        .WithReference(providerSim).WaitFor(providerSim)
        .WithEnvironment("Providers__Ark__BaseUrl", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}/api/v3"))
        .WithEnvironment("Providers__Ark__ApiKey", "sim-ark-key")
        .WithEnvironment("Providers__Ark__SourceHosts", "localhost,127.0.0.1")
        .WithEnvironment("Providers__OpenAi__BaseUrl", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}/v1"))
        .WithEnvironment("Providers__OpenAi__ApiKey", "sim-openai-key")
        .WithEnvironment("Providers__Google__BaseUrl", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}/v1beta"))
        .WithEnvironment("Providers__Google__ApiKey", "sim-google-key")
        .WithEnvironment("Providers__Google__SourceHosts", "localhost,127.0.0.1")
        .WithEnvironment("Providers__Forge__Endpoints", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}"))
        .WithEnvironment("Providers__Kie__BaseUrl", ReferenceExpression.Create($"{providerSim.GetEndpoint("http")}"))
        .WithEnvironment("Providers__Kie__ApiKey", "sim-kie-key")
        .WithEnvironment("Providers__Kie__SourceHosts", "localhost,127.0.0.1")
        .WithEnvironment("Worker__PublicBaseUrl", ReferenceExpression.Create($"http://localhost:{apiPort.ToString()}")) // where the simulator calls back
        .WithEnvironment("Media__AllowPrivateAddresses", "true"); // the simulator's pictures come from this machine
}

builder.Build().Run();

// No launch profile: what a service gets is what stands here.
IResourceBuilder<ProjectResource> AddService(string name, string projectPath)
{
    var service = builder.AddProject(name, projectPath, launchProfileName: null);
    return onThisMachine
        ? service.WithEnvironment("ASPNETCORE_ENVIRONMENT", "Development").WithEnvironment("DOTNET_ENVIRONMENT", "Development")
        : service;
}
