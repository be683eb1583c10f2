using Generation.Core.Media;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Kie;

/// <summary>Section <c>Providers:Kie</c>: Kie's market of models, which share one way of creating tasks and asking for them.</summary>
public sealed class KieOptions
{
    public const string Section = "Providers:Kie";

    /// <summary>The length of the window that <see cref="CreationsPerWindow"/> is for.</summary>
    public static readonly TimeSpan CreationWindow = TimeSpan.FromSeconds(10);

    private static readonly string[] ResultHosts = ["*.aiquickdraw.com"];

    /// <summary>Default <c>https://api.kie.ai</c>. The key is sent there: plain http is for a simulator beside us.</summary>
    public string BaseUrl { get; set; } = "https://api.kie.ai";

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: every real call fails as Unauthorized without
    /// being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.aiquickdraw.com</c>. A result
    /// elsewhere is refused, after it was paid.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>Default 10 s to get a connection. Then the call was not made, and is made again later.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

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

    /// <summary>How long the callback of a picture or a sound is waited for before the task is asked for; default 30 s. Without callbacks (<c>Worker:PublicBaseUrl</c>) it is not used.</summary>
    public TimeSpan CallbackPatience { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The same for a video; default 3 min.</summary>
    public TimeSpan VideoCallbackPatience { get; set; } = TimeSpan.FromMinutes(3);

    /// <summary>
    /// Tasks that all workers together create in any ten seconds; default 20, which is what Kie allows an account; 0: no limit of ours. A
    /// session beyond it comes back later, without a call and without an attempt being counted.
    /// </summary>
    public int CreationsPerWindow { get; set; } = 20;

    /// <summary>Kie's model id → the id to send in its place; default none. Its catalogue changes from month to month.</summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>What is sent as <c>model</c>.</summary>
    public string IdOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>How long until a task is asked for again, by its age.</summary>
    public TimeSpan PollAfter(TimeSpan age) => PollInterval * (age < TimeSpan.FromSeconds(30) ? 1 : age < TimeSpan.FromMinutes(2) ? 2.5 : 7);

    /// <summary>How tasks of Kie's are followed.</summary>
    /// <param name="kind">image, video or audio.</param>
    internal TaskRules RulesFor(string kind) => new()
    {
        PollAfter = PollAfter,
        CallbackPatience = kind == "video" ? VideoCallbackPatience : CallbackPatience,
        Source = new ResultSource(SourceHosts),
        CreateTimeout = CallTimeout,
        Limit = CreationsPerWindow == 0 ? null : new RateLimit("create", CreationsPerWindow, CreationWindow),
        TakesCallbacks = true,
    };

    /// <summary>A list, or a string with commas: the binder knows only the first, and would add to a default instead of replacing it.</summary>
    internal static IReadOnlyList<string> ReadSourceHosts(IConfigurationSection hosts)
    {
        var given = (hosts.Value?.Split(',') ?? hosts.GetChildren().Select(host => host.Value ?? "")).Select(host => host.Trim()).ToArray();
        return given is [] or [""] ? ResultHosts : given;
    }
}

/// <summary>Stops the start with a message that names the setting.</summary>
public sealed class KieOptionsValidator : IValidateOptions<KieOptions>
{
    public ValidateOptionsResult Validate(string? name, KieOptions options)
    {
        var errors = new List<string>();
        void Check(bool isGood, string error)
        {
            if (!isGood)
            {
                errors.Add($"{KieOptions.Section}:{error}");
            }
        }

        Check(
            Uri.TryCreate(options.BaseUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
            "BaseUrl must be an http(s) address without query or user, such as https://api.kie.ai.");
        Check(options.ApiKey.All(c => c is > ' ' and < '\x7f'), "ApiKey has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");
        foreach (var host in options.SourceHosts)
        {
            Check(HostPattern.IsValid(host), $"SourceHosts has '{host}'; a host or *.domain is wanted, without scheme or port.");
        }

        Check(options.ConnectTimeout > TimeSpan.Zero, $"ConnectTimeout must be above 0; it is {options.ConnectTimeout}.");
        Check(
            options.CallTimeout > TimeSpan.Zero && options.CallTimeout <= TimeSpan.FromMinutes(10),
            $"CallTimeout must be above 0 and at most 00:10:00; it is {options.CallTimeout}.");
        Check(
            options.PollInterval >= TimeSpan.FromMilliseconds(50) && options.PollInterval <= TimeSpan.FromMinutes(1),
            $"PollInterval must be from 00:00:00.050 to 00:01:00; it is {options.PollInterval}.");
        Check(
            options.CallbackPatience >= TimeSpan.Zero && options.CallbackPatience <= TimeSpan.FromHours(1),
            $"CallbackPatience must be from 0 to 01:00:00; it is {options.CallbackPatience}.");
        Check(
            options.VideoCallbackPatience >= TimeSpan.Zero && options.VideoCallbackPatience <= TimeSpan.FromHours(1),
            $"VideoCallbackPatience must be from 0 to 01:00:00; it is {options.VideoCallbackPatience}.");
        Check(options.CreationsPerWindow is >= 0 and <= 10_000, $"CreationsPerWindow must be from 0 to 10000; it is {options.CreationsPerWindow}.");
        foreach (var (model, id) in options.Models)
        {
            Check(!string.IsNullOrWhiteSpace(id), $"Models:{model} must name a model of Kie's, or be left out.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

public static class KieRegistration
{
    /// <summary>Registers <see cref="KieOptions"/>, validated at start, and <see cref="KieJobs"/>.</summary>
    public static IServiceCollection AddKie(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var section = configuration.GetSection(KieOptions.Section);
        services.AddOptions<KieOptions>()
            .Bind(section)
            .Configure(options =>
            {
                options.ApiKey = options.ApiKey.Trim(); // a key from a mounted file ends with a line break
                options.SourceHosts = KieOptions.ReadSourceHosts(section.GetSection(nameof(KieOptions.SourceHosts)));
            })
            .ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<KieOptions>, KieOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<KieJobs>();
        return services;
    }
}
