using Generation.ProviderSim.Ark;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.ElevenLabs;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Files;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Forge;
using Generation.ProviderSim.Google;
using Generation.ProviderSim.Kie;
using Generation.ProviderSim.OpenAi;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim;

/// <summary>What the simulator is made of: the desk that all providers share, and a block a provider.</summary>
internal static class SimRegistration
{
    public static IServiceCollection AddSimulator(this IServiceCollection services) => services
        .AddSingleton<Studio>().AddSingleton<SignedUrls>().AddSingleton<ResultFiles>().AddSingleton<RecentPictures>()
        .AddSingleton<FaultDesk>().AddSingleton<Gates>().AddSingleton<CallLog>().AddSingleton<Replies>()
        .AddTransient<FilmTasks>() // each provider has its own
        .AddSingleton<ArkEntrance>().AddSingleton<ArkImages>().AddSingleton<VideoTasks>().AddSingleton<VideoCallbacks>().AddSingleton<ArkVideos>()
        .AddHostedService(s => s.GetRequiredService<VideoCallbacks>())
        .AddSingleton<OpenAiEntrance>().AddSingleton<OpenAiImages>().AddSingleton<OpenAiVideos>()
        .AddSingleton<VeoVideos>()
        .AddSingleton<ForgeEntrance>().AddSingleton<ForgeGpu>().AddSingleton<ForgeImages>().AddSingleton<ForgeApi>()
        .AddSingleton<KieTasks>().AddSingleton<KieCallbacks>().AddSingleton<KieJobs>()
        .AddHostedService(s => s.GetRequiredService<KieCallbacks>())
        .AddSingleton<Voices>();

    public static void MapSimulator(this WebApplication app)
    {
        ArkImages.Map(app);
        ArkVideos.Map(app);
        OpenAiImages.Map(app);
        OpenAiVideos.Map(app);
        VeoVideos.Map(app);
        ForgeImages.Map(app);
        ForgeApi.Map(app);
        KieJobs.Map(app);
        KieTasks.Map(app);
        Voices.Map(app);
        ResultFiles.Map(app);
        FaultDesk.Map(app);
        Gates.Map(app);
        CallLog.Map(app);
        Home.Map(app);
        app.MapGet("/healthz", () => Results.Text("Healthy"));
    }
}
