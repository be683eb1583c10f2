using System.Globalization;
using System.Net;
using System.Text;
using Amazon.Runtime;
using Amazon.Runtime.Credentials;
using Amazon.SQS;
using Amazon.SQS.Model;

namespace Generation.Core.Queue;

/// <summary>A queue, and the setting that names it: errors tell what to change.</summary>
public readonly record struct SqsQueue(string Setting, string Url);

/// <param name="Body">Only characters that XML knows, else the server refuses the entry.</param>
/// <param name="Attributes">String attributes; none may be empty.</param>
public sealed record SqsEntry(string Body, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>As SQS counts: the body, and name, type and value of each attribute.</summary>
    public int Bytes { get; } = Encoding.UTF8.GetByteCount(Body)
        + Attributes.Sum(a => Encoding.UTF8.GetByteCount(a.Key) + "String".Length + Encoding.UTF8.GetByteCount(a.Value));
}

/// <summary>A message as received; <paramref name="Receipt"/> names this delivery.</summary>
public sealed record SqsMessage(string Receipt, string Body, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>The same in every delivery; a receipt is not.</summary>
    public string MessageId { get; init; } = "";
}

/// <summary>What became of one entry of a batch: an id, or an error. <paramref name="IsSenderFault"/>: trying again does not help.</summary>
public sealed record SqsEntryResult(string? MessageId, string? Error, bool IsSenderFault);

/// <summary>
/// The five calls of SQS that a job queue needs, on the SDK's client for the settings as they are now: another endpoint, region or key makes
/// another client. No retries here: relay and workers have their own pace. Every failure is a <see cref="QueueException"/> that names the
/// setting to look at.
/// </summary>
public sealed class SqsConnection(Func<QueueOptions> read, TimeProvider time) : IDisposable
{
    /// <summary>Entries of a batch, messages of a receive.</summary>
    public const int MaxBatch = 10;

    /// <summary>Of all entries together. Amazon has taken 1 MiB since 2025; other servers have not.</summary>
    public const int MaxBatchBytes = 256 << 10;

    private static readonly List<string> Counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed"];

    private readonly HttpClient http = new(new SocketsHttpHandler
    {
        ConnectTimeout = TimeSpan.FromSeconds(2),
        PooledConnectionLifetime = TimeSpan.FromMinutes(5), // Amazon's addresses change
        AllowAutoRedirect = false,
        UseCookies = false,
    })
    {
        Timeout = Timeout.InfiniteTimeSpan, // each call has its own
    };

    private readonly Lock gate = new();
    private readonly Dictionary<(string Endpoint, string Region), (object Key, AmazonSQSClient Client)> clients = [];
    private Task<AWSCredentials>? chain;

    /// <summary>Sends up to <see cref="MaxBatch"/> entries of together up to <see cref="MaxBatchBytes"/>; a result each, in their order.</summary>
    public async Task<SqsEntryResult[]> SendAsync(SqsQueue queue, IReadOnlyList<SqsEntry> entries, CancellationToken ct)
    {
        var request = new SendMessageBatchRequest
        {
            QueueUrl = queue.Url,
            Entries = [.. entries.Select((entry, i) => new SendMessageBatchRequestEntry
            {
                Id = Id(i),
                MessageBody = entry.Body,
                MessageAttributes = entry.Attributes.ToDictionary(
                    a => a.Key, a => new MessageAttributeValue { DataType = "String", StringValue = a.Value }, StringComparer.Ordinal),
            })],
        };
        var answer = await CallAsync(queue, "SendMessageBatch", read().SendTimeout, (sqs, stop) => sqs.SendMessageBatchAsync(request, stop), ct);
        return Results(entries.Count, (answer.Successful ?? []).Select(taken => (taken.Id, taken.MessageId)), answer.Failed);
    }

    /// <summary>
    /// Up to <paramref name="max"/> messages, hidden from others for <paramref name="visibility"/>; waits up to <paramref name="wait"/>, whole
    /// seconds.
    /// </summary>
    public async Task<List<SqsMessage>> ReceiveAsync(SqsQueue queue, int max, TimeSpan wait, TimeSpan visibility, CancellationToken ct)
    {
        var request = new ReceiveMessageRequest
        {
            QueueUrl = queue.Url,
            MaxNumberOfMessages = Math.Clamp(max, 1, MaxBatch),
            WaitTimeSeconds = (int)wait.TotalSeconds,
            VisibilityTimeout = (int)Math.Ceiling(visibility.TotalSeconds),
            MessageAttributeNames = ["All"],
        };
        var answer = await CallAsync(queue, "ReceiveMessage", wait + read().SendTimeout, (sqs, stop) => sqs.ReceiveMessageAsync(request, stop), ct);
        return
        [
            .. (answer.Messages ?? []).Select(m => new SqsMessage(
                m.ReceiptHandle,
                m.Body ?? "",
                (m.MessageAttributes ?? []).ToDictionary(a => a.Key, a => a.Value.StringValue ?? "", StringComparer.Ordinal)) { MessageId =
                    m.MessageId ?? "" }),
        ];
    }

