using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Generation.Core;
using Generation.Core.Media;
using Generation.Core.Providers;

namespace Generation.Worker.Calls;

/// <summary>Where a provider is and how it knows us.</summary>
public sealed record ProviderAddress
{
    /// <summary>The first part of our own failure codes, such as <c>ark</c> in <c>ark.timeout</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Where its settings are, such as <c>Providers:Ark</c>; named in failures.</summary>
    public required string Section { get; init; }

    /// <summary>The base of relative paths.</summary>
    public required string BaseUrl { get; init; }

    /// <summary>After this there is no connection, and the call was not made.</summary>
    public required TimeSpan ConnectTimeout { get; init; }

    /// <summary>Null where none is wanted; empty when it is not set: then nothing is sent that costs.</summary>
    public required string? ApiKey { get; init; }

    /// <summary>Puts the key into the headers of a call.</summary>
    public required Action<HttpRequestHeaders> Authenticate { get; init; }
}

/// <summary>One call to a provider.</summary>
public sealed record ProviderCall
{
    public required HttpMethod Method { get; init; }

    /// <summary>Below the base URL, without a slash at the start; with one, from the root of its host.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// The body. Once its first byte may have been sent, a missing response is of unknown outcome. A call without a body costs nothing.
    /// </summary>
    public byte[]? Json { get; init; }

    /// <summary>Headers beside the key.</summary>
    public (string Name, string Value)[] Headers { get; init; } = [];

    /// <summary>From the call to the end of its answer.</summary>
    public required TimeSpan Timeout { get; init; }

    /// <summary>The setting that says so, with its section.</summary>
    public required string TimeoutSetting { get; init; }

    /// <summary>A success comes back unread, for an answer that holds media. An error is read to its end all the same.</summary>
    public bool KeepsBodyOpen { get; init; }

    /// <summary>Making the call twice costs nothing: without a response it may be sent again.</summary>
    public bool IsRepeatable { get; init; }
}

/// <summary>The response of a provider, or why there is none. Disposing it ends the call.</summary>
public sealed class ProviderResponse : IDisposable
{
    private const int MaxDescribedChars = 300;

    private readonly CancellationTokenSource? timeout;
    private readonly CancellationTokenSource? either;

    internal ProviderResponse(Failure failure) => TransportFailure = failure;

    internal ProviderResponse(HttpResponseMessage response, string? text, CancellationTokenSource timeout, CancellationTokenSource either) =>
        (Response, Text, this.timeout, this.either) = (response, text, timeout, either);

    /// <summary>Status and headers; null when no answer came.</summary>
    public HttpResponseMessage? Response { get; }

    /// <summary>The body; null when it broke off, took too long, is longer than any answer without media, or was left open.</summary>
    public string? Text { get; }

    /// <summary>Why no response came.</summary>
    public Failure? TransportFailure { get; }

    /// <summary>A body that was left open, decoded.</summary>
    public Task<Stream> OpenBodyAsync() => ContentCoding.OpenAsync(Response!.Content, ReadCancellation);

    /// <summary>For reading a body that was left open: fires on the call's timeout or when the caller is stopped.</summary>
    public CancellationToken ReadCancellation => either?.Token ?? CancellationToken.None;

    /// <summary>What was answered, for an operator's record: status, type and the beginning of the body. Null when no answer came.</summary>
    public string? Describe()
    {
        if (Response is null)
        {
            return null;
        }

        var head = $"{(int)Response.StatusCode} {Response.Content.Headers.ContentType?.MediaType ?? "without a type"}";
        if (Text is null)
        {
            return head; // it broke off, or held the media themselves
        }

        var text = Text.Length > MaxDescribedChars ? Text[..MaxDescribedChars] : Text;
        return $"{head}: {string.Concat(text.Select(c => char.IsControl(c) || char.IsSurrogate(c) ? ' ' : c))}";
    }

    /// <summary>Whether the call's time is up.</summary>
    public bool IsOverdue => timeout?.IsCancellationRequested ?? false;

    public void Dispose()
    {
        Response?.Dispose();
        either?.Dispose();
        timeout?.Dispose();
    }
}

/// <summary>The HTTP client of one provider: one connection pool, the key, and the classification of calls that got no response.</summary>
public sealed class ProviderHttp : IDisposable
{
    /// <summary>An answer without media is never longer.</summary>
    public const int MaxReplyBytes = 1 << 20;

    /// <summary>OpenTelemetry's name for a call that makes something, of whatever kind it is.</summary>
    private const string PaidOperation = "generate_content";

