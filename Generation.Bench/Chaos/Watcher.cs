using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.Bench.Chaos;

/// <summary>
/// Watches a session over server-sent events to its end: whenever a stream breaks off it is resumed after the last id, at either Api.
/// </summary>
internal sealed class Watcher(Client client)
{
    // what the Api asks for in "retry:"; longer each time that nobody is there
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan MaxIdleTime = TimeSpan.FromSeconds(8); // a heartbeat comes every two

    public async Task WatchAsync(Order order, CancellationToken ct)
    {
        long? lastEventId = null;
        var pause = Pause;
        while (order.End is null)
        {
            pause = pause * 1.5 is var longer && longer < MaxPause ? longer : MaxPause;
            try
            {
                using var idle = CancellationTokenSource.CreateLinkedTokenSource(ct);
                idle.CancelAfter(MaxIdleTime);
                using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"/api/generations/{order.SessionId}/events", UriKind.Relative));
                if (lastEventId is { } last)
                {
                    request.Headers.Add("Last-Event-ID", last.ToString(CultureInfo.InvariantCulture));
                }

                using var response = await client.Http(order.Plan.User).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, idle.Token);
                if (response.StatusCode == HttpStatusCode.OK)
                {
                    lastEventId = await ReadAsync(order, lastEventId, await response.Content.ReadAsStreamAsync(idle.Token), idle);
                    client.Count(order.End is null ? "streams cut" : "streams whole");
                    pause = Pause;
                }
                else if (response.StatusCode == HttpStatusCode.NotFound)
                {
                    client.Broken.Enqueue((Promise.AcceptedIsDurable, $"{order.SessionId}: watched, and 404"));
                    return;
                }
                else
                {
                    client.Count($"{(int)response.StatusCode} to a watcher");
                    if (response.StatusCode == HttpStatusCode.NoContent)
                    {
                        client.Broken.Enqueue((Promise.StateNeverGoesBackwards,
                            $"{order.SessionId}: 204 after version {lastEventId}, which was not its end"));
                    }
                    else if (response.StatusCode == HttpStatusCode.ServiceUnavailable && response.Headers.RetryAfter is null)
                    {
                        client.Broken.Enqueue((Promise.OverloadSheds, $"events of {order.SessionId}: 503 without Retry-After"));
                    }
                    else if (response.StatusCode is not (HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests))
                    {
                        client.Broken.Enqueue((Promise.OverloadSheds, $"events of {order.SessionId}: {(int)response.StatusCode}"));
                    }
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !ct.IsCancellationRequested))
            {
                client.Count("no stream");
            }

            if (order.End is null)
            {
                await Task.Delay(pause, TimeProvider.System, ct);
            }
        }
    }

    /// <summary>Until the stream ends or is silent for too long. Returns the last id that it brought.</summary>
    private async Task<long?> ReadAsync(Order order, long? lastEventId, Stream stream, CancellationTokenSource idle)
    {
        using var reader = new StreamReader(stream);
        var name = "";
        var percent = 0;
        try
        {
            while (await reader.ReadLineAsync(idle.Token) is { } line)
            {
                idle.CancelAfter(MaxIdleTime);
                if (line.StartsWith("id: ", StringComparison.Ordinal))
                {
                    var id = long.Parse(line.AsSpan(4));
                    if (id < lastEventId)
                    {
                        client.Broken.Enqueue((Promise.StateNeverGoesBackwards, $"{order.SessionId}: id {id} after {lastEventId}"));
                    }

                    lastEventId = id;
                }
                else if (line.StartsWith("event: ", StringComparison.Ordinal))
                {
                    name = line[7..];
                }
                else if (line.StartsWith("data: ", StringComparison.Ordinal))
                {
                    var data = JsonNode.Parse(line[6..])!.AsObject();
                    percent = Look(order, name, data, percent);
                }
            }
        }
        catch (Exception e) when (e is IOException or JsonException or HttpRequestException)
        {
            // Cut off in the middle: what came whole counts.
        }

        return lastEventId;
    }

    private int Look(Order order, string name, JsonObject data, int percent)
    {
        var version = (long)data["version"]!;
        if (name == "progress")
        {
            var now = (int)data["percent"]!;
            if (now < percent)
            {
                client.Broken.Enqueue((Promise.StateNeverGoesBackwards, $"{order.SessionId}: {now} % after {percent} %"));
            }

            client.Show(order, "processing", version, "in a progress event");
            return now;
        }

        client.Show(order, (string)data["status"]!, version, $"in a {name} event");
        return data["progress"] is { } shown ? Math.Max(percent, (int)shown) : percent;
    }
}
