using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.ServiceDefaults;

/// <summary>Section <c>Shutdown</c>: how a process leaves.</summary>
public sealed class ShutdownOptions
{
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

    internal sealed class Defaults(IHostEnvironment environment) : IPostConfigureOptions<ShutdownOptions>, IValidateOptions<ShutdownOptions>
    {
        public void PostConfigure(string? name, ShutdownOptions options) =>
            options.DrainDelay ??= environment.IsDevelopment() ? TimeSpan.Zero : TimeSpan.FromSeconds(5);

        public ValidateOptionsResult Validate(string? name, ShutdownOptions options)
        {
            if (options.GracePeriod < TimeSpan.FromSeconds(1) || options.GracePeriod > TimeSpan.FromHours(1))
                return ValidateOptionsResult.Fail($"Shutdown:GracePeriod must be between 00:00:01 and 01:00:00, not {options.GracePeriod}");
            if (options.DrainDelay < TimeSpan.Zero || options.DrainDelay >= options.GracePeriod)
                return ValidateOptionsResult.Fail(
                    $"Shutdown:DrainDelay must be at least 0 and shorter than Shutdown:GracePeriod ({options.GracePeriod}), not "
                    + $"{options.DrainDelay}");
            return ValidateOptionsResult.Success;
        }
    }
}

/// <summary>
/// Whether this process is on its way out. It turns once, at the stop signal, before anything is stopped: readiness
/// answers 503, loops take no new work, and after <see cref="ShutdownOptions.DrainDelay"/> the listener closes.
/// </summary>
public sealed class DrainState(IHostApplicationLifetime lifetime, IOptions<ShutdownOptions> options, TimeProvider time) : IHostedLifecycleService
{
    /// <summary>Cancelled at the stop signal. For whatever takes in new work; work that has begun gets the host's own tokens.</summary>
    public CancellationToken Draining => lifetime.ApplicationStopping;

    public bool IsDraining => Draining.IsCancellationRequested;

    // The host calls StoppingAsync on all services before StopAsync on any, so the listener is still open here.
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        lifetime.StopApplication(); // a host stopped by code, not by signal, drains the same way
        var delay = options.Value.DrainDelay ?? TimeSpan.Zero;
        if (delay > TimeSpan.Zero)
            await Task.Delay(delay, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}

internal static class DrainedShutdown
{
    public static void AddDrainedShutdown(this IHostApplicationBuilder builder)
    {
        builder.Services.AddOptions<ShutdownOptions>().BindConfiguration("Shutdown").ValidateOnStart();
        builder.Services.AddSingleton<ShutdownOptions.Defaults>();
        builder.Services.AddSingleton<IPostConfigureOptions<ShutdownOptions>>(services => services.GetRequiredService<ShutdownOptions.Defaults>());
        builder.Services.AddSingleton<IValidateOptions<ShutdownOptions>>(services => services.GetRequiredService<ShutdownOptions.Defaults>());
        builder.Services.AddOptions<HostOptions>().Configure<IOptions<ShutdownOptions>>(
            (host, shutdown) => host.ShutdownTimeout = shutdown.Value.GracePeriod);
        builder.Services.AddSingleton<DrainState>();
        builder.Services.AddHostedService(services => services.GetRequiredService<DrainState>());
    }
}
