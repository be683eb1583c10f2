using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Queue;

/// <summary>The whole way with SQS instead of Redis Streams.</summary>
[Trait("tier", "process")]
public sealed class SqsPipelineTests(TestSqs sqs)
{
    /// <summary>Long: a busy machine must not look like a dead worker where every session is to be claimed once.</summary>
    private const string Lease = "00:00:30";

    [Fact]
    public async Task Prompts_become_pictures_with_nothing_set_but_the_flat_names_and_the_standard_credentials()
    {
        var (main, dead) = (await sqs.NewQueueAsync(), await sqs.NewQueueAsync());
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.AsProcesses = true; // settings of a process are its environment
            o.Settings["SQS_MAIN_QUEUE_URL"] = main;
            o.Settings["SQS_DLQ_QUEUE_URL"] = dead;
            o.Settings["SQS_WAIT_TIME_SECONDS"] = "2";
            o.Settings["SQS_VISIBILITY_TIMEOUT"] = "7";
            o.Settings["SQS_IDLE_DELAY_MS"] = "10";
            o.Settings["AWS_REGION"] = "eu-west-1";
            o.Settings["AWS_ACCESS_KEY_ID"] = TestSqs.AccessKey;
            o.Settings["AWS_SECRET_ACCESS_KEY"] = TestSqs.SecretKey;
            o.Settings["Worker:LeaseDuration"] = Lease;
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => system.SubmitAsync($"carried {i} 🌊")));

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(12);
        Assert.Equal(12, await system.Sim.PaidAsync("carried"));
        Assert.Empty(await sqs.LookIntoAsync(main));
        Assert.Empty(await sqs.LookIntoAsync(dead));
        using var redis = await ImageStream.OpenAsync(system);
        Assert.Equal(0, await redis.LengthAsync());
    }

    [Fact]
    public async Task A_queue_that_is_not_there_is_reported_once_by_its_setting_and_caught_up_with()
    {
        var name = TestSqs.NewName();
        var url = await sqs.UrlOfAsync(name);
        await using var system = await StartAsync(url);
        var ids = await Task.WhenAll(Enumerable.Range(0, 5).Select(i => system.SubmitAsync($"early {i}")));
        await system.Relays[0].UntilLoggedAsync("outbox.queue_missing");
        await system.Workers[0].UntilLoggedAsync("Lane image receives no jobs: Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) names no queue");
        Assert.Equal(5, await system.ScalarAsync<long>("SELECT count(*) FROM outbox WHERE dispatched_at IS NULL"));
        await sqs.NewQueueAsync(name);

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        var error = Assert.Single(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal));
        Assert.Contains("Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) names no queue", error, StringComparison.Ordinal);
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(5);
    }

    [Fact]
    public async Task Without_credentials_jobs_wait_in_the_outbox_and_the_relay_says_once_what_to_set()
    {
        var url = await sqs.NewQueueAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.AsProcesses = true;
            o.Settings["Queue:Transport"] = "sqs";
            o.Settings["SQS_MAIN_QUEUE_URL"] = url;
            // whatever the tests' own environment has
            o.Settings["AWS_ACCESS_KEY_ID"] = o.Settings["AWS_SECRET_ACCESS_KEY"] = o.Settings["AWS_PROFILE"] = "";
            o.Settings["AWS_EC2_METADATA_DISABLED"] = "true";
            o.Settings["AWS_SHARED_CREDENTIALS_FILE"] = $"/nonexistent/{Guid.NewGuid():N}";
        });
        await system.SubmitAsync("a picture without a key");
        await system.Relays[0].UntilLoggedAsync("No AWS credentials were found: set AWS_ACCESS_KEY_ID");
        await system.Workers[0].UntilLoggedAsync("No AWS credentials were found: set AWS_ACCESS_KEY_ID");

        Assert.Single(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal));
        Assert.Equal(1, await system.ScalarAsync<long>("SELECT count(*) FROM outbox WHERE dispatched_at IS NULL"));
    }

    [Fact]
    public async Task A_purged_queue_is_filled_again_when_its_messages_are_old_enough()
    {
        var url = await sqs.NewQueueAsync();
        await using var system = await StartAsync(url, o => (o.Workers, o.Settings["Queue:Sqs:LostAfter"]) = (0, "00:00:03"));
        var ids = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => system.SubmitAsync($"purged {i}")));
        await system.UntilAsync("SELECT count(*) = 8 FROM outbox WHERE dispatched_at IS NOT NULL");
        await sqs.PurgeAsync(url);
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        Assert.Contains(system.Relays[0].Log, line => line.Contains("messages that were lost with the queue", StringComparison.Ordinal));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(8);
        Assert.Equal(8, await system.Sim.PaidAsync("purged"));
    }

    [Fact]
    public async Task Messages_that_count_as_lost_while_they_still_wait_only_make_duplicates_that_are_refused()
    {
        var url = await sqs.NewQueueAsync();
        await using var system = await StartAsync(url, o => (o.Workers, o.Settings["Queue:Sqs:LostAfter"]) = (0, "00:00:01"));
        var ids = await Task.WhenAll(Enumerable.Range(0, 4).Select(i => system.SubmitAsync($"twice {i}")));
        await system.Relays[0].UntilLoggedAsync("messages that were lost with the queue");
        await system.UntilAsync("SELECT count(*) = 4 FROM outbox WHERE dispatched_at IS NOT NULL");
        Assert.True((await sqs.LookIntoAsync(url)).Count > 4);
        await system.AddWorkerAsync();

        Assert.All(await Task.WhenAll(ids.Select(id => system.EndOfAsync(id))), end => Assert.Equal("completed", (string?)end["status"]));
        await system.AssertAllIsWellAsync();
        await system.AssertRanOnceAsync(4);
        Assert.Equal(4, await system.Sim.PaidAsync("twice"));
    }

    private static Task<TestSystem> StartAsync(string url, Action<TestSystemOptions>? configure = null) => TestSystem.StartAsync(o =>
    {
        o.Settings["Queue:Transport"] = "sqs";
        o.Settings["Queue:Sqs:MainQueueUrl"] = url;
        o.Settings["Queue:Sqs:AccessKey"] = TestSqs.AccessKey;
        o.Settings["Queue:Sqs:SecretKey"] = TestSqs.SecretKey;
        o.Settings["Queue:Sqs:WaitTimeSeconds"] = "1";
        o.Settings["Worker:LeaseDuration"] = Lease;
        configure?.Invoke(o);
    });
}
