using Generation.Core.Media;
using Generation.Worker.Calls;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>Section <c>Providers:OpenAi</c>: pictures from OpenAI, and videos from a gateway that speaks what OpenAI has shut down.</summary>
public sealed class OpenAiOptions
{
    public const string Section = "Providers:OpenAi";

    /// <summary>Default <c>https://api.openai.com/v1</c>. The key is sent there: plain http is for a simulator beside us.</summary>
    public string BaseUrl { get; set; } = "https://api.openai.com/v1";

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: it is warned of then, and every real call fails
    /// as Unauthorized without being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

    /// <summary>Sent as <c>OpenAI-Organization</c>; default none. For keys that belong to several.</summary>
    public string Organization { get; set; } = "";

    /// <summary>Sent as <c>OpenAI-Project</c>; default none. For keys that belong to several.</summary>
    public string Project { get; set; } = "";

    /// <summary>Calls at once for one session; default 4, at most 10. More is faster for many pictures, and meets the account's limit sooner.</summary>
    public int ImageBatch { get; set; } = 4;

    /// <summary>
    /// What the account's tier allows, over all workers; default 0: not counted, and OpenAI's own refusals are waited out. Counting saves
    /// calls that would be refused, and attempts.
    /// </summary>
    public int ImagesPerMinute { get; set; }

    /// <summary>Default 10 s to get a connection. Then the call was not made, and is made again later.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Default 5 min from the call to the end of its answer; a picture of high quality takes up to two. A call that takes longer is given
    /// up as <c>outcome_unknown</c> and may have been billed: rather too long than too short.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>OpenAI's model id → the id to send in its place; default none. Ids are shut down every few months.</summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>
    /// Address of a gateway that speaks <c>/videos</c>, such as <c>https://gateway.example/v1</c>. Default none: the model <c>sora-2</c> is
    /// retired then, as OpenAI has it since 2026-09-24. To be set for Api and worker alike.
    /// </summary>
    public string? VideoBaseUrl { get; set; }

    /// <summary>The gateway's key. Default none, which is not <see cref="ApiKey"/>: OpenAI's key is nobody else's business.</summary>
    public string VideoApiKey { get; set; } = "";

    /// <summary>How often a running video is asked for; default 5 s, at least 100 ms.</summary>
    public TimeSpan VideoPollInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Default 30 s from a call about a video to the end of its answer. A creation that takes longer is given up as <c>outcome_unknown</c>.</summary>
    public TimeSpan VideoCallTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Hosts beside the gateway's own that a download may be redirected to; default none. The key is not sent there.</summary>
    public string[] VideoSourceHosts { get; set; } = [];

    /// <summary>What is sent as <c>model</c>.</summary>
    public string IdOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>A way to OpenAI by these settings.</summary>
    internal ProviderHttp Open(TimeProvider time, ILogger log) => new(
        new ProviderAddress
        {
            Name = "openai",
            Section = Section,
            BaseUrl = BaseUrl,
            ConnectTimeout = ConnectTimeout,
            ApiKey = ApiKey,
            Authenticate = headers =>
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
            },
        },
        time, log);

    /// <summary>A way to the gateway by these settings.</summary>
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
}

/// <summary>Stops the start with a message that names the setting.</summary>
public sealed class OpenAiOptionsValidator : IValidateOptions<OpenAiOptions>
{
    public ValidateOptionsResult Validate(string? name, OpenAiOptions options)
    {
        var errors = new List<string>();
        void Check(bool isGood, string error)
        {
            if (!isGood)
            {
                errors.Add($"{OpenAiOptions.Section}:{error}");
            }
        }

        Check(IsAddress(options.BaseUrl), "BaseUrl must be an http(s) address without query or user, such as https://api.openai.com/v1.");
        Check(string.IsNullOrEmpty(options.VideoBaseUrl) || IsAddress(options.VideoBaseUrl), "VideoBaseUrl must be an http(s) address without query or user, or be left out.");
        foreach (var (setting, key) in new[] { ("ApiKey", options.ApiKey), ("VideoApiKey", options.VideoApiKey), ("Organization", options.Organization), ("Project", options.Project) })
        {
            Check(key.All(c => c is > ' ' and < '\x7f'), $"{setting} has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");
        }

        Check(options.ImageBatch is >= 1 and <= 10, $"ImageBatch must be from 1 to 10; it is {options.ImageBatch}.");
        Check(options.ImagesPerMinute >= 0, $"ImagesPerMinute must not be negative; it is {options.ImagesPerMinute}.");
        Check(options.ConnectTimeout > TimeSpan.Zero, $"ConnectTimeout must be above 0; it is {options.ConnectTimeout}.");
        Check(
            options.CallTimeout > options.ConnectTimeout && options.CallTimeout <= TimeSpan.FromMinutes(15),
            $"CallTimeout must be above Providers:OpenAi:ConnectTimeout ({options.ConnectTimeout}) and at most 00:15:00; it is {options.CallTimeout}.");
        Check(
            options.VideoPollInterval >= TimeSpan.FromMilliseconds(100) && options.VideoPollInterval <= TimeSpan.FromMinutes(10),
            $"VideoPollInterval must be from 00:00:00.100 to 00:10:00; it is {options.VideoPollInterval}.");
        Check(
            options.VideoCallTimeout > TimeSpan.Zero && options.VideoCallTimeout <= TimeSpan.FromMinutes(10),
            $"VideoCallTimeout must be above 0 and at most 00:10:00; it is {options.VideoCallTimeout}.");
        foreach (var host in options.VideoSourceHosts)
        {
            Check(HostPattern.IsValid(host), $"VideoSourceHosts has '{host}'; a host or *.domain is wanted, without scheme or port.");
        }

        foreach (var (model, id) in options.Models)
        {
            Check(!string.IsNullOrWhiteSpace(id), $"Models:{model} must name a model, or be left out.");
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private static bool IsAddress(string? text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0;
}

public static class OpenAiRegistration
{
    /// <summary>Registers <see cref="OpenAiOptions"/>, validated at start, <see cref="OpenAiImages"/> and <see cref="OpenAiVideos"/>.</summary>
    public static IServiceCollection AddOpenAi(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        services.AddOptions<OpenAiOptions>()
            .Bind(configuration.GetSection(OpenAiOptions.Section))
            .Configure(options =>
            {
                options.ApiKey = options.ApiKey.Trim(); // a key from a mounted file ends with a line break
                options.VideoApiKey = options.VideoApiKey.Trim();
                options.VideoBaseUrl = string.IsNullOrWhiteSpace(options.VideoBaseUrl) ? null : options.VideoBaseUrl.Trim();
            })
            .ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<OpenAiOptions>, OpenAiOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<OpenAiImages>();
        services.TryAddSingleton<OpenAiVideos>();
        return services;
    }
}
