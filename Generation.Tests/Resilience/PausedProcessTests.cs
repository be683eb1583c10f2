using System.Security.Cryptography;
using Amazon.S3.Model;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Resilience;

/// <summary>
/// Invariant 6 for a worker that sleeps (SIGSTOP) for longer than its leases at every point of a job at once: before a paid call and after
/// it, in the middle of a transfer, behind the last output. When it goes on, its sessions have ended elsewhere, or somebody has only just
/// claimed them.
/// </summary>
[Trait("tier", "process")]
public sealed class PausedProcessTests(TestS3 s3)
{
    /// <summary>Each twice: one session is done by another worker meanwhile, the other is only claimed.</summary>
    private static readonly string[] Points = ["slept before the call", "slept in the call [gate=call]", "slept behind the call",
        "slept in the transfer [download-gate=half]", "slept behind the output"];

    [Fact]
    public async Task A_worker_that_sleeps_through_its_leases_changes_no_row_no_object_and_no_credit_wherever_it_stood()
    {
        var bucket = await s3.NewBucketAsync();
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).Workers = 0;
            o.Settings["Media:Store"] = "s3";
            o.Settings["Media:S3:Endpoint"] = bucket.S3.Endpoint;
            o.Settings["Media:S3:Bucket"] = bucket.S3.Bucket;
            o.Settings["Media:S3:AccessKey"] = bucket.S3.AccessKey;
            o.Settings["Media:S3:SecretKey"] = bucket.S3.SecretKey;
            o.Settings["Media:S3:ForcePathStyle"] = "true";
            o.Settings["Worker:LeaseDuration"] = "00:00:12"; // it must fall asleep before it has lost one
        });
        var sleeper = await options.AsProcessAsync(system.AddWorkerAsync);
        var gated = await SubmitAsync(system, Points.Where(p => p.Contains('[', StringComparison.Ordinal)));
        await system.Sim.WaitAtGateAsync("call");
        await system.Sim.WaitAtGateAsync("half");

        // The others stand still in a statement, which the database carries out while the worker sleeps: it wakes with the answer.
        await using var still = await StandStill.AtAsync(
            system, "BEFORE INSERT ON provider_tasks FOR EACH ROW WHEN (slept_at(NEW.session_id, 'before the call'))",
            "BEFORE UPDATE ON provider_tasks FOR EACH ROW WHEN (slept_at(NEW.session_id, 'behind the call'))",
            "BEFORE INSERT ON media FOR EACH ROW WHEN (slept_at(NEW.session_id, 'behind the output'))");
        var standing = await SubmitAsync(system, Points.Where(p => !p.Contains('[', StringComparison.Ordinal)));
        await still.ReachedAsync(standing.Count - 1); // two outputs may share a statement
        await sleeper.PauseAsync();
        await still.LetGoAsync();
        var all = gated.Concat(standing).ToList();
        await system.UntilAsync("SELECT count(*) = 10 FROM generation_sessions WHERE status = 'queued' AND lease_token = 2"); // its leases are over

        // Half of the sessions are claimed by a worker that gets no further; another does the rest.
        var claimed = await ClaimAsync(system, [.. all.Where((_, i) => i % 2 == 0)]);
        Assert.Equal(5, claimed.Count);
        var others = all.Where((_, i) => i % 2 == 1).ToList();
        await system.Sim.OpenGateAsync("half");
        await system.AddWorkerAsync();
        var ends = await Task.WhenAll(others.Select(id => system.EndOfAsync(id)));
        Assert.Equal(2, ends.Count(e => (string?)e["error"]?["code"] == "outcome_unknown")); // before the call, and in it
        Assert.Equal(3, ends.Count(e => (string?)e["status"] == "completed"));
        var (rows, objects, pictures) = (await RowsAsync(system), await ObjectsAsync(bucket), await PicturesAsync(ends));

        sleeper.Resume();
        await system.Sim.OpenGateAsync("call");
        Assert.Equal(0, await sleeper.StopAsync(Killing.MaxWait)); // it has done all that it will do

        Assert.Equal(rows, await RowsAsync(system));
        Assert.Equal(pictures, await PicturesAsync(ends));
        var later = await ObjectsAsync(bucket);
        Assert.Equal(objects, objects.Intersect(later, StringComparer.Ordinal));
        // of its own token, in no row
        Assert.All(later.Except(objects, StringComparer.Ordinal), orphan => Assert.Contains("/output-0-1.", orphan, StringComparison.Ordinal));
        Assert.Equal(0, await system.Sim.PaidAsync("slept before the call")); // it knew better than to buy for a session that it may have lost
        Assert.Equal(10, await system.Sim.PaidAsync("slept"));

        await system.ExecuteAsync("UPDATE generation_sessions SET lease_until = now() WHERE lease_owner = 'claims and no more'");
        await Task.WhenAll(claimed.Select(session => system.EndOfAsync(session.SessionId)));
        Assert.Equal(10, await system.Sim.PaidAsync("slept"));
        await system.UntilAsync("SELECT count(*) = 0 FROM outbox WHERE set_aside_at IS NULL");
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>One picture each; two where it sleeps behind the output, because one alone would be written with the end.</summary>
    private static async Task<List<Guid>> SubmitAsync(TestSystem system, IEnumerable<string> prompts) =>
        [.. await Task.WhenAll(prompts.SelectMany(p => new[] { p, p })
            .Select(p => system.SubmitAsync(p, n: p.EndsWith("behind the output", StringComparison.Ordinal) ? 2 : 1)))];

    /// <summary>By a worker that renews nothing and does nothing, for an hour.</summary>
    private static async Task<IReadOnlyList<ClaimedSession>> ClaimAsync(TestSystem system, IReadOnlyCollection<Guid> ids) =>
        (await ((InProcessService<Generation.Relay.RelayOptions>)system.Relays[0]).Services.GetRequiredService<Leases>()
            .ClaimAsync(ids, [], "claims and no more", TimeSpan.FromHours(1), CancellationToken.None)).Sessions;

    /// <summary>Every row that a worker may write.</summary>
    private static async Task<string> RowsAsync(TestSystem system) => (await system.ScalarAsync<string>(
        """
        SELECT concat_ws(E'\n',
            (SELECT string_agg(t::text, E'\n' ORDER BY session_id) FROM generation_sessions AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY media_id) FROM media AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY provider_task_id) FROM provider_tasks AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY transaction_id) FROM credit_transactions AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY reservation_id) FROM credit_reservations AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY lot_id) FROM credit_lots AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY user_id) FROM credit_accounts AS t),
            (SELECT string_agg(t::text, E'\n' ORDER BY error_event_id) FROM error_events AS t))
        """))!;

    /// <summary>Key, version of the bytes, time of writing.</summary>
    private static async Task<IReadOnlyList<string>> ObjectsAsync(MediaOptions bucket)
    {
        using var client = TestS3.NewClient(bucket);
        var list = await client.ListObjectsV2Async(new ListObjectsV2Request { BucketName = bucket.S3.Bucket });
        return [.. (list.S3Objects ?? []).Select(o => $"{o.Key} {o.ETag} {o.LastModified:O}").Order(StringComparer.Ordinal)];
    }

    /// <summary>What the addresses that users have been given lead to.</summary>
    private static async Task<IReadOnlyList<string>> PicturesAsync(IEnumerable<System.Text.Json.Nodes.JsonObject> sessions)
    {
        using var stranger = new HttpClient();
        var pictures = new List<string>();
        foreach (var media in sessions.SelectMany(session => session["media"]!.AsArray()))
        {
            var hash = Convert.ToHexStringLower(SHA256.HashData(await stranger.GetByteArrayAsync(new Uri((string)media!["url"]!))));
            Assert.Equal((string?)media["sha256"], hash);
            pictures.Add(hash);
        }

        return pictures;
    }
}
