using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Forge;

/// <summary>Section <c>Providers:Forge</c>: Stable Diffusion WebUIs of our own (Forge or AUTOMATIC1111), started with <c>--api</c>.</summary>
public sealed class ForgeOptions
{
    public const string Section = "Providers:Forge";

    private static readonly string[] WebUiDefault = ["http://127.0.0.1:7860"];

    /// <summary>
    /// The WebUIs, each of which is one GPU: a list, or one string with commas; default <c>http://127.0.0.1:7860</c>, where a WebUI listens
    /// by itself. Each runs one of our jobs at a time, over all workers; every worker must name them alike, for the name is the lock.
    /// </summary>
    public IReadOnlyList<string> Endpoints { get; set; } = WebUiDefault;

    /// <summary><c>user:password</c> as the WebUIs have it from <c>--api-auth</c>; default none. Sent to every endpoint.</summary>
    public string ApiAuth { get; set; } = "";

    /// <summary>Default 5 s to get a connection. Then the WebUI counts as unavailable.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Default 180 s from a call to the end of its picture; the picture before it, if somebody uses the WebUI by hand, included. Then the
    /// picture is interrupted and tried again.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(180);

    /// <summary>How often the progress of a running picture is polled; default 1 s. Watchers get every tenth part, with a preview.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Default 5 s for each question and for an interrupt. They do not wait for the GPU; one that fails costs nothing but a preview.</summary>
    public TimeSpan PollTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long a job waits for a free GPU before it gives its place in the worker to another and comes again; default 5 s. Longer is
    /// fairer to who came first and lets a queue for the GPU fill the worker.
    /// </summary>
    public TimeSpan SlotPatience { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Our model's name → the checkpoint's in the WebUI (title, file name or hash); default the name itself. An empty one leaves the WebUI
    /// with the checkpoint that it has loaded; otherwise it loads ours first, which takes its time when another was there.
    /// </summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>The checkpoint to ask for; null: whichever is loaded.</summary>
    public string? CheckpointOf(string model) => Models.GetValueOrDefault(model, model) is { Length: > 0 } checkpoint ? checkpoint : null;

    /// <summary>A list, or a string with commas; without a slash at the end, so that one endpoint has one name.</summary>
    internal static IReadOnlyList<string> ReadEndpoints(IConfigurationSection endpoints)
    {
        var given = (endpoints.Value?.Split(',') ?? endpoints.GetChildren().Select(e => e.Value ?? "")).Select(e => e.Trim().TrimEnd('/')).ToArray();
        return given is [] or [""] ? WebUiDefault : given;
    }
}

/// <summary>Stops the start with a message that names the setting.</summary>
public sealed class ForgeOptionsValidator : IValidateOptions<ForgeOptions>
{
    public ValidateOptionsResult Validate(string? name, ForgeOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var errors = new List<string>();
        void Check(bool isGood, string error)
        {
            if (!isGood)
            {
                errors.Add($"{ForgeOptions.Section}:{error}");
            }
        }

        foreach (var endpoint in options.Endpoints)
        {
            Check(
                Uri.TryCreate(endpoint, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
                "Endpoints must be http(s) addresses without query or user, such as http://127.0.0.1:7860; the user goes into Providers:Forge:ApiAuth.");
        }

        Check(options.Endpoints.Distinct(StringComparer.OrdinalIgnoreCase).Count() == options.Endpoints.Count, "Endpoints names a WebUI twice: one GPU would get two jobs.");
        Check(
            options.ApiAuth.Length == 0 || (options.ApiAuth.IndexOf(':', StringComparison.Ordinal) > 0 && !options.ApiAuth.Any(char.IsControl)),
            "ApiAuth must be of the form user:password, without line breaks.");
        Check(options.ConnectTimeout > TimeSpan.Zero, $"ConnectTimeout must be above 0; it is {options.ConnectTimeout}.");
        Check(
            options.CallTimeout > options.ConnectTimeout && options.CallTimeout <= TimeSpan.FromMinutes(30),
            $"CallTimeout must be above Providers:Forge:ConnectTimeout ({options.ConnectTimeout}) and at most 00:30:00; it is {options.CallTimeout}.");
        Check(
            options.PollInterval >= TimeSpan.FromMilliseconds(20) && options.PollInterval <= TimeSpan.FromMinutes(1),
            $"PollInterval must be from 00:00:00.020 to 00:01:00; it is {options.PollInterval}.");
        Check(
            options.PollTimeout > TimeSpan.Zero && options.PollTimeout <= TimeSpan.FromMinutes(1), $"PollTimeout must be above 0 and at most 00:01:00; it is {options.PollTimeout}.");
        Check(
            options.SlotPatience >= TimeSpan.Zero && options.SlotPatience <= TimeSpan.FromMinutes(5),
            $"SlotPatience must be from 0 to 00:05:00; it is {options.SlotPatience}.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

public static class ForgeRegistration
{
    /// <summary>Registers <see cref="ForgeOptions"/>, validated at start, and <see cref="ForgeWebUis"/>.</summary>
    public static IServiceCollection AddForge(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var section = configuration.GetSection(ForgeOptions.Section);
        services.AddOptions<ForgeOptions>()
            .Bind(section)
            .Configure(options =>
            {
                options.ApiAuth = options.ApiAuth.Trim(); // a secret from a mounted file ends with a line break
                options.Endpoints = ForgeOptions.ReadEndpoints(section.GetSection(nameof(ForgeOptions.Endpoints)));
            })
            .ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ForgeOptions>, ForgeOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<ForgeWebUis>();
        return services;
    }
}
