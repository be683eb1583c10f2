using System.Buffers;

namespace Generation.Worker.Calls;

/// <summary>A stream with a look ahead: bytes can be asked for before they are taken. A byte order mark at its start is left out.</summary>
internal sealed class LookaheadReader(Stream source) : IDisposable
{
    private readonly byte[] buffer = ArrayPool<byte>.Shared.Rent(16 << 10);
    private int start;
    private int end;
    private bool isBegun;

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
        if (!isBegun)
        {
            isBegun = true;
            await LoadAsync(1, ct);
            if (end > 0 && buffer[0] == 0xEF)
            {
                await LoadAsync(3, ct);
                start = buffer.AsSpan(0, end) is [0xEF, 0xBB, 0xBF, ..] ? 3 : 0;
            }
        }

        await LoadAsync(wanted, ct);
        return buffer.AsMemory(start, end - start);
    }

    /// <summary>
    /// Whether what follows is an event stream (WHATWG HTML §9.2) and not JSON: by its bytes, whatever the content type calls them.
    /// </summary>
    public async ValueTask<bool> IsEventStreamAsync(CancellationToken ct)
    {
        var available = await TryFillAsync(1, ct);
        while (available.Length > 0 && available.Span[0] is (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t')
        {
            Skip(1);
            available = await TryFillAsync(1, ct);
        }

        if (available.Length == 0 || available.Span[0] is (byte)'{' or (byte)'[' or (byte)'<')
        {
            return false;
        }

        available = await TryFillAsync(6, ct);
        return StartsWith(":"u8) || StartsWith("event"u8) || StartsWith("data"u8) || StartsWith("id"u8) || StartsWith("retry"u8);

        bool StartsWith(ReadOnlySpan<byte> field) => available.Span.StartsWith(field);
    }

    /// <summary>Bytes that are there; valid until the next call.</summary>
    public ReadOnlySpan<byte> Take(int count)
    {
        start += count;
        return buffer.AsSpan(start - count, count);
    }

    public void Skip(int count) => start += count;

    public void Dispose() => ArrayPool<byte>.Shared.Return(buffer);

    private async ValueTask LoadAsync(int wanted, CancellationToken ct)
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
                return;
            }

            end += read;
        }
    }
}
