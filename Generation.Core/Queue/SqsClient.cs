using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Amazon.Runtime;
using Amazon.Runtime.Credentials;
using Amazon.Runtime.Internal.Auth;

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
/// The five calls of SQS that a job queue needs, over its JSON protocol: one POST each, signed with the SDK's Signature V4 and the SDK's
/// credential chain (AWSSDK.SQS itself is not to be had everywhere). No retries here: relay and workers have their own pace.
/// Every failure is a <see cref="QueueException"/> that names the setting to look at.
/// </summary>
public sealed class SqsClient(Func<QueueOptions> read, TimeProvider time) : IDisposable
{
    /// <summary>Entries of a batch, messages of a receive.</summary>
    public const int MaxBatch = 10;

    /// <summary>Of all entries together. Amazon has taken 1 MiB since 2025; other servers have not.</summary>
    public const int MaxBatchBytes = 256 << 10;

    private const string ContentType = "application/x-amz-json-1.0";

    private readonly HttpClient http = new(new SocketsHttpHandler
    {
        ConnectTimeout = TimeSpan.FromSeconds(2),
        PooledConnectionLifetime = TimeSpan.FromMinutes(5), // Amazon's addresses change
        AutomaticDecompression = DecompressionMethods.All,
        AllowAutoRedirect = false,
        UseCookies = false,
    })
    {
        Timeout = Timeout.InfiniteTimeSpan, // each call has its own
        MaxResponseContentBufferSize = 32 << 20, // ten messages of 1 MiB, escaped
    };

    private readonly Lock gate = new();
    private Task<AWSCredentials>? chain;

    /// <summary>Sends up to <see cref="MaxBatch"/> entries of together up to <see cref="MaxBatchBytes"/>; a result each, in their order.</summary>
    public async Task<SqsEntryResult[]> SendAsync(SqsQueue queue, IReadOnlyList<SqsEntry> entries, CancellationToken ct) =>
        await BatchAsync(queue, "SendMessageBatch", entries.Count, i => new JsonObject
        {
            ["MessageBody"] = entries[i].Body,
            ["MessageAttributes"] = new JsonObject(entries[i].Attributes.Select(a =>
                KeyValuePair.Create<string, JsonNode?>(a.Key, new JsonObject { ["DataType"] = "String", ["StringValue"] = a.Value }))),
        }, ct);

    /// <summary>Up to <paramref name="max"/> messages, hidden from others for <paramref name="visibility"/>; waits up to <paramref name="wait"/>, whole seconds.</summary>
    public async Task<List<SqsMessage>> ReceiveAsync(SqsQueue queue, int max, TimeSpan wait, TimeSpan visibility, CancellationToken ct)
    {
        var answer = await CallAsync(queue, "ReceiveMessage", new JsonObject
        {
            ["MaxNumberOfMessages"] = Math.Clamp(max, 1, MaxBatch),
            ["WaitTimeSeconds"] = (int)wait.TotalSeconds,
            ["VisibilityTimeout"] = (int)Math.Ceiling(visibility.TotalSeconds),
            ["MessageAttributeNames"] = new JsonArray("All"),
        }, wait + read().SendTimeout, ct);
        return
        [
            .. (answer["Messages"] as JsonArray ?? []).Select(m => new SqsMessage(
                (string)m!["ReceiptHandle"]!,
                (string?)m["Body"] ?? "",
                (m["MessageAttributes"] as JsonObject ?? []).ToDictionary(a => a.Key, a => (string?)a.Value!["StringValue"] ?? "", StringComparer.Ordinal))
            { MessageId = (string?)m["MessageId"] ?? "" }),
        ];
    }

    /// <summary>Removes up to <see cref="MaxBatch"/> deliveries.</summary>
    public Task<SqsEntryResult[]> DeleteAsync(SqsQueue queue, IReadOnlyList<string> receipts, CancellationToken ct) =>
        BatchAsync(queue, "DeleteMessageBatch", receipts.Count, i => new JsonObject { ["ReceiptHandle"] = receipts[i] }, ct);

