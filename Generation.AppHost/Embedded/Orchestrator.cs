using System.Runtime.InteropServices;

namespace Generation.AppHost.Embedded;

/// <summary>
/// Starts the boxes of the diagram in the order of their health, restarts what crashes, and stops everything in reverse order:
/// a server stops when the last of those that use it has stopped.
/// </summary>
internal sealed class Orchestrator(IReadOnlyList<RunnableResource> resources, string dataFolder, ConsoleLog log, TimeProvider time) : IDisposable
{
    /// <summary>Long enough for a worker to finish a transfer; the same as the grace period in the cloud.</summary>
    private static readonly TimeSpan StopGrace = TimeSpan.FromSeconds(60);

    private const int DefaultPostgresPort = 54320;
    private const int DefaultRedisPort = 56379;

    private readonly HttpClient http = new() { Timeout = TimeSpan.FromSeconds(5) };
    private readonly CancellationTokenSource stopping = new();
    private readonly CancellationTokenSource hurrying = new();
    private readonly Dictionary<RunnableResource, IServerProcess> processes = [];
    private readonly Dictionary<RunnableResource, TaskCompletionSource> ready = [];
    private readonly HashSet<RunnableResource> started = [];

    private string RecordsFolder => Path.Combine(dataFolder, "run");

    /// <summary>Runs until told to stop. Returns the exit code: 0 after an orderly stop, 1 when something failed for good.</summary>
    public async Task<int> RunAsync()
    {
        using var signals = new SignalsToStop(this);
        try
        {
            if (OperatingSystem.IsWindows()) throw new StartFailure("Without containers this runs on Linux and macOS. On Windows install Docker Desktop, and start with: dotnet run --project Generation.AppHost -p:UseAspire=true");
            using var folderLock = DataFolderLock.Take(dataFolder);
            await StopOrphansAsync();
            ChoosePorts();
            foreach (var resource in resources) Prepare(resource);
            return await SuperviseAllAsync();
        }
        catch (StartFailure e)
        {
            log.Fail(e.Message);
            return 1;
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            return 0;
        }
    }

    public void Dispose()
    {
        http.Dispose();
        stopping.Dispose();
        hurrying.Dispose();
    }

    private async Task<int> SuperviseAllAsync()
    {
        var exitCode = 0;
        var announcement = AnnounceWhenReadyAsync();
        var supervisions = resources.Select(SuperviseAsync).ToList();
        try
        {
            // None returns before the stop, so the first to end has either failed or been told to.
            await await Task.WhenAny(supervisions);
        }
        catch (StartFailure e)
        {
            log.Fail(e.Message);
            exitCode = 1;
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The orderly stop.
        }

        await stopping.CancelAsync();
        await Task.WhenAll([announcement, .. supervisions]).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        await StopAllAsync();
        return exitCode;
    }

    /// <summary>Starts a resource when all it waits for is ready, and starts it again whenever it exits.</summary>
    private async Task SuperviseAsync(RunnableResource resource)
    {
        var process = processes[resource];
        var crashes = new CrashHistory(time);
        foreach (var dependency in resource.WaitsFor) await ready[dependency].Task.WaitAsync(stopping.Token);

        while (true)
        {
            lock (started) started.Add(resource);
            var startedAt = time.GetTimestamp();
            var isReady = await process.StartAsync(stopping.Token);
            if (isReady)
            {
                if (resource is PostgresServerResource { Process: { } server } postgres)
                {
                    foreach (var database in postgres.Databases) await server.EnsureDatabaseAsync(database.DatabaseName, stopping.Token);
                }

                log.Progress(resource.Name, $"ready on {process.Address} ({time.GetElapsedTime(startedAt).TotalSeconds:0.0} s)");
                ready[resource].TrySetResult();
            }

            var exitCode = await process.Exited.WaitAsync(stopping.Token);
            var how = exitCode > 128 ? $"was killed by signal {exitCode - 128}" : $"exited with code {exitCode}{(isReady ? "" : " before it was ready")}";
            if (crashes.NextRestart() is not { } delay)
                throw new StartFailure($"{resource.Name} {how}, for the {CrashHistory.FatalCrashes}th time within a minute, so everything stops. Its last lines stand above.");
            log.Progress(resource.Name, $"{how}; it is started again in {delay.TotalSeconds:0} s");
            await Task.Delay(delay, time, stopping.Token);
        }
    }

