using System.Net;
using System.Security.Cryptography;
using Amazon.S3.Model;
using Generation.Core.Media;
using Generation.Tests.Harness;

namespace Generation.Tests.Media;

/// <summary>The whole way with object storage instead of a folder.</summary>
[Trait("tier", "slow")]
public sealed class S3PipelineTests(TestS3 s3)
{
    [Fact]
    public async Task A_prompt_becomes_an_object_in_a_bucket_that_opens_by_its_presigned_address()
    {
        var bucket = await s3.NewBucketAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Media:Store"] = "s3";
            o.Settings["Media:S3:Endpoint"] = bucket.S3.Endpoint;
            o.Settings["Media:S3:Bucket"] = bucket.S3.Bucket;
            o.Settings["Media:S3:AccessKey"] = bucket.S3.AccessKey;
            o.Settings["Media:S3:SecretKey"] = bucket.S3.SecretKey;
            o.Settings["Media:S3:ForcePathStyle"] = "true";
        });
        var id = await system.SubmitAsync("a harbour at noon [fault=cut-body:times=1]", n: 2);
        var end = await system.EndOfAsync(id);

        Assert.Equal(("completed", 2), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal(2, await system.Sim.PaidAsync("harbour"));
        using var stranger = new HttpClient();
        foreach (var media in end["media"]!.AsArray())
        {
            var url = new Uri((string)media!["url"]!);
            Assert.Equal(new Uri(bucket.S3.Endpoint).Authority, url.Authority);
            Assert.Contains("X-Amz-Signature=", url.Query, StringComparison.Ordinal);
            var picture = await stranger.GetAsync(url);
            Assert.Equal((HttpStatusCode.OK, "image/jpeg"), (picture.StatusCode, picture.Content.Headers.ContentType?.MediaType));
            var bytes = await picture.Content.ReadAsByteArrayAsync();
            Assert.Equal((long)media["bytes"]!, bytes.Length);
            Assert.Equal((string?)media["sha256"], Convert.ToHexStringLower(SHA256.HashData(bytes)));

            // The address of the Api leads to the same object, for whoever may see it.
            Assert.Equal(bytes, await system.Http.GetByteArrayAsync($"/api/media/{media["mediaId"]}"));
        }

        Assert.Equal(await KeysAsync(system), await ObjectsAsync(bucket));
        Assert.DoesNotContain(system.Apis.Concat(system.Workers).SelectMany(service => service.Log), line =>
            line.Contains("X-Amz-Signature", StringComparison.Ordinal));
        await system.AssertBooksAreCleanAsync();
    }

    private static async Task<IEnumerable<string>> KeysAsync(TestSystem system) =>
        (await system.ScalarAsync<string>("SELECT string_agg(object_key, ' ') FROM media"))!.Split(' ').Order(StringComparer.Ordinal);

    private static async Task<IEnumerable<string>> ObjectsAsync(MediaOptions bucket)
    {
        using var client = TestS3.NewClient(bucket);
        var list = await client.ListObjectsV2Async(new ListObjectsV2Request { BucketName = bucket.S3.Bucket });
        return list.S3Objects.Select(found => found.Key).Order(StringComparer.Ordinal);
    }
}
