using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Configuration;
using OpenTelemetry.Trace;

namespace Generation.ServiceDefaults;

/// <summary>
/// A trace begins with a request or a message. Background activity (polls, sweeps, heartbeats, probes of its servers) happens every
/// second in an idle system and says nothing; it is in the metrics, and what a sweep does to a session is in that session's trace. Of everything
/// else the configured sampler decides.
/// </summary>
public sealed class RootSampler(Sampler configured) : Sampler
{
    public override SamplingResult ShouldSample(in SamplingParameters samplingParameters)
    {
        var parent = samplingParameters.ParentContext;
        var isBackground = parent == default
            ? samplingParameters.Kind is ActivityKind.Client or ActivityKind.Internal
            // a part of what was dropped here, which always_on would not ask about
            : !parent.IsRemote && !parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded);
        return isBackground ? new SamplingResult(SamplingDecision.Drop) : configured.ShouldSample(samplingParameters);
    }

    /// <summary>
    /// <c>OTEL_TRACES_SAMPLER</c> and <c>OTEL_TRACES_SAMPLER_ARG</c> as the specification says, because the SDK does not read them where a sampler is
    /// set in code. Aspire sets <c>always_on</c> while it runs the services itself.
    /// </summary>
    public static Sampler Read(IConfiguration configuration)
    {
        var ratio = double.TryParse(configuration["OTEL_TRACES_SAMPLER_ARG"], NumberStyles.Float, CultureInfo.InvariantCulture, out var given)
            && given is >= 0 and <= 1 ? given : 1;
        return configuration["OTEL_TRACES_SAMPLER"]?.ToLowerInvariant() switch
        {
            "always_on" => new AlwaysOnSampler(),
            "always_off" => new AlwaysOffSampler(),
            "traceidratio" => new TraceIdRatioBasedSampler(ratio),
            "parentbased_always_off" => new ParentBasedSampler(new AlwaysOffSampler()),
            "parentbased_traceidratio" => new ParentBasedSampler(new TraceIdRatioBasedSampler(ratio)),
            _ => new ParentBasedSampler(new AlwaysOnSampler()),
        };
    }
}
