using Generation.ProviderSim.Calls;

namespace Generation.ProviderSim.Faults;

/// <summary>How a call that has been paid is answered, whole or spoiled.</summary>
public sealed class Replies(TimeProvider time, IHostApplicationLifetime lifetime)
{
    /// <summary>Sends a 200 of JSON, unless the call's fault says how it breaks. Faults that are none of the reply's are passed over.</summary>
    public async Task SendJsonAsync(HttpContext http, Call call, Fault? fault, ReadOnlyMemory<byte> json)
    {
        var gone = http.RequestAborted;
        switch (fault?.Word)
        {
            case "timeout":
                await HangAsync(http);
                return;
            case "cut-reply":
                http.Abort();
                return;
        }

        http.Response.ContentType = "application/json; charset=utf-8";
        var isCut = fault?.Word == "cut-reply-half";
        var sent = isCut || fault?.Word == "malformed" ? json[..(json.Length / 2)] : json;
        http.Response.ContentLength = isCut ? json.Length : sent.Length;
        if (!isCut)
        {
            call.Status = StatusCodes.Status200OK;
        }

        await http.Response.Body.WriteAsync(sent, gone);
        await http.Response.Body.FlushAsync(gone);
        if (isCut)
        {
            http.Abort();
        }
    }

    /// <summary>No answer until the caller disconnects or the simulator ends.</summary>
    public async Task HangAsync(HttpContext http)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        http.Abort();
    }

    /// <summary>502 in the words of a gateway.</summary>
    public static async Task SendGatewayPageAsync(HttpContext http)
    {
        http.Response.StatusCode = StatusCodes.Status502BadGateway;
        http.Response.ContentType = "text/html";
        await http.Response.WriteAsync("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>");
    }
}
