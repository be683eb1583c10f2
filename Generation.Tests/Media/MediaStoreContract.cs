using System.Net;
using System.Net.Http.Headers;
using Generation.Core.Media;

namespace Generation.Tests.Media;

/// <summary>What every <see cref="IMediaStore"/> does. Each test has a store of its own, empty.</summary>
public abstract class MediaStoreContract
{
    private static readonly byte[] Start = SampleFiles.Png(4, 3, bytes: 33);

    /// <summary>Sizes around the buffers of both stores: nothing, less than a part, exactly parts, parts and a rest.</summary>
    public static readonly TheoryData<long> Sizes =
    [
        0, 1, 128 << 10, S3MediaStore.PartBytes - 1, S3MediaStore.PartBytes, S3MediaStore.PartBytes + 1, 2L * S3MediaStore.PartBytes, 20_000_000,
    ];

    /// <summary>The store under test, on a clock that is ahead by <paramref name="clockAhead"/>; the same data every time.</summary>
    protected abstract IMediaStore Open(TimeSpan clockAhead = default);

    /// <summary>GET of a signed URL, from outside.</summary>
    protected abstract Task<HttpResponseMessage> GetAsync(string signedUrl);

    /// <summary>How many begun uploads lie about.</summary>
    protected abstract Task<int> CountUnfinishedAsync();

    /// <summary>Leaves an upload behind as a process that was killed does.</summary>
    protected abstract Task AbandonUploadAsync(MediaKey key);

