using System.Collections.Concurrent;
using System.Diagnostics;
using Generation.Core;
using Generation.ServiceDefaults;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Trace;

namespace Generation.Tests.ServiceDefaults;

public sealed class RequestTests
{
    [Fact]
    public async Task A_span_is_named_by_its_route_and_carries_route_and_status()
    {
        var spans = new Spans();
        await using var service = await StartAsync(spans);

        var span = await spans.OfAsync(service, "/things/42?x=1");
        Assert.Equal("GET /things/{id}", span.DisplayName);
        Assert.Equal("/things/{id}", span.GetTagItem("http.route"));
        Assert.Equal(200, span.GetTagItem("http.response.status_code"));
        Assert.Equal("GET", span.GetTagItem("http.request.method"));
        Assert.Equal("/things/42", span.GetTagItem("url.path"));
        Assert.Equal(ActivityStatusCode.Unset, span.Status);

        var lost = await spans.OfAsync(service, "/nowhere");
        Assert.Equal(("GET", 404), (lost.DisplayName, lost.GetTagItem("http.response.status_code")));
        Assert.Equal(ActivityStatusCode.Unset, lost.Status);
    }

    [Theory]
    [InlineData("/refused", 503)]
    [InlineData("/broken", 500)]
    public async Task A_server_error_marks_its_span(string path, int status)
    {
        var spans = new Spans();
        await using var service = await StartAsync(spans);
        var span = await spans.OfAsync(service, path);
        Assert.Equal(($"GET {path}", status), (span.DisplayName, span.GetTagItem("http.response.status_code")));
        Assert.Equal(ActivityStatusCode.Error, span.Status);
        Assert.NotNull(span.GetTagItem("error.type"));
    }

