using System.Diagnostics;
using Generation.Core;
using OpenTelemetry;

namespace Generation.ServiceDefaults;

/// <summary>What is done for a session (statements, calls, transfers) carries its id as what it is a part of does: a search for the id finds everything.</summary>
internal sealed class SessionOnSpans : BaseProcessor<Activity>
{
    public override void OnStart(Activity data)
    {
        if (data.Parent?.GetTagItem(Telemetry.SessionTag) is { } session && data.GetTagItem(Telemetry.SessionTag) is null)
        {
            data.SetTag(Telemetry.SessionTag, session);
        }
    }
}
