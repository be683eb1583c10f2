using Aspire.Hosting.Publishing;

namespace Generation.AppHost.Resources;

/// <summary>What a deployment has to say, as parameters of the manifest. docs/deployment.md describes each.</summary>
internal static class Deployment
{
    /// <summary>
    /// True for a trial whose Postgres and Redis are containers: <c>PUBLISH_SERVERS=containers</c>. Otherwise they are servers that exist.
    /// </summary>
    public static bool HasServersInContainers(this IDistributedApplicationBuilder builder) => builder.Configuration["PUBLISH_SERVERS"] switch
    {
        "containers" => true,
        null or "" or "external" => false,
        var other => throw new InvalidOperationException($"PUBLISH_SERVERS must be external or containers, not '{other}'."),
    };

    /// <summary>Redis by a connection string, or in a container for a trial: it holds nothing that Postgres does not have.</summary>
    public static IResourceBuilder<IResourceWithConnectionString> AddPublishedRedis(this IDistributedApplicationBuilder builder, bool inContainer) =>
        inContainer ? builder.AddRedis("redis") : builder.AddConnectionString("redis");

    /// <summary>Where outputs are kept: an S3-compatible bucket.</summary>
    public static void WithPublishedMediaStore(this IDistributedApplicationBuilder builder, params IResourceBuilder<IServiceResource>[] services)
    {
        var endpoint = builder.AddParameter("s3-endpoint").WithDescription("Address of the S3-compatible store, without the bucket");
        var bucket = builder.AddParameter("s3-bucket").WithDescription("The bucket; it must exist");
        var region = builder.AddParameter("s3-region", "us-east-1", publishValueAsDefault: true);
        var pathStyle = builder.AddParameter("s3-force-path-style", "false", publishValueAsDefault: true)
            .WithDescription("true where the bucket stands in the path and not in the host name");
        var accessKey = builder.AddParameter("s3-access-key", secret: true);
        var secretKey = builder.AddParameter("s3-secret-key", secret: true);
        foreach (var service in services)
        {
            service.WithEnvironment("Media__Store", "s3")
                .WithEnvironment("Media__S3__Endpoint", endpoint)
                .WithEnvironment("Media__S3__Bucket", bucket)
                .WithEnvironment("Media__S3__Region", region)
                .WithEnvironment("Media__S3__ForcePathStyle", pathStyle)
                .WithEnvironment("Media__S3__AccessKey", accessKey)
                .WithEnvironment("Media__S3__SecretKey", secretKey);
        }
    }

    /// <summary>The queue that carries the jobs: SQS when its parameter has an address, else Redis.</summary>
    public static void WithPublishedQueue(this IDistributedApplicationBuilder builder, params IResourceBuilder<IServiceResource>[] services)
    {
        var queue = builder.AddOptionalParameter("sqs-queue-url", "Address of the SQS queue that carries the jobs; empty: Redis carries them");
        var region = builder.AddOptionalParameter("aws-region", "Region of the queue; empty where it stands in its address");
        var accessKey = builder.AddOptionalParameter("aws-access-key-id", "Credentials for the queue; empty where the host gives an identity",
            secret: true);
        var secretKey = builder.AddOptionalParameter("aws-secret-access-key", "Credentials for the queue", secret: true);
        foreach (var service in services)
        {
            service.WithEnvironment("SQS_MAIN_QUEUE_URL", queue)
                .WithEnvironment("AWS_REGION", region)
                .WithEnvironment("AWS_ACCESS_KEY_ID", accessKey)
                .WithEnvironment("AWS_SECRET_ACCESS_KEY", secretKey);
        }
    }

    /// <summary>Keys of the providers; those without a key are not offered.</summary>
    public static void WithPublishedProviders(this IDistributedApplicationBuilder builder, IResourceBuilder<IServiceResource> api,
        IResourceBuilder<IServiceResource> worker)
    {
        foreach (var provider in new[] { "Ark", "OpenAi", "Google", "Kie" })
        {
            worker.WithEnvironment($"Providers__{provider}__ApiKey",
                Parameter(provider, "api-key", $"API key of {provider}; empty: its models fail as not configured", secret: true))
                .WithEnvironment($"Providers__{provider}__BaseUrl",
                    Parameter(provider, "base-url", $"Another address than the provider's own: a region, a gateway"));
        }

        worker.WithEnvironment("Providers__Forge__Endpoints",
            builder.AddOptionalParameter("forge-endpoints", "Addresses of Stable Diffusion WebUIs, separated by commas"));
        api.WithEnvironment("Providers__ElevenLabs__ApiKey",
            Parameter("ElevenLabs", "api-key", "API key of ElevenLabs, for the list of voices", secret: true))
            .WithEnvironment("Mock__OverrideKey", builder.AddOptionalParameter("mock-override-key",
                "Signs x-mock-override; empty: nobody can ask for mock outputs", secret: true));
        var webhookKey = builder.AddOptionalParameter("kie-webhook-key", "Signs the callbacks of Kie; required with a key of Kie", secret: true);
        foreach (var service in new[] { api, worker })
        {
            service.WithEnvironment("Providers__Kie__WebhookHmacKey", webhookKey);
        }

        IResourceBuilder<ParameterResource> Parameter(string provider, string what, string description, bool secret = false) =>
            builder.AddOptionalParameter($"{provider.ToLowerInvariant()}-{what}", description, secret);
    }

    private static IResourceBuilder<ParameterResource> AddOptionalParameter(
        this IDistributedApplicationBuilder builder, string name, string description, bool secret = false) =>
        builder.AddParameter(name, new EmptyDefault(), secret).WithDescription(description);

    /// <summary>So that <c>azd</c> does not ask for what few deployments have, secrets included.</summary>
    private sealed class EmptyDefault : ParameterDefault
    {
        public override void WriteToManifest(ManifestPublishingContext context) => context.Writer.WriteString("value", "");

        public override string GetDefaultValue() => "";
    }
}
