using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Generation.AppHost.Resources;
using Generation.LocalServers;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Generation.AppHost;

/// <summary>What the orchestrator's ports are: the dashboard's page, its receiver of telemetry, its view of the resources.</summary>
internal static class DashboardPorts
{
    private static readonly (string Setting, int Usual)[] Listeners =
    [
        ("ASPNETCORE_URLS", 15000), ("ASPIRE_DASHBOARD_OTLP_ENDPOINT_URL", 19000), ("ASPIRE_RESOURCE_SERVICE_ENDPOINT_URL", 20000),
    ];

    /// <summary>
    /// Gives each listener a port: that of the launch profile or the usual one, and where it is taken (a second run on this machine) any free one.
    /// An https address was configured and is kept.
    /// </summary>
    public static void ChooseDashboardPorts(this IDistributedApplicationBuilder builder)
    {
        foreach (var (setting, usual) in Listeners)
        {
            var given = builder.Configuration[setting] is { Length: > 0 } value ? value : $"http://localhost:{usual}";
            if (given.Contains("https:", StringComparison.Ordinal))
            {
                continue;
            }

            if (Uri.TryCreate(given, UriKind.Absolute, out var address) && address.Port != 0 && Ports.IsTaken(address.Port))
            {
                given = new UriBuilder(address) { Port = Ports.Free() }.Uri.GetLeftPart(UriPartial.Authority);
            }

            builder.Configuration[setting] = given;
            builder.Configuration["ASPIRE_ALLOW_UNSECURED_TRANSPORT"] = "true"; // loopback only
        }
    }
}

/// <summary>One run on this machine: its data folder, its port, and what a person at the terminal sees of it.</summary>
internal sealed partial class LocalRun
{
    private readonly string? servers;

    private LocalRun(string dataFolder, int? apiPort, string? servers)
    {
        DataFolder = dataFolder;
        ApiPort = apiPort;
        this.servers = servers;
    }

    /// <summary>Where everything that outlives a run is kept.</summary>
    public string DataFolder { get; }

    /// <summary>The port on which the Api listens itself.</summary>
    public int? ApiPort { get; }

    /// <summary><c>PORT</c> (8080), <c>DATA_DIR</c> (.data in the repository) and <c>SERVERS</c>.</summary>
    public static LocalRun Read(IDistributedApplicationBuilder builder)
    {
        var dataFolder = builder.Configuration["DATA_DIR"] is { Length: > 0 } given ? given : Path.Combine(builder.AppHostDirectory, "..", ".data");
        var port = builder.Configuration["PORT"] is { Length: > 0 } wanted ? wanted : "8080";
        return int.TryParse(port, out var number) && number is >= 1 and <= 65535
            ? new LocalRun(Path.GetFullPath(dataFolder), number, builder.Configuration["SERVERS"])
            : throw Fail($"PORT must be a number from 1 to 65535, not '{port}'.");
    }

    /// <summary>
    /// True where a container engine answers. Its client alone does not count: many machines have the command and no engine.
    /// <c>SERVERS=local</c> or <c>SERVERS=containers</c> decides without asking.
    /// </summary>
    public bool HasContainerEngine() => servers switch
    {
        "local" => false,
        "containers" => true,
        null or "" => Responds("docker") || Responds("podman"),
        _ => throw Fail($"SERVERS must be local or containers, not '{servers}'."),
    };

