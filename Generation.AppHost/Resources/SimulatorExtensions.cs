using System.Net.Http.Json;
using System.Text.Json;

namespace Generation.AppHost.Resources;

/// <summary>What only a developer's machine has: providers that are simulated, and a picture to make with one click.</summary>
internal static class SimulatorExtensions
{
    /// <summary>Points every provider at the simulator, which speaks each one's wire format.</summary>
    public static IResourceBuilder<IServiceResource> WithSimulatedProviders(
        this IResourceBuilder<IServiceResource> service, IResourceBuilder<IServiceResource> simulator)
    {
        var address = simulator.GetEndpoint("http");
        foreach (var (name, path) in new[] { ("Ark", "/api/v3"), ("OpenAi", "/v1"), ("Google", "/v1beta"), ("Kie", ""), ("ElevenLabs", "") })
        {
            service.WithEnvironment($"Providers__{name}__BaseUrl", ReferenceExpression.Create($"{address}{path}"))
                .WithEnvironment($"Providers__{name}__ApiKey", $"sim-{name.ToLowerInvariant()}-key");
        }

        foreach (var name in new[] { "Ark", "Google", "Kie" })
        {
            service.WithEnvironment($"Providers__{name}__SourceHosts", "localhost,127.0.0.1");
        }

        return service.WithReference(simulator)
            .WithEnvironment("Providers__Forge__Endpoints", ReferenceExpression.Create($"{address}"))
            .WithEnvironment("Providers__Kie__WebhookHmacKey", "sim-kie-webhook-key") // signs the simulator's callbacks
            .WithEnvironment("Media__AllowPrivateAddresses", "true"); // the simulator's pictures come from this machine
    }

    /// <summary>Where providers call back and fetch uploads.</summary>
    public static IResourceBuilder<IServiceResource> WithPublicBaseUrl(this IResourceBuilder<IServiceResource> service, EndpointReference api) =>
        service.WithEnvironment("PUBLIC_BASE_URL", ReferenceExpression.Create($"{api}"));

    /// <summary>The dashboard's links to what the Api shows.</summary>
    public static IResourceBuilder<IServiceResource> WithLinks(this IResourceBuilder<IServiceResource> api) => api
        .WithUrlForEndpoint("http", url => url.DisplayText = "API")
        .WithUrlForEndpoint("http", _ => new ResourceUrlAnnotation { Url = "/openapi/v1.json", DisplayText = "API description" })
        .WithUrlForEndpoint("http", _ => new ResourceUrlAnnotation { Url = "/readyz", DisplayText = "Readiness" });

    /// <summary>A button in the dashboard that makes a picture as the demo user and says what became of it.</summary>
    public static IResourceBuilder<IServiceResource> WithMakeAPicture(this IResourceBuilder<IServiceResource> api) =>
        api.WithHttpCommand("/api/generations", "Make a picture", endpointName: "http", commandName: "make-a-picture", new HttpCommandOptions
        {
            Description = "Make a picture: asks for a lighthouse at dusk, waits for it, and shows where it is",
            IconName = "ImageAdd",
            IsHighlighted = true,
            Method = HttpMethod.Post,
            PrepareRequest = context =>
            {
                context.Request.Headers.Authorization = new("Bearer", "gk_dev_demo");
                context.Request.Headers.Add("Prefer", "wait=60");
                context.Request.Content = JsonContent.Create(
                    new { model = "seedream-4", @params = new { prompt = "a lighthouse at dusk", size = "2K" } });
                return Task.CompletedTask;
            },
            GetCommandResult = async context =>
            {
                var answer = await context.Response.Content.ReadFromJsonAsync<JsonElement>(context.CancellationToken);
                return Describe(answer, context.Response.IsSuccessStatusCode);
            },
        });

    private static ExecuteCommandResult Describe(JsonElement answer, bool isSuccess)
    {
        string? Text(string name) => answer.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.ToString() : null;
        if (!isSuccess)
        {
            return CommandResults.Failure(Text("detail") ?? Text("title") ?? "The Api refused it.");
        }

        var session = Text("sessionId");
        return Text("status") switch
        {
            "completed" => CommandResults.Success(
                "The picture is made.",
                Details($"**Completed**, for {answer.GetProperty("receipt").GetProperty("captured")} credits: [the "
                    + $"picture]({answer.GetProperty("media")[0].GetProperty("url")})")),
            "queued" or "processing" => CommandResults.Success("It is still at work after a minute.", Details("**Still at work** after a minute")),
            var status => CommandResults.Failure($"The generation {status}.", Details(
                $"**{status}**: {(answer.TryGetProperty("error", out var error) ? error : default)}")),
        };

        CommandResultData Details(string sentence) => new()
        {
            Value = $"{sentence}\n\nSession `{session}`, [its "
                + $"trace](/traces/detail/{Text("traceId")})\n\n```json\n{JsonSerializer.Serialize(answer, Indented)}\n```",
            Format = CommandResultFormat.Markdown,
            DisplayImmediately = true,
        };
    }

    private static readonly JsonSerializerOptions Indented =
        new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
