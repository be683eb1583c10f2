using Generation.Core.Media;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Media;

public sealed class S3MediaStoreTests(TestS3 server) : MediaStoreContract, IAsyncLifetime
{
    private readonly HttpClient http = new();
    private readonly List<S3MediaStore> stores = [];
    private MediaOptions settings = new();

    public async ValueTask InitializeAsync() => settings = await server.NewBucketAsync();

    public ValueTask DisposeAsync()
    {
        http.Dispose();
        stores.ForEach(store => store.Dispose());
        return ValueTask.CompletedTask;
    }

    protected override IMediaStore Open(TimeSpan clockAhead = default)
    {
        var store = new S3MediaStore(Options.Create(settings), new ShiftedClock(clockAhead), NullLogger<S3MediaStore>.Instance);
        stores.Add(store);
        return store;
    }

    protected override Task<HttpResponseMessage> GetAsync(string signedUrl) => http.GetAsync(signedUrl);

    protected override async Task<int> CountUnfinishedAsync()
    {
        using var client = TestS3.NewClient(settings);
        return (await client.ListMultipartUploadsAsync(settings.S3.Bucket)).MultipartUploads?.Count ?? 0;
    }

    protected override async Task AbandonUploadAsync(MediaKey key)
    {
        using var client = TestS3.NewClient(settings);
        await client.InitiateMultipartUploadAsync(settings.S3.Bucket, key.ToString());
    }

    [Fact]
    [Trait("tier", "slow")]
    public async Task A_listing_goes_on_past_the_servers_page()
    {
        var store = Open();
        var output = SampleOutput.Of(MediaKind.Image);
        await Parallel.ForAsync(0, 1_005, new ParallelOptions { MaxDegreeOfParallelism = 16 }, async (i, token) =>
            await store.PutAsync((output with { Ordinal = i }).KeyFor(MediaType.Png), new MemoryStream([1]), "image/png", token));

        Assert.Equal(1_005, await store.ListAsync("", default).CountAsync());
    }

    [Fact]
    public async Task Objects_and_uploads_of_others_in_the_bucket_are_left_alone()
    {
        using var client = TestS3.NewClient(settings);
        var bucket = settings.S3.Bucket;
        await client.PutObjectAsync(new() { BucketName = bucket, Key = "backup/db.dump", ContentBody = "theirs", UseChunkEncoding = false });
        await client.InitiateMultipartUploadAsync(bucket, "backup/next.dump");
        var store = Open(clockAhead: TimeSpan.FromDays(1));

        Assert.Empty(await store.ListAsync("", default).ToListAsync());
        Assert.Equal(0, await store.SweepUnfinishedAsync(TimeSpan.FromHours(1), default));
        Assert.Equal(1, await CountUnfinishedAsync());
    }

    [Theory]
    [InlineData("wrong key", 10)]
    [InlineData("wrong key", 9_000_000)]
    [InlineData("no bucket", 10)]
    [InlineData("no bucket", 9_000_000)]
    [InlineData("no server", 10)]
    public async Task A_store_that_does_not_answer_is_a_store_failure(string fault, long bytes)
    {
        switch (fault)
        {
            case "wrong key": settings.S3.SecretKey = "wrong"; break;
            case "no bucket": settings.S3.Bucket = "test-that-is-not-there"; break;
            default: settings.S3.Endpoint = "http://127.0.0.1:9"; break;
        }

        var body = new EndlessBody(bytes, []);
        var error = await Assert.ThrowsAsync<MediaException>(() => Open().PutAsync(SampleOutput.Key(), body, "image/png", default));

        Assert.Equal(MediaFailure.StoreUnavailable, error.Failure);
    }

    [Fact]
    public async Task A_bucket_that_is_gone_is_not_taken_for_a_missing_object()
    {
        settings.S3.Bucket = "test-that-is-not-there";

        var error = await Assert.ThrowsAsync<MediaException>(() => Open().OpenReadAsync(SampleOutput.Key(), default));

        Assert.Equal(MediaFailure.StoreUnavailable, error.Failure);
    }
}