    private readonly ProviderAddress address;
    private readonly Uri root;
    private readonly TimeProvider time;
    private readonly ILogger log;
    private readonly HttpClient client;

    public ProviderHttp(ProviderAddress address, TimeProvider time, ILogger log)
    {
        ArgumentNullException.ThrowIfNull(address);
        (this.address, this.time, this.log) = (address, time, log);
        root = new Uri(address.BaseUrl.TrimEnd('/') + "/");
        client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // the key would go wherever the redirect says
            UseCookies = false,
            ConnectTimeout = address.ConnectTimeout,
            MaxResponseDrainSize = 0, // an answer past its cap is not read to its end for the sake of the connection
            PooledConnectionLifetime = TimeSpan.FromMinutes(5), // the address is looked up again now and then
            // sooner than a gateway closes it: a call into a closing connection is of unknown outcome
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(20),
        })
        {
            Timeout = Timeout.InfiniteTimeSpan, // each call's own, by the injected clock
        };
        client.DefaultRequestHeaders.UserAgent.ParseAdd("Generation/1.0"); // without any, some gateways answer 403
    }

    /// <summary>
    /// Makes a call that may cost money: once, with a line in the log before it and one after, and a span. Everything that can go wrong
    /// outside this process comes back as a failure of the reply.
    /// </summary>
    /// <param name="call">The call.</param>
    /// <param name="model">The provider's, for log and span.</param>
    /// <param name="clientRequestId">Our name for the call.</param>
    /// <param name="conclude">Reads the answer; not asked when there is none.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public async Task<ProviderReply> SendPaidAsync(
        ProviderCall call, string model, string clientRequestId, Func<ProviderResponse, ValueTask<ProviderReply>> conclude, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(conclude);
        if (address.ApiKey is { Length: 0 })
        {
            return ProviderReply.Failed(new Failure(
                FailureKind.Unauthorized, $"{address.Name}.no_api_key", $"{address.Section}:ApiKey is not set; nothing was sent."));
        }

        using var span = StartCall(PaidOperation, model);
        span?.SetTag("gen_ai.request.model", model).SetTag("generation.provider.call_id", clientRequestId);
        log.LogInformation(LogEvents.ProviderRequest, "Calling {Provider} for an output of {Model} as {ClientRequestId}", address.Name, model,
            clientRequestId);
        var started = time.GetTimestamp();
        using var answer = await SendInAsync(span, call, ct);
        var status = (int?)answer.Response?.StatusCode;
        var reply = answer.Response is null ? ProviderReply.Failed(answer.TransportFailure!) : await conclude(answer);
        reply = reply.Describing(answer);
        var outcome = reply.Failure?.Code ?? "ok";
        log.LogInformation(
            LogEvents.ProviderResponse,
                "{Provider} answered {Status} for {Model} after {DurationMs} ms: {Outcome} (code {ProviderCode}, task {TaskId}, request {RequestId})",
            address.Name, (object?)status ?? "nothing", model, (long)time.GetElapsedTime(started).TotalMilliseconds, outcome,
                reply.Failure?.ProviderCode ?? "none", reply.TaskId ?? "none", reply.RequestId ?? "unknown");
        span?.SetTag("gen_ai.response.id", reply.TaskId ?? reply.RequestId).SetTag("generation.provider.request_id", reply.RequestId);
        if (reply.Failure is { } failure)
        {
            span.SetFailed(outcome, failure.ProviderCode);
        }

        return reply;
    }

    /// <summary>Sends one call that costs nothing, such as a question about a task; a span of its own, named for what it does.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public async Task<ProviderResponse> SendAsync(ProviderCall call, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(call);
        var operation = call.Method == HttpMethod.Get ? "retrieve" : call.Method == HttpMethod.Delete ? "cancel" : "ask";
        using var span = StartCall(operation, address.Name);
        var answer = await SendInAsync(span, call, ct);
        if (answer.TransportFailure is { } failure)
        {
            span.SetFailed(failure.Code, failure.ProviderCode);
        }
        else if (answer.Response is { IsSuccessStatusCode: false, StatusCode: var status })
        {
            span.SetFailed(((int)status).ToString(CultureInfo.InvariantCulture));
        }

        return answer;
    }

    private Activity? StartCall(string operation, string of) => Telemetry.Source.StartActivity($"{operation} {of}", ActivityKind.Client)?
        .SetTag("gen_ai.operation.name", operation).SetTag("gen_ai.provider.name", address.Name);

    private async Task<ProviderResponse> SendInAsync(Activity? span, ProviderCall call, CancellationToken ct)
    {
        try
        {
            var answer = await SendOnceAsync(call, ct);
            span?.SetTag("http.response.status_code", (int?)answer.Response?.StatusCode);
            return answer;
        }
        catch (Exception e)
        {
            span.SetFailed(e.GetType().FullName!);
            throw;
        }
    }

    private async Task<ProviderResponse> SendOnceAsync(ProviderCall call, CancellationToken ct)
    {
        using var body = call.Json is null ? null : new SentOnce(call.Json);
        using var message = new HttpRequestMessage(call.Method, new Uri(root, call.Path)) { Content = body };
        address.Authenticate(message.Headers);
        foreach (var (name, value) in call.Headers)
        {
            message.Headers.TryAddWithoutValidation(name, value);
        }

        var timeout = new CancellationTokenSource(call.Timeout, time);
        var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, ct);
        ProviderResponse? answer = null;
        try
        {
            var response = await client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, either.Token);
            try
            {
                var text = call.KeepsBodyOpen && response.IsSuccessStatusCode ? null : await ReadAsync(response.Content, either.Token, ct);
                answer = new ProviderResponse(response, text, timeout, either);
                return answer;
            }
            finally
            {
                if (answer is null)
                {
                    response.Dispose();
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested && body is { HasBegun: false })
        {
            // Stopped before a byte was sent: nothing was bought, and the record must say so or the next run could not know.
            return NotAnswered(wasSent: false, "not_sent", "The worker stopped before the call was sent.");
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return timeout.IsCancellationRequested && (body is null || body.HasBegun)
                ? NotAnswered(WasSent(), "timeout", $"No answer within {call.Timeout} ({call.TimeoutSetting}).")
                : NotAnswered(WasSent(), "connect_timeout", $"No connection within {address.ConnectTimeout} ({address.Section}:ConnectTimeout).");
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            return NotAnswered(WasSent(), WasSent() ? "no_answer" : "not_reached", e.Message);
        }
        finally
        {
            if (answer is null)
            {
                either.Dispose();
                timeout.Dispose();
            }
        }

        bool WasSent() => body?.HasBegun ?? false;

        ProviderResponse NotAnswered(bool wasSent, string what, string detail) =>
            new(TransportFailure(wasSent && !call.IsRepeatable, $"{address.Name}.{what}", detail));
    }

    /// <summary>The failure of a call that got no answer, or not enough of one.</summary>
    /// <param name="mayHaveCost">Whether any byte of a paid call's body may have left: then it may have been executed, and billed.</param>
    /// <param name="code">Ours, such as <c>ark.timeout</c>.</param>
    /// <param name="detail">What happened, for operators.</param>
    /// <param name="requestId">The provider's, when its headers came.</param>
    public static Failure TransportFailure(bool mayHaveCost, string code, string detail, string? requestId = null) =>
        new(mayHaveCost ? FailureKind.OutcomeUnknown : FailureKind.Unavailable, code, detail) { RequestId = requestId };

    public void Dispose() => client.Dispose();

    private static async Task<string?> ReadAsync(HttpContent content, CancellationToken timely, CancellationToken ct)
    {
        try
        {
            await using var body = await ContentCoding.OpenAsync(content, timely);
            using var bytes = new MemoryStream();
            var piece = new byte[8 << 10];
            for (int read; (read = await body.ReadAsync(piece, timely)) > 0;)
            {
                if (bytes.Length + read > MaxReplyBytes)
                {
                    return null;
                }

                bytes.Write(piece, 0, read);
            }

            bytes.Position = 0;
            using var reader = new StreamReader(bytes, Encoding.UTF8, detectEncodingFromByteOrderMarks: true);
            return await reader.ReadToEndAsync(timely);
        }
        catch (Exception e) when (e is HttpRequestException or IOException || (e is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return null;
        }
    }

    /// <summary>
    /// The body of a call that must not be made twice. It knows whether it was ever touched, which is after the connection stands and
    /// before its first byte leaves; until then the call certainly has not reached the provider. .NET's handler repeats no request whose
    /// body it has begun (tried); should that change, or something in between repeat, it asks for the body again and is refused.
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

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken ct)
        {
            if (Interlocked.Exchange(ref begun, 1) != 0)
            {
                throw new IOException("The call was sent before, and may have been billed.");
            }

            await stream.WriteAsync(json, ct);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = json.Length;
            return true;
        }
    }
}
