using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// Section <c>Providers:Ark</c>: BytePlus ModelArk, or Volcengine Ark in China. Keys, models and endpoints are per region. The default of
/// <c>BaseUrl</c> is the Asian region; Europe is <c>ark.eu-west.bytepluses.com</c>, China <c>ark.cn-beijing.volces.com</c>.
/// </summary>
public sealed class ArkOptions() : HostedProviderOptions("https://ark.ap-southeast.bytepluses.com/api/v3")
{
    public const string Section = "Providers:Ark";

    /// <summary>The most pictures a session may ask for, so more calls at once are never made.</summary>
    private const int MaxImageBatch = 15;

    private static readonly string[] ResultHosts = ["*.volces.com", "*.bytepluses.com", "*.byteplus.com"];

    /// <summary>
    /// Calls at once for one session, flat name SEEDREAM4_PROVIDER_BATCH; default 4. More is faster for many pictures, and meets Ark's rate limit
    /// sooner.
    /// </summary>
    public int ImageBatch { get; set; } = 4;

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.volces.com</c>,
    /// <c>*.bytepluses.com</c>, <c>*.byteplus.com</c>. A result elsewhere is refused, after it was paid.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>
    /// Default 120 s from the call to the end of its answer; Ark takes about 15 s for a picture of 2K. A call that takes longer is given
    /// up as <c>outcome_unknown</c> and may have been billed: rather too long than too short.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(120);

    /// <summary>
    /// Default 15 min from the call of a group to its last picture; Ark takes up to 40 s for each of at most 15, and announces them as they
    /// come. What was not announced by then is given up as <c>outcome_unknown</c>. The job stands in a slot of the worker meanwhile.
    /// </summary>
    public TimeSpan GroupTimeout { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>
    /// How often a young video task is asked for; default 10 s, at least 100 ms. After twelve times as long it is asked less and less often,
    /// at last a sixth as often; a task that Ark calls back about, a third as often as one that it does not.
    /// </summary>
    public TimeSpan VideoPollInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Where Ark calls back: how long that is waited for before a new task is asked for; default 30 s. A callback that got lost delays the video by
    /// at most this.
    /// </summary>
    [ConfigurationKeyName("VideoCallbackPatience")] // the key of older deployments
    public TimeSpan VideoCallbackWait { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Questions about tasks a second, over all workers; default 20, which is what Ark allows an account. 0: no limit of ours.
    /// </summary>
    public int VideoReadsPerSecond { get; set; } = 20;

    /// <summary>
    /// Tasks created a minute, over all workers; default 180, which is what Ark allows an individual; an enterprise has 600. 0: as many as there are.
    /// </summary>
    public int VideoCreatesPerMinute { get; set; } = 180;

    /// <summary>
    /// Default 30 s from a call about a video task to the end of its answer. Only the work takes minutes; creating a task and asking for it
    /// is answered at once. A task whose creation takes longer is given up as <c>outcome_unknown</c> and may be billed.
    /// </summary>
    public TimeSpan VideoCallTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long until a task of this age is asked for again.</summary>
    public TimeSpan PollAfter(TimeSpan age, bool takesCallbacks)
    {
        var interval = takesCallbacks ? VideoPollInterval * 3 : VideoPollInterval;
        var wait = age / 12;
        return wait <= interval ? interval : wait < VideoPollInterval * 6 ? wait : VideoPollInterval * 6;
    }

    internal ProviderHttp Open(TimeProvider time, ILogger log) =>
        Open("ark", Section, headers => headers.Authorization = new("Bearer", ApiKey), time, log);

    private protected override string ModelIdForm => "an endpoint (ep-…) or a model";

    internal override void Read(IConfigurationSection section)
    {
        base.Read(section);
        SourceHosts = ReadList(section.GetSection(nameof(SourceHosts)), ResultHosts);
    }

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        check.Range($"{nameof(ImageBatch)} (SEEDREAM4_PROVIDER_BATCH)", ImageBatch, 1, MaxImageBatch);
        check.Hosts(nameof(SourceHosts), SourceHosts);
        check.Timeout(nameof(CallTimeout), CallTimeout, nameof(ConnectTimeout), ConnectTimeout, TimeSpan.FromMinutes(10));
        check.That(
            GroupTimeout >= CallTimeout && GroupTimeout <= TimeSpan.FromHours(1),
            $"{nameof(GroupTimeout)} must be at least {Section}:{nameof(CallTimeout)} ({CallTimeout}) and at most 01:00:00; it is {GroupTimeout}.");
        check.Range(nameof(VideoPollInterval), VideoPollInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        check.Timeout(nameof(VideoCallTimeout), VideoCallTimeout, TimeSpan.FromMinutes(10));
        check.Range("VideoCallbackPatience", VideoCallbackWait, TimeSpan.Zero, TimeSpan.FromMinutes(10));
        check.Range(nameof(VideoReadsPerSecond), VideoReadsPerSecond, 0, 10_000);
        check.Range(nameof(VideoCreatesPerMinute), VideoCreatesPerMinute, 0, 100_000);
    }
}

public static class ArkRegistration
{
    /// <summary>Registers <see cref="ArkOptions"/>, validated at start, <see cref="ArkImages"/> and <see cref="ArkVideos"/>.</summary>
    public static IServiceCollection AddArk(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddProviderOptions<ArkOptions>(configuration, ArkOptions.Section);
        services.TryAddSingleton<ArkImages>();
        services.TryAddSingleton<ArkVideos>();
        return services;
    }
}
