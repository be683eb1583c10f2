using Generation.ProviderSim;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

var builder = WebApplication.CreateBuilder(args);

builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning); // a line a call is on the home page; signed URLs stay out of logs
builder.WebHost.ConfigureKestrel(kestrel =>
{
    kestrel.Limits.MaxRequestBodySize = 64_000_000; // fourteen reference images as data URIs stay below what Ark documents
    kestrel.Limits.MinResponseDataRate = null; // a reader may be slow, or stand at a gate
});
builder.Services.AddOptions<SimOptions>().BindConfiguration("Sim").ValidateOnStart();
builder.Services.AddSingleton<IValidateOptions<SimOptions>, SimOptionsValidation>();
builder.Services.TryAddSingleton(TimeProvider.System);
builder.Services.AddSimulator();

var app = builder.Build();
app.MapSimulator();
await app.RunAsync();
