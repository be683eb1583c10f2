using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;

// Started by a test it is the host: PostgreSQL, Redis, and itself twice more as the services "front" and "back".
if (Environment.GetEnvironmentVariable("SAMPLE_ROLE") == "service")
{
    var web = WebApplication.CreateBuilder(args).Build();
    web.MapGet("/readyz", () => "ready");
    web.MapGet("/environment", () => Environment.GetEnvironmentVariables());
    web.MapGet("/crash", () => Environment.Exit(3));
    web.Run();
    return;
}

var builder = DistributedApplication.CreateBuilder(args);
var database = builder.AddPostgres("postgres").WithArgs("-c", "max_connections=20").AddDatabase("sample");
var redis = builder.AddRedis("redis");
var back = Service("back").WithHttpEndpoint().WithReference(database).WithReference(redis);
Service("front")
    .WithHttpEndpoint(builder.Configuration.GetValue<int>("PORT"))
    .WithExternalHttpEndpoints()
    .WithReference(back).WaitFor(back)
    .WithEnvironment("BACK_URL", ReferenceExpression.Create($"{back.GetEndpoint("http")}/path"));
builder.Build().Run();

IResourceBuilder<ProjectResource> Service(string name) =>
    builder.AddProject(name, "SampleHost.csproj", launchProfileName: null).WithHttpHealthCheck("/readyz").WithEnvironment("SAMPLE_ROLE", "service");
