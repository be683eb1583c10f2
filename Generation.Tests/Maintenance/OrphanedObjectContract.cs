using Generation.Core.Maintenance;
using Generation.Core.Media;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Generation.Tests.Maintenance;

/// <summary>Objects that no row refers to go, on either store; what a row names stays, whatever else is true of it.</summary>
public abstract class OrphanedObjectContract : IAsyncLifetime
{
    private static readonly TimeSpan Day = TimeSpan.FromDays(1);

    private TestDatabase database = null!;
    private NpgsqlDataSource db = null!;

    public async ValueTask InitializeAsync()
    {
        TestPostgres.Migrate = connectionString => Core.Database.DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        database = await TestPostgres.CreateDatabaseAsync();
        db = NpgsqlDataSource.Create(database.ConnectionString);
        await db.AddUserAsync();
        await SetUpAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await TearDownAsync();
        await db.DisposeAsync();
        NpgsqlConnection.ClearAllPools();
        await database.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    protected abstract Task SetUpAsync();

    protected abstract Task TearDownAsync();

    protected abstract IMediaStore NewStore();

    [Fact]
    public async Task What_sessions_left_behind_goes_a_day_after_their_end_and_what_a_row_names_stays()
    {
        var store = NewStore();
        var taken = await EndedAsync("completed", token: 4, hours: 25); // by a second worker, after the first had stored something
        var (kept, poster) = (taken.Key(0, 3), taken.Key(0, 3, MediaRole.Poster));
        await NameAsync(taken, kept, poster);
        var (orphan, orphanPoster, preview) = (taken.Key(0, 1), taken.Key(0, 1, MediaRole.Poster), taken.Key(0, 3, MediaRole.Preview));
        var failed = await EndedAsync("failed", token: 2, hours: 25);
        var failedPreview = failed.Key(0, 1, MediaRole.Preview);
        var recent = await EndedAsync("canceled", token: 2, hours: 23);
        var recentOrphan = recent.Key(0, 1);
        MediaKey[] stay = [kept, poster, recentOrphan, MediaKey.Sample("lighthouse.png")], go = [orphan, orphanPoster, preview, failedPreview];
        await PutAsync(store, [.. stay, .. go]);

        var first = await NewCollector(store).CollectEndedSessionsAsync("", Day, default);
        Assert.Equal((4, false), (first.Removed, first.HasMore));
        Assert.Equal(Names(stay), await AllAsync(store));

        // The relay died before it had noted how far it was: the next one does the same again, and there is nothing to do.
        var again = await NewCollector(store).CollectEndedSessionsAsync("", Day, default);
        Assert.Equal((0, first.Position), (again.Removed, again.Position));

        // The day of the last one is over; it is found from where the sweep has come to.
        await db.ExecuteAsync("UPDATE generation_sessions SET completed_at = now() - interval '24 hours 1 second' WHERE session_id = "
            + $"'{recent.SessionId}'");
        Assert.Equal(1, (await NewCollector(store).CollectEndedSessionsAsync(first.Position, Day, default)).Removed);
        Assert.Equal(Names(stay.Except([recentOrphan])), await AllAsync(store));
    }

    [Fact]
    public async Task The_walk_finds_what_nobody_suspects_and_leaves_what_is_not_in_the_database_unless_it_is_told_otherwise()
    {
        var store = NewStore();
        var clean = await EndedAsync("completed", token: 2, hours: 25); // whose preview could not be removed when its output came
        var (kept, preview) = (clean.Key(0, 1), clean.Key(0, 1, MediaRole.Preview));
        await NameAsync(clean, kept, poster: null);
        var vanished = new Ended(Guid.CreateVersion7(), TimeProvider.System.GetUtcNow()).Key(0, 1);
        var (mine, nobodys) = (UploadKey(), UploadKey());
        await db.ExecuteAsync(
            $"INSERT INTO uploads (upload_id, user_id, object_key, content_type, bytes, sha256) VALUES ('{mine.SessionId}', '{Rows.UserId}', "
                + $"'{mine}', 'image/png', 1, sha256('x'))");
        await PutAsync(store, [kept, preview, vanished, mine, nobodys, MediaKey.Sample("lighthouse.png")]);

        Assert.Equal((0, false), await NewCollector(store).CollectEndedSessionsAsync("", Day, default) is var ended ? (ended.Removed, ended.HasMore)
            : default);
        var week = TimeSpan.FromDays(7);
        var young = await NewCollector(store).ScanStoreAsync("", Day, week, default);
        Assert.Equal((1, ""), (young.Removed, young.Position)); // the preview; and the walk is at its end
        Assert.DoesNotContain(preview.ToString(), await AllAsync(store));

        // Another database's media look the same: they stay, however old, where nobody has said that there is no other.
        Assert.Equal(0, (await NewCollector(store, ahead: TimeSpan.FromDays(8)).ScanStoreAsync("", Day, unknownAge: null, default)).Removed);
        Assert.Equal(2, (await NewCollector(store, ahead: TimeSpan.FromDays(8)).ScanStoreAsync("", Day, week, default)).Removed);
        Assert.Equal(Names([kept, mine, MediaKey.Sample("lighthouse.png")]), await AllAsync(store));
    }

    [Fact]
    public async Task A_walk_can_stop_after_any_page_and_goes_on_there_also_when_objects_went_meanwhile()
    {
        var store = NewStore();
        var sessions = Enumerable.Range(0, 4).Select(_ => new Ended(Guid.CreateVersion7(), TimeProvider.System.GetUtcNow())).ToList();
        var keys = sessions.SelectMany(session => Enumerable.Range(0, 6).Select(n => session.Key(n, 1))).Append(MediaKey.Sample("lighthouse.png"))
            .ToList();
        await PutAsync(store, keys);

        var seen = new List<string>();
        for (string? position = ""; position is not null;)
        {
            var page = await NewStore().ListPageAsync(position, 10, default);
            Assert.InRange(page.Objects.Count, page.Position is null ? 0 : 10, 10);
            seen.AddRange(page.Objects.Select(o => o.Key.ToString()));
            position = page.Position;
            if (page.Objects.Count > 0)
            {
                await store.DeleteAsync(page.Objects[^1].Key, default); // where the next page begins
            }
        }

        Assert.Equal(Names(keys), seen);
    }

    private OrphanedObjectCollector NewCollector(IMediaStore store, TimeSpan ahead = default) =>
        new(db, store, new FakeTimeProvider(TimeProvider.System.GetUtcNow() + ahead));

    private async Task<Ended> EndedAsync(string status, long token, int hours)
    {
        var (id, createdAt) = await db.AddEndedAsync(status, token, TimeSpan.FromHours(hours));
        return new(id, createdAt);
    }

    private Task NameAsync(Ended session, MediaKey output, MediaKey? poster) => db.ExecuteAsync(
        $"""
        INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, poster_key, content_type, bytes, sha256, credits, lease_token,
            session_version)
        VALUES (gen_random_uuid(), '{session.SessionId}', '{Rows.UserId}', {output.Ordinal}, 'image', '{output}', nullif('{poster}', ''), 'image/png', 1, sha256('x'), 4,
                {output.LeaseToken}, 2)
        """);

    private static MediaKey UploadKey() => MediaKey.Upload(Rows.UserId, TimeProvider.System.GetUtcNow(), Guid.CreateVersion7(), "png");

    private static Task PutAsync(IMediaStore store, IEnumerable<MediaKey> keys) =>
        Parallel.ForEachAsync(keys, async (key, token) => await store.PutAsync(key, new MemoryStream([1]), "image/png", token));

    private static IEnumerable<string> Names(IEnumerable<MediaKey> keys) => keys.Select(key => key.ToString()).Order(StringComparer.Ordinal);

    private static async Task<IEnumerable<string>> AllAsync(IMediaStore store) =>
        Names(await store.ListAsync("", default).Select(o => o.Key).ToListAsync());

    private sealed record Ended(Guid SessionId, DateTimeOffset CreatedAt)
    {
        public MediaKey Key(int ordinal, long token, MediaRole role = MediaRole.Output) =>
            MediaKey.Output(Rows.UserId, CreatedAt, SessionId, ordinal, token, "png", role);
    }
}

[Trait("tier", "slow")]
public sealed class FolderOrphanedObjectTests : OrphanedObjectContract
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("generation-media-");

    protected override Task SetUpAsync() => Task.CompletedTask;

    protected override Task TearDownAsync()
    {
        folder.Delete(recursive: true);
        return Task.CompletedTask;
    }

    protected override IMediaStore NewStore() => new FolderMediaStore(Options.Create(new MediaOptions { Folder = { Root = folder.FullName } }),
        TimeProvider.System);
}

public sealed class S3OrphanedObjectTests(TestS3 server) : OrphanedObjectContract
{
    private readonly List<S3MediaStore> stores = [];
    private MediaOptions settings = new();

    protected override async Task SetUpAsync() => settings = await server.NewBucketAsync();

    protected override Task TearDownAsync()
    {
        stores.ForEach(store => store.Dispose());
        return Task.CompletedTask;
    }

    protected override IMediaStore NewStore()
    {
        stores.Add(new S3MediaStore(Options.Create(settings), TimeProvider.System, NullLogger<S3MediaStore>.Instance));
        return stores[^1];
    }
}