    /// <summary>
    /// Takes the data folder for this run, stops what a killed run has left in it, sees that the Api's port is free; then supervision, order at the
    /// stop, and words for the terminal.
    /// </summary>
    public void Supervise(IDistributedApplicationBuilder builder)
    {
        try
        {
            builder.Services.AddSingleton(new DataFolderOwnership(DataFolderLock.Take(DataFolder)));
            var records = Path.Combine(DataFolder, "run");
            var orphans = ChildRecords.StopOrphansAsync(records, TimeProvider.System, CancellationToken.None).GetAwaiter().GetResult();
            if (orphans.Count > 0)
            {
                Terminal.Say($"Stopped what a killed run had left running: {string.Join(", ", orphans)}");
            }

            if (Ports.IsTaken(ApiPort!.Value))
            {
                throw new StartFailure(
                    $"Port {ApiPort} is taken by another program, and the Api is to listen on it. Choose another one: PORT={ApiPort + 1} eng/run");
            }
        }
        catch (StartFailure e)
        {
            throw Fail(e.Message);
        }

        // The terminal is for what a person wants to know; the rest is in the dashboard.
        builder.Services.AddLogging(logging => logging.AddFilter("Aspire", LogLevel.Warning).AddFilter("Microsoft", LogLevel.Warning).AddFilter(
            "System.Net.Http", LogLevel.Warning)
            .AddFilter("Aspire.Hosting.Dcp.DcpHost", LogLevel.Error) // warns that there is no developer certificate; nothing here needs one
                                                                     // a Ctrl-C in the middle of the start, as a stack; what fails is thrown, too
            .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None));
        builder.Configuration["DcpPublisher:WaitForResourceCleanup"] = "true"; // else the orchestrator may outlive us
        builder.Services.AddSingleton(this);
        builder.Services.AddHostedService<ServiceSupervisor>();
    }

    /// <summary>What to do now that it runs.</summary>
    public string Welcome(string? dashboard) => $$$"""

        {{{Terminal.Bold($"Everything runs. http://localhost:{ApiPort}")}}}   demo API key: gk_dev_demo   data: {{{DataFolder}}}   stop: Ctrl-C
        Dashboard (traces, logs, metrics): {{{dashboard ?? "off"}}}

        Make a picture:
          curl -s http://localhost:{{{ApiPort}}}/api/generations -H 'Authorization: Bearer gk_dev_demo' -H 'Content-Type: application/json' -H 'Idempotency-Key: '$RANDOM -d '{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"2K","n":1}}'
        Watch it, with the sessionId from the answer; the last event has the picture's URL:
          curl -N http://localhost:{{{ApiPort}}}/api/generations/SESSION_ID/events -H 'Authorization: Bearer gk_dev_demo'

        """;

    /// <summary>Says what is wrong and ends the process: a stack trace would hide the sentence.</summary>
    private static StartFailure Fail(string message)
    {
        Terminal.Fail(message);
        Environment.Exit(1);
        return new StartFailure(message);
    }

    private static bool Responds(string engine)
    {
        if (Programs.Find(engine) is not { } program)
        {
            return false;
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        try
        {
            return ChildProcess.RunAsync(new ChildCommand(program, "info"), limit.Token).GetAwaiter().GetResult().ExitCode == 0;
        }
        catch (OperationCanceledException)
        {
            return false; // an engine that hangs would hang the start
        }
    }

    /// <summary>The folder's lock, released when everything has stopped.</summary>
    internal sealed record DataFolderOwnership(IDisposable Lock);

    /// <summary>The level of a line of our services' logs: ReadableLines in ServiceDefaults, or the framework's formatter.</summary>
    [GeneratedRegex(
        @"^(\d\d:\d\d:\d\d\.\d{3} )?(?<level>TRC|DBG|INF|WRN|ERR|CRT|trce:|dbug:|info:|warn:|fail:|crit:)",
        RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    internal static partial Regex LogLevelOfLine();
}

/// <summary>
/// Starts services again that crashed, after a growing pause, but not one that somebody stopped; shows their warnings in the terminal; and
/// stops everything in order: those whom users reach, those behind them, and the servers last, so that none loses its database while it
/// finishes.
/// </summary>
internal sealed class ServiceSupervisor(
    DistributedApplicationModel model, ResourceNotificationService notifications, ResourceLoggerService logs, ResourceCommandService commands,
    LocalRun run, LocalRun.DataFolderOwnership folder, IConfiguration configuration, IHostApplicationLifetime lifetime) : BackgroundService
{
    private static readonly string[][] StopOrder = [["api", "worker"], ["relay", "provider-sim"], ["redis"], ["postgres"]];
    private static readonly TimeSpan ServerGrace = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<string, CrashHistory> crashes = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, string> states = new(StringComparer.Ordinal);
    private readonly Stopwatch uptime = Stopwatch.StartNew();
    private volatile bool stopping;
    private int stops;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        lifetime.ApplicationStopping.Register(() => stopping = true);
        foreach (var service in model.Resources.OfType<IServiceResource>())
        {
            _ = ShowWarningsAsync(service, stoppingToken);
        }

        _ = WelcomeAsync(stoppingToken);
        try
        {
            await foreach (var change in notifications.WatchAsync(stoppingToken))
            {
                var state = change.Snapshot.State?.Text ?? "";
                var hasChanged = states.GetValueOrDefault(change.Resource.Name) != state;
                states[change.Resource.Name] = state;
                if (change.Resource is IServiceResource service && hasChanged && state == KnownResourceStates.Finished && !stopping)
                {
                    if (change.Snapshot.ExitCode == 0) Terminal.Progress(service.Name, "was stopped; the dashboard starts it again");
                    else _ = StartAgainAsync(service, change, stoppingToken);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The stop.
        }
    }

    public override async Task StopAsync(CancellationToken ct)
    {
        if (Interlocked.Exchange(ref stops, 1) == 1)
        {
            return; // the host stops once more when it is disposed
        }

        stopping = true;
        Terminal.Say("Stopping");
        foreach (var names in StopOrder)
        {
            await Task.WhenAll(model.Resources.Where(resource => names.Contains(resource.Name)).Select(StopOneAsync));
        }

        await base.StopAsync(ct);
        folder.Lock.Dispose();
    }

    private async Task StopOneAsync(IResource resource)
    {
        var started = uptime.Elapsed;
        if (resource is LocalServerResource server)
        {
            await server.StopAsync(ServerGrace);
        }
        else if (!states.TryGetValue(resource.Name, out var state) || KnownResourceStates.TerminalStates.Contains(state))
        {
            return; // it does not run
        }
        else
        {
            await commands.ExecuteCommandAsync(resource, KnownResourceCommands.StopCommand, CancellationToken.None);
        }

        Terminal.Progress(resource.Name, $"stopped ({(uptime.Elapsed - started).TotalSeconds:0.0} s)");
    }

    private async Task StartAgainAsync(IServiceResource service, ResourceEvent change, CancellationToken ct)
    {
        var history = crashes.GetOrAdd(service.Name, _ => new CrashHistory(TimeProvider.System));
        var how = change.Snapshot.ExitCode is > 128 and var code ? $"was killed by signal {code - 128}"
            : $"exited with code {change.Snapshot.ExitCode}";
        if (history.NextRestart() is not { } pause)
        {
            Terminal.Fail($"{service.Name} {how} for the {CrashHistory.FatalCrashes}th time within a minute, so everything stops. Its last lines "
                + "stand above.");
            Environment.ExitCode = 1;
            lifetime.StopApplication();
            return;
        }

        Terminal.Warn(service.Name, $"{how}; it is started again in {pause.TotalSeconds:0} s");
        try
        {
            await Task.Delay(pause, TimeProvider.System, ct);
            if (!stopping)
            {
                await commands.ExecuteCommandAsync(change.ResourceId, KnownResourceCommands.StartCommand, ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The stop.
        }
    }

    /// <summary>
    /// Lines at Warning and above, with the exception that belongs to them but not its stack, which the dashboard has; and all of stderr.
    /// </summary>
    private async Task ShowWarningsAsync(IServiceResource service, CancellationToken ct)
    {
        try
        {
            var shows = false;
            await foreach (var lines in logs.WatchAsync(service).WithCancellation(ct))
            {
                foreach (var line in lines)
                {
                    // "2026-01-31T09:30:00.1234567Z text": the orchestrator's time stands in front.
                    var text = line.Content.IndexOf(' ', StringComparison.Ordinal) is > 19 and var end && line.Content[end - 1] == 'Z'
                        ? line.Content[(end + 1)..] : line.Content;
                    var level = LocalRun.LogLevelOfLine().Match(Terminal.WithoutColors(text));
                    if (level.Success)
                    {
                        shows = level.Groups["level"].Value is "WRN" or "ERR" or "CRT" or "warn:" or "fail:" or "crit:";
                    }

                    var isFrame = text.TrimStart() is var bare
                        && (bare.StartsWith("at ", StringComparison.Ordinal) || bare.StartsWith("--- End of stack", StringComparison.Ordinal));
                    if ((shows && !isFrame) || line.IsErrorMessage)
                    {
                        Terminal.Log(service.Name, text);
                    }
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The stop.
        }
    }

    private async Task WelcomeAsync(CancellationToken ct)
    {
        try
        {
            foreach (var name in new[] { "api", "worker" })
            {
                await notifications.WaitForResourceHealthyAsync(name, ct);
            }

            var dashboard = configuration["ASPNETCORE_URLS"]?.Split(';')[0];
            Terminal.Say(run.Welcome(configuration["AppHost:BrowserToken"] is { } token ? $"{dashboard}/login?t={token}" : dashboard));
        }
        catch (Exception e) when (e is OperationCanceledException or DistributedApplicationException)
        {
            // The stop, or a service that failed to start: that has been said.
        }
    }
}
