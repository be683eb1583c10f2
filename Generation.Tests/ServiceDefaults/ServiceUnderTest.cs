using System.Collections.Concurrent;
using System.Net;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Generation.Tests.ServiceDefaults;

/// <summary>One log entry as a provider gets it.</summary>
internal sealed record LogEntry(string Category, LogLevel Level, EventId Event, string Message);

/// <summary>A host with the service defaults and nothing else, on a port of its own, its logs kept instead of printed.</summary>
internal sealed class ServiceUnderTest : IAsyncDisposable
{
    private readonly RecordingLoggerProvider logs;

    private ServiceUnderTest(WebApplication app, RecordingLoggerProvider logs)
    {
        App = app;
        this.logs = logs;
        Client = new HttpClient { BaseAddress = new Uri(app.Urls.Single()) };
    }

    public WebApplication App { get; }

    public HttpClient Client { get; }

    public IReadOnlyCollection<LogEntry> Logs => logs.Entries;

    public static async Task<ServiceUnderTest> StartAsync(
        IEnumerable<(string Key, string Value)>? settings = null,
        Action<WebApplicationBuilder>? add = null,
        Action<WebApplication>? map = null,
        string environment = "Development")
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions
        {
            EnvironmentName = environment,
            Args = (settings ?? []).Select(setting => $"--{setting.Key}={setting.Value}").ToArray(),
        });
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddServiceDefaults();
        var recorded = new RecordingLoggerProvider();
        var console = builder.Services.Single(service => service.ImplementationType == typeof(ConsoleLoggerProvider));
        builder.Services.Remove(console);
        builder.Logging.AddProvider(recorded);
        add?.Invoke(builder);
        var app = builder.Build();
        app.MapServiceDefaults();
        map?.Invoke(app);
        await app.StartAsync();
        return new ServiceUnderTest(app, recorded);
    }

    public async Task<(HttpStatusCode Code, string Status, JsonNode Checks)> ReadyAsync()
    {
        using var response = await Client.GetAsync("/readyz");
        var body = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        return (response.StatusCode, (string)body["status"]!, body["checks"]!);
    }

    /// <summary>Asks until the status is there: what changes it is another process, which sends no signal.</summary>
    public async Task WaitForStatusAsync(string awaited)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while ((await ReadyAsync()).Status != awaited)
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, deadline.Token);
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await App.DisposeAsync();
    }

    private sealed class RecordingLoggerProvider : ILoggerProvider
    {
        public ConcurrentQueue<LogEntry> Entries { get; } = new();

        public ILogger CreateLogger(string categoryName) => new Logger(categoryName, Entries);

        public void Dispose()
        {
        }

        private sealed class Logger(string category, ConcurrentQueue<LogEntry> entries) : ILogger
        {
            public IDisposable? BeginScope<TState>(TState state)
                where TState : notnull => null;

            public bool IsEnabled(LogLevel logLevel) => true;

            public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?,
                string> formatter) =>
                entries.Enqueue(new LogEntry(category, logLevel, eventId, formatter(state, exception)));
        }
    }
}
