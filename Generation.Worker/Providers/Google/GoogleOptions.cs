using Generation.Core.Media;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Google;

/// <summary>Section <c>Providers:Google</c>: the Gemini Developer API.</summary>
public sealed class GoogleOptions
{
    public const string Section = "Providers:Google";

    private static readonly string[] ResultHosts = ["*.googleapis.com", "*.googleusercontent.com"];

    /// <summary>Default <c>https://generativelanguage.googleapis.com/v1beta</c>. The key is sent there: plain http is for a simulator beside us.</summary>
    public string BaseUrl { get; set; } = "https://generativelanguage.googleapis.com/v1beta";

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: it is warned of then, and every real call fails
    /// as Unauthorized without being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

    /// <summary>Default 10 s to get a connection. Then the call was not made, and is made again later.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Default 60 s from a call to the end of its answer. Only the work takes minutes; an operation is begun at once. One whose start
    /// takes longer is given up as <c>outcome_unknown</c> and may be billed.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>How often a running operation is asked for; default 10 s, as Google advises, at least 100 ms.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.googleapis.com</c>,
    /// <c>*.googleusercontent.com</c>. The key goes to the host of <see cref="BaseUrl"/> alone, also when a redirect leads elsewhere.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>Google's model id → the id to send in its place; default none. Ids of previews retire: this is where their successor goes.</summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>What stands in the address of a call.</summary>
    public string IdOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>A way to Google by these settings.</summary>
    internal ProviderHttp Open(TimeProvider time, ILogger log) => new(
        new ProviderAddress
        {
            Name = "google",
            Section = Section,
            BaseUrl = BaseUrl,
            ConnectTimeout = ConnectTimeout,
            ApiKey = ApiKey,
            Authenticate = headers => headers.Add("x-goog-api-key", ApiKey),
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
public sealed class GoogleOptionsValidator : IValidateOptions<GoogleOptions>
{
    public ValidateOptionsResult Validate(string? name, GoogleOptions options)
    {
        var errors = new List<string>();
        void Check(bool isGood, string error)
        {
            if (!isGood)
            {
                errors.Add($"{GoogleOptions.Section}:{error}");
            }
        }

        Check(
            Uri.TryCreate(options.BaseUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
            "BaseUrl must be an http(s) address without query or user, such as https://generativelanguage.googleapis.com/v1beta.");
        Check(options.ApiKey.All(c => c is > ' ' and < '\x7f'), "ApiKey has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");
        Check(options.ConnectTimeout > TimeSpan.Zero, $"ConnectTimeout must be above 0; it is {options.ConnectTimeout}.");
        Check(options.CallTimeout > TimeSpan.Zero && options.CallTimeout <= TimeSpan.FromMinutes(10), $"CallTimeout must be above 0 and at most 00:10:00; it is {options.CallTimeout}.");
        Check(
            options.PollInterval >= TimeSpan.FromMilliseconds(100) && options.PollInterval <= TimeSpan.FromMinutes(10),
            $"PollInterval must be from 00:00:00.100 to 00:10:00; it is {options.PollInterval}.");
        foreach (var host in options.SourceHosts)
        {
            Check(HostPattern.IsValid(host), $"SourceHosts has '{host}'; a host or *.domain is wanted, without scheme or port.");
        }

        foreach (var (model, id) in options.Models)
        {
            Check(id.Length > 0 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_'), $"Models:{model} must name a model in letters, digits, dots and hyphens, or be left out.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

public static class GoogleRegistration
{
    /// <summary>Registers <see cref="GoogleOptions"/>, validated at start, and <see cref="VeoVideos"/>.</summary>
    public static IServiceCollection AddGoogle(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var section = configuration.GetSection(GoogleOptions.Section);
        services.AddOptions<GoogleOptions>()
            .Bind(section)
            .Configure(options =>
            {
                options.ApiKey = options.ApiKey.Trim(); // a key from a mounted file ends with a line break
                options.SourceHosts = GoogleOptions.ReadSourceHosts(section.GetSection(nameof(GoogleOptions.SourceHosts)));
            })
            .ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<GoogleOptions>, GoogleOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<VeoVideos>();
        return services;
    }
}
