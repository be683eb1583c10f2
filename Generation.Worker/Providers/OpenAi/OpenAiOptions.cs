using System.Net.Http.Headers;
using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>Section <c>Providers:OpenAi</c>: pictures from OpenAI, and videos from a gateway that speaks what OpenAI has shut down.</summary>
public sealed class OpenAiOptions() : HostedProviderOptions("https://api.openai.com/v1")
{
    public const string Section = "Providers:OpenAi";

    private static readonly string[] ResultHosts = ["*.openai.com", "*.oaiusercontent.com", "oaidalleapiprodscus.blob.core.windows.net"];

    /// <summary>Sent as <c>OpenAI-Organization</c>; default none. For keys that belong to several.</summary>
    public string Organization { get; set; } = "";

    /// <summary>Sent as <c>OpenAI-Project</c>; default none. For keys that belong to several.</summary>
    public string Project { get; set; } = "";

    /// <summary>
    /// Calls at once for one session; default 4, at most 10. More is faster for many pictures, and meets the account's limit sooner.
    /// </summary>
    public int ImageBatch { get; set; } = 4;

    /// <summary>
    /// What the account's tier allows, over all workers; default 0: not counted, and OpenAI's own refusals are waited out. Counting saves
    /// calls that would be refused, and attempts.
    /// </summary>
    public int ImagesPerMinute { get; set; }

    /// <summary>
    /// Default 5 min from the call to the end of its answer; a picture of high quality takes up to two. A call that takes longer is given
    /// up as <c>outcome_unknown</c> and may have been billed: rather too long than too short.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Where a picture may be fetched from that comes as an address although its bytes were asked for: a list, or one string with commas;
    /// replaces the default <c>*.openai.com, *.oaiusercontent.com, oaidalleapiprodscus.blob.core.windows.net</c>. A gateway that answers so
    /// wants its hosts here: a picture elsewhere is refused, after it was paid.
    /// </summary>
    public IReadOnlyList<string> SourceHosts { get; set; } = ResultHosts;

    /// <summary>
    /// Address of a gateway that speaks <c>/videos</c>, such as <c>https://gateway.example/v1</c>. Default none: the model <c>sora-2</c> is
    /// retired then, as OpenAI has it since 2026-09-24. To be set for Api and worker alike.
    /// </summary>
    public string? VideoBaseUrl { get; set; }

    /// <summary>The gateway's key. Default none, which is not <c>ApiKey</c>: OpenAI's key is nobody else's business.</summary>
    public string VideoApiKey { get; set; } = "";

    /// <summary>How often a running video is asked for; default 5 s, at least 100 ms.</summary>
    public TimeSpan VideoPollInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Default 30 s from a call about a video to the end of its answer. A creation that takes longer is given up as <c>outcome_unknown</c>.
    /// </summary>
    public TimeSpan VideoCallTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Hosts beside the gateway's own that a download may be redirected to; default none. The key is not sent there.</summary>
    public string[] VideoSourceHosts { get; set; } = [];

    internal ProviderHttp Open(TimeProvider time, ILogger log) => Open("openai", Section, Authenticate, time, log);

    /// <summary>A client of the gateway for videos.</summary>
    internal ProviderHttp OpenVideos(TimeProvider time, ILogger log) => new(
        new ProviderAddress
        {
            Name = "openai",
            Section = Section,
            BaseUrl = VideoBaseUrl ?? BaseUrl,
            ConnectTimeout = ConnectTimeout,
            ApiKey = VideoApiKey,
            Authenticate = headers => headers.Authorization = new("Bearer", VideoApiKey),
        },
        time, log);

    private void Authenticate(HttpRequestHeaders headers)
    {
        headers.Authorization = new("Bearer", ApiKey);
        if (Organization.Length > 0)
        {
            headers.Add("OpenAI-Organization", Organization);
        }

        if (Project.Length > 0)
        {
            headers.Add("OpenAI-Project", Project);
        }
    }

    internal override void Read(IConfigurationSection section)
    {
        base.Read(section);
        SourceHosts = ReadList(section.GetSection(nameof(SourceHosts)), ResultHosts);
        VideoApiKey = VideoApiKey.Trim();
        VideoBaseUrl = string.IsNullOrWhiteSpace(VideoBaseUrl) ? null : VideoBaseUrl.Trim();
    }

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        if (!string.IsNullOrEmpty(VideoBaseUrl))
        {
            check.Address(nameof(VideoBaseUrl), VideoBaseUrl, "or be left out");
        }

        check.HeaderValue(nameof(VideoApiKey), VideoApiKey);
        check.HeaderValue(nameof(Organization), Organization);
        check.HeaderValue(nameof(Project), Project);
        check.Range(nameof(ImageBatch), ImageBatch, 1, 10);
        check.AtLeast(nameof(ImagesPerMinute), ImagesPerMinute, 0);
        check.Timeout(nameof(CallTimeout), CallTimeout, nameof(ConnectTimeout), ConnectTimeout, TimeSpan.FromMinutes(15));
        check.Range(nameof(VideoPollInterval), VideoPollInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        check.Timeout(nameof(VideoCallTimeout), VideoCallTimeout, TimeSpan.FromMinutes(10));
        check.Hosts(nameof(SourceHosts), SourceHosts);
        check.Hosts(nameof(VideoSourceHosts), VideoSourceHosts);
    }
}

public static class OpenAiRegistration
{
    /// <summary>Registers <see cref="OpenAiOptions"/>, validated at start, <see cref="OpenAiImages"/> and <see cref="OpenAiVideos"/>.</summary>
    public static IServiceCollection AddOpenAi(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddProviderOptions<OpenAiOptions>(configuration, OpenAiOptions.Section);
        services.TryAddSingleton<OpenAiImages>();
        services.TryAddSingleton<OpenAiVideos>();
        return services;
    }
}
