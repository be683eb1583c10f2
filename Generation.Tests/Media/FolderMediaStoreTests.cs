using Generation.Core.Media;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Media;

public sealed class FolderMediaStoreTests : MediaStoreContract, IAsyncLifetime
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("generation-media-");
    private readonly HttpClient http = new();
    private WebApplication? site;

    private IOptions<MediaOptions> Settings => Options.Create(new MediaOptions { Folder = { Root = folder.FullName } });

    /// <summary>A route as the Api has it, so that signed URLs are fetched over HTTP here too.</summary>
    public async ValueTask InitializeAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        site = builder.Build();
        site.MapGet("/media/{**key}", IResult (string key, string? expires, string? signature, string? name) =>
            new FolderMediaStore(Settings, TimeProvider.System).OpenSigned(key, expires, signature, name, out var file) switch
            {
                SignedUrlVerdict.Valid => TypedResults.PhysicalFile(file!.Path, file.ContentType, file.DownloadName, enableRangeProcessing: true),
                SignedUrlVerdict.Missing => TypedResults.NotFound(),
                _ => TypedResults.StatusCode(403),
            });
        await site.StartAsync();
        http.BaseAddress = new Uri(site.Urls.Single());
    }

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        await site!.DisposeAsync();
        folder.Delete(recursive: true);
    }

    protected override IMediaStore Open(TimeSpan clockAhead = default) =>
        new FolderMediaStore(Settings, new FakeTimeProvider(TimeProvider.System.GetUtcNow() + clockAhead));

    protected override Task<HttpResponseMessage> GetAsync(string signedUrl) => http.GetAsync(signedUrl);

    protected override Task<int> CountUnfinishedAsync()
    {
        var unfinished = Path.Combine(folder.FullName, ".unfinished");
        return Task.FromResult(Directory.Exists(unfinished) ? Directory.GetFiles(unfinished).Length : 0);
    }

    protected override async Task AbandonUploadAsync(MediaKey key)
    {
        var unfinished = Directory.CreateDirectory(Path.Combine(folder.FullName, ".unfinished"));
        await File.WriteAllBytesAsync(Path.Combine(unfinished.FullName, Guid.NewGuid().ToString("N")), new byte[1000]);
    }

    [Fact]
    public async Task Processes_that_start_at_once_agree_on_one_signing_key_that_only_its_owner_may_read()
    {
        var key = SampleOutput.Key();
        var start = new TaskCompletionSource();
        var clock = new FakeTimeProvider(); // a second of the real one may pass in between, and is signed too
        for (var round = 0; round < 20; round++)
        {
            var root = folder.CreateSubdirectory($"{round}");
            var urls = Enumerable.Range(0, 16).Select(_ => Task.Run(async () =>
            {
                await start.Task;
                return new FolderMediaStore(Options.Create(new MediaOptions { Folder = { Root = root.FullName } }), clock)
                    .SignedUrl(key, TimeSpan.FromHours(1));
            })).ToArray();
            start.TrySetResult();

            var signatures = (await Task.WhenAll(urls)).Select(url => url[url.IndexOf("signature=", StringComparison.Ordinal)..]);

            var file = Assert.Single(root.GetFiles(".signing-key*"));
            Assert.Single(signatures.Distinct());
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode);
            }
        }
    }

    [Fact]
    public async Task A_signing_key_whose_writer_died_is_written_anew()
    {
        await File.WriteAllTextAsync(Path.Combine(folder.FullName, ".signing-key"), "half");

        Open().SignedUrl(SampleOutput.Key(), TimeSpan.FromHours(1));

        Assert.Equal(43, (await File.ReadAllTextAsync(Path.Combine(folder.FullName, ".signing-key"))).Length);
    }

    [Fact]
    public async Task A_hostile_path_is_forged_whatever_it_points_at()
    {
        await File.WriteAllTextAsync(Path.Combine(folder.FullName, "secret.png"), "secret");
        var store = (FolderMediaStore)Open();
        foreach (var path in new[] { "../../etc/passwd", "secret.png", ".signing-key", "/etc/passwd", "samples/../.signing-key", "" })
        {
            Assert.Equal(SignedUrlVerdict.Forged, store.OpenSigned(path, "9999999999", "AAAA", null, out var file));
            Assert.Null(file);
        }

        Assert.Equal(SignedUrlVerdict.Forged, store.OpenSigned(null, null, null, null, out _));
    }

    [Fact]
    public void A_rightly_signed_url_of_a_deleted_object_is_missing()
    {
        var store = (FolderMediaStore)Open();
        var key = SampleOutput.Key();
        var query = store.SignedUrl(key, TimeSpan.FromHours(1)).Split('?', '&', '=');

        Assert.Equal(SignedUrlVerdict.Missing, store.OpenSigned(key.ToString(), query[2], query[4], null, out _));
    }

    [Fact]
    public async Task A_folder_that_cannot_be_written_is_a_store_failure_and_names_the_setting()
    {
        var file = Path.Combine(folder.FullName, "a-file");
        await File.WriteAllTextAsync(file, "not a folder");
        var options = new MediaOptions { Folder = { Root = Path.Combine(file, "media") } };
        var store = new FolderMediaStore(Options.Create(options), TimeProvider.System);

        var error = await Assert.ThrowsAsync<MediaException>(() => store.PutAsync(SampleOutput.Key(), new MemoryStream([1]), "image/png", default));

        Assert.Equal(MediaFailure.StoreUnavailable, error.Failure);
        Assert.Contains("Media:Folder:Root", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_prefix_cannot_leave_the_root()
    {
        await Open().PutAsync(SampleOutput.Key(), new MemoryStream([1]), "image/png", default);
        var options = new MediaOptions { Folder = { Root = Path.Combine(folder.FullName, "deeper") } };
        var inside = new FolderMediaStore(Options.Create(options), TimeProvider.System);

        Assert.Empty(await inside.ListAsync("../", default).ToListAsync());
    }

    [Fact]
    public async Task Uploads_into_a_folder_that_deletions_empty_all_arrive()
    {
        var store = Open();
        var output = SampleOutput.Of(MediaKind.Image);

        await Parallel.ForAsync(0, 400, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (i, token) =>
        {
            var key = (output with { Ordinal = i }).KeyFor(MediaType.Png);
            await store.PutAsync(key, new MemoryStream([1]), "image/png", token);
            Assert.True(await store.ExistsAsync(key, token));
            await store.DeleteAsync(key, token);
        });

        Assert.Empty(folder.GetDirectories(output.UserId.ToString("D")));
    }
}
