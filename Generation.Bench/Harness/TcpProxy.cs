using System.Buffers;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Generation.Bench.Harness;

/// <summary>
/// Stands between the services and a server, and can be slow: every piece of up to 16 KiB waits for <see cref="Delay"/>, each way, and
/// leaves no faster than <see cref="BytesPerSecond"/>. It can be a black hole (<see cref="Hold"/>), cut connections, and lose answers.
/// When nobody listens behind it, whoever connects is cut off at once. The port stays the same whatever happens behind it.
/// </summary>
internal sealed class TcpProxy : IAsyncDisposable
{
    private const int PieceBytes = 16 << 10;

    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource stop = new();
    private readonly ConcurrentDictionary<Socket, CancellationTokenSource> open = new();
    private readonly int targetPort;
    private readonly Task accepting;

    private long delayTicks;
    private long bytesPerSecond;
    private long loseEvery;
    private long answers;
    private volatile TaskCompletionSource? heldRequests;
    private volatile TaskCompletionSource? heldAnswers;

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

    /// <summary>
    /// Of all answers of the server every so many-th is dropped, and its connection cut: what was asked for has been done, and nobody is
    /// told. 0: none.
    /// </summary>
    public long LoseEvery
    {
        get => Interlocked.Read(ref loseEvery);
        set => Interlocked.Exchange(ref loseEvery, value);
    }

    /// <summary>From now on nothing comes through in either direction; connections stay, and new ones hear nothing.</summary>
    public void Hold()
    {
        heldRequests ??= NewGate();
        heldAnswers ??= NewGate();
    }

    /// <summary>From now on the server hears everything, and nobody hears the server.</summary>
    public void HoldAnswers() => heldAnswers ??= NewGate();

    /// <summary>What was held goes on its way.</summary>
    public void Release()
    {
        (var requests, var replies, heldRequests, heldAnswers) = (heldRequests, heldAnswers, null, null);
        requests?.SetResult();
        replies?.SetResult();
    }

    /// <summary>Cuts every connection; what was held of them is lost.</summary>
    public void Cut()
    {
        foreach (var over in open.Values)
        {
            try
            {
                over.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // It has ended by itself.
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        listener.Stop();
        await accepting;
        stop.Dispose();
    }

    private static TaskCompletionSource NewGate() => new(TaskCreationOptions.RunContinuationsAsynchronously);

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
        using var over = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
        open[client] = over;
        try
        {
            await server.ConnectAsync(IPAddress.Loopback, targetPort, over.Token);
            var ways = new[] { PumpAsync(client, server, isAnswer: false, over.Token), PumpAsync(server, client, isAnswer: true, over.Token) };
            var first = await Task.WhenAny(ways); // half-closed connections are not a thing that our protocols use
            await over.CancelAsync();
            await Task.WhenAll(ways).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await first;
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException)
        {
            client.LingerState = new LingerOption(true, 0); // a reset, as from a machine that is gone
        }
        finally
        {
            open.TryRemove(client, out _);
            client.Dispose();
        }
    }

    private async Task PumpAsync(Socket from, Socket to, bool isAnswer, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(PieceBytes);
        try
        {
            while (await from.ReceiveAsync(buffer.AsMemory(0, PieceBytes), ct) is > 0 and var count)
            {
                if (isAnswer && LoseEvery is > 0 and var every
                    && Interlocked.Increment(ref answers) % every == 0)
                {
                    throw new OperationCanceledException("This answer is lost.");
                }

                if ((isAnswer ? heldAnswers : heldRequests) is { } gate)
                {
                    await gate.Task.WaitAsync(ct);
                }

                var pause = Delay + (BytesPerSecond is > 0 and var rate ? TimeSpan.FromSeconds((double)count / rate) : TimeSpan.Zero);
                if (pause > TimeSpan.Zero)
                {
                    await Task.Delay(pause, TimeProvider.System, ct);
                }

                for (var sent = 0; sent < count;)
                {
                    sent += await to.SendAsync(buffer.AsMemory(sent, count - sent), ct);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
