using Generation.LocalServers;

namespace Generation.AppHost.Resources;

/// <summary>
/// The database and its logins. Only the owner's may change the schema, and only the relay's <c>migrate</c> gets it; each service logs in as a role
/// of
/// its own that owns nothing (docs/decisions/0016). The migration creates the roles and sets their passwords.
/// </summary>
/// <param name="Name">The database's name.</param>
/// <param name="Server">The server to wait for; null where it is external.</param>
/// <param name="Connection">Host, port and what else is the same for everybody: the beginning of every connection string.</param>
/// <param name="Owner">User name and password of the owner: the rest of its connection string.</param>
/// <param name="Passwords">The password of each role, by the service's name.</param>
internal sealed record GenerationDatabase(
    string Name, IResourceBuilder<IResource>? Server, ReferenceExpression Connection, ReferenceExpression Owner,
    IReadOnlyDictionary<string, IResourceBuilder<ParameterResource>> Passwords);

internal static class DatabaseExtensions
{
    private const string Name = "generation";
    private static readonly string[] Services = ["api", "relay", "worker"];

    /// <summary>A process of this machine, or a container where an engine answers; data and passwords survive.</summary>
    public static GenerationDatabase AddGenerationDatabase(this IDistributedApplicationBuilder builder, string dataFolder, bool inContainer)
    {
        string[] arguments = ["-c", "max_connections=300"]; // three services with their pools
        var passwords = Services.ToDictionary(
            service => service,
            service => builder.AddParameter(PasswordName(service), () => Secrets.LoadOrCreate(Path.Combine(dataFolder, "passwords", service)),
                secret: true),
            StringComparer.Ordinal);
        if (!inContainer)
        {
            var local = builder.AddLocalPostgres("postgres", dataFolder, arguments, Name);
            return new GenerationDatabase(Name, local, ReferenceExpression.Create($"Host=127.0.0.1;Port={local.Resource.Port};Database={Name}"),
                ReferenceExpression.Create($"Username={PostgresProcess.User};Password={local.Resource.Password}"), passwords);
        }

        // The image's tag is pinned so that a data volume survives upgrades of Aspire.
        var owner = builder.AddParameter(PasswordName("owner"), () => Secrets.LoadOrCreate(Path.Combine(dataFolder, "passwords", "owner")),
            secret: true);
        var postgres = builder.AddPostgres("postgres", password: owner).WithImageTag("17").WithArgs([.. arguments])
            .WithDataVolume(VolumeName(dataFolder, "postgres"));
        postgres.AddDatabase(Name);
        return InContainer(postgres, owner, passwords);
    }

    /// <summary>
    /// What a deployment gives by parameters: a server that it has, or with <paramref name="inContainer"/>, for a trial, a container whose data live
    /// as long as it does.
    /// </summary>
    public static GenerationDatabase AddPublishedDatabase(this IDistributedApplicationBuilder builder, bool inContainer)
    {
        var passwords = Services.ToDictionary(service => service, service => builder.AddGeneratedPassword(PasswordName(service)),
            StringComparer.Ordinal);
        if (inContainer)
        {
            var password = builder.AddGeneratedPassword(PasswordName("owner"));
            var postgres = builder.AddPostgres("postgres", password: password).WithImageTag("17").WithArgs("-c", "max_connections=300");
            postgres.AddDatabase(Name);
            return InContainer(postgres, password, passwords);
        }

        var server = builder.AddParameter("database").WithDescription(
            "Host, port, database and TLS, without a login: `Host=db.example.net;Port=5432;Database=generation;SSL Mode=VerifyFull`",
            enableMarkdown: true);
        var ownerName = builder.AddParameter("database-owner").WithDescription("The login that owns the database and may create roles");
        var ownerPassword = builder.AddParameter(PasswordName("owner"), secret: true);
        return new GenerationDatabase(Name, Server: null, ReferenceExpression.Create($"{server}"), ReferenceExpression.Create(
            $"Username={ownerName};Password={ownerPassword}"), passwords);
    }

    /// <summary>Gives a service its own login. The server must run first.</summary>
    public static IResourceBuilder<IServiceResource> WithDatabase(this IResourceBuilder<IServiceResource> service, GenerationDatabase database)
    {
        var login = service.Resource.Name;
        if (database.Server is not null)
        {
            service.WaitFor(database.Server);
        }

        return service.WithEnvironment($"ConnectionStrings__{database.Name}",
            ReferenceExpression.Create($"{database.Connection};Username=generation_{login};Password={database.Passwords[login]}"));
    }

    /// <summary>Gives the relay what its migration needs: the owner's login, and the passwords that it sets for the others.</summary>
    public static IResourceBuilder<IServiceResource> WithMigration(this IResourceBuilder<IServiceResource> relay, GenerationDatabase database)
    {
        relay.WithEnvironment($"ConnectionStrings__{database.Name}-owner", ReferenceExpression.Create($"{database.Connection};{database.Owner}"));
        foreach (var (service, password) in database.Passwords)
        {
            relay.WithEnvironment($"Database__Roles__{char.ToUpperInvariant(service[0])}{service[1..]}__Password", password);
        }

        return relay;
    }

    internal static string VolumeName(string dataFolder, string server) =>
        $"generation-{server}-"
        + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(dataFolder)))[..12];

    private static IResourceBuilder<ParameterResource> AddGeneratedPassword(this IDistributedApplicationBuilder builder, string name) =>
        // nothing that a connection string would have to quote
        builder.AddParameter(name, new GenerateParameterDefault { MinLength = 24, Special = false }, secret: true);

    private static GenerationDatabase InContainer(
        IResourceBuilder<PostgresServerResource> postgres, IResourceBuilder<ParameterResource> password, Dictionary<string,
            IResourceBuilder<ParameterResource>> passwords)
    {
        var endpoint = postgres.Resource.PrimaryEndpoint;
        return new GenerationDatabase(Name, postgres,
            ReferenceExpression.Create(
                $"Host={endpoint.Property(EndpointProperty.Host)};Port={endpoint.Property(EndpointProperty.Port)};Database={Name}"),
            ReferenceExpression.Create($"Username=postgres;Password={password}"), passwords);
    }

    private static string PasswordName(string login) => $"database-{login}-password";
}
