using Generation.Core.Queue;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Queue;

/// <summary>The contract on one SQS queue that all lanes share, and what only SQS does.</summary>
[Trait("tier", "slow")]
public class SqsJobQueueTests(TestSqs sqs) : JobQueueContract
{
    private readonly TestSqs sqs = sqs;

    protected override TimeSpan LostAfter => Settings.Sqs.LostAfter + TimeSpan.FromSeconds(1);

    protected QueueOptions Settings { get; private set; } = new();

    protected override async Task SetUpAsync()
    {
        Settings = TestSqs.Options(await sqs.NewQueueAsync());
        Settings.VisibilityTimeout = TimeSpan.FromSeconds(1);
        Settings.Sqs.DlqQueueUrl = await sqs.NewQueueAsync();
    }

    protected override Task TearDownAsync() => Task.CompletedTask;

    protected override IJobQueue NewQueue(TimeSpan clockAhead) => NewQueue(Settings, clockAhead);

    protected override IJobQueue NewQueueWithoutServer()
    {
        var nowhere = TestSqs.Options("http://127.0.0.1:1/000000000000/none");
        nowhere.Sqs.DlqQueueUrl = nowhere.Sqs.MainQueueUrl;
        return NewQueue(nowhere);
    }

    protected override Task LoseAsync(string lane) => sqs.PurgeAsync(UrlOf(lane));

    protected override async Task<IReadOnlyList<string>> DeadReasonsAsync(string lane) =>
        [.. (await sqs.LookIntoAsync(Settings.Sqs.DlqQueueUrl)).Select(m => (string)m["messageAttributes"]!["reason"]!["StringValue"]!)];

    protected static SqsJobQueue NewQueue(QueueOptions options, TimeSpan clockAhead = default) => new(
        new SqsConnection(() => options, new ShiftedClock(clockAhead)), () =>
            options, new ShiftedClock(clockAhead), NullLogger<SqsJobQueue>.Instance);

    protected string UrlOf(string lane) => Settings.ByLane.TryGetValue(lane, out var own) ? own.Url : Settings.Sqs.MainQueueUrl;
}

/// <summary>The contract on a queue a lane.</summary>
[Trait("tier", "slow")]
public sealed class SqsLaneQueuesTests(TestSqs sqs) : SqsJobQueueTests(sqs)
{
    private readonly TestSqs server = sqs;

    protected override async Task SetUpAsync()
    {
        await base.SetUpAsync();
        foreach (var lane in QueueOptions.Lanes)
        {
            Settings.ByLane[lane] = new LaneOptions { Url = await server.NewQueueAsync() };
        }

        Settings.Sqs.MainQueueUrl = "";
    }
}
