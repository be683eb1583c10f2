using Generation.LocalServers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Generation.AppHost.Resources;

/// <summary>
/// A database or queue server as a process of this machine, where no container engine answers. To the rest of the model it is what the
/// container would be: it has a connection string, a state, a console log, and others wait for it.
/// <para>
/// It is our own child and not the orchestrator's: so it is started with everything that <see cref="PostgresProcess"/> knows (initdb, root, stale
/// locks, version match), outlives the services that use it, and is stopped by the kernel when the AppHost is killed.
/// </para>
/// </summary>
internal abstract class LocalServerResource(string name, string kind) : Resource(name), IResourceWithConnectionString, IResourceWithWaitSupport
{
    private readonly TaskCompletionSource started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource stopping = new();
    private Task supervision = Task.CompletedTask;
    private ILogger? console;

    /// <summary>What the dashboard calls it.</summary>
    public string Kind => kind;

    public abstract ReferenceExpression ConnectionStringExpression { get; }

    protected abstract IServerProcess Process { get; }

    /// <summary>Called each time that the server answers again.</summary>
    protected virtual Task OnStartedAsync(CancellationToken ct) => Task.CompletedTask;

    /// <summary>
    /// Starts it, starts it again whenever it exits, and tells the dashboard. Completes after <see cref="StopAsync"/>, or when it cannot run here.
    /// </summary>
    public Task RunAsync(InitializeResourceEvent model)
    {
        console = model.Logger;
        supervision = SuperviseAsync(model);
        return supervision;
    }

    /// <summary>Stops it gracefully, after its users have stopped.</summary>
    public async Task StopAsync(TimeSpan grace)
    {
        await stopping.CancelAsync();
        await supervision.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Process.StopAsync(grace, CancellationToken.None); // also one that was still starting
    }

    /// <summary>A part of the connection string that is known once the server runs.</summary>
    protected ReferenceExpression WhenStarted(Func<string> value) => ReferenceExpression.Create($"{new LateValue(started.Task, value)}");

    /// <summary>A line that the server wrote, for its console log.</summary>
    protected void OnLine(string line) => console?.LogInformation("{Line}", line);

    private async Task SuperviseAsync(InitializeResourceEvent model)
    {
        var time = TimeProvider.System;
        var crashes = new CrashHistory(time);
        try
        {
            while (true)
            {
                await PublishAsync(KnownResourceStates.Starting);
                if (await Process.StartAsync(stopping.Token))
                {
                    await OnStartedAsync(stopping.Token);
                    started.TrySetResult();
                    await model.Eventing.PublishAsync(new ConnectionStringAvailableEvent(this, model.Services), stopping.Token);
                    await PublishAsync(KnownResourceStates.Running);
                    model.Logger.LogInformation("Ready on {Address}", Process.Address);
                }

                var exitCode = await Process.Exited.WaitAsync(stopping.Token);
                await PublishAsync(KnownResourceStates.Exited, exitCode);
                var pause = crashes.NextRestart() ?? throw new StartFailure(
                    $"{Name} exited with code {exitCode} for the {CrashHistory.FatalCrashes}th time within a minute, so everything stops. Its "
                        + "console log says why.");
                Terminal.Warn(Name, $"exited with code {exitCode}; it is started again in {pause.TotalSeconds:0} s");
                await Task.Delay(pause, time, stopping.Token);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            await PublishAsync(KnownResourceStates.Exited);
        }
        catch (StartFailure e)
        {
            started.TrySetException(e);
            _ = started.Task.Exception; // observed: it is reported below
            model.Logger.LogError("{Failure}", e.Message);
            await PublishAsync(KnownResourceStates.FailedToStart);
            Terminal.Fail(e.Message);
            Environment.ExitCode = 1;
            model.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        }

        Task PublishAsync(string state, int? exitCode = null) => model.Notifications.PublishUpdateAsync(this, snapshot => snapshot with
        {
            State = state,
            ExitCode = exitCode,
            StartTimeStamp = state == KnownResourceStates.Running ? time.GetUtcNow().UtcDateTime : snapshot.StartTimeStamp,
            StopTimeStamp = state == KnownResourceStates.Exited ? time.GetUtcNow().UtcDateTime : null,
            Properties = state == KnownResourceStates.Running
                ? [.. snapshot.Properties.Where(property => property.Name != CustomResourceKnownProperties.Source),
                new(CustomResourceKnownProperties.Source, Process.Address)] : snapshot.Properties,
            Urls = state == KnownResourceStates.Running ? [new UrlSnapshot(Name: "tcp", Url: $"tcp://{Process.Address}", IsInternal: false)]
                : snapshot.Urls,
        });
    }

    private sealed record LateValue(Task Known, Func<string> Value) : IValueProvider, IManifestExpressionProvider
    {
        public string ValueExpression => ""; // a local server is in no manifest

        public async ValueTask<string?> GetValueAsync(CancellationToken ct = default)
        {
            await Known.WaitAsync(ct);
            return Value();
        }
    }
}

internal sealed class LocalPostgresResource : LocalServerResource
{
    private readonly PostgresProcess process;
    private readonly string[] databases;