    private async Task StopAllAsync()
    {
        log.Say("stopping (once more Ctrl-C: at once)");
        var stops = new Dictionary<RunnableResource, Task>();
        await Task.WhenAll(resources.Select(StopOf));

        Task StopOf(RunnableResource resource) =>
            stops.TryGetValue(resource, out var known) ? known : stops[resource] = StopAfterUsersAsync(resource, [.. resources.Where(user => user.WaitsFor.Contains(resource)).Select(StopOf)]);

        async Task StopAfterUsersAsync(RunnableResource resource, Task[] users)
        {
            await Task.WhenAll(users);
            var askedAt = time.GetTimestamp();
            if (!started.Contains(resource)) return;
            await processes[resource].StopAsync(StopGrace, hurrying.Token);
            log.Progress(resource.Name, $"stopped ({time.GetElapsedTime(askedAt).TotalSeconds:0.0} s)");
        }
    }

    private async Task AnnounceWhenReadyAsync()
    {
        foreach (var resource in resources) await ready[resource].Task.WaitAsync(stopping.Token);
        foreach (var service in resources.OfType<ProjectResource>().Where(service => service.IsExternal))
        {
            var url = service.Url.GetLeftPart(UriPartial.Authority);
            log.Say($$$"""

                {{{log.Bold($"Everything runs. {url}")}}}   demo API key: gk_dev_demo   data: {{{dataFolder}}}   stop: Ctrl-C

                Make a picture:
                  curl -s {{{url}}}/api/generations -H 'Authorization: Bearer gk_dev_demo' -H 'Content-Type: application/json' -H 'Idempotency-Key: '$RANDOM -d '{"model":"seedream-4","params":{"prompt":"a lighthouse at dusk","size":"2K","n":1}}'
                Watch it, with the sessionId from the answer; the last event has the picture's URL:
                  curl -N {{{url}}}/api/generations/SESSION_ID/events -H 'Authorization: Bearer gk_dev_demo'

                """);
        }
    }

    /// <summary>Ports stay the same for the whole run, restarts included: others have them in their configuration.</summary>
    private void ChoosePorts()
    {
        var services = resources.OfType<ProjectResource>().Where(service => service.HasHttpEndpoint).ToList();
        foreach (var service in services)
        {
            if (service.FixedPort is { } port && Ports.IsTaken(port))
                throw new StartFailure($"Port {port} is taken by another program, and {service.Name} is to listen on it. Choose another one: PORT={port + 1} eng/run");
        }

        var chosen = services.Select(service => service.FixedPort).OfType<int>().ToHashSet();
        foreach (var service in services)
        {
            service.Port = service.FixedPort ?? Ports.Free();
            while (service.FixedPort is null && !chosen.Add(service.Port)) service.Port = Ports.Free(); // nobody listens yet, so the same one may come twice
        }
    }

    private void Prepare(RunnableResource resource)
    {
        log.Introduce(resource.Name);
        ready[resource] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var recordPath = Path.Combine(RecordsFolder, $"{resource.Name}.pid");
        processes[resource] = resource switch
        {
            PostgresServerResource postgres => postgres.Process = new PostgresProcess(new PostgresOptions
            {
                Folder = Path.Combine(dataFolder, postgres.Name),
                RecordPath = recordPath,
                PreferredPort = DefaultPostgresPort,
                ServerArguments = postgres.Arguments,
                OnLine = line => log.Child(postgres.Name, line),
            }, time),
            RedisResource redis => redis.Process = new RedisProcess(new RedisOptions
            {
                Folder = Path.Combine(dataFolder, redis.Name),
                RecordPath = recordPath,
                PreferredPort = DefaultRedisPort,
                OnLine = line => log.Child(redis.Name, line),
            }, time),
            ProjectResource service => new ServiceProcess(() => Options(service, recordPath), http, time),
            _ => throw new NotSupportedException($"{resource.Name} is of no kind that runs here."),
        };
    }

