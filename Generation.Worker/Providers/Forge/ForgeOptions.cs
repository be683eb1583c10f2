using Generation.Core.Settings;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Providers.Forge;

/// <summary>Section <c>Providers:Forge</c>: Stable Diffusion WebUIs of our own (Forge or AUTOMATIC1111), started with <c>--api</c>.</summary>
public sealed class ForgeOptions : ProviderOptions
{
    public const string Section = "Providers:Forge";

    private static readonly string[] WebUiDefault = ["http://127.0.0.1:7860"];

    public ForgeOptions() => ConnectTimeout = TimeSpan.FromSeconds(5); // on our own network

    /// <summary>
    /// The WebUIs, each of which is one GPU: a list, or one string with commas; default <c>http://127.0.0.1:7860</c>, where a WebUI listens
    /// by itself. Each runs one of our jobs at a time, over all workers; every worker must name them alike, for the name is the lock.
    /// </summary>
    public IReadOnlyList<string> Endpoints { get; set; } = WebUiDefault;

    /// <summary><c>user:password</c> as the WebUIs have it from <c>--api-auth</c>; default none. Sent to every endpoint.</summary>
    public string ApiAuth { get; set; } = "";

    /// <summary>
    /// Default 180 s from a call to the end of its picture; the picture before it, if somebody uses the WebUI by hand, included. Then the
    /// picture is interrupted and tried again.
    /// </summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(180);

    /// <summary>How often the progress of a running picture is polled; default 1 s. Watchers get every tenth part, with a preview.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Default 5 s for each question and for an interrupt. They do not wait for the GPU; one that fails costs nothing but a preview.
    /// </summary>
    public TimeSpan PollTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long a job whose GPU failed, or was lost while the worker stood still, waits for another before it goes back into the line; default 5 s.
    /// Every other job has its GPU before it begins.
    /// </summary>
    [ConfigurationKeyName("SlotPatience")] // the key of older deployments
    public TimeSpan SlotWait { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The checkpoint to ask for; null: whichever is loaded.</summary>
    public string? CheckpointOf(string model) => IdOf(model) is { Length: > 0 } checkpoint ? checkpoint : null;

    internal override void Read(IConfigurationSection section)
    {
        ApiAuth = ApiAuth.Trim();
        Endpoints = [.. ReadList(section.GetSection(nameof(Endpoints)), WebUiDefault).Select(endpoint => endpoint.TrimEnd('/'))];
    }

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        foreach (var endpoint in Endpoints)
        {
            check.Address(nameof(Endpoints), endpoint, "such as http://127.0.0.1:7860; the user goes into Providers:Forge:ApiAuth");
        }

        check.That(
            Endpoints.Distinct(StringComparer.OrdinalIgnoreCase).Count() == Endpoints.Count,
                $"{nameof(Endpoints)} names a WebUI twice: one GPU would get two jobs.");
        check.That(
            ApiAuth.Length == 0 || (ApiAuth.IndexOf(':', StringComparison.Ordinal) > 0 && !ApiAuth.Any(char.IsControl)),
            $"{nameof(ApiAuth)} must be of the form user:password, without line breaks.");
        check.Timeout(nameof(CallTimeout), CallTimeout, nameof(ConnectTimeout), ConnectTimeout, TimeSpan.FromMinutes(30));
        check.Range(nameof(PollInterval), PollInterval, TimeSpan.FromMilliseconds(20), TimeSpan.FromMinutes(1));
        check.Timeout(nameof(PollTimeout), PollTimeout, TimeSpan.FromMinutes(1));
        check.Range("SlotPatience", SlotWait, TimeSpan.Zero, TimeSpan.FromMinutes(5));
    }
}

public static class ForgeRegistration
{
    /// <summary>Registers <see cref="ForgeOptions"/>, validated at start, and <see cref="ForgeWebUis"/>.</summary>
    public static IServiceCollection AddForge(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddProviderOptions<ForgeOptions>(configuration, ForgeOptions.Section);
        services.TryAddSingleton<ForgeWebUis>();
        services.TryAddSingleton<ForgeGpus>();
        services.TryAddSingleton<IGpuEndpoints>(s => s.GetRequiredService<ForgeGpus>());
        return services;
    }
}