    [Theory]
    [MemberData(nameof(Sizes))]
    public async Task What_was_put_is_read_back_to_the_byte(long bytes)
    {
        var store = Open();
        var key = SampleOutput.Key();

        Assert.Equal(bytes, await store.PutAsync(key, new EndlessBody(bytes, Start), "image/png", default));

        Assert.True(await store.ExistsAsync(key, default));
        await using var stored = (await store.OpenReadAsync(key, default))!;
        await AssertContentAsync(bytes, stored);
        Assert.Equal(0, await CountUnfinishedAsync());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100_000)]
    [InlineData(9_000_000)]
    [InlineData(18_000_000)]
    public async Task A_body_that_breaks_leaves_nothing_and_its_error_comes_out_unchanged(long failAt)
    {
        var store = Open();
        var key = SampleOutput.Key();

        await Assert.ThrowsAsync<InvalidDataException>(() => store.PutAsync(key, new EndlessBody(20_000_000, Start, failAt), "image/png", default));

        await AssertNothingIsThereAsync(store, key);
    }

    [Theory]
    [InlineData(100_000)]
    [InlineData(17_000_000)]
    public async Task A_canceled_upload_leaves_nothing(long cancelAt)
    {
        var store = Open();
        var key = SampleOutput.Key();
        using var cancel = new CancellationTokenSource();
        var body = new EndlessBody(30_000_000, Start, onRead: at =>
        {
            if (at >= cancelAt)
            {
                cancel.Cancel();
            }
        });

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.PutAsync(key, body, "image/png", cancel.Token));

        await AssertNothingIsThereAsync(store, key);
    }

    [Fact]
    public async Task An_object_is_not_visible_before_it_is_complete()
    {
        var store = Open();
        var key = SampleOutput.Key();
        var isVisible = new List<bool>();
        var body = new EndlessBody(17_000_000, Start, onRead: at =>
        {
            if (at > 16_000_000 && isVisible.Count == 0)
            {
                isVisible.Add(store.ExistsAsync(key, default).GetAwaiter().GetResult());
            }
        });

        await store.PutAsync(key, body, "image/png", default);

        Assert.Equal([false], isVisible);
        Assert.True(await store.ExistsAsync(key, default));
    }

    [Fact]
    public async Task A_failed_second_upload_leaves_the_first_object_as_it_was()
    {
        var store = Open();
        var key = SampleOutput.Key();
        await store.PutAsync(key, new EndlessBody(1_000, Start), "image/png", default);

        var broken = new EndlessBody(20_000_000, Start, failAt: 17_000_000);
        await Assert.ThrowsAsync<InvalidDataException>(() => store.PutAsync(key, broken, "image/png", default));

        await using var stored = (await store.OpenReadAsync(key, default))!;
        await AssertContentAsync(1_000, stored);
    }

    [Fact]
    public async Task A_second_upload_replaces_the_first()
    {
        var store = Open();
        var key = SampleOutput.Key();
        await store.PutAsync(key, new EndlessBody(1_000, Start), "image/png", default);
        await store.PutAsync(key, new EndlessBody(500, Start), "image/png", default);

        await using var stored = (await store.OpenReadAsync(key, default))!;
        await AssertContentAsync(500, stored);
    }

    [Fact]
    public async Task What_is_not_there_is_neither_found_nor_opened_and_may_be_deleted()
    {
        var store = Open();
        var key = SampleOutput.Key();

        Assert.False(await store.ExistsAsync(key, default));
        Assert.Null(await store.OpenReadAsync(key, default));
        await store.DeleteAsync(key, default);
    }

    [Fact]
    public async Task A_deleted_object_is_gone_and_its_neighbour_is_not()
    {
        var store = Open();
        var output = SampleOutput.Of(MediaKind.Image);
        var (gone, kept) = (output.KeyFor(MediaType.Png), (output with { Ordinal = 1 }).KeyFor(MediaType.Png));
        await store.PutAsync(gone, new EndlessBody(100, Start), "image/png", default);
        await store.PutAsync(kept, new EndlessBody(100, Start), "image/png", default);

        await store.DeleteAsync(gone, default);

        Assert.False(await store.ExistsAsync(gone, default));
        Assert.Equal([kept], await ListAsync(store, ""));
    }

    [Fact]
    public async Task A_listing_shows_what_begins_with_the_prefix_with_size_and_time()
    {
        var store = Open();
        var output = SampleOutput.Of(MediaKind.Image);
        var keys = Enumerable.Range(0, 3).Select(i => (output with { Ordinal = i }).KeyFor(MediaType.Png)).ToArray();
        foreach (var key in keys)
        {
            await store.PutAsync(key, new EndlessBody(100 + key.Ordinal!.Value, Start), "image/png", default);
        }

        var other = SampleOutput.Key();
        await store.PutAsync(other, new EndlessBody(7, Start), "image/png", default);

        var session = MediaKey.SessionPrefix(output.UserId, output.SessionCreatedAt, output.SessionId);
        Assert.Equal(keys.Order(ByName), (await ListAsync(store, session)).Order(ByName));
        Assert.Equal([keys[1]], await ListAsync(store, session + "output-1"));
        Assert.Equal(keys.Append(other).Order(ByName), (await ListAsync(store, "")).Order(ByName));
        Assert.Empty(await ListAsync(store, $"{Guid.NewGuid():D}/"));

        await foreach (var item in store.ListAsync(session, default))
        {
            Assert.Equal(100 + item.Key.Ordinal!.Value, item.Bytes);
            Assert.InRange(item.LastModified, TimeProvider.System.GetUtcNow().AddMinutes(-5), TimeProvider.System.GetUtcNow().AddMinutes(1));
        }
    }

    [Fact]
    public async Task A_sweep_removes_abandoned_uploads_and_only_old_ones()
    {
        var key = SampleOutput.Key();
        await Open().PutAsync(key, new EndlessBody(100, Start), "image/png", default);
        await AbandonUploadAsync(SampleOutput.Key());
        await AbandonUploadAsync(SampleOutput.Key());

        Assert.Equal(0, await Open().SweepUnfinishedAsync(TimeSpan.FromHours(1), default));
        Assert.Equal(2, await CountUnfinishedAsync());

        Assert.Equal(2, await Open(clockAhead: TimeSpan.FromHours(2)).SweepUnfinishedAsync(TimeSpan.FromHours(1), default));
        Assert.Equal(0, await CountUnfinishedAsync());
        Assert.True(await Open().ExistsAsync(key, default));
    }

    [Fact]
    public async Task A_signed_url_gives_the_object_with_its_type()
    {
        var store = Open();
        var key = SampleOutput.Key();
        await store.PutAsync(key, new EndlessBody(10_000, Start), "image/png", default);

        using var answer = await GetAsync(store.SignedUrl(key, TimeSpan.FromMinutes(5)));

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("image/png", answer.Content.Headers.ContentType?.MediaType);
        Assert.Null(answer.Content.Headers.ContentDisposition);
        await AssertContentAsync(10_000, await answer.Content.ReadAsStreamAsync());
    }

    [Fact]
    public async Task A_signed_url_can_carry_a_download_name()
    {
        var store = Open();
        var key = SampleOutput.Key();
        await store.PutAsync(key, new EndlessBody(10, Start), "image/png", default);

        using var answer = await GetAsync(store.SignedUrl(key, TimeSpan.FromMinutes(5), "Leuchtturm \"außen\" & mehr.png"));

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        var disposition = ContentDispositionHeaderValue.Parse(answer.Content.Headers.GetValues("Content-Disposition").Single());
        Assert.Equal("attachment", disposition.DispositionType);
        Assert.Equal("Leuchtturm \"außen\" & mehr.png", disposition.FileNameStar);
    }

    [Fact]
    public async Task A_changed_or_expired_or_unsigned_url_is_refused()
    {
        var store = Open();
        var (mine, theirs) = (SampleOutput.Key(), SampleOutput.Key());
        await store.PutAsync(mine, new EndlessBody(10, Start), "image/png", default);
        await store.PutAsync(theirs, new EndlessBody(10, Start), "image/png", default);
        var url = store.SignedUrl(mine, TimeSpan.FromMinutes(5), "a.png");

        string[] refused =
        [
            url.Replace(mine.ToString(), theirs.ToString(), StringComparison.Ordinal),
            url.Replace("a.png", "b.png", StringComparison.Ordinal),
            url[..url.IndexOf('?', StringComparison.Ordinal)],
            Regex(url, "(?i)(expires=)(\\d+)", "${1}1${2}"),
            Regex(url, "(?i)(signature=.)(.{8})", "${1}AAAAAAAA"),
            Open(clockAhead: TimeSpan.FromHours(-2)).SignedUrl(mine, TimeSpan.FromHours(1)),
        ];
        foreach (var changed in refused)
        {
            Assert.NotEqual(url, changed);
            using var answer = await GetAsync(changed);
            Assert.True(answer.StatusCode == HttpStatusCode.Forbidden, $"{(int)answer.StatusCode} for {changed}");
        }
    }

    [Fact]
    public async Task Many_uploads_at_once_do_not_mix()
    {
        var store = Open();
        var keys = Enumerable.Range(0, 8).Select(_ => SampleOutput.Key()).ToArray();

        await Task.WhenAll(keys.Select((key, i) =>
            store.PutAsync(key, new EndlessBody(100_000 + (i * 1_500_000), [(byte)i, .. Start]), "image/png", default)));

        for (var i = 0; i < keys.Length; i++)
        {
            await using var stored = (await store.OpenReadAsync(keys[i], default))!;
            await AssertContentAsync(100_000 + (i * 1_500_000), stored, [(byte)i, .. Start]);
        }
    }

    private static string Regex(string text, string pattern, string replacement) =>
        System.Text.RegularExpressions.Regex.Replace(
            text, pattern, replacement, System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1));

    private static readonly Comparer<MediaKey> ByName = Comparer<MediaKey>.Create((a, b) => string.CompareOrdinal(a.ToString(), b.ToString()));

    private static async Task<List<MediaKey>> ListAsync(IMediaStore store, string prefix)
    {
        var keys = new List<MediaKey>();
        await foreach (var item in store.ListAsync(prefix, default))
        {
            keys.Add(item.Key);
        }

        return keys;
    }

    private async Task AssertNothingIsThereAsync(IMediaStore store, MediaKey key)
    {
        Assert.False(await store.ExistsAsync(key, default));
        Assert.Empty(await ListAsync(store, ""));
        Assert.Equal(0, await CountUnfinishedAsync());
    }

    private static async Task AssertContentAsync(long bytes, Stream stored, byte[]? start = null)
    {
        var buffer = new byte[1 << 16];
        long position = 0;
        while (await stored.ReadAsync(buffer) is > 0 and var read)
        {
            for (var i = 0; i < read; i++)
            {
                if (buffer[i] != EndlessBody.ByteAt(position + i, start ?? Start))
                {
                    Assert.Fail($"Byte {position + i} differs.");
                }
            }

            position += read;
        }

        Assert.Equal(bytes, position);
    }
}