    /// <summary>Hides up to <see cref="MaxBatch"/> deliveries for so much longer from now; zero gives them to others at once.</summary>
    public Task<SqsEntryResult[]> ChangeVisibilityAsync(SqsQueue queue, IReadOnlyList<string> receipts, TimeSpan visibility, CancellationToken ct) =>
        BatchAsync(queue, "ChangeMessageVisibilityBatch", receipts.Count,
            i => new JsonObject { ["ReceiptHandle"] = receipts[i], ["VisibilityTimeout"] = (int)visibility.TotalSeconds }, ct);

    /// <summary>Messages in the queue: waiting, delivered and delayed ones. Amazon's count is approximate, and right about a minute after the last change.</summary>
    public async Task<long> DepthAsync(SqsQueue queue, CancellationToken ct)
    {
        string[] counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];
        var answer = await CallAsync(queue, "GetQueueAttributes", new JsonObject { ["AttributeNames"] = new JsonArray([.. counts.Select(c => JsonValue.Create(c))]) }, read().SendTimeout, ct);
        return counts.Sum(count => long.TryParse((string?)answer["Attributes"]?[count], out var messages) ? messages : 0);
    }

    public void Dispose() => http.Dispose();

    private async Task<SqsEntryResult[]> BatchAsync(SqsQueue queue, string action, int count, Func<int, JsonObject> entry, CancellationToken ct)
    {
        var entries = new JsonArray();
        for (var i = 0; i < count; i++)
        {
            var one = entry(i);
            one["Id"] = i.ToString();
            entries.Add(one);
        }

        var answer = await CallAsync(queue, action, new JsonObject { ["Entries"] = entries }, read().SendTimeout, ct);
        var results = new SqsEntryResult[count];
        Array.Fill(results, new SqsEntryResult(null, "The answer does not name it", IsSenderFault: false));
        foreach (var taken in answer["Successful"] as JsonArray ?? [])
        {
            results[int.Parse((string)taken!["Id"]!)] = new SqsEntryResult((string?)taken["MessageId"] ?? "", null, IsSenderFault: false);
        }

        foreach (var failed in answer["Failed"] as JsonArray ?? [])
        {
            results[int.Parse((string)failed!["Id"]!)] = new SqsEntryResult(null, $"{(string?)failed["Code"]}: {(string?)failed["Message"]}", (bool?)failed["SenderFault"] ?? false);
        }

        return results;
    }

    private async Task<JsonObject> CallAsync(SqsQueue queue, string action, JsonObject body, TimeSpan timeout, CancellationToken ct)
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

        body["QueueUrl"] = queue.Url;
        using var alarm = new CancellationTokenSource(timeout, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct, alarm.Token);
        try
        {
            var credentials = await CredentialsAsync(options, limit.Token, ct);
            using var request = Request(new Uri(address, "/"), action, body, credentials, Region(options, queue));
            using var response = await http.SendAsync(request, limit.Token);
            var answer = await response.Content.ReadAsStringAsync(limit.Token);
            return response.IsSuccessStatusCode
                ? answer.Length == 0 ? [] : JsonNode.Parse(answer)!.AsObject()
                : throw Refused(queue, action, response.StatusCode, answer);
        }
        catch (OperationCanceledException e) when (!ct.IsCancellationRequested)
        {
            throw new QueueException($"SQS did not answer {action} within {timeout.TotalSeconds:0.#} s at {address.Authority} ({setting}).", e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new QueueException($"SQS is not to be reached at {address.Authority} ({setting}): {e.Message}", e);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new QueueException($"What answers at {address.Authority} ({setting}) does not speak the JSON protocol of SQS.", e);
        }
    }

    /// <summary>Signature V4: which headers, the body's hash, and a key made for day, region and service.</summary>
    private HttpRequestMessage Request(Uri address, string action, JsonObject body, ImmutableCredentials credentials, string region)
    {
        var payload = Encoding.UTF8.GetBytes(body.ToJsonString());
        var now = time.GetUtcNow().UtcDateTime;
        var signed = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["content-type"] = ContentType,
            ["host"] = address.Authority,
            ["x-amz-date"] = now.ToString("yyyyMMdd'T'HHmmss'Z'"),
            ["x-amz-target"] = $"AmazonSQS.{action}",
        };
        if (credentials.UseToken)
        {
            signed["x-amz-security-token"] = credentials.Token;
        }

        var names = string.Join(';', signed.Keys);
        var canonical = $"POST\n{address.AbsolutePath}\n\n{string.Concat(signed.Select(h => $"{h.Key}:{h.Value}\n"))}\n{names}\n{Convert.ToHexStringLower(SHA256.HashData(payload))}";
        var signature = AWS4Signer.ComputeSignature(credentials, region, now, "sqs", names, canonical);

        var request = new HttpRequestMessage(HttpMethod.Post, address) { Content = new ByteArrayContent(payload) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue(ContentType);
        foreach (var (name, value) in signed.Where(h => h.Key.StartsWith("x-amz", StringComparison.Ordinal)))
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        request.Headers.TryAddWithoutValidation("Authorization", signature.ForAuthorizationHeader);
        return request;
    }

    private async Task<ImmutableCredentials> CredentialsAsync(SqsOptions options, CancellationToken limit, CancellationToken ct)
    {
        if (options.AccessKey.Length > 0)
        {
            return new ImmutableCredentials(options.AccessKey, options.SecretKey, token: null);
        }

        try
        {
            Task<AWSCredentials> finding;
            lock (gate)
            {
                // The chain ends at the instance's metadata service, which may take longer to be absent than a call may take: one search
                // for all. What it finds it caches itself.
                finding = chain = chain is { IsCompleted: false } ? chain : Task.Run(() => DefaultAWSCredentialsIdentityResolver.GetCredentialsAsync(), CancellationToken.None);
            }

            return await (await finding.WaitAsync(limit)).GetCredentialsAsync().WaitAsync(limit);
        }
        catch (Exception e) when (!ct.IsCancellationRequested)
        {
            // Each link of the chain has exceptions of its own: files, HTTP, the SDK's two families.
            throw new QueueException("No AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, or Queue:Sqs:AccessKey and Queue:Sqs:SecretKey.", e);
        }
    }

    /// <summary>As configured, else from <c>https://sqs.&lt;region&gt;.amazonaws.com/…</c>.</summary>
    private static string Region(SqsOptions options, SqsQueue queue) =>
        options.Region.Length > 0 ? options.Region
        : Uri.TryCreate(queue.Url, UriKind.Absolute, out var url) && url.Host.Split('.') is ["sqs", var region, "amazonaws", ..] ? region
        : "us-east-1";

    private static QueueException Refused(SqsQueue queue, string action, HttpStatusCode status, string answer)
    {
        JsonObject? error = null;
        try
        {
            error = JsonNode.Parse(answer) as JsonObject;
        }
        catch (JsonException)
        {
            // Not from SQS; the status has to do.
        }

        var code = ((string?)error?["__type"] ?? $"HTTP {(int)status}").Split('#')[^1];
        var said = $"{code}: {(string?)error?["message"] ?? (string?)error?["Message"]}";
        string[] signs = ["AccessDenied", "Token", "Signature", "UnrecognizedClient", "InvalidAccessKey", "InvalidSecurity", "NotAuthorized", "OptInRequired"];
        return new QueueException(
            code is "QueueDoesNotExist" or "AWS.SimpleQueueService.NonExistentQueue" or "InvalidAddress" or "HTTP 404" ? $"{queue.Setting} names no queue that SQS has ({said})"
            : status is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden || signs.Any(sign => code.Contains(sign, StringComparison.Ordinal))
                ? $"SQS refuses the credentials for {queue.Setting} ({said}). Look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or what the AWS chain finds, and at Queue:Sqs:Region (AWS_REGION)."
            : $"SQS refused {action} on {queue.Setting} ({said})");
    }
}
