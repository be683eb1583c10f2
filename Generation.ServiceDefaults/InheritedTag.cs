using System.Diagnostics;
using OpenTelemetry;

namespace Generation.ServiceDefaults;

/// <summary>Copies a tag from a span to its children (statements, calls, transfers), so that a search for its value finds all of them.</summary>
internal sealed class InheritedTag(string name) : BaseProcessor<Activity>
{
    public override void OnStart(Activity data)
    {
        if (data.Parent?.GetTagItem(name) is { } value && data.GetTagItem(name) is null)
        {
            data.SetTag(name, value);
        }
    }
}
