using System.Diagnostics;
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
    private Task<Server>? server;

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

    private Task<Server> ServerAsync()
    {
        lock (starting)
        {
            return server ??= Task.Run(StartAsync);
        }
    }

    private static async Task<Server> StartAsync()
    {
        var folder = Directory.CreateTempSubdirectory("generation-s3-");
        var process = await NodePackages.StartAsync("--openssl-legacy-provider", "s3.cjs", folder.FullName);
        using var timeout = new CancellationTokenSource(NodePackages.StartTimeout);
        if (!int.TryParse(await process.StandardOutput.ReadLineAsync(timeout.Token), out var port))
        {
            Assert.Fail($"The S3 server did not start: {await process.StandardError.ReadToEndAsync(timeout.Token)}");
        }

        // Unread pipes would stop a server that complains a lot.
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        return new Server(process, $"http://127.0.0.1:{port}");
    }

    private sealed record Server(Process Process, string Endpoint) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            Process.StandardInput.Close(); // its sign to clear up and end
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            await Process.WaitForExitAsync(timeout.Token);
            Process.Dispose();
        }
    }
}
