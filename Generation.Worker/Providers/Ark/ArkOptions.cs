using Generation.Core.Media;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Ark;

/// <summary>Section <c>Providers:Ark</c>: BytePlus ModelArk, or Volcengine Ark in China. Keys, models and endpoints are per region.</summary>
public sealed class ArkOptions
{
    public const string Section = "Providers:Ark";

    private static readonly string[] ResultHosts = ["*.volces.com", "*.bytepluses.com", "*.byteplus.com"];

    /// <summary>
    /// Default is the Asian region, <c>https://ark.ap-southeast.bytepluses.com/api/v3</c>; Europe is <c>ark.eu-west.bytepluses.com</c>, China
    /// <c>ark.cn-beijing.volces.com</c>. The key is sent there: plain http is for a simulator beside us.
    /// </summary>
    public string BaseUrl { get; set; } = "https://ark.ap-southeast.bytepluses.com/api/v3";

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: it is warned of then, and every real call fails
    /// as Unauthorized without being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

    /// <summary>Calls at once for one session, flat name SEEDREAM4_PROVIDER_BATCH; default 4. More is faster for many pictures, and meets Ark's rate limit sooner.</summary>
    public int ImageBatch { get; set; } = 4;

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.volces.com</c>,
    /// <c>*.bytepluses.com</c>, <c>*.byteplus.com</c>. A result elsewhere is refused, after it was paid.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>Default 10 s to get a connection. Then the call was not made, and is made again later.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

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

    /// <summary>Where Ark calls back: how long that is waited for before a new task is asked for; default 30 s. A callback that got lost delays the video by at most this.</summary>
    public TimeSpan VideoCallbackPatience { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Questions about tasks a second, over all workers; default 20, which is what Ark allows an account (§2.4). 0: as many as there are.</summary>
    public int VideoReadsPerSecond { get; set; } = 20;

    /// <summary>Tasks created a minute, over all workers; default 180, which is what Ark allows an individual; an enterprise has 600. 0: as many as there are.</summary>
    public int VideoCreatesPerMinute { get; set; } = 180;

    /// <summary>
    /// Default 30 s from a call about a video task to the end of its answer. Only the work takes minutes; creating a task and asking for it
    /// is answered at once. A task whose creation takes longer is given up as <c>outcome_unknown</c> and may be billed.
    /// </summary>
    public TimeSpan VideoCallTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Ark's model id → the endpoint id (<c>ep-…</c>) or model id to send in its place; default none. An account may be bound to endpoints of its own.</summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>How long until a task of this age is asked for again.</summary>
    public TimeSpan PollAfter(TimeSpan age, bool takesCallbacks)
    {
        var interval = takesCallbacks ? VideoPollInterval * 3 : VideoPollInterval;
        var wait = age / 12;
        return wait <= interval ? interval : wait < VideoPollInterval * 6 ? wait : VideoPollInterval * 6;
    }

    /// <summary>What is sent as <c>model</c>.</summary>
    public string EndpointOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>A way to Ark by these settings.</summary>
    internal ProviderHttp Open(TimeProvider time, ILogger log) => new(
        new ProviderAddress
        {
            Name = "ark",
            Section = Section,
            BaseUrl = BaseUrl,
            ConnectTimeout = ConnectTimeout,
            ApiKey = ApiKey,
            Authenticate = headers => headers.Authorization = new("Bearer", ApiKey),
        },
        time, log);

    /// <summary>A list, or a string with commas: the binder knows only the first, and would add to a default instead of replacing it.</summary>
    internal static IReadOnlyList<string> ReadSourceHosts(IConfigurationSection hosts)
    {
        var given = (hosts.Value?.Split(',') ?? hosts.GetChildren().Select(host => host.Value ?? "")).Select(host => host.Trim()).ToArray();
        return given is [] or [""] ? ResultHosts : given;
    }
}

/// <summary>Stops the start with a message that names the setting.</summary>
public sealed class ArkOptionsValidator : IValidateOptions<ArkOptions>
{
    /// <summary>The most pictures a session may ask for, so more calls at once are never made.</summary>
    private const int MaxImageBatch = 15;

