using Generation.Core.Queue;
using Generation.Core.Settings;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Queue;

/// <summary>What only SQS does: partial failures, lanes that share a queue, errors that name the setting to change.</summary>
public sealed class SqsTests(TestSqs sqs)
{
    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Of_a_batch_that_fails_in_part_the_messages_before_the_refused_one_count_as_sent()
    {
        var url = await sqs.NewQueueAsync(attributes: new { MaximumMessageSize = "1024" });
        await using var queue = Open(TestSqs.Options(url));
        var messages = Enumerable.Range(0, 15).Select(i => Message(i, bytes: i == 12 ? 2_000 : 10)).ToList();

        Assert.Equal(12, (await queue.SendAsync("image", messages, 100, default)).MessageIds.Count);
        Assert.Equal(14, (await sqs.LookIntoAsync(url)).Count); // the two behind it come twice in the end
        var refused = await Assert.ThrowsAsync<QueueException>(() => queue.SendAsync("image", messages[12..], 100, default));
        Assert.Contains("Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) refuses a message of lane image", refused.Message, StringComparison.Ordinal);
        Assert.Contains("shorter than 1024 bytes", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Long_messages_go_in_batches_that_fit()
    {
        await using var queue = Open(TestSqs.Options(await sqs.NewQueueAsync()));

        // Ten together are 2 MB; the server takes 1 MiB, older ones 256 KiB.
        Assert.Equal(10, (await queue.SendAsync("image", [.. Enumerable.Range(0, 10).Select(i => Message(i, bytes: 200_000))], 100,
            default)).MessageIds.Count);
    }

    [Fact]
    public async Task What_a_lane_has_no_room_for_is_given_back_to_others_long_before_its_visibility_ends()
    {
        var options = TestSqs.Options(await sqs.NewQueueAsync());
        options.VisibilityTimeout = TimeSpan.FromHours(1);
        await using var gpuWorker = Open(options);
        await using var imageWorker = Open(options);
        await gpuWorker.SendAsync("image", [Message(1)], 100, default);

        // It comes to a worker of another lane first, which shares the queue.
        Assert.Empty(await gpuWorker.ReceiveAsync("gpu", 10, TimeSpan.FromMilliseconds(500), default));
        Assert.Equal(0, await ReadyAsync(options));

        var started = TimeProvider.System.GetTimestamp();
        IReadOnlyList<Delivery> received = [];
        while (received.Count == 0)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait);
            received = await imageWorker.ReceiveAsync("image", 10, TimeSpan.FromSeconds(1), default);
        }

        Assert.Equal(1, Assert.Single(received).Message.OutboxId);
    }

    [Fact]
    public async Task A_worker_that_stops_gives_back_what_it_has_not_looked_at()
    {
        var options = TestSqs.Options(await sqs.NewQueueAsync());
        options.VisibilityTimeout = TimeSpan.FromHours(1);
        var stopping = Open(options);
        await stopping.SendAsync("image", [Message(1), Message(2), Message(3)], 100, default);
        Assert.Empty(await stopping.ReceiveAsync("video", 10, TimeSpan.FromMilliseconds(200), default));

        await stopping.DisposeAsync();

        Assert.Equal(3, await ReadyAsync(options));
    }

    [Fact]
    public async Task A_missing_or_wrong_queue_url_is_named_and_works_as_soon_as_it_is_right()
    {
        var name = TestSqs.NewName();
        var options = TestSqs.Options("");
        await using var queue = Open(options);

        Assert.Equal("Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) is not set.", await ErrorAsync(queue));
        options.Sqs.MainQueueUrl = "my-queue";
        Assert.Contains("Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) is 'my-queue', which is not a URL", await ErrorAsync(queue),
            StringComparison.Ordinal);
        options.Sqs.MainQueueUrl = await sqs.UrlOfAsync(name);
        Assert.Contains("Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) names no queue that SQS has", await ErrorAsync(queue), StringComparison.Ordinal);
        options.ByLane["image"] = new LaneOptions { Url = options.Sqs.MainQueueUrl + "-image" };
        Assert.Contains("Queue:Lanes:image:Url names no queue that SQS has", await ErrorAsync(queue), StringComparison.Ordinal);
        options.ByLane.Clear();
        await sqs.NewQueueAsync(name);

        Assert.Single((await queue.SendAsync("image", [Message(1)], 100, default)).MessageIds);
    }

