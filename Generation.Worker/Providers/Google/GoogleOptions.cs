using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.Google;

/// <summary>Section <c>Providers:Google</c>: the Gemini Developer API.</summary>
public sealed class GoogleOptions() : HostedProviderOptions("https://generativelanguage.googleapis.com/v1beta")
{
    public const string Section = "Providers:Google";

    private static readonly string[] ResultHosts = ["*.googleapis.com", "*.googleusercontent.com"];

    /// <summary>
    /// Default 60 s from a call to the end of its answer. Only the work takes minutes; an operation is begun at once. One whose start
    /// takes longer is given up as <c>outcome_unknown</c> and may be billed.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>How often a running operation is asked for; default 10 s, as Google advises, at least 100 ms.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Where results may be fetched from: a list, or one string with commas; replaces the default <c>*.googleapis.com</c>,
    /// <c>*.googleusercontent.com</c>. The key goes to the host of <c>BaseUrl</c> alone, also when a redirect leads elsewhere.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    internal ProviderHttp Open(TimeProvider time, ILogger log) =>
        Open("google", Section, headers => headers.Add("x-goog-api-key", ApiKey), time, log);

    private protected override string ModelIdForm => "a model in letters, digits, dots and hyphens";

    private protected override bool IsModelId(string id) =>
        id.Length > 0 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_');

    internal override void Read(IConfigurationSection section)
    {
        base.Read(section);
        SourceHosts = ReadList(section.GetSection(nameof(SourceHosts)), ResultHosts);
    }

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        check.Timeout(nameof(CallTimeout), CallTimeout, TimeSpan.FromMinutes(10));
        check.Range(nameof(PollInterval), PollInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        check.Hosts(nameof(SourceHosts), SourceHosts);
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
