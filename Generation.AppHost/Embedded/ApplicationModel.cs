using System.Runtime.CompilerServices;
using System.Text;
using Generation.AppHost.Embedded;

namespace Aspire.Hosting.ApplicationModel;

/// <summary>One box of the diagram.</summary>
internal interface IResource
{
    string Name { get; }
}

/// <summary>A box that others reach by a connection string.</summary>
internal interface IResourceWithConnectionString : IResource;

/// <summary>A box whose endpoints others find by its name.</summary>
internal interface IResourceWithServiceDiscovery : IResource;

/// <summary>Configures one box; the extension methods in <c>Aspire.Hosting</c> do it.</summary>
internal interface IResourceBuilder<out T>
    where T : IResource
{
    T Resource { get; }

    IDistributedApplicationBuilder ApplicationBuilder { get; }
}

/// <summary>What the orchestrator starts: a name, arguments, and whom it waits for.</summary>
internal abstract class RunnableResource(string name) : IResource
{
    public string Name { get; } = name;

    /// <summary>Those that must be healthy first.</summary>
    public HashSet<RunnableResource> WaitsFor { get; } = [];

    public List<string> Arguments { get; } = [];
}

internal sealed class PostgresServerResource(string name) : RunnableResource(name), IResourceWithConnectionString
{
    public List<PostgresDatabaseResource> Databases { get; } = [];

    /// <summary>The server behind the box, once the orchestrator has made it.</summary>
    public PostgresProcess? Process { get; set; }
}

internal sealed class PostgresDatabaseResource(string name, string databaseName, PostgresServerResource server) : IResourceWithConnectionString
{
    public string Name => name;

    public string DatabaseName => databaseName;

    public PostgresServerResource Server => server;
}

internal sealed class RedisResource(string name) : RunnableResource(name), IResourceWithConnectionString
{
    /// <summary>The server behind the box, once the orchestrator has made it.</summary>
    public RedisProcess? Process { get; set; }
}

/// <summary>One of our services.</summary>
internal sealed class ProjectResource(string name, string projectPath) : RunnableResource(name), IResourceWithServiceDiscovery
{
    public string ProjectPath => projectPath;

    public bool HasHttpEndpoint { get; set; }

    /// <summary>True when people use it too, not only other services: its address is shown.</summary>
    public bool IsExternal { get; set; }

    /// <summary>The port that AppHost.cs asks for; null: any free one.</summary>
    public int? FixedPort { get; set; }

    /// <summary>The port it has; 0 until the orchestrator chose.</summary>
    public int Port { get; set; }

    public string? HealthPath { get; set; }

    /// <summary>Writes a service's variables, once all it waits for has an address.</summary>
    public List<Action<IDictionary<string, string?>>> EnvironmentWriters { get; } = [];

    public Uri Url => Port == 0 ? throw new InvalidOperationException($"{Name} has no port yet.") : new Uri($"http://localhost:{Port}");
}

/// <summary>Where a service listens, known when it is written out.</summary>
internal sealed class EndpointReference(ProjectResource owner)
{
    public string Url => owner.Url.GetLeftPart(UriPartial.Authority);
}

/// <summary>A text with endpoints in it, put together late: when the endpoints have their ports.</summary>
internal sealed class ReferenceExpression
{
    private readonly List<Func<string>> parts;

    private ReferenceExpression(List<Func<string>> parts) => this.parts = parts;

    public static ReferenceExpression Create(in ExpressionInterpolatedStringHandler handler) => new(handler.Parts);

    public string Value() => parts.Aggregate(new StringBuilder(), (text, part) => text.Append(part())).ToString();

    /// <summary>Lets <c>Create($"{endpoint}/path")</c> keep the endpoint instead of its text.</summary>
    [InterpolatedStringHandler]
    internal readonly ref struct ExpressionInterpolatedStringHandler(int literalLength, int formattedCount)
    {
        public List<Func<string>> Parts { get; } = new(formattedCount + (literalLength > 0 ? formattedCount + 1 : 0));

        public void AppendLiteral(string value) => Parts.Add(() => value);

        public void AppendFormatted(string? value) => Parts.Add(() => value ?? "");

        public void AppendFormatted(EndpointReference endpoint) => Parts.Add(() => endpoint.Url);
    }
}
