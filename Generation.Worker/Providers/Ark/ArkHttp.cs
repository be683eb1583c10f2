using System.Net;
using System.Text;
using Generation.Core.Providers;

namespace Generation.Worker.Providers.Ark;

/// <summary>What came back from Ark, or that nothing did.</summary>
/// <param name="Response">Status and headers; null when no answer came.</param>
/// <param name="Text">The body; null when it broke off, took too long or is longer than any answer of Ark's.</param>
/// <param name="Silence">Why no answer came.</param>
internal sealed record ArkAnswer(HttpResponseMessage? Response, string? Text, Failure? Silence) : IDisposable
{
    public void Dispose() => Response?.Dispose();
}

/// <summary>The way to Ark: one connection pool, the key, and what a call that was not answered says about itself.</summary>
internal sealed class ArkHttp : IDisposable
{
    public const int MaxReplyBytes = 1 << 20;

    private readonly ArkOptions options;
    private readonly TimeProvider time;
    private readonly HttpClient client;

    public ArkHttp(ArkOptions options, TimeProvider time)
    {
        (this.options, this.time) = (options, time);
        client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // the key would go wherever the redirect says
            UseCookies = false,
            ConnectTimeout = options.ConnectTimeout,
            MaxResponseDrainSize = 0, // an answer past its cap is not read to its end for the sake of the connection
            PooledConnectionLifetime = TimeSpan.FromMinutes(5), // the address is looked up again now and then
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(20), // sooner than a gateway closes it: a call into a closing connection is of unknown outcome
        })
        {
            Timeout = Timeout.InfiniteTimeSpan, // each call's own, by the injected clock
        };
    }

    /// <summary>Sends one call, once.</summary>
    /// <param name="method">With <paramref name="json"/> POST, else GET or DELETE.</param>
    /// <param name="path">Below <c>BaseUrl</c>, without a slash at the start.</param>
    /// <param name="json">The body; a silence after it has begun is of unknown outcome. A call without one changes nothing that costs.</param>
    /// <param name="clientRequestId">Ours, sent as <c>X-Client-Request-Id</c>.</param>
    /// <param name="timeout">From the call to the end of its answer.</param>
    /// <param name="timeoutSetting">The setting that says so.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public async Task<ArkAnswer> SendAsync(
        HttpMethod method, string path, byte[]? json, string? clientRequestId, TimeSpan timeout, string timeoutSetting, CancellationToken ct)
    {
        using var body = json is null ? null : new SentOnce(json);
        using var message = new HttpRequestMessage(method, new Uri($"{options.BaseUrl.TrimEnd('/')}/{path}")) { Content = body };
        bool WasSent() => body?.HasBegun ?? false;
        message.Headers.Authorization = new("Bearer", options.ApiKey);
        if (clientRequestId is not null)
        {
            message.Headers.Add("X-Client-Request-Id", clientRequestId);
        }

        using var patience = new CancellationTokenSource(timeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, ct);
        HttpResponseMessage response;
        try
        {
            response = await client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, either.Token);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested && body is { HasBegun: false })
        {
            // Stopped before a byte was sent: nothing was bought, and the record must say so or the next run could not know.
            return new ArkAnswer(null, null, ArkFailures.OfSilence(wasSent: false, "ark.not_sent", "The worker stopped before the call was sent."));
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new ArkAnswer(null, null, patience.IsCancellationRequested && (body is null || body.HasBegun)
                ? ArkFailures.OfSilence(WasSent(), "ark.timeout", $"No answer within {timeout} ({timeoutSetting}).")
                : ArkFailures.OfSilence(WasSent(), "ark.connect_timeout", $"No connection within {options.ConnectTimeout} (Providers:Ark:ConnectTimeout)."));
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            return new ArkAnswer(null, null, ArkFailures.OfSilence(WasSent(), WasSent() ? "ark.no_answer" : "ark.not_reached", e.Message));
        }

        try
        {
            var answer = new ArkAnswer(response, await ReadAsync(response.Content, either.Token, ct), null);
            response = null!;
            return answer;
        }
        finally
        {
            response?.Dispose();
        }
    }

    public void Dispose() => client.Dispose();

    private static async Task<string?> ReadAsync(HttpContent content, CancellationToken timely, CancellationToken ct)
    {
        try
        {
            await content.LoadIntoBufferAsync(MaxReplyBytes, timely);
            return Encoding.UTF8.GetString(await content.ReadAsByteArrayAsync(timely));
        }
        catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return null;
        }
    }

    /// <summary>
    /// The body of a call that must not be made twice. It knows whether it was ever touched, which is after the connection stands and
    /// before its first byte leaves; until then the call certainly has not reached Ark. .NET's handler repeats no request whose body it
    /// has begun (tried); should that change, or something in between repeat, it asks for the body again and is refused.
    /// </summary>
    private sealed class SentOnce : HttpContent
    {
        private readonly byte[] json;
        private int begun;

        public SentOnce(byte[] json)
        {
            this.json = json;
            Headers.ContentType = new("application/json");
        }

        public bool HasBegun => Volatile.Read(ref begun) != 0;

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            if (Interlocked.Exchange(ref begun, 1) != 0)
            {
                throw new IOException("The call was sent before, and may have been billed.");
            }

            await stream.WriteAsync(json, cancellationToken);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = json.Length;
            return true;
        }
    }
}
