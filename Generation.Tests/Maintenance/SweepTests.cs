using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Reflection;
using Generation.Core;
using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Relay;
using Generation.Relay.Maintenance;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Maintenance;

/// <summary>The relay's sweeps as they run: each on its own timer, counted, and with others of its kind beside it.</summary>
[Trait("tier", "slow")]
public sealed class SweepTests(TestS3 s3)
{
    [Fact]
    public async Task A_sweep_says_what_it_repaired_how_long_it_took_and_when_it_failed()
    {
        var name = $"of-this-test-{Guid.NewGuid():N}";
        var (repaired, passes) = (new ConcurrentQueue<long>(), new ConcurrentQueue<string?>());
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == Telemetry.Name && instrument.Name.StartsWith("generation.sweep.", StringComparison.Ordinal))
                {
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((_, value, tags, _) =>
        {
            if (Tag(tags, "sweep") == name)
            {
                repaired.Enqueue(value);
            }
        });
        listener.SetMeasurementEventCallback<double>((_, _, tags, _) =>
        {
            if (Tag(tags, "sweep") == name)
            {
                passes.Enqueue(Tag(tags, "outcome"));
            }
        });
        listener.Start();

        using var sweep = new Scripted(name, [new SweepResult(7, HasMore: true), new SweepResult(0, HasMore: false)]);
        Assert.True(await sweep.RunOnceAsync(default));
        Assert.False(await sweep.RunOnceAsync(default));
        await Assert.ThrowsAsync<TimeoutException>(() => sweep.RunOnceAsync(default));

        Assert.Equal([7, 0], repaired);
        Assert.Equal(["done", "done", "failed"], passes);
        Assert.Equal([7], sweep.Reported);
    }