    /// <summary>Removes up to <see cref="MaxBatch"/> deliveries.</summary>
    public async Task<SqsEntryResult[]> DeleteAsync(SqsQueue queue, IReadOnlyList<string> receipts, CancellationToken ct)
    {
        var request = new DeleteMessageBatchRequest
        {
            QueueUrl = queue.Url,
            Entries = [.. receipts.Select((receipt, i) => new DeleteMessageBatchRequestEntry { Id = Id(i), ReceiptHandle = receipt })],
        };
        var answer = await CallAsync(queue, "DeleteMessageBatch", read().SendTimeout, (sqs, stop) => sqs.DeleteMessageBatchAsync(request, stop), ct);
        return Results(receipts.Count, (answer.Successful ?? []).Select(taken => (taken.Id, "")), answer.Failed);
    }

    /// <summary>Hides up to <see cref="MaxBatch"/> deliveries for so much longer from now; zero gives them to others at once.</summary>
    public async Task<SqsEntryResult[]> ChangeVisibilityAsync(
        SqsQueue queue, IReadOnlyList<string> receipts, TimeSpan visibility, CancellationToken ct)
    {
        var seconds = (int)visibility.TotalSeconds;
        var request = new ChangeMessageVisibilityBatchRequest
        {
            QueueUrl = queue.Url,
            Entries = [.. receipts.Select((receipt, i) =>
                new ChangeMessageVisibilityBatchRequestEntry { Id = Id(i), ReceiptHandle = receipt, VisibilityTimeout = seconds })],
        };
        var answer = await CallAsync(queue, "ChangeMessageVisibilityBatch", read().SendTimeout, (sqs, stop) => sqs.ChangeMessageVisibilityBatchAsync(
            request, stop), ct);
        return Results(receipts.Count, (answer.Successful ?? []).Select(taken => (taken.Id, "")), answer.Failed);
    }

    /// <summary>
    /// Messages in the queue: waiting, delivered and delayed ones. Amazon's count is approximate, and right about a minute after the last change.
    /// </summary>
    public async Task<long> DepthAsync(SqsQueue queue, CancellationToken ct)
    {
        var request = new GetQueueAttributesRequest { QueueUrl = queue.Url, AttributeNames = Counts };
        var answer = await CallAsync(queue, "GetQueueAttributes", read().SendTimeout, (sqs, stop) => sqs.GetQueueAttributesAsync(request, stop), ct);
        var attributes = answer.Attributes ?? [];
        return Counts.Sum(count => long.TryParse(attributes.GetValueOrDefault(count), CultureInfo.InvariantCulture, out var messages) ? messages : 0);
    }

    public void Dispose()
    {
        lock (gate)
        {
            foreach (var (_, client) in clients.Values)
            {
                client.Dispose();
            }

            clients.Clear();
        }

        http.Dispose();
    }

    private static string Id(int index) => index.ToString(CultureInfo.InvariantCulture);

    private static SqsEntryResult[] Results(int count, IEnumerable<(string Id, string MessageId)> taken, List<BatchResultErrorEntry>? failed)
    {
        var results = new SqsEntryResult[count];
        Array.Fill(results, new SqsEntryResult(null, "The answer does not name it", IsSenderFault: false));
        foreach (var (id, messageId) in taken)
        {
            Set(id, new SqsEntryResult(messageId ?? "", null, IsSenderFault: false));
        }

        foreach (var error in failed ?? [])
        {
            Set(error.Id, new SqsEntryResult(null, $"{error.Code}: {error.Message}", error.SenderFault ?? false));
        }

        return results;

        void Set(string id, SqsEntryResult result)
        {
            if (int.TryParse(id, CultureInfo.InvariantCulture, out var index) && index >= 0 && index < count)
            {
                results[index] = result;
            }
        }
    }