    public ValidateOptionsResult Validate(string? name, ArkOptions options)
    {
        var errors = new List<string>();
        void Check(bool isGood, string error)
        {
            if (!isGood)
            {
                errors.Add($"{ArkOptions.Section}:{error}");
            }
        }

        Check(
            Uri.TryCreate(options.BaseUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
            "BaseUrl must be an http(s) address without query or user, such as https://ark.ap-southeast.bytepluses.com/api/v3.");
        Check(options.ApiKey.All(c => c is > ' ' and < '\x7f'), "ApiKey has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");
        Check(options.ImageBatch is >= 1 and <= MaxImageBatch, $"ImageBatch (SEEDREAM4_PROVIDER_BATCH) must be from 1 to {MaxImageBatch}; it is {options.ImageBatch}.");
        foreach (var host in options.SourceHosts)
        {
            Check(HostPattern.IsValid(host), $"SourceHosts has '{host}'; a host or *.domain is wanted, without scheme or port.");
        }

        Check(options.ConnectTimeout > TimeSpan.Zero, $"ConnectTimeout must be above 0; it is {options.ConnectTimeout}.");
        Check(
            options.CallTimeout > options.ConnectTimeout && options.CallTimeout <= TimeSpan.FromMinutes(10),
            $"CallTimeout must be above Providers:Ark:ConnectTimeout ({options.ConnectTimeout}) and at most 00:10:00; it is {options.CallTimeout}.");
        Check(
            options.GroupTimeout >= options.CallTimeout && options.GroupTimeout <= TimeSpan.FromHours(1),
            $"GroupTimeout must be at least Providers:Ark:CallTimeout ({options.CallTimeout}) and at most 01:00:00; it is {options.GroupTimeout}.");
        Check(
            options.VideoPollInterval >= TimeSpan.FromMilliseconds(100) && options.VideoPollInterval <= TimeSpan.FromMinutes(10),
            $"VideoPollInterval must be from 00:00:00.100 to 00:10:00; it is {options.VideoPollInterval}.");
        Check(
            options.VideoCallTimeout > TimeSpan.Zero && options.VideoCallTimeout <= TimeSpan.FromMinutes(10),
            $"VideoCallTimeout must be above 0 and at most 00:10:00; it is {options.VideoCallTimeout}.");
        Check(
            options.VideoCallbackPatience >= TimeSpan.Zero && options.VideoCallbackPatience <= TimeSpan.FromMinutes(10),
            $"VideoCallbackPatience must be from 0 to 00:10:00; it is {options.VideoCallbackPatience}.");
        Check(options.VideoReadsPerSecond is >= 0 and <= 10_000, $"VideoReadsPerSecond must be from 0 to 10000; it is {options.VideoReadsPerSecond}.");
        Check(options.VideoCreatesPerMinute is >= 0 and <= 100_000, $"VideoCreatesPerMinute must be from 0 to 100000; it is {options.VideoCreatesPerMinute}.");
        foreach (var (model, endpoint) in options.Models)
        {
            Check(!string.IsNullOrWhiteSpace(endpoint), $"Models:{model} must name an endpoint (ep-…) or a model, or be left out.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

public static class ArkRegistration
{
    /// <summary>Registers <see cref="ArkOptions"/>, validated at start, <see cref="ArkImages"/> and <see cref="ArkVideos"/>.</summary>
    public static IServiceCollection AddArk(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var section = configuration.GetSection(ArkOptions.Section);
        services.AddOptions<ArkOptions>()
            .Bind(section)
            .Configure(options =>
            {
                options.ApiKey = options.ApiKey.Trim(); // a key from a mounted file ends with a line break
                options.SourceHosts = ArkOptions.ReadSourceHosts(section.GetSection(nameof(ArkOptions.SourceHosts)));
            })
            .ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ArkOptions>, ArkOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<ArkImages>();
        services.TryAddSingleton<ArkVideos>();
        return services;
    }
}
