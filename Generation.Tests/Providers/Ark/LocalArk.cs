using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Worker.Providers.Ark;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Ark;

/// <summary>A web server that answers as the test says, and remembers what it was asked.</summary>
internal sealed class LocalArk : IAsyncDisposable
{
    /// <summary>For a test that would otherwise hang.</summary>
    public static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(30);

    /// <summary>Where the server has a picture to fetch.</summary>
    public const string Picture = "/files/lagoon.jpg";

    private readonly WebApplication server;

    private LocalArk(WebApplication server) => this.server = server;

    /// <summary>The calls whose body has come in whole.</summary>
    public ConcurrentQueue<Call> Calls { get; } = new();

    public string Address => server.Urls.Single();

    public static async Task<LocalArk> StartAsync(Func<HttpContext, Task> answer)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        var ark = new LocalArk(builder.Build());
        ark.server.Run(async context =>
        {
            if (context.Request.Path == Picture)
            {
                await using var picture = MockSamples.Choose(0).Open();
                context.Response.ContentType = "image/jpeg";
                await picture.CopyToAsync(context.Response.Body);
                return;
            }

            var body = context.Request.ContentLength is null or 0 ? new JsonObject()
                : await JsonNode.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            ark.Calls.Enqueue(new Call(
                $"{context.Request.Method} {context.Request.Path}",
                context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase),
                body!.AsObject()));
            await answer(context);
        });
        await ark.server.StartAsync();
        return ark;
    }

    /// <summary>Answers every call alike.</summary>
    public static Task<LocalArk> StartAsync(int status, [StringSyntax(StringSyntaxAttribute.Json)] string body, params (
        string Name, string Value)[] headers) =>
        StartAsync(async context =>
        {
            context.Response.StatusCode = status;
            context.Response.ContentType = body.StartsWith('<') ? "text/html" : "application/json";
            foreach (var (name, value) in headers)
            {
                context.Response.Headers[name] = value;
            }

            await context.Response.WriteAsync(body);
        });

    public ValueTask DisposeAsync() => server.DisposeAsync();

    internal sealed record Call(string Route, Dictionary<string, string> Headers, JsonObject Body);
}

/// <summary>Keeps what was logged, as the lines and fields an operator would see.</summary>
internal sealed class KeptLog : ILogger<ArkImages>, ILogger<ArkVideos>
{
    public ConcurrentQueue<(LogLevel Level, EventId Event, string Text)> Lines { get; } = new();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        var fields = state is IEnumerable<KeyValuePair<string, object?>> pairs ? string.Join(' ', pairs) : "";
        Lines.Enqueue((logLevel, eventId, $"{formatter(state, exception)} {fields} {exception}"));
    }
}

internal static class ArkUnderTest
{
    public const string ApiKey = "test-key-0123";

    public static ArkVideos NewVideos(string address, Action<ArkOptions>? configure = null, TimeProvider? time = null)
    {
        var options = new ArkOptions { BaseUrl = $"{address}/api/v3", ApiKey = ApiKey };
        configure?.Invoke(options);
        return new ArkVideos(Options.Create(options), time ?? TimeProvider.System, new KeptLog());
    }

    public static ArkImages NewArk(string address, Action<ArkOptions>? configure = null, TimeProvider? time = null, KeptLog? log = null)
    {
        var options = new ArkOptions { BaseUrl = $"{address}/api/v3", ApiKey = ApiKey };
        configure?.Invoke(options);
        return new ArkImages(Options.Create(options), time ?? TimeProvider.System, log ?? new KeptLog());
    }
}
