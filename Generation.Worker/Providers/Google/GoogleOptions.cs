using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.Google;

/// <summary>Section <c>Providers:Google</c>: the Gemini Developer API.</summary>
public sealed class GoogleOptions : ProviderOptions
{
    public const string Section = "Providers:Google";

    private static readonly string[] ResultHosts = ["*.googleapis.com", "*.googleusercontent.com"];

    /// <summary>
    /// Default <c>https://generativelanguage.googleapis.com/v1beta</c>. The key is sent there: plain http is for a simulator beside us.
    /// </summary>
    public string BaseUrl { get; set; } = "https://generativelanguage.googleapis.com/v1beta";

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: it is warned of then, and every real call fails
    /// as Unauthorized without being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

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

    internal override void Read(IConfigurationSection section)
    {
        ApiKey = ApiKey.Trim();
        SourceHosts = ReadList(section.GetSection(nameof(SourceHosts)), ResultHosts);
    }

    internal override void Check(SettingsCheck check)
    {
        check.Address(nameof(BaseUrl), BaseUrl, "such as https://generativelanguage.googleapis.com/v1beta");
        check.HeaderValue(nameof(ApiKey), ApiKey);
        check.Timeout(nameof(CallTimeout), CallTimeout, TimeSpan.FromMinutes(10));
        check.Range(nameof(PollInterval), PollInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        check.Hosts(nameof(SourceHosts), SourceHosts);
        foreach (var (model, id) in Models)
        {
            check.That(
                id.Length > 0 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_'),
                $"{nameof(Models)}:{model} must name a model in letters, digits, dots and hyphens, or be left out.");
        }
    }
}

public static class GoogleRegistration
{
    /// <summary>Registers <see cref="GoogleOptions"/>, validated at start, and <see cref="VeoVideos"/>.</summary>
    public static IServiceCollection AddGoogle(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddProviderOptions<GoogleOptions>(configuration, GoogleOptions.Section);
        services.TryAddSingleton<VeoVideos>();
        return services;
    }
}