    [Fact]
    public async Task A_token_in_a_path_reaches_neither_span_nor_log()
    {
        var spans = new Spans();
        await using var service = await StartAsync(spans);
        var span = await spans.OfAsync(service, "/hooks/ark/s3cr3t");
        Assert.Equal("/hooks/{provider}/{token}", span.GetTagItem("url.path"));
        Assert.DoesNotContain(span.TagObjects, tag => tag.Value is string text && text.Contains("s3cr3t", StringComparison.Ordinal));
        Assert.Contains(service.Logs, log => log.Message.StartsWith("GET /hooks/{provider}/{token} answered 200", StringComparison.Ordinal));
        Assert.DoesNotContain(RequestLogs(service), log => log.Message.Contains("s3cr3t", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Probes_leave_no_span()
    {
        var spans = new Spans();
        await using var service = await StartAsync(spans);
        var traceId = await Spans.RequestAsync(service, "/healthz");
        await Spans.RequestAsync(service, "/readyz", traceId);
        await spans.OfAsync(service, "/things/1", traceId); // the same trace, ended later: the probes' spans would be there by now
        Assert.DoesNotContain(spans.Ended, span => span.TraceId == traceId && span.GetTagItem("url.path") is not "/things/1");
    }

    [Fact]
    public async Task Successes_are_sampled_and_everything_else_is_logged()
    {
        await using var service = await StartAsync();
        for (var request = 0; request < (2 * RequestObservation.SampledSuccesses) + 1; request++)
            await service.Client.GetAsync("/things/1");
        for (var request = 0; request < 3; request++)
        {
            await service.Client.GetAsync("/nowhere");
            await service.Client.GetAsync("/refused");
        }

        var logs = RequestLogs(service).ToList();
        Assert.Equal(3, logs.Count(log => log.Level == LogLevel.Information && log.Message.Contains("answered 200", StringComparison.Ordinal)));
        Assert.Equal(3, logs.Count(log => log.Level == LogLevel.Information && log.Message.Contains("answered 404", StringComparison.Ordinal)));
        Assert.Equal(3, logs.Count(log => log.Level == LogLevel.Warning && log.Message.Contains("answered 503", StringComparison.Ordinal)));
        Assert.All(logs, log => Assert.Equal("http.answered", log.Event.Name));
        Assert.DoesNotContain(service.Logs, log => log.Category.StartsWith("Microsoft.AspNetCore.Hosting", StringComparison.Ordinal));
    }

    /// <summary>2,000 refusals a second were 2,000 lines a second.</summary>
    [Theory]
    [InlineData("/refused")]
    [InlineData("/hurried")]
    public async Task A_flood_of_refusals_is_no_flood_of_lines(string path)
    {
        await using var service = await StartAsync();
        var started = TimeProvider.System.GetTimestamp();
        for (var request = 0; request < 20 * RequestObservation.LoggedRefusals; request++)
            await service.Client.GetAsync(path);
        var seconds = (int)TimeProvider.System.GetElapsedTime(started).TotalSeconds + 2; // begun ones count
        Assert.InRange(RequestLogs(service).Count(), RequestObservation.LoggedRefusals, Math.Min(seconds, 19) * RequestObservation.LoggedRefusals);
    }

    [Fact]
    public async Task At_debug_every_success_is_logged()
    {
        await using var service = await StartAsync(settings: [("Logging:LogLevel:Generation", "Debug")]);
        for (var request = 0; request < 10; request++)
            await service.Client.GetAsync("/things/1");
        Assert.Equal(10, RequestLogs(service).Count());
    }

    [Fact]
    public async Task Options_probes_and_event_streams_are_not_logged()
    {
        await using var service = await StartAsync(settings: [("Logging:LogLevel:Generation", "Debug")]);
        await service.Client.SendAsync(new HttpRequestMessage(HttpMethod.Options, "/things/1"));
        await service.Client.GetAsync("/healthz");
        await service.Client.GetAsync("/readyz");
        Assert.Equal("data: 1\n\n", await service.Client.GetStringAsync("/events"));
        await service.Client.GetAsync("/things/1");
        Assert.Equal(["GET /things/{id} answered 200"], RequestLogs(service).Select(log =>
            log.Message[..log.Message.IndexOf(" in ", StringComparison.Ordinal)]));
    }

    [Fact]
    public async Task Telemetry_reaches_the_collector_that_the_environment_names_and_is_flushed_at_the_end()
    {
        var arrived = new ConcurrentDictionary<string, string>();
        await using var collector = await ServiceUnderTest.StartAsync(map: app =>
            app.MapPost("/v1/{signal}", async (string signal, HttpRequest request) =>
        {
            using var body = new MemoryStream();
            await request.Body.CopyToAsync(body);
            arrived.AddOrUpdate(signal, _ => Text(body), (_, before) => before + Text(body));
            return Results.Bytes([], "application/x-protobuf");
        }));
        var service = await StartAsync(settings:
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.App.Urls.Single()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_SERVICE_NAME", "name-from-the-environment"),
            ("Shutdown:TelemetryFlush", "00:00:30"), // the collector shares this machine with other tests
        ]);
        await Spans.RequestAsync(service, "/things/7"); // as a caller elsewhere: the client of this process is nobody's request, and says so
        await Spans.RequestAsync(service, "/refused");
        await service.App.StopAsync();
        await service.DisposeAsync();

        Assert.Contains("GET /things/{id}", arrived["traces"], StringComparison.Ordinal);
        Assert.Contains("http.server.request.duration", arrived["metrics"], StringComparison.Ordinal);
        Assert.Contains("answered 503", arrived["logs"], StringComparison.Ordinal);
        Assert.All(["traces", "metrics", "logs"], signal => Assert.Contains("name-from-the-environment", arrived[signal], StringComparison.Ordinal));

        static string Text(MemoryStream body) => System.Text.Encoding.Latin1.GetString(body.ToArray());
    }

    [Fact]
    public async Task A_stored_traceparent_continues_the_trace()
    {
        var spans = new Spans();
        await using var service = await StartAsync(spans);
        var traceId = await Spans.RequestAsync(service, "/trace-parent");
        var stored = await service.Client.GetStringAsync("/trace-parent");
        using (var job = Telemetry.Continue("job", stored))
        {
            Assert.NotNull(job);
            Assert.Equal(stored.Split('-')[1], job.TraceId.ToHexString());
            Assert.Equal(stored.Split('-')[2], job.ParentSpanId.ToHexString());
            Assert.True(job.HasRemoteParent);
            Assert.Equal(job.Id, Telemetry.CurrentTraceParent);
        }

        Assert.NotEqual(traceId.ToHexString(), stored.Split('-')[1]);
        Assert.Equal(default, Telemetry.ParseTraceParent("not a traceparent"));
        Assert.Equal(default, Telemetry.ParseTraceParent(null));
    }

    private static IEnumerable<LogEntry> RequestLogs(ServiceUnderTest service) =>
        service.Logs.Where(log => log.Category == RequestObservation.LogCategory);

    private static Task<ServiceUnderTest> StartAsync(Spans? spans = null, IEnumerable<(string, string)>? settings = null) =>
        ServiceUnderTest.StartAsync(
        settings,
        builder =>
        {
            if (spans is not null)
                builder.Services.ConfigureOpenTelemetryTracerProvider(tracing => tracing.AddProcessor(spans));
        },
        app =>
        {
            app.UseExceptionHandler(handler => handler.Run(_ => Task.CompletedTask));
            app.MapGet("/things/{id}", (string id) => id);
            app.Map("/hooks/{provider}/{token}", (string provider, string token) => provider.Length + token.Length);
            app.MapGet("/refused", () => Results.StatusCode(StatusCodes.Status503ServiceUnavailable));
            app.MapGet("/hurried", () => Results.StatusCode(StatusCodes.Status429TooManyRequests));
            app.MapGet("/broken", IResult () => throw new InvalidOperationException("broken on purpose"));
            app.MapGet("/trace-parent", () => Telemetry.CurrentTraceParent);
            app.MapGet("/events", async (HttpResponse response) =>
            {
                response.ContentType = "text/event-stream";
                await response.WriteAsync("data: 1\n\n");
            });
        });

    /// <summary>Keeps ended spans. Sources are global, so hosts of other tests are heard too: a trace id says which span is whose.</summary>
    private sealed class Spans : BaseProcessor<Activity>
    {
        private readonly SemaphoreSlim ended = new(0);

        public ConcurrentQueue<Activity> Ended { get; } = new();

        public override void OnEnd(Activity data)
        {
            Ended.Enqueue(data);
            ended.Release();
        }

        public static async Task<ActivityTraceId> RequestAsync(ServiceUnderTest service, string path, ActivityTraceId? trace = null)
        {
            var traceId = trace ?? ActivityTraceId.CreateRandom();
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            request.Headers.Add("traceparent", $"00-{traceId}-{ActivitySpanId.CreateRandom()}-01");
            using var response = await service.Client.SendAsync(request);
            return traceId;
        }

        /// <summary>Sends a request in a trace of its own and waits for the server's span of it, which ends after the answer.</summary>
        public async Task<Activity> OfAsync(ServiceUnderTest service, string path, ActivityTraceId? trace = null)
        {
            var traceId = await RequestAsync(service, path, trace);
            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            while (true)
            {
                if (Ended.FirstOrDefault(span => span.TraceId == traceId && span.Kind == ActivityKind.Server) is { } found)
                    return found;
                await ended.WaitAsync(deadline.Token);
            }
        }
    }
}
