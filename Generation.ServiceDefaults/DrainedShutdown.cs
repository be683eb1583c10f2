using Generation.Core.Settings;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.ServiceDefaults;

/// <summary>Section <c>Shutdown</c>: how a process leaves.</summary>
public sealed class ShutdownOptions
{
    public const string Section = "Shutdown";

    /// <summary>
    /// Default 45 s; in a worker outside Development the longest configured call that is waited for, plus 30 s. The time from the stop signal to the
    /// exit, drain delay included; what is not finished by then is
    /// cut off. Keep it under the orchestrator's own limit (terminationGracePeriodSeconds), or that one cuts instead.
    /// </summary>
    public TimeSpan GracePeriod { get; set; } = TimeSpan.FromSeconds(45);

    /// <summary>
    /// Default 0 in Development, 5 s elsewhere. How long the listener stays open after readiness has turned to 503, so
    /// that load balancers notice before connections are refused. Too short: a few refused requests at every rollout.
    /// </summary>
    public TimeSpan? DrainDelay { get; set; }

    /// <summary>
    /// Default 2 s. How long the remaining traces, metrics and logs are flushed after everything else has stopped. Too short for a slow collector:
    /// what it has not taken by then is lost.
    /// </summary>
    public TimeSpan TelemetryFlush { get; set; } = TimeSpan.FromSeconds(2);

    internal void Check(SettingsCheck check)
    {
        check.Range(nameof(GracePeriod), GracePeriod, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1));
        check.Range(nameof(TelemetryFlush), TelemetryFlush, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        check.That(
            DrainDelay is null || (DrainDelay >= TimeSpan.Zero && DrainDelay < GracePeriod),
            $"{nameof(DrainDelay)} must be at least 0 and shorter than {Section}:{nameof(GracePeriod)} ({GracePeriod}); it is {DrainDelay}.");
    }
}

/// <summary>
/// Whether this process is on its way out. It turns once, at the stop signal, before anything is stopped: readiness
/// answers 503, loops take no new work, and after <see cref="ShutdownOptions.DrainDelay"/> the listener closes.
/// </summary>
public sealed class DrainState(IHostApplicationLifetime lifetime, IOptions<ShutdownOptions> options, TimeProvider time) : IHostedLifecycleService
{
    /// <summary>Cancelled at the stop signal. For loops that accept new work; work that has begun gets the host's tokens.</summary>
    public CancellationToken Draining => lifetime.ApplicationStopping;

    public bool IsDraining => Draining.IsCancellationRequested;

    // The host calls StoppingAsync on all services before StopAsync on any, so the listener is still open here.
    public async Task StoppingAsync(CancellationToken ct)
    {
        lifetime.StopApplication(); // a host stopped by code, not by signal, drains the same way
        var delay = options.Value.DrainDelay ?? TimeSpan.Zero;
        if (delay > TimeSpan.Zero)
        {
            await Task.Delay(delay, time, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public Task StartingAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StartAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StartedAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StopAsync(CancellationToken ct) => Task.CompletedTask;
    public Task StoppedAsync(CancellationToken ct) => Task.CompletedTask;
}

internal static class DrainedShutdown
{
    public static void AddDrainedShutdown(this IHostApplicationBuilder builder)
    {
        var drainDelay = builder.Environment.IsDevelopment() ? TimeSpan.Zero : TimeSpan.FromSeconds(5);
        builder.AddChecked<ShutdownOptions>(ShutdownOptions.Section, (options, check) => options.Check(check))
            .PostConfigure(options => options.DrainDelay ??= drainDelay);
        builder.Services.AddOptions<HostOptions>().Configure<IOptions<ShutdownOptions>>(
            (host, shutdown) => host.ShutdownTimeout = shutdown.Value.GracePeriod);
        builder.Services.AddSingleton<DrainState>();
        builder.Services.AddHostedService(services => services.GetRequiredService<DrainState>());
    }
}
