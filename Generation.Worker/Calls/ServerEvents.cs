using System.Text;
using Generation.Core.Media;

namespace Generation.Worker.Calls;

/// <summary>
/// Server-sent events (WHATWG HTML §9.2) whose data may be media: the data of each event is a stream, read while it arrives. Fields may come
/// in any order, data in several lines, lines may end in CR, LF or both; what is no field that means something here is passed over. An event
/// at the end of the stream counts although no empty line follows it.
/// </summary>
public static class ServerEvents
{
    private const int MaxNameBytes = 256;

    /// <summary>Reads until the stream ends, <c>[DONE]</c> comes, or <paramref name="onData"/> says that it has seen enough.</summary>
    /// <param name="events">The body of a <c>text/event-stream</c>.</param>
    /// <param name="onData">
    /// Gets the event's name (<c>message</c> without one, or while it has not come yet) and its data; what it leaves unread is skipped. False
    /// ends the reading.
    /// </param>
    /// <param name="ct">Stops.</param>
    public static async Task ReadAsync(Stream events, Func<string, Stream, Task<bool>> onData, CancellationToken ct)
    {
        using var feed = new LookaheadReader(events);
        await ReadAsync(feed, onData, ct);
    }

    internal static async Task ReadAsync(LookaheadReader feed, Func<string, Stream, Task<bool>> onData, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(onData);
        var name = "message";
        while ((await feed.TryFillAsync(1, ct)).Length > 0)
        {
            using var line = new Line(feed);
            switch (await line.FieldAsync(ct))
            {
                case "data":
                    if ((await feed.TryFillAsync(6, ct)).Span.StartsWith("[DONE]"u8))
                    {
                        return;
                    }

                    using (var data = new Data(feed, line))
                    {
                        if (!await onData(name, data))
                        {
                            return;
                        }

                        await data.SkipAsync(ct);
                    }

                    name = "message"; // the event is over
                    break;
                case "event":
                    var text = new byte[MaxNameBytes];
                    name = Encoding.UTF8.GetString(text, 0, await line.ReadAtLeastAsync(text, MaxNameBytes, throwOnEndOfStream: false, ct)).Trim();
                    name = name.Length == 0 ? "message" : name;
                    break;
                case "":
                    name = "message"; // an empty line ends an event, also one without data
                    break;
            }

            await line.SkipAsync(ct);
        }
    }

    /// <summary>A part of the feed that is read once and forwards.</summary>
    private abstract class Part : ForwardStream
    {
        public async ValueTask SkipAsync(CancellationToken ct)
        {
            var rest = new byte[1024];
            while (await ReadAsync(rest, ct) > 0)
            {
            }
        }

        public abstract override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default);
    }

    /// <summary>What is left of the current line.</summary>
    private sealed class Line(LookaheadReader feed) : Part
    {
        private bool isEnded;

        /// <summary>
        /// The field's name, with the colon and one space behind it taken; empty for an empty line, <c>:</c> for a comment or a field of a name
        /// that is too long to mean anything here.
        /// </summary>
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

                    return length == 0 ? ":" : Encoding.ASCII.GetString(name, 0, length);
                }
            }

            return ":";
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
    }

    /// <summary>The data of an event: its lines, with line feeds between them, up to the empty line behind the event.</summary>
    private sealed class Data(LookaheadReader feed, Part first) : Part
    {
        private Part? line = first;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            if (line is null || buffer.IsEmpty)
            {
                return 0;
            }

            var read = await line.ReadAsync(buffer, ct);
            if (read > 0)
            {
                return read;
            }

            line = await NextAsync(ct);
            if (line is null)
            {
                return 0;
            }

            buffer.Span[0] = (byte)'\n';
            return 1;
        }

        /// <summary>The next line of data; null at the end of the event.</summary>
        private async ValueTask<Part?> NextAsync(CancellationToken ct)
        {
            while ((await feed.TryFillAsync(1, ct)).Length > 0)
            {
                var next = new Line(feed);
                switch (await next.FieldAsync(ct))
                {
                    case "data":
                        return next;
                    case "":
                        return null;
                }

                await next.SkipAsync(ct);
            }

            return null;
        }
    }
}
