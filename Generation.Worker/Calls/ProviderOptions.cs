using System.Globalization;
using Generation.Core.Media;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

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

    /// <summary>What is sent as the model.</summary>
    public string IdOf(string model) => Models.GetValueOrDefault(model, model);

    /// <summary>After the binder: what it cannot read, and the line break at the end of a key from a mounted file.</summary>
    internal abstract void Read(IConfigurationSection section);

    internal abstract void Check(SettingsCheck check);

    /// <summary>A list, or a string with commas: the binder knows only the first, and would add to a default instead of replacing it.</summary>
    private protected static IReadOnlyList<string> ReadList(IConfigurationSection list, IReadOnlyList<string> fallback)
    {
        var given = (list.Value?.Split(',') ?? list.GetChildren().Select(item => item.Value ?? "")).Select(item => item.Trim()).ToArray();
        return given is [] or [""] ? fallback : given;
    }
}

/// <summary>Collects what is wrong with the settings of a section, each problem with the setting's name.</summary>
internal sealed class SettingsCheck(string section)
{
    private readonly List<string> errors = [];

    public IReadOnlyList<string> Errors => errors;

    public void That(bool isGood, string error)
    {
        if (!isGood)
        {
            errors.Add($"{section}:{error}");
        }
    }

    /// <param name="setting">Its name.</param>
    /// <param name="value">What it is set to.</param>
    /// <param name="more">The end of the sentence: an example, or that it may be left out.</param>
    public void Address(string setting, string? value, string more) => That(
        Uri.TryCreate(value, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
        $"{setting} must be an http(s) address without query or user, {more}.");

    public void HeaderValue(string setting, string value) => That(
        value.All(c => c is > ' ' and < '\x7f'),
        $"{setting} has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");

    public void Hosts(string setting, IEnumerable<string> hosts)
    {
        foreach (var host in hosts)
        {
            That(HostPattern.IsValid(host), $"{setting} has '{host}'; a host or *.domain is wanted, without scheme or port.");
        }
    }

    public void Range(string setting, int value, int min, int max) =>
        That(value >= min && value <= max, $"{setting} must be from {min} to {max}; it is {value}.");

    public void Range(string setting, TimeSpan value, TimeSpan min, TimeSpan max) =>
        That(value >= min && value <= max, $"{setting} must be from {Text(min)} to {Text(max)}; it is {value}.");

    public void Timeout(string setting, TimeSpan value, TimeSpan max) =>
        That(value > TimeSpan.Zero && value <= max, $"{setting} must be above 0 and at most {Text(max)}; it is {value}.");

    /// <summary>A timeout that includes another one.</summary>
    public void Timeout(string setting, TimeSpan value, string included, TimeSpan includedValue, TimeSpan max) => That(
        value > includedValue && value <= max,
        $"{setting} must be above {section}:{included} ({includedValue}) and at most {Text(max)}; it is {value}.");

    private static string Text(TimeSpan value) => value == TimeSpan.Zero ? "0"
        : value.ToString(value.Milliseconds == 0 ? @"hh\:mm\:ss" : @"hh\:mm\:ss\.fff", CultureInfo.InvariantCulture);
}

public static class ProviderOptionsRegistration
{
    /// <summary>Binds the section of a provider, validated at start with messages that name the setting.</summary>
    public static void AddProviderOptions<TOptions>(this IServiceCollection services, IConfiguration configuration, string section)
        where TOptions : ProviderOptions
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var settings = configuration.GetSection(section);
        services.AddOptions<TOptions>().Bind(settings).Configure(options => options.Read(settings)).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<TOptions>>(new Validator<TOptions>(section)));
        services.TryAddSingleton(TimeProvider.System);
    }

    private sealed class Validator<TOptions>(string section) : IValidateOptions<TOptions>
        where TOptions : ProviderOptions
    {
        public ValidateOptionsResult Validate(string? name, TOptions options)
        {
            var check = new SettingsCheck(section);
            check.That(options.ConnectTimeout > TimeSpan.Zero, $"{nameof(options.ConnectTimeout)} must be above 0; it is {options.ConnectTimeout}.");
            options.Check(check);
            return check.Errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(check.Errors);
        }
    }
}
