using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Generation.ServiceDefaults;

/// <summary>
/// Flushes the remaining telemetry when everything else has stopped, for at most <see cref="ShutdownOptions.TelemetryFlush"/>, whatever the collector
/// does. The SDK's own way out gives each signal five seconds and more, one after the other, and an export that repeats itself
/// (<c>OTEL_DOTNET_EXPERIMENTAL_OTLP_RETRY=in_memory</c>, which Aspire sets) keeps to no limit at all: with a collector that was not there every
/// service took 12 to 16 s to stop. A provider that was shut down here is only disposed of later.
/// </summary>
internal sealed class TelemetryFlush(IServiceProvider services, IOptions<ShutdownOptions> options, TimeProvider time) : IHostedLifecycleService
{
    private readonly Lock gate = new();
    private TracerProvider? traces;
    private MeterProvider? metrics;
    private LoggerProvider? logs;
    private Task? flush;

    /// <summary>Now: when everything has stopped the container may be gone.</summary>
    public Task StartAsync(CancellationToken ct)
    {
        (traces, metrics, logs) = (services.GetService<TracerProvider>(), services.GetService<MeterProvider>(),
            services.GetService<LoggerProvider>());
        return Task.CompletedTask;
    }

    /// <summary>A host may be stopped twice concurrently; both callers wait for the same flush.</summary>
    public Task StoppedAsync(CancellationToken ct)
    {
        lock (gate)
        {
            return flush ??= FlushAsync();
        }
    }

    public Task StartingAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StartedAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StoppingAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StopAsync(CancellationToken ct) => Task.CompletedTask;

    private async Task FlushAsync()
    {
        // The traces' own shutdown keeps to its limit. It ends the instrumentation first, and is waited for: a provider that is disposed of meanwhile
        // trips over that. That of the metrics makes one more export on the calling thread, as long as that takes: it is left behind, and nobody
        // waits for threads of the pool at the process's end.
        var limit = options.Value.TelemetryFlush;
        var milliseconds = (int)limit.TotalMilliseconds;
        var tracing = Task.Run(() => traces?.Shutdown(milliseconds), CancellationToken.None);
        var others = Task.WhenAll(
            Task.Run(() => metrics?.Shutdown(milliseconds), CancellationToken.None),
            Task.Run(() => logs?.Shutdown(milliseconds), CancellationToken.None));
        await Task.WhenAny(others, Task.Delay(limit, time, CancellationToken.None));
        await tracing;
    }
}
