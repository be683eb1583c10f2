using System.Buffers;
using System.Text;

namespace Generation.Worker.Calls;

/// <summary>A stream with a look ahead: bytes can be asked for in numbers before they are taken.</summary>
internal sealed class LookaheadReader(Stream source) : IDisposable
{
    private readonly byte[] buffer = ArrayPool<byte>.Shared.Rent(16 << 10);
    private int start;
    private int end;

    /// <summary>At least <paramref name="wanted"/> bytes, and what came with them; they stay until they are taken.</summary>
    /// <exception cref="EndOfStreamException">Fewer came.</exception>
    public async ValueTask<ReadOnlyMemory<byte>> FillAsync(int wanted, CancellationToken ct)
    {
        var available = await TryFillAsync(wanted, ct);
        return available.Length >= wanted ? available : throw new EndOfStreamException("The answer broke off.");
    }

    /// <summary>The same; fewer at the end of the stream.</summary>
    public async ValueTask<ReadOnlyMemory<byte>> TryFillAsync(int wanted, CancellationToken ct)
    {
        while (end - start < wanted)
        {
            if (start > 0)
            {
                buffer.AsSpan(start, end - start).CopyTo(buffer);
                (start, end) = (0, end - start);
            }

            var read = await source.ReadAsync(buffer.AsMemory(end), ct);
            if (read == 0)
            {
                break;
            }

            end += read;
        }

        return buffer.AsMemory(start, end - start);
    }

    /// <summary>Bytes that are there; valid until the next call.</summary>
    public ReadOnlySpan<byte> Take(int count)
    {
        start += count;
        return buffer.AsSpan(start - count, count);
    }

    public void Skip(int count) => start += count;

    public void Dispose() => ArrayPool<byte>.Shared.Return(buffer);
}

/// <summary>Server-sent events whose data may be media: each data line is a stream, read while it arrives.</summary>
public static class ServerEvents
{
    private const int MaxNameBytes = 256;

    /// <summary>Reads until the stream ends, <c>[DONE]</c> comes, or <paramref name="onData"/> says that it has seen enough.</summary>
    /// <param name="events">The body of a <c>text/event-stream</c>.</param>
    /// <param name="onData">
    /// Gets the event's name (<c>message</c> without one) and its data line, which providers write in one line each; what it leaves unread
    /// is skipped. False ends the reading.
    /// </param>
    /// <param name="ct">Stops.</param>
    /// <exception cref="FormatException">A line that is neither a field nor a comment, or too long a name.</exception>
    public static async Task ReadAsync(Stream events, Func<string, Stream, Task<bool>> onData, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(onData);
        using var feed = new LookaheadReader(events);
        var name = "message";
        while ((await feed.TryFillAsync(1, ct)).Length > 0)
        {
            using var line = new Line(feed);
            var field = await line.FieldAsync(ct);
            switch (field)
            {
                case "data":
                    if ((await feed.TryFillAsync(6, ct)).Span.StartsWith("[DONE]"u8) || !await onData(name, line))
                    {
                        return;
                    }

                    break;
                case "event":
                    var text = new byte[MaxNameBytes];
                    name = Encoding.UTF8.GetString(text, 0, await line.ReadAtLeastAsync(text, MaxNameBytes, throwOnEndOfStream: false, ct)).Trim();
                    break;
                case "":
                    name = "message"; // an empty line ends an event
                    break;
            }

            await line.SkipAsync(ct);
        }
    }

    /// <summary>What is left of the current line.</summary>
    private sealed class Line(LookaheadReader feed) : Stream
    {
        private bool isEnded;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        /// <summary>The field's name, with the colon and one space behind it taken; empty for an empty line or a comment.</summary>
        public async ValueTask<string> FieldAsync(CancellationToken ct)
        {
            var name = new byte[16];
            for (var length = 0; length < name.Length; length++)
            {
                if (await ReadAsync(name.AsMemory(length, 1), ct) == 0)
                {
                    return Encoding.ASCII.GetString(name, 0, length);
                }

                if (name[length] == ':')
                {
                    if ((await feed.TryFillAsync(1, ct)) is { Length: > 0 } next && next.Span[0] == ' ')
                    {
                        feed.Skip(1);
                    }

                    return Encoding.ASCII.GetString(name, 0, length);
                }
            }

            throw new FormatException("A line of the event stream is no field.");
        }

        public async ValueTask SkipAsync(CancellationToken ct)
        {
            var rest = new byte[1024];
            while (await ReadAsync(rest, ct) > 0)
            {
            }
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            if (isEnded || buffer.IsEmpty)
            {
                return 0;
            }

            var available = await feed.TryFillAsync(1, ct);
            if (available.Span is [(byte)'\r', ..])
            {
                available = await feed.TryFillAsync(2, ct);
            }

            var stop = available.Span.IndexOfAny((byte)'\r', (byte)'\n');
            var count = Math.Min(stop < 0 ? available.Length : stop, buffer.Length);
            if (count == 0)
            {
                isEnded = true;
                feed.Skip(available.Span is [(byte)'\r', (byte)'\n', ..] ? 2 : Math.Min(available.Length, 1));
                return 0;
            }

            feed.Take(count).CopyTo(buffer.Span);
            return count;
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken ct) =>
            ReadAsync(buffer.AsMemory(offset, count), ct).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Read it asynchronously.");

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
