using System.Globalization;
using System.Reflection;
using Generation.AppHost.Embedded;
using Microsoft.Extensions.Configuration;

namespace Aspire.Hosting;

/// <summary>
/// Stands in for Aspire where there is no container engine: the members that AppHost.cs calls, with Aspire's names and meaning.
/// The services get the same environment variables from both, so they cannot tell the difference.
/// </summary>
internal sealed class DistributedApplication
{
    private readonly DistributedApplicationBuilder builder;

    internal DistributedApplication(DistributedApplicationBuilder builder) => this.builder = builder;

    public static IDistributedApplicationBuilder CreateBuilder(string[] args) => new DistributedApplicationBuilder(args);

    /// <summary>Runs until Ctrl-C, SIGTERM, or until something died for good; then the process's exit code is 1.</summary>
    public void Run()
    {
        using var orchestrator = new Orchestrator(builder.Resources, builder.DataFolder, ConsoleLog.ForTerminal(), TimeProvider.System);
        Environment.ExitCode = orchestrator.RunAsync().GetAwaiter().GetResult();
    }
}

internal sealed class DistributedApplicationExecutionContext
{
    /// <summary>Always: publishing is what Aspire is for.</summary>
    public bool IsRunMode => true;
}

internal interface IDistributedApplicationBuilder
{
    /// <summary>Environment variables and command line.</summary>
    ConfigurationManager Configuration { get; }

    /// <summary>The folder of AppHost.cs.</summary>
    string AppHostDirectory { get; }

    DistributedApplicationExecutionContext ExecutionContext { get; }

    DistributedApplication Build();
}

internal sealed class DistributedApplicationBuilder : IDistributedApplicationBuilder
{
    public DistributedApplicationBuilder(string[] args)
    {
        Configuration.AddEnvironmentVariables().AddCommandLine(args);
        AppHostDirectory = Assembly.GetEntryAssembly()!.GetCustomAttributes<AssemblyMetadataAttribute>()
            .Single(metadata => metadata.Key == "AppHostDirectory").Value!;
        DataFolder = Path.GetFullPath(Configuration["DATA_DIR"] ?? Path.Combine(AppHostDirectory, "..", ".data"));
    }

    public ConfigurationManager Configuration { get; } = new();

    public string AppHostDirectory { get; }

    public DistributedApplicationExecutionContext ExecutionContext { get; } = new();

    /// <summary>Where everything that outlives a run is kept.</summary>
    public string DataFolder { get; }

    public List<RunnableResource> Resources { get; } = [];

    public DistributedApplication Build() => new(this);
}

internal sealed record ResourceBuilder<T>(T Resource, IDistributedApplicationBuilder ApplicationBuilder) : IResourceBuilder<T>
    where T : IResource;

/// <summary>The extension methods that AppHost.cs calls.</summary>
internal static class ResourceBuilderExtensions
{
    public static IResourceBuilder<PostgresServerResource> AddPostgres(this IDistributedApplicationBuilder builder, string name) =>
        Add(builder, new PostgresServerResource(name));

    public static IResourceBuilder<PostgresDatabaseResource> AddDatabase(this IResourceBuilder<PostgresServerResource> builder, string name, string? databaseName = null)
    {
        var database = new PostgresDatabaseResource(name, databaseName ?? name, builder.Resource);
        builder.Resource.Databases.Add(database);
        return new ResourceBuilder<PostgresDatabaseResource>(database, builder.ApplicationBuilder);
    }

    public static IResourceBuilder<RedisResource> AddRedis(this IDistributedApplicationBuilder builder, string name) =>
        Add(builder, new RedisResource(name));

    /// <summary>Launch profiles are not read here, so only "none" is accepted.</summary>
    public static IResourceBuilder<ProjectResource> AddProject(this IDistributedApplicationBuilder builder, string name, string projectPath, string? launchProfileName)
    {
        if (launchProfileName is not null) throw new NotSupportedException("The embedded host reads no launch profiles: pass null.");
        return Add(builder, new ProjectResource(name, Path.GetFullPath(projectPath, builder.AppHostDirectory)));
    }

    /// <summary>The installed version runs here; the tag is for the container.</summary>
    public static IResourceBuilder<T> WithImageTag<T>(this IResourceBuilder<T> builder, string tag)
        where T : RunnableResource
    {
        ArgumentException.ThrowIfNullOrEmpty(tag);
        return builder;
    }

    /// <summary>Data always outlives the run here, in the data folder.</summary>
    public static IResourceBuilder<T> WithDataVolume<T>(this IResourceBuilder<T> builder)
        where T : RunnableResource, IResourceWithConnectionString => builder;

    public static IResourceBuilder<T> WithArgs<T>(this IResourceBuilder<T> builder, params string[] args)
        where T : RunnableResource
    {
        builder.Resource.Arguments.AddRange(args);
        return builder;
    }

    /// <param name="builder">The service.</param>
    /// <param name="port">The port to listen on; null: any free one.</param>
    /// <param name="isProxied">There is no proxy here: every service listens itself.</param>
    public static IResourceBuilder<ProjectResource> WithHttpEndpoint(this IResourceBuilder<ProjectResource> builder, int? port = null, bool? isProxied = null)
    {
        _ = isProxied;
        if (port is < 1 or > 65535) throw new ArgumentOutOfRangeException(nameof(port), port, "A port is a number from 1 to 65535.");
        builder.Resource.HasHttpEndpoint = true;
        builder.Resource.FixedPort = port;
        return builder;
    }

