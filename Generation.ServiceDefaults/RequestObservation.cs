using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace Generation.ServiceDefaults;

/// <summary>On an endpoint: no span, no log. For probes that come every second and say nothing.</summary>
public sealed class UnobservedEndpoint;

/// <summary>
/// Gives the server's span its name, route and outcome, and writes one line a request: every answer that is not a
/// success, one success in a hundred, and of those that are shed (429, 503) the first twenty of a second, because a flood must not become
/// one of lines (all of them at Debug). OPTIONS, probes, event streams and WebSockets write none.
/// Both name the route, not the path: a path may carry a secret (a provider's callback token).
/// </summary>
public sealed class RequestObservation(RequestDelegate next, ILoggerFactory loggers, TimeProvider time)
{
    /// <summary>One success in this many is logged, the first included.</summary>
    public const int SampledSuccesses = 100;

    /// <summary>Answers 429 and 503 that are logged in a second.</summary>
    public const int LoggedRefusals = 20;

    /// <summary>The category of the request log.</summary>
    public const string LogCategory = "Generation.Requests";

    private static readonly EventId Answered = new(2001, "http.answered");

    private readonly ILogger logger = loggers.CreateLogger(LogCategory);
    private int successes = -1;
    private long second;
    private int refusals;

    public async Task InvokeAsync(HttpContext context)
    {
        // Routing has run when the pipeline begins; an exception handler that runs later clears the endpoint.
        var endpoint = context.GetEndpoint();
        var activity = context.Features.Get<IHttpActivityFeature>()?.Activity;
        if (endpoint?.Metadata.GetMetadata<UnobservedEndpoint>() is not null)
        {
            Drop(activity);
            await next(context);
            return;
        }

        var started = time.GetTimestamp();
        var failed = true;
        try
        {
            await next(context);
            failed = false;
        }
        finally
        {
            // What threw past every handler is answered with 500 by the server, after us.
            var status = failed && !context.Response.HasStarted ? StatusCodes.Status500InternalServerError : context.Response.StatusCode;
            var route = ((endpoint ?? context.GetEndpoint()) as RouteEndpoint)?.RoutePattern.RawText;
            Describe(activity, context.Request.Method, route, status, failed);
            Log(context, route, status, time.GetElapsedTime(started));
        }
    }

    private static void Drop(Activity? activity)
    {
        if (activity is null)
        {
            return;
        }

        activity.IsAllDataRequested = false;
        activity.ActivityTraceFlags &= ~ActivityTraceFlags.Recorded;
    }

    private static void Describe(Activity? activity, string method, string? route, int status, bool failed)
    {
        if (activity is not { IsAllDataRequested: true })
        {
            return;
        }

        activity.DisplayName = route is null ? method : $"{method} {route}";
        activity.SetTag("http.response.status_code", status);
        if (route is not null)
        {
            activity.SetTag("http.route", route);
            if (route.Contains("{token", StringComparison.OrdinalIgnoreCase))
            {
                activity.SetTag("url.path", route);
            }
        }

        if (status >= 500 || failed)
        {
            activity.SetStatus(ActivityStatusCode.Error);
            if (activity.GetTagItem("error.type") is null)
            {
                activity.SetTag("error.type", status.ToString());
            }
        }
    }

    private void Log(HttpContext context, string? route, int status, TimeSpan elapsed)
    {
        if (HttpMethods.IsOptions(context.Request.Method)
            || status == StatusCodes.Status101SwitchingProtocols
            || (context.Response.ContentType?.StartsWith("text/event-stream", StringComparison.OrdinalIgnoreCase) ?? false))
        {
            return;
        }

        // 304 is a success that had nothing to send.
        var success = status is >= 200 and < 300 or StatusCodes.Status304NotModified;
        var level = status >= 500 ? LogLevel.Warning : LogLevel.Information;
        if (success && (uint)Interlocked.Increment(ref successes) % SampledSuccesses != 0)
        {
            level = LogLevel.Debug;
        }

        if (status is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable && !IsAmongTheFirstOfTheSecond())
        {
            level = LogLevel.Debug;
        }

        if (!logger.IsEnabled(level))
        {
            return;
        }

        logger.Log(
            level,
            Answered,
            "{Method} {Route} answered {StatusCode} in {ElapsedMilliseconds} ms",
            context.Request.Method,
            route ?? "(no route)",
            status,
            Math.Round(elapsed.TotalMilliseconds, 1));
    }

    private bool IsAmongTheFirstOfTheSecond()
    {
        var now = time.GetTimestamp() / time.TimestampFrequency;
        if (Interlocked.Exchange(ref second, now) != now)
        {
            Volatile.Write(ref refusals, 0);
        }

        return Interlocked.Increment(ref refusals) <= LoggedRefusals;
    }
}
