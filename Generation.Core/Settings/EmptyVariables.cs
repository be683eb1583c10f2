using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.EnvironmentVariables;

namespace Generation.Core.Settings;

/// <summary>
/// An empty environment variable counts as not set, also where it spells out a section (<c>Providers__Ark__BaseUrl=</c>): that is how deployment
/// manifests and compose files pass what nobody gave. Bound as it stands, it would overwrite a default with an empty text.
/// </summary>
public static class EmptyVariables
{
    /// <summary>
    /// Replaces the environment's source, in its place. <see cref="FlatNames.AddFlatNames"/> looks for that source, so it comes first.
    /// </summary>
    public static void IgnoreEmptyVariables(this IConfigurationBuilder configuration)
    {
        for (var i = 0; i < configuration.Sources.Count; i++)
        {
            if (configuration.Sources[i] is EnvironmentVariablesConfigurationSource { Prefix: null or "" }) configuration.Sources[i] = new Source();
        }
    }

    private sealed class Source : IConfigurationSource
    {
        public IConfigurationProvider Build(IConfigurationBuilder builder) => new Provider();
    }

    private sealed class Provider() : EnvironmentVariablesConfigurationProvider("")
    {
        public override void Load()
        {
            base.Load();
            foreach (var name in Data.Where(variable => string.IsNullOrEmpty(variable.Value)).Select(variable => variable.Key).ToList()) Data.Remove(
                name);
        }
    }
}
