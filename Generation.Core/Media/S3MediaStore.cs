using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using Amazon;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Generation.Core.Media;

/// <summary>
/// Keeps objects in one bucket of a server that speaks S3: AWS, Backblaze B2, R2, SeaweedFS. Nothing is asked of it but
/// PutObject, multipart uploads, GetObject, HeadObject, DeleteObject and the two listings.
/// </summary>
/// <remarks>
/// A body costs one pooled buffer of a part's size, independent of its length: the buffer is filled, sent, filled again. Parts go
/// one after another; concurrency comes from the worker's other slots, and the sum of memory stays slots × 8 MiB.
/// Checksum trailers (the SDK's default) are off, because servers other than AWS refuse them; instead the SHA-256 of each
/// part is in its signature, and the server refuses a part that does not match.
/// </remarks>
public sealed class S3MediaStore : IMediaStore, IDisposable
{
    /// <summary>8 MiB: S3 wants at least 5 for all but the last, and 10,000 of these are more than any cap.</summary>
    public const int PartBytes = 8 << 20;

    /// <summary>The longest body that fits in 10,000 parts.</summary>
    public const long MaxObjectBytes = 10_000L * PartBytes;

    /// <summary>
    /// Not ArrayPool.Shared: that one keeps a returned buffer for the thread that returned it, and an upload often begins on another
    /// thread than the one before it ended on. Of twelve uploads one after another, one or two allocated 8 MiB anew; from this pool
    /// none did. It keeps sixteen at most, a lane's default slots.
    /// </summary>
    private static readonly ArrayPool<byte> PartBuffers = ArrayPool<byte>.Create(PartBytes, maxArraysPerBucket: 16);

    private static readonly TimeSpan AbortTimeout = TimeSpan.FromSeconds(20);

    private readonly AmazonS3Client client;
    private readonly string bucket;
    private readonly bool isPlainHttp;
    private readonly TimeProvider time;
    private readonly ILogger<S3MediaStore> logger;

    public S3MediaStore(IOptions<MediaOptions> options, TimeProvider time, ILogger<S3MediaStore> logger)
    {
        var s3 = options.Value.S3;
        bucket = s3.Bucket;
        isPlainHttp = s3.Endpoint.StartsWith("http://", StringComparison.OrdinalIgnoreCase);
        this.time = time;
        this.logger = logger;
        var config = new AmazonS3Config
        {
            ForcePathStyle = s3.ForcePathStyle,
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
            MaxErrorRetry = 3,
        };
        if (s3.Endpoint.Length > 0)
        {
            config.ServiceURL = s3.Endpoint;
            config.AuthenticationRegion = s3.Region;
        }
        else
        {
            config.RegionEndpoint = RegionEndpoint.GetBySystemName(s3.Region);
        }

        client = s3.AccessKey.Length > 0
            ? new AmazonS3Client(new BasicAWSCredentials(s3.AccessKey, s3.SecretKey), config)
            : new AmazonS3Client(config);
    }

    public async Task<long> PutAsync(MediaKey key, Stream body, string contentType, CancellationToken ct)
    {
        var buffer = PartBuffers.Rent(PartBytes);
        try
        {
            var part = buffer.AsMemory(0, PartBytes);
            var filled = await body.ReadAtLeastAsync(part, PartBytes, throwOnEndOfStream: false, ct);
            if (filled == PartBytes)
            {
                return await PutInPartsAsync(key, body, contentType, buffer, ct);
            }

            using var whole = new MemoryStream(buffer, 0, filled, writable: false);
            await AskAsync(token => client.PutObjectAsync(
                new PutObjectRequest
                {
                    BucketName = bucket,
                    Key = key.ToString(),
                    ContentType = contentType,
                    InputStream = whole,
                    AutoCloseStream = false,
                    UseChunkEncoding = false,
                },
                token), ct);
            return filled;
        }
        finally
        {
            PartBuffers.Return(buffer);
        }
    }