    private async Task<T> CallAsync<T>(SqsQueue queue, string action, TimeSpan timeout, Func<AmazonSQSClient, CancellationToken, Task<T>> call,
        CancellationToken ct)
    {
        if (queue.Url.Length == 0)
        {
            throw new QueueException($"{queue.Setting} is not set.");
        }

        var options = read().Sqs;
        var (setting, text) = options.Endpoint.Length > 0 ? ("Queue:Sqs:Endpoint", options.Endpoint) : (queue.Setting, queue.Url);
        if (!Uri.TryCreate(text, UriKind.Absolute, out var address) || !address.Scheme.StartsWith("http", StringComparison.Ordinal))
        {
            throw new QueueException($"{setting} is '{text}', which is not a URL.");
        }

        using var timer = new CancellationTokenSource(timeout, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct, timer.Token);
        try
        {
            var client = await ClientAsync(options, address.GetLeftPart(UriPartial.Authority), Region(options, queue), limit.Token, ct);
            return await call(client, limit.Token);
        }
        catch (OperationCanceledException e) when (!ct.IsCancellationRequested)
        {
            throw new QueueException($"SQS did not answer {action} within {timeout.TotalSeconds:0.#} s at {address.Authority} ({setting}).", e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new QueueException($"SQS is not to be reached at {address.Authority} ({setting}): {e.Message}", e);
        }
        catch (AmazonUnmarshallingException e)
        {
            throw new QueueException($"What answers at {address.Authority} ({setting}) does not speak the JSON protocol of SQS.", e);
        }
        catch (AmazonServiceException e)
        {
            throw Refused(queue, action, e);
        }
        catch (Exception e) when (e is AmazonClientException or ObjectDisposedException)
        {
            throw new QueueException($"{action} on {queue.Setting} was not sent: {e.Message}", e);
        }
    }

    private async Task<AmazonSQSClient> ClientAsync(SqsOptions options, string endpoint, string region, CancellationToken limit, CancellationToken ct)
    {
        var fromChain = options.AccessKey.Length > 0 ? null : await CredentialsAsync(limit, ct);
        object key = fromChain ?? (object)(options.AccessKey, options.SecretKey);
        lock (gate)
        {
            if (!clients.TryGetValue((endpoint, region), out var known) || !known.Key.Equals(key))
            {
                // The previous client is not disposed: calls may be in flight on it, and it shares this HttpClient.
                known = (key, new AmazonSQSClient(fromChain ?? new BasicAWSCredentials(options.AccessKey, options.SecretKey), new AmazonSQSConfig
                {
                    ServiceURL = endpoint,
                    AuthenticationRegion = region,
                    MaxErrorRetry = 0,
                    HttpClientFactory = new Shared(http),
                }));
                clients[(endpoint, region)] = known;
            }

            return known.Client;
        }
    }

    /// <summary>
    /// What the chain has now; it caches, refreshes, and looks at changed files itself. Asked for before the call, because the client's own
    /// question can neither be cut short nor told from the call.
    /// </summary>
    private async Task<AWSCredentials> CredentialsAsync(CancellationToken limit, CancellationToken ct)
    {
        try
        {
            Task<AWSCredentials> finding;
            lock (gate)
            {
                // The chain ends at the instance's metadata service, which may take longer to be absent than a call may take: one search for all.
                finding = chain = chain is { IsCompleted: false } ? chain
                    : Task.Run(() => DefaultAWSCredentialsIdentityResolver.GetCredentialsAsync(), CancellationToken.None);
            }

            var credentials = await finding.WaitAsync(limit);
            await credentials.GetCredentialsAsync().WaitAsync(limit);
            return credentials;
        }
        catch (Exception e) when (!ct.IsCancellationRequested)
        {
            // Each provider in the chain throws other exceptions: of files, of HTTP, and two families of the SDK.
            throw new QueueException("No AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, or "
                + "Queue:Sqs:AccessKey and Queue:Sqs:SecretKey.", e);
        }
    }

    /// <summary>As configured, else from <c>https://sqs.&lt;region&gt;.amazonaws.com/…</c>.</summary>
    private static string Region(SqsOptions options, SqsQueue queue) =>
        options.Region.Length > 0 ? options.Region
        : Uri.TryCreate(queue.Url, UriKind.Absolute, out var url) && url.Host.Split('.') is ["sqs", var region, "amazonaws", ..] ? region
        : "us-east-1";

    private static QueueException Refused(SqsQueue queue, string action, AmazonServiceException error)
    {
        // Without a code it is not from SQS; the status has to do.
        var code = string.IsNullOrEmpty(error.ErrorCode) ? (int)error.StatusCode == 0 ? error.GetType().Name : $"HTTP {(int)error.StatusCode}"
            : error.ErrorCode;
        var said = $"{code}: {error.Message}";
        string[] signs = ["AccessDenied", "Token", "Signature", "UnrecognizedClient", "InvalidAccessKey", "InvalidSecurity", "NotAuthorized",
            "OptInRequired"];
        return new QueueException(
            error is QueueDoesNotExistException or InvalidAddressException
                || code is "AWS.SimpleQueueService.NonExistentQueue" or "InvalidAddress" or "HTTP 404"
                ? $"{queue.Setting} names no queue that SQS has ({said})"
            : error.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden
                || signs.Any(sign => code.Contains(sign, StringComparison.Ordinal))
                ? $"SQS refuses the credentials for {queue.Setting} ({said}). Look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or what the AWS "
                    + "chain finds, and at Queue:Sqs:Region (AWS_REGION)."
            : $"SQS refused {action} on {queue.Setting} ({said})",
            error);
    }

    /// <summary>One HttpClient for all clients, which none of them disposes of.</summary>
    private sealed class Shared(HttpClient http) : HttpClientFactory
    {
        public override HttpClient CreateHttpClient(IClientConfig clientConfig) => http;

        public override bool UseSDKHttpClientCaching(IClientConfig clientConfig) => false;

        public override bool DisposeHttpClientsAfterUse(IClientConfig clientConfig) => false;
    }
}
