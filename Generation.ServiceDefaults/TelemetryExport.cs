using Generation.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Generation.ServiceDefaults;

internal static class TelemetryExport
{
    // .NET describes its own work now: no instrumentation packages, just the names of its sources and meters. Those of Postgres and Redis come with
    // their clients (AddGenerationData).
    private static readonly string[] Sources = [Telemetry.Name, "System.Net.Http", "Microsoft.AspNetCore"];

    private static readonly string[] Meters =
    [
        Telemetry.Name, "System.Net.Http", "System.Net.NameResolution", "System.Runtime", "Microsoft.AspNetCore.*", "Microsoft.EntityFrameworkCore",
    ];

    /// <summary>
    /// Traces always (a trace id goes into sessions, problems and logs whether or not they are collected); traces,
    /// metrics and logs leave over OTLP if, and only if, <c>OTEL_EXPORTER_OTLP_ENDPOINT</c> is set. The other
    /// <c>OTEL_*</c> variables mean what the specification says, except that no sampler of theirs makes a trace of a background poll.
    /// </summary>
    public static void AddTelemetry(this IHostApplicationBuilder builder)
    {
        // .NET 10 leaves its server span bare unless asked; must be said before the host is built.
        AppContext.SetSwitch("Microsoft.AspNetCore.Hosting.SuppressActivityOpenTelemetryData", false);

        builder.Services.AddHostedService<TelemetryFlush>(); // first of all, and so stopped last
        var telemetry = builder.Services.AddOpenTelemetry()
            .WithTracing(tracing => tracing
                .AddSource(Sources)
                .SetSampler(new RootSampler(RootSampler.Read(builder.Configuration)))
                .AddProcessor(new InheritedTag(Telemetry.SessionTag)))
            .WithMetrics(metrics => metrics.AddMeter(Meters));

        // AddService would win over the variable, and with it over the name that Aspire or the deployment gave.
        if (string.IsNullOrEmpty(builder.Configuration["OTEL_SERVICE_NAME"]))
        {
            telemetry.ConfigureResource(resource => resource.AddService(builder.Environment.ApplicationName));
        }

        if (string.IsNullOrEmpty(builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]))
        {
            return;
        }

        telemetry
            .WithLogging(configureBuilder: null, logs => logs.IncludeFormattedMessage = true)
            .UseOtlpExporter();
    }
}
