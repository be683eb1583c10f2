using System.Net.Http.Headers;
using Generation.Core.Settings;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Worker.Calls;

/// <summary>What the settings of every provider have in common.</summary>
public abstract class ProviderOptions
{
    /// <summary>Default 10 s to get a connection, 5 s for Forge. Then the call was not made, and is made again later.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// A model's id as the catalog has it → the id to send in its place; default none. Ids of previews retire, and accounts have their own.
    /// </summary>
    public Dictionary<string, string> Models { get; set; } = new(StringComparer.Ordinal);

    /// <summary>The id to send for a model.</summary>
    public string IdOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>Runs after the binder: reads what it cannot, and trims keys, which end with a line break in a mounted file.</summary>
    internal abstract void Read(IConfigurationSection section);

    internal virtual void Check(SettingsCheck check) => check.Positive(nameof(ConnectTimeout), ConnectTimeout);

    /// <summary>A list, or a string with commas: the binder knows only the first, and would add to a default instead of replacing it.</summary>
    private protected static IReadOnlyList<string> ReadList(IConfigurationSection list, IReadOnlyList<string> fallback)
    {
        var given = (list.Value?.Split(',') ?? list.GetChildren().Select(item => item.Value ?? "")).Select(item => item.Trim()).ToArray();
        return given is [] or [""] ? fallback : given;
    }
}

/// <summary>What the settings of a provider with an address and a key have in common.</summary>
/// <param name="baseUrl">The default of <see cref="BaseUrl"/>.</param>
public abstract class HostedProviderOptions(string baseUrl) : ProviderOptions
{
    private readonly string example = baseUrl;

    /// <summary>The address of the API; default the provider's own. The key is sent there: plain http is for a simulator beside us.</summary>
    public string BaseUrl { get; set; } = baseUrl;

    /// <summary>
    /// Default none. A worker that only mocks needs none, so it does not stop the start: every real call fails as Unauthorized without
    /// being sent.
    /// </summary>
    public string ApiKey { get; set; } = "";

    /// <summary>What may stand in <see cref="ProviderOptions.Models"/>, for the message.</summary>
    private protected virtual string ModelIdForm => "a model";

    internal override void Read(IConfigurationSection section) => ApiKey = ApiKey.Trim();

    internal override void Check(SettingsCheck check)
    {
        base.Check(check);
        check.Address(nameof(BaseUrl), BaseUrl, $"such as {example}");
        check.HeaderValue(nameof(ApiKey), ApiKey);
        foreach (var (model, id) in Models)
        {
            check.That(IsModelId(id), $"{nameof(Models)}:{model} must name {ModelIdForm}, or be left out.");
        }
    }

    private protected virtual bool IsModelId(string id) => !string.IsNullOrWhiteSpace(id);

    /// <summary>A client of the provider with these settings.</summary>
    private protected ProviderHttp Open(string name, string section, Action<HttpRequestHeaders> authenticate, TimeProvider time, ILogger log) => new(
        new ProviderAddress
        {
            Name = name,
            Section = section,
            BaseUrl = BaseUrl,
            ConnectTimeout = ConnectTimeout,
            ApiKey = ApiKey,
            Authenticate = authenticate,
        },
        time, log);
}

public static class ProviderOptionsRegistration
{
    /// <summary>Binds the section of a provider, validated at start with messages that name the setting.</summary>
    public static void AddProviderOptions<TOptions>(this IServiceCollection services, IConfiguration configuration, string section)
        where TOptions : ProviderOptions
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var settings = configuration.GetSection(section);
        services.AddChecked<TOptions>(configuration, section, (options, check) => options.Check(check)).Configure(options => options.Read(settings));
        services.TryAddSingleton(TimeProvider.System);
    }
}
