using Generation.LocalServers;

namespace Generation.AppHost.Resources;

/// <summary>One of our services: to the orchestrator a process of its built program, to an IDE and to the manifest a project.</summary>
internal interface IServiceResource : IResourceWithEnvironment, IResourceWithArgs, IResourceWithWaitSupport, IResourceWithServiceDiscovery;

/// <summary>
/// The built program itself. The orchestrator starts a project as <c>dotnet run --project</c>, a second .NET process a service that evaluates the
/// project
/// first: 140 MB and more than a second of a core each (docs/decisions/0017).
/// </summary>
internal sealed class LocalServiceResource(string name, string command, string workingDirectory)
    : ExecutableResource(name, command, workingDirectory), IServiceResource;

/// <summary>The project, as an IDE debugs it and as the manifest describes it.</summary>
internal sealed class ProjectServiceResource(string name) : ProjectResource(name), IServiceResource;

internal static class ServiceExtensions
{
    /// <summary>The port on which a service listens in its container; a service on this machine gets a free one.</summary>
    public const int ContainerPort = 8080;

    /// <param name="builder">The model.</param>
    /// <param name="name">The service's name in the dashboard, in traces and in other services' configuration.</param>
    /// <param name="port">On this machine: the port that it listens on itself, without the orchestrator's proxy; null: any.</param>
    /// <param name="isExternal">True when its users are outside: the manifest gives it a public address.</param>
    public static IResourceBuilder<IServiceResource> AddService<TProject>(
        this IDistributedApplicationBuilder builder, string name, int? port = null, bool isExternal = false)
        where TProject : IProjectMetadata, new()
    {
        if (builder.ExecutionContext.IsPublishMode)
        {
            return builder.AddPublishedService<TProject>(name, isExternal);
        }

        var service = string.IsNullOrEmpty(builder.Configuration["DEBUG_SESSION_PORT"]) ? builder.AddLocalService<TProject>(name)
            : builder.AddDebuggedService<TProject>(name);

        // No launch profile: what a service gets is what stands here.
        service.WithHttpEndpoint(port: port, targetPort: port, isProxied: port is null)
            .WithEnvironment("ASPNETCORE_ENVIRONMENT", "Development")
            .WithEnvironment("DOTNET_ENVIRONMENT", "Development")
            .WithEnvironment("Shutdown__GracePeriod", "00:00:08") // the orchestrator kills after ten
            .WithOtlpExporter();
        return service.WithEnvironment("ASPNETCORE_URLS", ReferenceExpression.Create(
            $"http://localhost:{service.GetEndpoint("http").Property(EndpointProperty.TargetPort)}"));
    }

    private static IResourceBuilder<IServiceResource> AddLocalService<TProject>(this IDistributedApplicationBuilder builder, string name)
        where TProject : IProjectMetadata, new()
    {
        // Our own output folder relative to our project is theirs relative to theirs: bin/<configuration>/<framework>. Found as we run, so that a
        // copy of
        // the repository starts its own services and not those of the folder it was built in.
        var output = AppContext.BaseDirectory.LastIndexOf("/bin/", StringComparison.Ordinal) is >= 0 and var bin
            ? AppContext.BaseDirectory[bin..].Trim('/')
            : throw new StartFailure("The AppHost runs from its build output (bin/<configuration>/<framework>), not from "
                + $"{AppContext.BaseDirectory}.");
        var assembly = Path.GetFileNameWithoutExtension(new TProject().ProjectPath);
        var folder = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory[..bin], "..", assembly));
        var program = Path.Combine(folder, output, assembly + ".dll");
        if (!File.Exists(program))
        {
            throw new StartFailure($"{program} is not there. Build it: dotnet build");
        }

        return builder.AddResource(new LocalServiceResource(name, DotnetPath(), folder)).WithArgs(program);
    }

    private static IResourceBuilder<IServiceResource> AddDebuggedService<TProject>(this IDistributedApplicationBuilder builder, string name)
        where TProject : IProjectMetadata, new()
    {
        var project = new TProject();
#pragma warning disable ASPIREEXTENSION001 // the way to tell an IDE what to debug; AddProject uses it too
        return builder.AddResource(new ProjectServiceResource(name)).WithAnnotation(project)
            .WithDebugSupport(mode => new ProjectLaunchConfiguration { ProjectPath = project.ProjectPath, Mode = mode, DisableLaunchProfile = true },
                "project");
#pragma warning restore ASPIREEXTENSION001
    }

    private static IResourceBuilder<IServiceResource> AddPublishedService<TProject>(
        this IDistributedApplicationBuilder builder, string name, bool isExternal)
        where TProject : IProjectMetadata, new()
    {
        // The ingress ends TLS: both addresses lead to the one port of the container.
        var service = builder.AddResource(new ProjectServiceResource(name)).WithAnnotation(new TProject())
            .WithHttpEndpoint(targetPort: ContainerPort)
            .WithEnvironment("OTEL_SERVICE_NAME", name)
            .WithEnvironment("ASPNETCORE_FORWARDEDHEADERS_ENABLED", "true");
        if (isExternal)
        {
            service.WithHttpsEndpoint(targetPort: ContainerPort).WithExternalHttpEndpoints();
        }

        return service.WithEnvironment("HTTP_PORTS", ReferenceExpression.Create(
            $"{service.GetEndpoint("http").Property(EndpointProperty.TargetPort)}"));
    }

    /// <summary>The dotnet command beside the runtime that we run on, which need not be the one in PATH.</summary>
    private static string DotnetPath()
    {
        var runtimeFolder = System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(); // …/shared/Microsoft.NETCore.App/10.0.1/
        var beside = Path.GetFullPath(Path.Combine(runtimeFolder, "..", "..", "..", "dotnet"));
        return File.Exists(beside) ? beside : Programs.Find("dotnet")
            ?? throw new StartFailure("There is no dotnet command. Install the .NET 10 SDK.");
    }
}