    private ServiceOptions Options(ProjectResource service, string recordPath)
    {
        var environment = new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["OTEL_SERVICE_NAME"] = service.Name,
            ["Logging__Console__FormatterName"] = "simple",
            ["Logging__Console__FormatterOptions__SingleLine"] = "true", // one line a message, as every line gets a name in front
            ["DOTNET_SYSTEM_CONSOLE_ALLOW_ANSI_COLOR_REDIRECTION"] = log.UseColors ? "true" : null,
            ["ASPNETCORE_URLS"] = service.HasHttpEndpoint ? service.Url.GetLeftPart(UriPartial.Authority) : null,

            // Ours, or from our launch profile; a service must not take them for its own.
            ["PORT"] = null,
            ["DATA_DIR"] = null,
            ["DOTNET_LAUNCH_PROFILE"] = null,
            ["ASPIRE_DASHBOARD_OTLP_ENDPOINT_URL"] = null,
            ["ASPIRE_RESOURCE_SERVICE_ENDPOINT_URL"] = null,
        };
        foreach (var write in service.EnvironmentWriters) write(environment);

        // Our own output folder relative to our project is theirs relative to theirs: bin/<configuration>/<framework>.
        var projectFolder = Path.GetDirectoryName(service.ProjectPath)!;
        var outputFolder = AppContext.BaseDirectory[AppContext.BaseDirectory.LastIndexOf("/bin/", StringComparison.Ordinal)..].Trim('/');
        return new ServiceOptions
        {
            AssemblyPath = Path.Combine(projectFolder, outputFolder, Path.GetFileNameWithoutExtension(service.ProjectPath) + ".dll"),
            WorkingDirectory = projectFolder,
            Environment = environment,
            Url = service.HasHttpEndpoint ? service.Url : null,
            HealthPath = service.HealthPath,
            RecordPath = recordPath,
            OnLine = line => log.Child(service.Name, line),
            OnWaiting = what => log.Progress(service.Name, what),
        };
    }

    private async Task StopOrphansAsync()
    {
        var stopped = await ChildRecords.StopOrphansAsync(RecordsFolder, time, stopping.Token);
        if (stopped.Count > 0) log.Say($"stopped what a killed run had left running: {string.Join(", ", stopped)}");
    }

    /// <summary>The first signal stops in order, the second at once.</summary>
    private sealed class SignalsToStop : IDisposable
    {
        private readonly List<PosixSignalRegistration> registrations = [];

        public SignalsToStop(Orchestrator orchestrator)
        {
            foreach (var signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT })
            {
                registrations.Add(PosixSignalRegistration.Create(signal, context =>
                {
                    context.Cancel = true;
                    var token = orchestrator.stopping.IsCancellationRequested ? orchestrator.hurrying : orchestrator.stopping;
                    _ = token.CancelAsync();
                }));
            }
        }

        public void Dispose() => registrations.ForEach(registration => registration.Dispose());
    }
}

/// <summary>One run at a time owns a data folder. The kernel takes the lock back when its owner dies, however it dies.</summary>
internal static class DataFolderLock
{
    public static IDisposable Take(string dataFolder)
    {
        Directory.CreateDirectory(dataFolder);
        var path = Path.Combine(dataFolder, "apphost.lock");
        var ownerPath = Path.Combine(dataFolder, "apphost.owner"); // a file of its own: what is locked cannot be read
        try
        {
            var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            File.WriteAllText(ownerPath, $"{Environment.ProcessId}");
            return file;
        }
        catch (IOException) when (File.Exists(ownerPath))
        {
            throw new StartFailure($"Another run (process {File.ReadAllText(ownerPath)}) uses {dataFolder}. Stop it first, or give this one a folder and a port of its own: DATA_DIR=.data-2 PORT=8081 eng/run");
        }
    }
}