    [Fact]
    public async Task Every_sweep_has_a_name_of_its_own_and_two_relays_repair_everything_once()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Workers, o.Relays) = (0, 0);
            foreach (var setting in new[] { "Stray", "Callback", "OldRow", "Upload", "Orphan", "Walk", "Transfer" })
            {
                o.Settings[$"Relay:{setting}Interval"] = "00:00:00.200";
            }

            o.Settings["Api:SessionLifetime"] = "01:00:00";
        });

        // What should never be, or be no more: 40 sessions that nothing would wake, a hold without a living session, an overdue lot, a callback
        // of a task that has ended without it, rows of every kind that are too old, and their neighbours that are not.
        await Task.WhenAll(Enumerable.Range(0, 40).Select(i => system.SubmitAsync($"astray {i}")));
        var ended = await system.SubmitAsync("ended");
        await system.ExecuteAsync(
            $"""
            DELETE FROM outbox;
            UPDATE generation_sessions SET updated_at = now() - interval '5 min';
            UPDATE generation_sessions SET status = 'canceled', phase = 'canceled', captured_credits = 0, completed_at = now() WHERE session_id = '{ended}';
            UPDATE credit_reservations SET created_at = created_at - interval '2 hours', expires_at = now() - interval '1 s' WHERE session_id = '{ended}';
            INSERT INTO credit_lots (lot_id, user_id, kind, granted, available, reference, expires_at)
            VALUES (gen_random_uuid(), '{system.UserId}', 'bonus', 50, 50, 'overdue', now() - interval '1 s');
            INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
            SELECT a.user_id, 'bonus', 'external', 'available', 50, a.available + 50, a.reserved, l.lot_id
            FROM credit_accounts AS a JOIN credit_lots AS l USING (user_id) WHERE l.reference = 'overdue';
            UPDATE credit_accounts SET available = available + 50;
            INSERT INTO provider_tasks (provider_task_id, session_id, lease_token, provider, first_ordinal, output_count, state, failure,
                callback_token_hash)
            VALUES ('{ended}', '{ended}', 1, 'kie', 0, 1, 'failed', 'Unavailable', sha256('token'));
            INSERT INTO webhook_inbox (provider_task_id, provider, token_hash, body_hash, body, received_at)
            SELECT '{ended}', 'kie', sha256('token'), sha256(days::text::bytea), '{"{}"}', now() - days * interval '1 day' FROM unnest(ARRAY[5, 6, 8]) AS days;
            INSERT INTO error_events (code, message, created_at)
            VALUES ('stuck', 'old', now() - interval '91 days'), ('stuck', 'young', now() - interval '89 days'),
                ('outcome_unknown', 'open', now() - interval '91 days');
            INSERT INTO error_events (code, message, created_at, resolved_at)
                VALUES ('outcome_unknown', 'resolved', now() - interval '91 days', now());
            INSERT INTO outbox (event_type, lane, session_id, set_aside_at, set_aside_reason)
            VALUES ('gen.lost', 'image', '{Guid.CreateVersion7()}', now() - interval '31 days', 'old'),
                ('gen.lost', 'image', '{ended}', now() - interval '29 days', 'young');
            INSERT INTO outbox (event_type, lane, session_id, set_aside_at, set_aside_reason)
            SELECT 'gen.lost', 'image', session_id, now(), 'strange' FROM generation_sessions WHERE completed_at IS NULL LIMIT 1
            """);
        await Task.WhenAll(system.AddRelayAsync(), system.AddRelayAsync());

        await system.UntilAsync("SELECT count(DISTINCT session_id) = 40 FROM outbox WHERE set_aside_at IS NULL");
        await system.UntilAsync($"SELECT status = 'expired' FROM credit_reservations WHERE session_id = '{ended}'");
        await system.UntilAsync("SELECT expired = 50 FROM credit_lots WHERE reference = 'overdue'");
        await system.UntilAsync("SELECT count(*) = 2 AND bool_and(booked_at IS NOT NULL) FROM webhook_inbox");
        await system.UntilAsync("SELECT string_agg(message, ',' ORDER BY message) = 'open,young' FROM error_events WHERE session_id IS NULL");
        await system.UntilAsync(
            "SELECT string_agg(set_aside_reason, ',' ORDER BY set_aside_reason) = 'strange,young' FROM outbox WHERE set_aside_at IS NOT NULL");
        Assert.Equal(40, await system.ScalarAsync<long>("SELECT count(*) FROM outbox WHERE set_aside_at IS NULL"));
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'hold_abandoned'"));
        await system.AssertBooksAreCleanAsync();

        var sweeps = typeof(Sweep).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(Sweep)) && !type.IsAbstract).ToList();
        var running = ((InProcessService<RelayOptions>)system.Relays[0]).Services;
        var names = sweeps.ConvertAll(type => ((Sweep)running.GetRequiredService(type)).Name); // registered, each of them
        Assert.Equal(15, names.Distinct(StringComparer.Ordinal).Count());
        var table = await File.ReadAllTextAsync(Path.Combine(Root(), "ARCHITECTURE.md"));
        Assert.All(names, name => Assert.Contains($"| `{name}` |", table, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Orphans_and_transfers_that_never_ended_go_from_the_bucket_and_sold_pictures_stay()
    {
        var bucket = await s3.NewBucketAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Relays, o.Settings["Mock:Enabled"]) = (2, "true");
            Use(o, bucket.S3);
            o.Settings["Relay:OrphanInterval"] = "00:00:00.200";
            o.Settings["Relay:TransferInterval"] = "00:00:00.200";
            o.Settings["Relay:TransferAge"] = "00:00:02";
        });
        await system.ExecuteAsync("INSERT INTO app_settings (key, value) VALUES ('upload_mock_outputs_to_b2', 'true')");
        var id = await system.SubmitAsync("sold");
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        var sold = (await system.ScalarAsync<string>("SELECT object_key FROM media"))!;
        var createdAt = new DateTimeOffset(await system.ScalarAsync<DateTime>("SELECT created_at FROM generation_sessions"), TimeSpan.Zero);
        var orphan = MediaKey.Output(system.UserId, createdAt, id, 0, 7, "png").ToString();
        using var client = TestS3.NewClient(bucket);
        await client.PutObjectAsync(new() { BucketName = bucket.S3.Bucket, Key = orphan, ContentBody = "of a lost lease", UseChunkEncoding = false });
        await client.InitiateMultipartUploadAsync(bucket.S3.Bucket, orphan);
        await UntilAsync(async () => (await client.ListMultipartUploadsAsync(bucket.S3.Bucket)).MultipartUploads is null or { Count: 0 });
        Assert.Equal(2, (await KeysAsync()).Count); // a day is not over

        await system.ExecuteAsync("UPDATE generation_sessions SET lease_token = 8, completed_at = now() - interval '24 hours 1 second'");
        await UntilAsync(async () => (await KeysAsync()).Count == 1);
        Assert.Equal([sold], await KeysAsync());

        async Task<List<string>> KeysAsync() =>
            [.. (await client.ListObjectsV2Async(new() { BucketName = bucket.S3.Bucket })).S3Objects.Select(o => o.Key)
            .Where(key => !key.StartsWith("samples/", StringComparison.Ordinal))];
    }

    [Fact]
    public async Task A_store_that_is_unavailable_does_not_take_the_relay_with_it()
    {
        // It did: what the store threw was not among the troubles that a duty knows, and ended the process.
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            Use(o, new() { Endpoint = "http://127.0.0.1:1", Bucket = "nowhere", AccessKey = "none", SecretKey = "none", ForcePathStyle = true });
            o.Settings["Relay:UploadInterval"] = "00:00:00.200";
            o.Settings["Api:SessionLifetime"] = "00:00:01";
        });
        var key = MediaKey.Upload(system.UserId, TimeProvider.System.GetUtcNow(), Guid.CreateVersion7(), "png");
        await system.ExecuteAsync(
            $"""
            INSERT INTO uploads (upload_id, user_id, object_key, content_type, bytes, sha256, created_at)
            VALUES ('{key.SessionId}', '{system.UserId}', '{key}', 'image/png', 1, sha256('x'), now() - interval '9 days')
            """);
        await system.Relays[0].UntilLoggedAsync("OldUploadSweep failed");

        Assert.Equal("failed", (string?)(await system.EndOfAsync(await system.SubmitAsync("past its time")))["status"]); // other sweeps go on
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM uploads")); // to be tried again
        Assert.Equal(1, system.Relays[0].Log.Count(line => line.Contains("OldUploadSweep failed", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(nameof(RelayOptions.TransferAge), "Relay:TransferAge")]
    [InlineData(nameof(RelayOptions.WalkInterval), "Relay:WalkInterval")]
    public void A_wrong_interval_is_named(string property, string setting)
    {
        var options = new RelayOptions();
        typeof(RelayOptions).GetProperty(property)!.SetValue(options, TimeSpan.Zero);
        Assert.Contains(setting, Assert.Single(ErrorsOf(options)), StringComparison.Ordinal);
    }

    private static IReadOnlyList<string> ErrorsOf(RelayOptions options)
    {
        var check = new SettingsCheck(RelayOptions.Section);
        options.Check(check);
        return check.Errors;
    }

    [Fact]
    public void Every_duration_of_the_relay_is_checked()
    {
        foreach (var property in typeof(RelayOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(p => p.PropertyType == typeof(TimeSpan)))
        {
            var options = new RelayOptions();
            Assert.Empty(ErrorsOf(options));
            property.SetValue(options, TimeSpan.FromSeconds(-1));
            Assert.Contains(ErrorsOf(options), error => error.StartsWith($"Relay:{property.Name} ", StringComparison.Ordinal));
        }
    }

    private static void Use(TestSystemOptions options, S3StoreOptions store)
    {
        options.Settings["Media:Store"] = "s3";
        options.Settings["Media:S3:Endpoint"] = store.Endpoint;
        options.Settings["Media:S3:Bucket"] = store.Bucket;
        options.Settings["Media:S3:AccessKey"] = store.AccessKey;
        options.Settings["Media:S3:SecretKey"] = store.SecretKey;
        options.Settings["Media:S3:ForcePathStyle"] = "true";
    }

    private static async Task UntilAsync(Func<Task<bool>> isSo)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!await isSo())
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
        }
    }

    private static string? Tag(ReadOnlySpan<KeyValuePair<string, object?>> tags, string name)
    {
        foreach (var (key, value) in tags)
        {
            if (key == name)
            {
                return value as string;
            }
        }

        return null;
    }

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Generation.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }

    /// <summary>Repairs what it is told, then fails.</summary>
    private sealed class Scripted(string name, IEnumerable<SweepResult> passes)
        : Sweep(name, TimeSpan.FromSeconds(1), TimeProvider.System, NullLogger.Instance)
    {
        private readonly Queue<SweepResult> passes = new(passes);

        public List<int> Reported { get; } = [];

        protected override Task<SweepResult> SweepAsync(CancellationToken ct) =>
            passes.TryDequeue(out var swept) ? Task.FromResult(swept) : throw new TimeoutException("The database does not answer.");

        protected override void Report(int repaired) => Reported.Add(repaired);
    }
}