    public LocalPostgresResource(string name, PostgresOptions options, params string[] databases)
        : base(name, "PostgreSQL")
    {
        process = new PostgresProcess(options with { OnLine = OnLine }, TimeProvider.System);
        this.databases = databases;
    }

    public ReferenceExpression Port => WhenStarted(() => $"{process.Port}");

    public ReferenceExpression Password => WhenStarted(() => process.Password!);

    public override ReferenceExpression ConnectionStringExpression => ReferenceExpression.Create(
        $"Host=127.0.0.1;Port={Port};Username={PostgresProcess.User};Password={Password}");

    protected override IServerProcess Process => process;

    protected override async Task OnStartedAsync(CancellationToken ct)
    {
        foreach (var database in databases)
        {
            await process.EnsureDatabaseAsync(database, ct);
        }
    }
}

internal sealed class LocalRedisResource : LocalServerResource
{
    private readonly RedisProcess process;

    public LocalRedisResource(string name, RedisOptions options)
        : base(name, "Redis") => process = new RedisProcess(options with { OnLine = OnLine }, TimeProvider.System);

    public override ReferenceExpression ConnectionStringExpression => WhenStarted(() => process.ConnectionString);

    protected override IServerProcess Process => process;
}

internal static class LocalServerExtensions
{
    private const int PreferredPostgresPort = 54320;
    private const int PreferredRedisPort = 56379;

    /// <summary>A PostgreSQL server with data, password and port below <paramref name="dataFolder"/>, and a database of each name in it.</summary>
    public static IResourceBuilder<LocalPostgresResource> AddLocalPostgres(
        this IDistributedApplicationBuilder builder, string name, string dataFolder, string[] serverArguments, params string[] databases) =>
        builder.AddLocalServer(new LocalPostgresResource(name, new PostgresOptions
        {
            Folder = Path.Combine(dataFolder, name),
            RecordPath = RecordPath(dataFolder, name),
            PreferredPort = PreferredPostgresPort,
            ServerArguments = serverArguments,
        }, databases));

    /// <summary>A Redis (or Valkey) server with data, password and port below <paramref name="dataFolder"/>.</summary>
    public static IResourceBuilder<LocalRedisResource> AddLocalRedis(this IDistributedApplicationBuilder builder, string name, string dataFolder) =>
        builder.AddLocalServer(new LocalRedisResource(name, new RedisOptions
        {
            Folder = Path.Combine(dataFolder, name),
            RecordPath = RecordPath(dataFolder, name),
            PreferredPort = PreferredRedisPort,
        }));

    /// <summary>A process of this machine, or a container where an engine answers.</summary>
    public static IResourceBuilder<IResourceWithConnectionString> AddGenerationRedis(
        this IDistributedApplicationBuilder builder, string dataFolder, bool inContainer) =>
        inContainer ? builder.AddRedis("redis").WithDataVolume(DatabaseExtensions.VolumeName(dataFolder, "redis"))
            : builder.AddLocalRedis("redis", dataFolder);

    private static string RecordPath(string dataFolder, string name) => Path.Combine(dataFolder, "run", $"{name}.pid");

    private static IResourceBuilder<T> AddLocalServer<T>(this IDistributedApplicationBuilder builder, T server)
        where T : LocalServerResource => builder.AddResource(server)
            .WithInitialState(new CustomResourceSnapshot { ResourceType = server.Kind, State = KnownResourceStates.NotStarted, Properties = [] })
            .ExcludeFromManifest()
            .OnInitializeResource((resource, model, _) => resource.RunAsync(model));
}
