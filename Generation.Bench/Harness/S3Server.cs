using System.Diagnostics;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Generation.LocalServers;

namespace Generation.Bench.Harness;

/// <summary>The S3 server of the tests (npm, <c>Generation.Tests/Servers</c>) with one empty bucket.</summary>
internal sealed class S3Server : IDisposable
{
    private const string AccessKey = "S3RVER"; // the one account that s3rver knows
    private const string Bucket = "bench";
    private static readonly TimeSpan LinkLifetime = TimeSpan.FromHours(1);

    private readonly Process process;
    private readonly AmazonS3Client client;

    private S3Server(Process process, string endpoint)
    {
        this.process = process;
        client = new AmazonS3Client(
            new BasicAWSCredentials(AccessKey, AccessKey),
            new AmazonS3Config { ServiceURL = endpoint, AuthenticationRegion = "us-east-1", ForcePathStyle = true });
        Settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Media:Store"] = "s3",
            ["Media:S3:Endpoint"] = endpoint,
            ["Media:S3:Bucket"] = Bucket,
            ["Media:S3:AccessKey"] = AccessKey,
            ["Media:S3:SecretKey"] = AccessKey,
            ["Media:S3:ForcePathStyle"] = "true",
        };
    }

    /// <summary>npm has filled its folder; it writes this file last.</summary>
    public static bool IsInstalled => File.Exists(Path.Combine(Folder, "node_modules", ".package-lock.json"));

    /// <summary>What makes the services keep their media here.</summary>
    public Dictionary<string, string> Settings { get; }

    private static string Folder => Path.Combine(Repository.Root, "Generation.Tests", "Servers");

    public static async Task<S3Server> StartAsync(RunFolder folder, CancellationToken ct)
    {
        // Not a ChildProcess: it ends with its standard input, and so with us, however we end.
        var node = Process.Start(new ProcessStartInfo("node", ["--openssl-legacy-provider", "s3.cjs", folder["s3"]])
        {
            WorkingDirectory = Folder,
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true, // its port, and nothing else
        })!;
        try
        {
            var port = await node.StandardOutput.ReadLineAsync(ct);
            if (!int.TryParse(port, out _))
            {
                throw new StartFailure("The S3 server does not start: node Generation.Tests/Servers/s3.cjs");
            }

            var server = new S3Server(node, $"http://127.0.0.1:{port}");
            await server.client.PutBucketAsync(Bucket, ct);
            return server;
        }
        catch
        {
            node.Kill();
            throw;
        }
    }

    /// <summary>An address that takes one object by PUT.</summary>
    public Uri PutAddress(string key) => new(client.GetPreSignedURL(new GetPreSignedUrlRequest
    {
        BucketName = Bucket,
        Key = key,
        Verb = HttpVerb.PUT,
        Protocol = Protocol.HTTP,
        Expires = (TimeProvider.System.GetUtcNow() + LinkLifetime).UtcDateTime,
    }));

    public void Dispose()
    {
        client.Dispose();
        process.StandardInput.Close(); // its sign to clear up and end
        process.WaitForExit();
        process.Dispose();
    }
}
