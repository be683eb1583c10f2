using Generation.ProviderSim;
using Generation.ProviderSim.Ark;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Forge;
using Generation.ProviderSim.Pictures;
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
builder.Services.AddSingleton<Studio>();
builder.Services.AddSingleton<SignedUrls>();
builder.Services.AddSingleton<ResultFiles>();
builder.Services.AddSingleton<RecentPictures>();
builder.Services.AddSingleton<FaultDesk>();
builder.Services.AddSingleton<Gates>();
builder.Services.AddSingleton<CallLog>();
builder.Services.AddSingleton<ArkEntrance>();
builder.Services.AddSingleton<ArkImages>();
builder.Services.AddSingleton<VideoTasks>();
builder.Services.AddSingleton<VideoCallbacks>();
builder.Services.AddHostedService(services => services.GetRequiredService<VideoCallbacks>());
builder.Services.AddSingleton<ArkVideos>();
builder.Services.AddSingleton<ForgeEntrance>();
builder.Services.AddSingleton<ForgeGpu>();
builder.Services.AddSingleton<ForgeImages>();
builder.Services.AddSingleton<ForgeApi>();

var app = builder.Build();

ArkImages.Map(app);
ArkVideos.Map(app);
ForgeImages.Map(app);
ForgeApi.Map(app);
ResultFiles.Map(app);
FaultDesk.Map(app);
Gates.Map(app);
CallLog.Map(app);
Home.Map(app);
app.MapGet("/healthz", () => Results.Text("Healthy"));

await app.RunAsync();
