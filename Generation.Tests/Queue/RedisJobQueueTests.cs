using Generation.Core.Queue;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using StackExchange.Redis;

namespace Generation.Tests.Queue;

/// <summary>The contract on Redis Streams, in the older of the two protocols.</summary>
[Trait("tier", "slow")]
public class RedisJobQueueTests : JobQueueContract
{
    private readonly QueueOptions options = new() { Prefix = $"test-{Guid.NewGuid():N}", VisibilityTimeout = TimeSpan.FromSeconds(1) };
    private string connectionString = "";
    private ConnectionMultiplexer redis = null!;

    protected override TimeSpan LostAfter => TimeSpan.Zero;

    protected virtual RedisProtocol Protocol => RedisProtocol.Resp2;

    [Fact]
    public async Task An_id_of_another_transport_is_gone()
    {
        string[] ids = [$"{TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds()}-{ulong.MaxValue}"];
        var queue = Open();
        await queue.SendAsync("image", [Message()], Window, default);

        Assert.Equal(ids, await queue.FindMissingAsync("image", ids, default));
    }

    [Fact]
    public async Task The_consumer_of_a_worker_that_is_gone_is_removed_once_it_holds_nothing()
    {
        options.VisibilityTimeout = TimeSpan.FromMilliseconds(100);
        var gone = Open();
        await gone.SendAsync("image", [Message(), Message()], Window, default);
        var received = await ReceiveAsync(gone, "image", 2);
        await gone.CompleteAsync("image", [received[0].Receipt], default); // the other one is left to whoever comes
        var stream = $"{options.Prefix}:{{image}}:jobs";
        var name = Assert.Single(await redis.GetDatabase().StreamConsumerInfoAsync(stream, "workers")).Name;

        var worker = Open();
        await UntilAsync(async () =>
        {
            var left = await worker.ReceiveAsync("image", 1, TimeSpan.FromMilliseconds(200), default);
            foreach (var delivery in left)
            {
                await worker.CompleteAsync("image", [delivery.Receipt], default);
            }

            return (await redis.GetDatabase().StreamConsumerInfoAsync(stream, "workers")).All(consumer => consumer.Name != name);
        });
        Assert.Equal(0, await worker.DepthAsync("image", default));
    }

    protected override async Task SetUpAsync()
    {
        connectionString = $"{(await TestRedis.Shared).ConnectionString},protocol={(Protocol == RedisProtocol.Resp3 ? "resp3" : "resp2")}";
        redis = await ConnectionMultiplexer.ConnectAsync(connectionString);
    }

    protected override Task TearDownAsync() => redis.CloseAsync(allowCommandsToComplete: false);

    protected override IJobQueue NewQueue(TimeSpan clockAhead) => new RedisJobQueue(
        redis, async () => await ConnectionMultiplexer.ConnectAsync(connectionString), options, TimeProvider.System,
            NullLogger<RedisJobQueue>.Instance);

    protected override IJobQueue NewQueueWithoutServer()
    {
        var nowhere = ConnectionMultiplexer.Connect("127.0.0.1:1,abortConnect=false,connectTimeout=200,syncTimeout=500");
        return new RedisJobQueue(nowhere, () => Task.FromResult<IConnectionMultiplexer>(nowhere), options, TimeProvider.System,
            NullLogger<RedisJobQueue>.Instance);
    }

    protected override async Task LoseAsync(string lane) => await redis.GetDatabase().KeyDeleteAsync($"{options.Prefix}:{{{lane}}}:jobs");

    protected override async Task<IReadOnlyList<string>> DeadReasonsAsync(string lane)
    {
        var entries = await redis.GetDatabase().StreamRangeAsync($"{options.Prefix}:{{{lane}}}:jobs:dead");
        return [.. entries.Select(entry => (string)entry["reason"]!)];
    }
}

/// <summary>The contract in the newer protocol, in which the replies to reads are maps.</summary>
[Trait("tier", "slow")]
public sealed class RedisJobQueueResp3Tests : RedisJobQueueTests
{
    protected override RedisProtocol Protocol => RedisProtocol.Resp3;
}
