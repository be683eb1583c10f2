using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.Kie;

/// <summary>Section <c>Providers:Kie</c>: Kie's market of models, which share one way of creating tasks and asking for them.</summary>
public sealed class KieOptions() : HostedProviderOptions("https://api.kie.ai")
{
    public const string Section = "Providers:Kie";

    /// <summary>The length of the window that <see cref="CreationsPerWindow"/> is for.</summary>
    public static readonly TimeSpan CreationWindow = TimeSpan.FromSeconds(10);

    private static readonly string[] ResultHosts = ["*.aiquickdraw.com"];

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.aiquickdraw.com</c>. A result
    /// elsewhere is refused, after it was paid.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>
    /// Default 30 s from a call to the end of its answer; only the work takes minutes. A task whose creation takes longer is given up as
    /// <c>outcome_unknown</c> and may be billed.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Between two questions about a task of less than 30 s; default 3 s, at least 50 ms. Up to two minutes it is 2½ times that, then 7
    /// times, as Kie advises. An account may ask 10 times a second in all.
    /// </summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// How long the callback of a picture or a sound is waited for before the task is asked for; default 30 s. Without callbacks
    /// (<c>Worker:PublicBaseUrl</c>) it is not used.
    /// </summary>
    [ConfigurationKeyName("CallbackPatience")] // the key of older deployments
    public TimeSpan CallbackWait { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The same for a video; default 3 min.</summary>
    [ConfigurationKeyName("VideoCallbackPatience")] // the key of older deployments
    public TimeSpan VideoCallbackWait { get; set; } = TimeSpan.FromMinutes(3);

    /// <summary>
    /// Tasks that all workers together create in any ten seconds; default 20, which is what Kie allows an account; 0: no limit of ours. A
    /// session beyond it comes back later, without a call and without an attempt being counted.
    /// </summary>
    public int CreationsPerWindow { get; set; } = 20;

    /// <summary>How long until a task is asked for again, by its age.</summary>
    public TimeSpan PollAfter(TimeSpan age) => PollInterval * (age < TimeSpan.FromSeconds(30) ? 1 : age < TimeSpan.FromMinutes(2) ? 2.5 : 7);

    /// <summary>How tasks of Kie's are followed.</summary>
    internal TaskRules RulesFor(MediaKind kind) => new()
    {
        PollAfter = PollAfter,
        CallbackWait = kind == MediaKind.Video ? VideoCallbackWait : CallbackWait,
        Source = new ResultSource(SourceHosts),
        CreateTimeout = CallTimeout,
        Limit = CreationsPerWindow == 0 ? null : new RateLimit("create", CreationsPerWindow, CreationWindow),
        TakesCallbacks = true,
        TaskIdInCallback = KieTask.IdInCallback,
    };

    internal ProviderHttp Open(TimeProvider time, ILogger log) =>
        Open("kie", Section, headers => headers.Authorization = new("Bearer", ApiKey), time, log);

    internal override void Read(IConfigurationSection section)
    {
        base.Read(section);
        SourceHosts = ReadList(section.GetSection(nameof(SourceHosts)), ResultHosts);
    }

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        check.Hosts(nameof(SourceHosts), SourceHosts);
        check.Timeout(nameof(CallTimeout), CallTimeout, TimeSpan.FromMinutes(10));
        check.Range(nameof(PollInterval), PollInterval, TimeSpan.FromMilliseconds(50), TimeSpan.FromMinutes(1));
        check.Range("CallbackPatience", CallbackWait, TimeSpan.Zero, TimeSpan.FromHours(1));
        check.Range("VideoCallbackPatience", VideoCallbackWait, TimeSpan.Zero, TimeSpan.FromHours(1));
        check.Range(nameof(CreationsPerWindow), CreationsPerWindow, 0, 10_000);
    }
}

public static class KieRegistration
{
    /// <summary>Registers <see cref="KieOptions"/>, validated at start, and <see cref="KieJobs"/>.</summary>
    public static IServiceCollection AddKie(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddProviderOptions<KieOptions>(configuration, KieOptions.Section);
        services.TryAddSingleton<KieJobs>();
        return services;
    }
}
