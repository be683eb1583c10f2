using System.Text.RegularExpressions;
using Generation.Tests.Tidy;
using Generation.Worker.Calls;

namespace Generation.Tests.Calls;

/// <summary>What a log line tells an operator to check has to be there.</summary>
public sealed partial class SettingNamesTests
{
    [Fact]
    public void Every_setting_of_a_provider_that_a_message_names_is_one()
    {
        var options = typeof(ProviderOptions).Assembly.GetTypes().Where(type => type.Name.EndsWith("Options", StringComparison.Ordinal))
            .ToDictionary(type => type.Name, StringComparer.Ordinal);
        TidyTests.Empty(
            TidyTests.Sources.Where(file => file.StartsWith("Generation.Worker/", StringComparison.Ordinal))
                .SelectMany(file => Named().Matches(TidyTests.Read(file)).Select(match => (file, match)))
                .Where(found => found.match.Groups["name"].Value != "Models" // which model is which at the provider: ModelRegistry
                    && options.GetValueOrDefault($"{found.match.Groups["section"].Value}Options")?
                        .GetProperty(found.match.Groups["name"].Value) is null)
                .Select(found => $"{found.file}: {found.match.Value}"),
            "An operator looks for this name at night.");
    }

    [GeneratedRegex("Providers:(?<section>[A-Za-z]+):(?<name>[A-Za-z]+)", RegexOptions.None, 10_000)]
    private static partial Regex Named();
}
