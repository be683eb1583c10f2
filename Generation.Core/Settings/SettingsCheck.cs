using System.Globalization;

namespace Generation.Core.Settings;

/// <summary>
/// Collects what is wrong with the settings of a section. Every message begins with the setting's key as an operator writes it, and says which
/// values are possible. A setting with a flat name is passed as <c>Key (FLAT_NAME)</c>.
/// </summary>
public sealed class SettingsCheck(string section)
{
    private readonly List<string> errors = [];

    public IReadOnlyList<string> Errors => errors;

    /// <summary>Adds an error unless <paramref name="isValid"/>; it begins with a setting of the section.</summary>
    public void That(bool isValid, string error)
    {
        if (!isValid)
        {
            errors.Add($"{section}:{error}");
        }
    }

    /// <summary>Adds an error about a setting of another section, which the message names in full.</summary>
    public void Fail(string error) => errors.Add(error);

    /// <summary>A number within bounds; null passes.</summary>
    public void Range(string setting, long? value, long min, long max) => That(
        value is null || (value >= min && value <= max),
        string.Create(CultureInfo.InvariantCulture, $"{setting} must be from {min} to {max}; it is {value}."));

    /// <summary>A duration within bounds; null passes.</summary>
    public void Range(string setting, TimeSpan? value, TimeSpan min, TimeSpan max) =>
        That(value is null || (value >= min && value <= max), $"{setting} must be from {Text(min)} to {Text(max)}; it is {value}.");

    public void AtLeast(string setting, long value, long min) =>
        That(value >= min, string.Create(CultureInfo.InvariantCulture, $"{setting} must be at least {min}; it is {value}."));

    /// <summary>A duration with a lower bound; null passes.</summary>
    public void AtLeast(string setting, TimeSpan? value, TimeSpan min) =>
        That(value is null || value >= min, $"{setting} must be at least {Text(min)}; it is {value}.");

    public void Positive(string setting, TimeSpan value) => That(value > TimeSpan.Zero, $"{setting} must be above 0; it is {value}.");

    /// <summary>A duration above 0 with an upper bound.</summary>
    public void Timeout(string setting, TimeSpan value, TimeSpan max) =>
        That(value > TimeSpan.Zero && value <= max, $"{setting} must be above 0 and at most {Text(max)}; it is {value}.");

    /// <summary>A timeout that includes another one.</summary>
    public void Timeout(string setting, TimeSpan value, string included, TimeSpan includedValue, TimeSpan max) => That(
        value > includedValue && value <= max,
        $"{setting} must be above {section}:{included} ({includedValue}) and at most {Text(max)}; it is {value}.");

    public void Defined<T>(string setting, T value)
        where T : struct, Enum =>
        That(Enum.IsDefined(value), $"{setting} must be one of {string.Join(", ", Enum.GetNames<T>())}; it is {value}.");

    /// <summary>An http(s) URL without query or user.</summary>
    /// <param name="setting">The setting.</param>
    /// <param name="value">Its value.</param>
    /// <param name="more">The end of the sentence: an example, or that it may be left out.</param>
    public void Address(string setting, string? value, string more) => That(
        Uri.TryCreate(value, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" && url.Query.Length == 0 && url.UserInfo.Length == 0,
        $"{setting} must be an http(s) address without query or user, {more}.");

    /// <summary>A secret that is sent in a header; the message does not show it.</summary>
    public void HeaderValue(string setting, string value) => That(
        value.All(c => c is > ' ' and < '\x7f'),
        $"{setting} has a character that cannot stand in a header: a space, a line break, or one that is not ASCII.");

    private static string Text(TimeSpan value) => value == TimeSpan.Zero ? "0" : value.ToString(
        (value.Days != 0 ? @"d\." : "") + @"hh\:mm\:ss" + (value.Milliseconds != 0 ? @"\.fff" : ""), CultureInfo.InvariantCulture);
}
