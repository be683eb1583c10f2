using System.Buffers;
using System.Net;
using System.Net.Sockets;

namespace Generation.Bench.Harness;

/// <summary>
/// Stands between the services and a server, and can be slow: every piece of up to 16 KiB waits for <see cref="Delay"/>, each way, and
/// leaves no faster than <see cref="BytesPerSecond"/>. When nobody listens behind it, whoever connects is cut off at once. The port
/// stays the same whatever happens behind it.
/// </summary>
internal sealed class TcpProxy : IAsyncDisposable
{
    private const int PieceBytes = 16 << 10;

    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource stop = new();
    private readonly int targetPort;
    private readonly Task accepting;

    private long delayTicks;
    private long bytesPerSecond;

    public TcpProxy(int targetPort)
    {
        this.targetPort = targetPort;
        listener.Start();
        Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        accepting = AcceptAsync();
    }

    public int Port { get; }

    /// <summary>What every piece waits; zero: nothing.</summary>
    public TimeSpan Delay
    {
        get => new(Interlocked.Read(ref delayTicks));
        set => Interlocked.Exchange(ref delayTicks, value.Ticks);
    }

    /// <summary>Of each connection, each way; 0: as fast as it goes.</summary>
    public long BytesPerSecond
    {
        get => Interlocked.Read(ref bytesPerSecond);
        set => Interlocked.Exchange(ref bytesPerSecond, value);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        listener.Stop();
        await accepting;
        stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        var connections = new List<Task>();
        try
        {
            while (true)
            {
                var client = await listener.AcceptSocketAsync(stop.Token);
                connections.RemoveAll(connection => connection.IsCompleted);
                connections.Add(CarryAsync(client));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            await Task.WhenAll(connections);
        }
    }

    private async Task CarryAsync(Socket client)
    {
        using var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        client.NoDelay = true;
        try
        {
            await server.ConnectAsync(IPAddress.Loopback, targetPort, stop.Token);
            using var over = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
            var ways = new[] { PumpAsync(client, server, over.Token), PumpAsync(server, client, over.Token) };
            await await Task.WhenAny(ways); // half-closed connections are not a thing that our protocols use
            await over.CancelAsync();
            await Task.WhenAll(ways).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException)
        {
            client.LingerState = new LingerOption(true, 0); // a reset, as from a machine that is gone
        }
        finally
        {
            client.Dispose();
        }
    }

    private async Task PumpAsync(Socket from, Socket to, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(PieceBytes);
        try
        {
            while (await from.ReceiveAsync(buffer.AsMemory(0, PieceBytes), ct) is > 0 and var count)
            {
                var pause = Delay + (BytesPerSecond is > 0 and var rate ? TimeSpan.FromSeconds((double)count / rate) : TimeSpan.Zero);
                if (pause > TimeSpan.Zero) await Task.Delay(pause, TimeProvider.System, ct);
                for (var sent = 0; sent < count;) sent += await to.SendAsync(buffer.AsMemory(sent, count - sent), ct);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