    [Theory]
    [InlineData("AKIDNOBODY", TestSqs.SecretKey, "InvalidClientTokenId")]
    [InlineData(TestSqs.AccessKey, "guessed", "SignatureDoesNotMatch")]
    public async Task Wrong_credentials_are_refused_and_the_settings_are_named(string accessKey, string secretKey, string code)
    {
        var options = TestSqs.Options(await sqs.NewQueueAsync());
        (options.Sqs.AccessKey, options.Sqs.SecretKey) = (accessKey, secretKey);
        await using var queue = Open(options);

        var error = await ErrorAsync(queue);
        Assert.Contains(code, error, StringComparison.Ordinal);
        Assert.Contains("AWS_ACCESS_KEY_ID", error, StringComparison.Ordinal);
        Assert.DoesNotContain("guessed", error, StringComparison.Ordinal);
        (options.Sqs.AccessKey, options.Sqs.SecretKey) = (TestSqs.AccessKey, TestSqs.SecretKey);
        Assert.Single((await queue.SendAsync("image", [Message(1)], 100, default)).MessageIds);
    }

    [Fact]
    public async Task An_endpoint_takes_the_calls_instead_of_the_host_in_the_url()
    {
        var url = new Uri(await sqs.NewQueueAsync());
        var options = TestSqs.Options(url.ToString());
        (options.Sqs.Endpoint, options.Sqs.Region) = ($"http://localhost:{url.Port}", "eu-central-1");
        await using var queue = Open(options);

        Assert.Single((await queue.SendAsync("image", [Message(1)], 100, default)).MessageIds);
        options.Sqs.Endpoint = "http://127.0.0.1:1";
        Assert.Contains("127.0.0.1:1 (Queue:Sqs:Endpoint)", await ErrorAsync(queue), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_does_not_wait_is_not_asked_without_pause()
    {
        var options = TestSqs.Options(await sqs.NewQueueAsync());
        (options.Sqs.WaitTimeSeconds, options.Sqs.IdleDelayMs) = (0, 60_000);
        await using var queue = Open(options);

        Assert.Empty(await queue.ReceiveAsync("image", 1, TimeSpan.FromMilliseconds(200), default));
        await queue.SendAsync("image", [Message(1)], 100, default);
        Assert.Empty(await queue.ReceiveAsync("image", 1, TimeSpan.FromMilliseconds(500), default)); // SQS_IDLE_DELAY_MS is not over
        await using var another = Open(options);
        Assert.Single(await another.ReceiveAsync("image", 1, MaxWait, default));
    }

    [Fact]
    public async Task A_broken_message_without_a_dead_letter_queue_stays_where_it_is()
    {
        var options = TestSqs.Options(await sqs.NewQueueAsync());
        await using var queue = Open(options);
        await queue.SendAsync("image", [Message(1)], 100, default);
        var delivery = Assert.Single(await queue.ReceiveAsync("image", 1, MaxWait, default));

        await queue.DeadLetterAsync("image", delivery, "a test", default);

        Assert.Single(await sqs.LookIntoAsync(options.Sqs.MainQueueUrl));
    }

    [Theory]
    [InlineData("Queue:Sqs:WaitTimeSeconds (SQS_WAIT_TIME_SECONDS)", 21, 30, 0)]
    [InlineData("Queue:Sqs:VisibilityTimeoutSeconds (SQS_VISIBILITY_TIMEOUT)", 20, 0, 0)]
    [InlineData("Queue:Sqs:IdleDelayMs (SQS_IDLE_DELAY_MS)", 20, 30, -1)]
    [InlineData("Queue:Lanes names 'films'", 20, 30, 0, "films")]
    public void A_wrong_setting_names_itself(string setting, int wait, int visibility, int idle, string lane = "image")
    {
        var options = TestSqs.Options("http://127.0.0.1/q");
        Assert.Empty(Errors());
        (options.Sqs.WaitTimeSeconds, options.Sqs.VisibilityTimeoutSeconds, options.Sqs.IdleDelayMs) = (wait, visibility, idle);
        options.ByLane[lane] = new LaneOptions();

        Assert.StartsWith(setting, Assert.Single(Errors()), StringComparison.Ordinal);

        IReadOnlyList<string> Errors()
        {
            var check = new SettingsCheck(QueueOptions.Section);
            options.Check(check);
            return check.Errors;
        }
    }

    private static SqsJobQueue Open(QueueOptions options) => new(
        new SqsConnection(() => options, TimeProvider.System), () => options, TimeProvider.System, NullLogger<SqsJobQueue>.Instance);

    private static JobMessage Message(int id, int bytes = 10) => new(id, Guid.NewGuid(), $$"""{"p": "{{new string('x', bytes)}}"}""", null);

    private static async Task<string> ErrorAsync(SqsJobQueue queue) =>
        (await Assert.ThrowsAsync<QueueException>(() => queue.SendAsync("image", [Message(1)], 100, default))).Message;

    /// <summary>Messages that anybody could receive now: not those that are in flight.</summary>
    private async Task<int> ReadyAsync(QueueOptions options) => await sqs.ReadyAsync(options.Sqs.MainQueueUrl);
}