    public static IResourceBuilder<ProjectResource> WithExternalHttpEndpoints(this IResourceBuilder<ProjectResource> builder)
    {
        builder.Resource.IsExternal = true;
        return builder;
    }

    public static IResourceBuilder<ProjectResource> WithHttpHealthCheck(this IResourceBuilder<ProjectResource> builder, string path)
    {
        builder.Resource.HealthPath = path;
        return builder;
    }

    public static EndpointReference GetEndpoint(this IResourceBuilder<ProjectResource> builder, string name) =>
        name == "http" ? new EndpointReference(builder.Resource) : throw new NotSupportedException($"There is only the endpoint http here, not {name}.");

    public static IResourceBuilder<T> WaitFor<T>(this IResourceBuilder<T> builder, IResourceBuilder<IResource> dependency)
        where T : RunnableResource
    {
        builder.Resource.WaitsFor.Add(RunnableBehind(dependency.Resource));
        return builder;
    }

    public static IResourceBuilder<ProjectResource> WithEnvironment(this IResourceBuilder<ProjectResource> builder, string name, string? value)
    {
        builder.Resource.EnvironmentWriters.Add(environment => environment[name] = value);
        return builder;
    }

    public static IResourceBuilder<ProjectResource> WithEnvironment(this IResourceBuilder<ProjectResource> builder, string name, ReferenceExpression value)
    {
        builder.Resource.EnvironmentWriters.Add(environment => environment[name] = value.Value());
        return builder;
    }

    /// <summary>
    /// <c>ConnectionStrings__name</c> and the single properties, as Aspire writes them. Its address is only known once it runs,
    /// so the service waits for it too.
    /// </summary>
    public static IResourceBuilder<ProjectResource> WithReference(this IResourceBuilder<ProjectResource> builder, IResourceBuilder<IResourceWithConnectionString> source)
    {
        builder.Resource.WaitsFor.Add(RunnableBehind(source.Resource));
        builder.Resource.EnvironmentWriters.Add(environment =>
        {
            var name = source.Resource.Name;
            var prefix = VariablePrefix(name);
            switch (source.Resource)
            {
                case PostgresDatabaseResource { Server.Process: { } server } database:
                    environment[$"ConnectionStrings__{name}"] = server.ConnectionString(database.DatabaseName);
                    environment[$"{prefix}_HOST"] = "127.0.0.1";
                    environment[$"{prefix}_PORT"] = server.Port.ToString(CultureInfo.InvariantCulture);
                    environment[$"{prefix}_USERNAME"] = PostgresProcess.User;
                    environment[$"{prefix}_PASSWORD"] = server.Password;
                    environment[$"{prefix}_DATABASENAME"] = database.DatabaseName;
                    environment[$"{prefix}_URI"] = $"postgresql://{PostgresProcess.User}:{server.Password}@{server.Address}/{database.DatabaseName}";
                    environment[$"{prefix}_JDBCCONNECTIONSTRING"] = $"jdbc:postgresql://{server.Address}/{database.DatabaseName}";
                    break;
                case RedisResource { Process: { } server }:
                    environment[$"ConnectionStrings__{name}"] = server.ConnectionString;
                    environment[$"{prefix}_HOST"] = "127.0.0.1";
                    environment[$"{prefix}_PORT"] = server.Port.ToString(CultureInfo.InvariantCulture);
                    environment[$"{prefix}_PASSWORD"] = server.Password;
                    environment[$"{prefix}_URI"] = $"redis://:{server.Password}@{server.Address}";
                    break;
                default:
                    throw new NotSupportedException($"{name} cannot be referenced: only a database and Redis can.");
            }
        });
        return builder;
    }

    /// <summary><c>services__name__http__0</c> and <c>NAME_HTTP</c>, as Aspire writes them.</summary>
    public static IResourceBuilder<ProjectResource> WithReference(this IResourceBuilder<ProjectResource> builder, IResourceBuilder<IResourceWithServiceDiscovery> source)
    {
        var service = (ProjectResource)source.Resource;
        builder.Resource.EnvironmentWriters.Add(environment =>
        {
            var url = service.Url.GetLeftPart(UriPartial.Authority);
            environment[$"services__{service.Name}__http__0"] = url;
            environment[$"{VariablePrefix(service.Name)}_HTTP"] = url;
        });
        return builder;
    }

    private static ResourceBuilder<T> Add<T>(IDistributedApplicationBuilder builder, T resource)
        where T : RunnableResource
    {
        ((DistributedApplicationBuilder)builder).Resources.Add(resource);
        return new ResourceBuilder<T>(resource, builder);
    }

    private static RunnableResource RunnableBehind(IResource resource) => resource switch
    {
        PostgresDatabaseResource database => database.Server,
        RunnableResource runnable => runnable,
        _ => throw new NotSupportedException($"{resource.Name} does not run."),
    };

    private static string VariablePrefix(string name) =>
        string.Concat(name.Select(letter => char.IsAsciiLetterOrDigit(letter) ? char.ToUpperInvariant(letter) : '_'));
}
