using Amazon.Runtime;
using Amazon.S3;
using Generation.Core.Media;
using Generation.Tests.Harness;

[assembly: AssemblyFixture(typeof(TestS3))]

namespace Generation.Tests.Harness;

/// <summary>
/// An S3 server from npm in a process of its own (Servers/s3.cjs), one for the test run, started by the first test that
/// wants it. Each caller gets a bucket of its own.
/// </summary>
public sealed class TestS3 : IAsyncDisposable
{
    private const string AccessKey = "S3RVER"; // the one account that s3rver knows

    private readonly Lock starting = new();
    private Task<NodeServer>? server;

    /// <summary>Settings that point at a fresh, empty bucket.</summary>
    public async Task<MediaOptions> NewBucketAsync()
    {
        var bucket = $"test-{Guid.NewGuid():N}";
        var options = new MediaOptions
        {
            Store = MediaStoreKind.S3,
            S3 = { Endpoint = (await ServerAsync()).Endpoint, Bucket = bucket, AccessKey = AccessKey, SecretKey = AccessKey, ForcePathStyle = true },
        };
        using var client = NewClient(options);
        await client.PutBucketAsync(bucket);
        return options;
    }

    /// <summary>The SDK's own client, for what a test wants to see or break behind the store's back.</summary>
    public static AmazonS3Client NewClient(MediaOptions options) => new(
        new BasicAWSCredentials(options.S3.AccessKey, options.S3.SecretKey),
        new AmazonS3Config
        {
            ServiceURL = options.S3.Endpoint,
            AuthenticationRegion = options.S3.Region,
            ForcePathStyle = true,
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
        });

    public async ValueTask DisposeAsync()
    {
        if (server is not null)
        {
            await (await server).DisposeAsync();
        }
    }

    private Task<NodeServer> ServerAsync()
    {
        lock (starting)
        {
            return server ??= NodeServer.StartAsync("--openssl-legacy-provider", "s3.cjs", Directory.CreateTempSubdirectory(
                "generation-s3-").FullName);
        }
    }
}
