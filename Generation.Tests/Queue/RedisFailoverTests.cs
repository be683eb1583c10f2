using System.Net;
using System.Net.Sockets;
using Generation.Core.Queue;
using Generation.Tests.Harness;
using Microsoft.Extensions.Logging.Abstractions;
using StackExchange.Redis;

namespace Generation.Tests.Queue;

/// <summary>A primary that becomes a replica, while another server takes over its address and open connections stay where they were.</summary>
[Trait("tier", "process")]
public sealed class RedisFailoverTests
{
    [Fact]
    public async Task A_queue_leaves_a_server_that_became_a_replica_though_its_connections_are_whole()
    {
        await using var before = await TestRedis.StartAsync(keepsData: false);
        await using var after = await TestRedis.StartAsync(keepsData: false);
        await TakeOverPasswordAsync(after, before);
        using var address = new MovingAddress { Port = before.Port };
        var connection = before.ConnectionStringBy(address.ListenPort) + ",allowAdmin=true,name=failover-test";
        await using var redis = await ConnectionMultiplexer.ConnectAsync(connection);
        using var queue = new RedisJobQueue(
            redis, async () => await ConnectionMultiplexer.ConnectAsync(connection), new QueueOptions { Prefix = "failover" }, TimeProvider.System,
            NullLogger<RedisJobQueue>.Instance);
        await queue.SendAsync("image", [Message(1)], 10, default);
        Assert.Single(await queue.ReceiveAsync("image", 1, TimeSpan.FromSeconds(1), default));

        await DemoteAsync(before);
        address.Port = after.Port;

        var again = Message(2);
        await UntilAsync(async () => (await queue.SendAsync("image", [again], 10, default)).MessageIds.Count == 1);
        await UntilAsync(async () => (await queue.ReceiveAsync("image", 1, TimeSpan.FromSeconds(1), default))
            .Any(delivery => delivery.Message.OutboxId == again.OutboxId));
    }

    private static JobMessage Message(long outboxId) => new(outboxId, Guid.NewGuid(), "{}", null);

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            try
            {
                if (await condition())
                {
                    return;
                }
            }
            catch (QueueException) when (TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(20))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, CancellationToken.None); // refused until it has left
            }
        }
    }

    private static async Task DemoteAsync(TestRedis server)
    {
        await using var admin = await ConnectionMultiplexer.ConnectAsync($"{server.ConnectionString},allowAdmin=true");
        await admin.GetServers()[0].ExecuteAsync("REPLICAOF", "127.0.0.1", "1");
    }

    private static async Task TakeOverPasswordAsync(TestRedis server, TestRedis other)
    {
        await using var admin = await ConnectionMultiplexer.ConnectAsync($"{server.ConnectionString},allowAdmin=true");
        var password = ConfigurationOptions.Parse(other.ConnectionString).Password;
        await admin.GetServers()[0].ExecuteAsync("CONFIG", "SET", "requirepass", password ?? "");
    }

    /// <summary>An address that leads new connections to <see cref="Port"/> and leaves open ones where they are.</summary>
    private sealed class MovingAddress : IDisposable
    {
        private readonly TcpListener listener = new(IPAddress.Loopback, 0);

        public MovingAddress()
        {
            listener.Start();
            _ = AcceptAsync();
        }

        public required int Port { get; set; }

        public int ListenPort => ((IPEndPoint)listener.LocalEndpoint).Port;

        public void Dispose() => listener.Dispose();

        private async Task AcceptAsync()
        {
            try
            {
                while (true)
                {
                    _ = LinkAsync(await listener.AcceptTcpClientAsync());
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // the test is over
            }
        }

        private async Task LinkAsync(TcpClient client)
        {
            using (client)
            using (var server = new TcpClient())
            {
                try
                {
                    await server.ConnectAsync(IPAddress.Loopback, Port);
                    await Task.WhenAny(
                        client.GetStream().CopyToAsync(server.GetStream()), server.GetStream().CopyToAsync(client.GetStream()));
                }
                catch (Exception e) when (e is SocketException or IOException)
                {
                    // cut off
                }
            }
        }
    }
}