    public async Task<Stream?> OpenReadAsync(MediaKey key, CancellationToken ct)
    {
        try
        {
            var response = await AskAsync(token => client.GetObjectAsync(bucket, key.ToString(), token), ct);
            return response.ResponseStream;
        }
        catch (MediaException e) when (IsNotFound(e))
        {
            return null;
        }
    }

    public async Task<bool> ExistsAsync(MediaKey key, CancellationToken ct)
    {
        try
        {
            await AskAsync(token => client.GetObjectMetadataAsync(bucket, key.ToString(), token), ct);
            return true;
        }
        catch (MediaException e) when (IsNotFound(e))
        {
            return false;
        }
    }

    public Task DeleteAsync(MediaKey key, CancellationToken ct) =>
        AskAsync(token => client.DeleteObjectAsync(bucket, key.ToString(), token), ct);

    public async IAsyncEnumerable<StoredObject> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken ct)
    {
        var request = new ListObjectsV2Request { BucketName = bucket, Prefix = prefix };
        ListObjectsV2Response page;
        do
        {
            page = await AskAsync(token => client.ListObjectsV2Async(request, token), ct);
            foreach (var item in page.S3Objects ?? [])
            {
                if (MediaKey.TryParse(item.Key, out var key))
                {
                    yield return new(key, item.Size ?? 0, ToUtc(item.LastModified));
                }
            }

            request.ContinuationToken = page.NextContinuationToken;
        }
        while (page.IsTruncated == true);
    }

    public async Task<StoredPage> ListPageAsync(string position, int maxNames, CancellationToken ct)
    {
        var request = new ListObjectsV2Request { BucketName = bucket, MaxKeys = maxNames, StartAfter = position.Length > 0 ? position : null };
        var page = await AskAsync(token => client.ListObjectsV2Async(request, token), ct);
        var names = page.S3Objects ?? [];
        var objects = new List<StoredObject>(names.Count);
        foreach (var item in names)
        {
            if (MediaKey.TryParse(item.Key, out var key))
            {
                objects.Add(new(key, item.Size ?? 0, ToUtc(item.LastModified)));
            }
        }

        return new(objects, page.IsTruncated == true && names.Count > 0 ? names[^1].Key : null);
    }

    public async Task<int> SweepUnfinishedAsync(TimeSpan minAge, CancellationToken ct)
    {
        var removed = 0;
        var begunBefore = time.GetUtcNow() - minAge;
        var request = new ListMultipartUploadsRequest { BucketName = bucket };
        ListMultipartUploadsResponse page;
        do
        {
            page = await AskAsync(token => client.ListMultipartUploadsAsync(request, token), ct);
            foreach (var upload in page.MultipartUploads ?? [])
            {
                // A bucket may be shared: a name that is not one of our keys belongs to another application.
                if (ToUtc(upload.Initiated) < begunBefore && MediaKey.TryParse(upload.Key, out _))
                {
                    removed += await AbortOldAsync(upload, ct) ? 1 : 0;
                }
            }

            request.KeyMarker = page.NextKeyMarker;
            request.UploadIdMarker = page.NextUploadIdMarker;
        }
        while (page.IsTruncated == true);
        return removed;
    }

    public string SignedUrl(MediaKey key, TimeSpan lifetime, string? downloadName = null)
    {
        var request = new GetPreSignedUrlRequest
        {
            BucketName = bucket,
            Key = key.ToString(),
            Verb = HttpVerb.GET,
            Expires = (time.GetUtcNow() + lifetime).UtcDateTime,
            Protocol = isPlainHttp ? Protocol.HTTP : Protocol.HTTPS,
        };
        if (downloadName is not null)
        {
            var disposition = new ContentDispositionHeaderValue("attachment") { FileNameStar = downloadName };
            request.ResponseHeaderOverrides.ContentDisposition = disposition.ToString();
        }

        return client.GetPreSignedURL(request);
    }

    public void Dispose() => client.Dispose();

    private async Task<long> PutInPartsAsync(
        MediaKey key, Stream body, string contentType, byte[] buffer, CancellationToken ct)
    {
        var name = key.ToString();
        var upload = await AskAsync(token => client.InitiateMultipartUploadAsync(
            new InitiateMultipartUploadRequest { BucketName = bucket, Key = name, ContentType = contentType }, token), ct);
        try
        {
            long bytes = 0;
            var parts = new List<PartETag>();
            var filled = PartBytes; // the caller has filled the buffer once
            while (filled > 0)
            {
                using var part = new MemoryStream(buffer, 0, filled, writable: false);
                var request = new UploadPartRequest
                {
                    BucketName = bucket,
                    Key = name,
                    UploadId = upload.UploadId,
                    PartNumber = parts.Count + 1,
                    PartSize = filled,
                    InputStream = part,
                    UseChunkEncoding = false,
                };
                var response = await AskAsync(token => client.UploadPartAsync(request, token), ct);
                parts.Add(new PartETag(parts.Count + 1, response.ETag));
                bytes += filled;
                filled = filled < PartBytes
                    ? 0
                    : await body.ReadAtLeastAsync(buffer.AsMemory(0, PartBytes), PartBytes, throwOnEndOfStream: false, ct);
            }

            var whole = new CompleteMultipartUploadRequest { BucketName = bucket, Key = name, UploadId = upload.UploadId, PartETags = parts };
            await AskAsync(token => client.CompleteMultipartUploadAsync(whole, token), ct);
            return bytes;
        }
        catch
        {
            await AbortAsync(name, upload.UploadId);
            throw;
        }
    }

    /// <summary>False when it has completed or was aborted since it was listed.</summary>
    private async Task<bool> AbortOldAsync(MultipartUpload upload, CancellationToken ct)
    {
        try
        {
            await AskAsync(token => client.AbortMultipartUploadAsync(bucket, upload.Key, upload.UploadId, token), ct);
            return true;
        }
        catch (MediaException e) when (IsNotFound(e))
        {
            return false;
        }
    }

    /// <summary>
    /// Aborts an upload, whose parts would be billed until the sweep finds them. Not cancelled with the upload, which is what led here.
    /// </summary>
    private async Task AbortAsync(string name, string uploadId)
    {
        using var timeout = new CancellationTokenSource(AbortTimeout, time);
        try
        {
            await client.AbortMultipartUploadAsync(bucket, name, uploadId, timeout.Token);
        }
        catch (Exception e) when (IsStoreError(e) || e is OperationCanceledException)
        {
            logger.LogWarning(
                new EventId(0, "storage.abort.failed"), "Could not abort the upload of {Key}; the sweep will: {Error}", name, e.Message);
        }
    }

    private static async Task<T> AskAsync<T>(Func<CancellationToken, Task<T>> request, CancellationToken ct)
    {
        try
        {
            return await request(ct);
        }
        catch (Exception e) when (IsStoreError(e) || (e is OperationCanceledException && !ct.IsCancellationRequested))
        {
            throw new MediaException(MediaFailure.StoreUnavailable, $"The object store did not do it (Media:S3): {e.Message}", e);
        }
    }

    private static bool IsStoreError(Exception error) =>
        error is AmazonServiceException or AmazonClientException or HttpRequestException or IOException or TimeoutException;

    private static bool IsNotFound(MediaException error) =>
        error.InnerException is AmazonS3Exception { StatusCode: HttpStatusCode.NotFound } notFound && notFound.ErrorCode is not "NoSuchBucket";

    private static DateTimeOffset ToUtc(DateTime? time) =>
        time is { } known ? new DateTimeOffset(known.ToUniversalTime(), TimeSpan.Zero) : DateTimeOffset.MaxValue;
}
