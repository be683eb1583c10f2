using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Generation.Core.Media;

namespace Generation.Worker.Calls;

/// <summary>
/// Reads a JSON answer that has media in it, as base64 in its strings, with memory that does not depend on their size: the media is
/// decoded while it arrives, and the rest of the document comes back as usual. Base64 may be of either alphabet, with line breaks and
/// without padding, or in a data URL; a string that is an address instead stays in the document.
/// </summary>
public sealed class MediaInJson
{
    private const int MaxDepth = 32;

    /// <summary>Of an address, so much shows that it is one.</summary>
    private const int MaxAddressStart = 32;

    private readonly LookaheadReader feed;
    private readonly Predicate<string> isMedia;
    private readonly Func<string, Stream, Task> onMedia;
    private readonly int maxRestBytes;
    private readonly CancellationToken ct;
    private readonly Action<string, string>? onText;
    private readonly ArrayBufferWriter<byte> rest = new(4096);

    private MediaInJson(LookaheadReader feed, Predicate<string> isMedia, Func<string, Stream, Task> onMedia, int maxRestBytes,
        Action<string, string>? onText, CancellationToken ct) =>
        (this.feed, this.isMedia, this.onMedia, this.maxRestBytes, this.onText, this.ct) = (feed, isMedia, onMedia, maxRestBytes, onText, ct);

    /// <summary>Reads one document to its end.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="isMedia">By the path of a string, such as <c>data[0].b64_json</c> or <c>images[1]</c>.</param>
    /// <param name="onMedia">
    /// Gets the path and the decoded bytes; what it leaves unread is skipped. A prefix such as <c>data:image/png;base64,</c> is not among
    /// them. What it throws comes out unchanged.
    /// </param>
    /// <param name="maxRestBytes">Of everything that is not media.</param>
    /// <param name="ct">Stops.</param>
    /// <returns>The document, with empty strings in place of the media.</returns>
    /// <exception cref="FormatException">Not JSON, not base64, no object, or too long.</exception>
    /// <exception cref="IOException">The source broke off; also <see cref="EndOfStreamException"/>.</exception>
    public static async Task<JsonElement> ReadAsync(
        Stream json, Predicate<string> isMedia, Func<string, Stream, Task> onMedia, int maxRestBytes, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(json);
        using var source = new LookaheadReader(json);
        return await ReadAsync(source, isMedia, onMedia, maxRestBytes, onText: null, ct);
    }

    /// <inheritdoc cref="ReadAsync(Stream, Predicate{string}, Func{string, Stream, Task}, int, CancellationToken)"/>
    /// <param name="onText">
    /// Is told of the other strings and numbers, with their paths, as they come: what stands before the media may say what it is.
    /// </param>
    internal static async Task<JsonElement> ReadAsync(
        LookaheadReader feed, Predicate<string> isMedia, Func<string, Stream, Task> onMedia, int maxRestBytes, Action<string, string>? onText,
        CancellationToken ct)
    {
        var reading = new MediaInJson(feed, isMedia, onMedia, maxRestBytes, onText, ct);
        await reading.ValueAsync("", 0);
        return ProviderJson.Parse(Encoding.UTF8.GetString(reading.rest.WrittenSpan))
            ?? throw new FormatException("The answer is no JSON, or no object.");
    }

    private async Task ValueAsync(string path, int depth)
    {
        if (depth > MaxDepth)
        {
            throw new FormatException($"The answer is nested more than {MaxDepth} deep.");
        }

        switch (await FirstAsync())
        {
            case (byte)'{':
                await ContainerAsync('}', async _ =>
                {
                    var from = rest.WrittenCount;
                    await StringAsync();
                    var name = NameFrom(from);
                    await ExpectAsync(':');
                    await ValueAsync(path.Length == 0 ? name : $"{path}.{name}", depth + 1);
                });
                break;
            case (byte)'[':
                await ContainerAsync(']', index => ValueAsync(string.Create(CultureInfo.InvariantCulture, $"{path}[{index}]"), depth + 1));
                break;
            case (byte)'"' when isMedia(path) && !await IsAddressAsync():
                feed.Skip(1);
                await using (var media = new Base64Text(feed))
                {
                    await onMedia(path, media);
                    await media.SkipAsync(ct);
                }

                Write("\"\""u8);
                break;
            case (byte)'"':
                var start = rest.WrittenCount;
                await StringAsync();
                onText?.Invoke(path, NameFrom(start));
                break;
            default:
                var word = rest.WrittenCount;
                await WordAsync();
                onText?.Invoke(path, Encoding.UTF8.GetString(rest.WrittenSpan[word..]));
                break;
        }
    }

    /// <summary>
    /// Whether the string that follows is where the media is, or claims to be, rather than the media: it has something in its beginning that
    /// base64 has not.
    /// </summary>
    private async Task<bool> IsAddressAsync()
    {
        for (var length = 2; length <= MaxAddressStart; length++)
        {
            var start = await feed.TryFillAsync(length, ct);
            if (start.Length < length || start.Span[length - 1] == '"')
            {
                return false;
            }

            if (start.Span[length - 1] is (byte)':' or (byte)'.')
            {
                return !start.Span[..length].EndsWith("data:"u8);
            }
        }

        return false;
    }

    private async Task ContainerAsync(char end, Func<int, Task> item)
    {
        Write(feed.Take(1));
        if (await FirstAsync() == end)
        {
            Write(feed.Take(1));
            return;
        }

        for (var index = 0; ; index++)
        {
            await item(index);
            var next = await FirstAsync();
            if (next != ',' && next != end)
            {
                throw new FormatException($"The answer has '{(char)next}' where ',' or '{end}' belongs.");
            }

            Write(feed.Take(1));
            if (next == end)
            {
                return;
            }
        }
    }

    /// <summary>Copies a string with its quotes, as it is.</summary>
    private async Task StringAsync()
    {
        await ExpectAsync('"');
        while (true)
        {
            var available = await feed.FillAsync(2, ct);
            var stop = available.Span.IndexOfAny((byte)'"', (byte)'\\');
            if (stop < 0)
            {
                Write(feed.Take(available.Length));
                continue;
            }

            var isEnd = available.Span[stop] == '"';
            Write(feed.Take(stop));
            await feed.FillAsync(isEnd ? 1 : 2, ct);
            Write(feed.Take(isEnd ? 1 : 2));
            if (isEnd)
            {
                return;
            }
        }
    }

    /// <summary>A number, true, false or null; whether it is one is found out at the end.</summary>
    private async Task WordAsync()
    {
        for (var length = 0; length < 64; length++)
        {
            var available = await feed.TryFillAsync(1, ct);
            if (available.Length == 0 || ",]}\n\r\t "u8.Contains(available.Span[0]))
            {
                if (length == 0)
                {
                    throw new FormatException("The answer lacks a value.");
                }

                return;
            }

            Write(feed.Take(1));
        }

        throw new FormatException("The answer has a word that is no JSON.");
    }

    private async Task<byte> FirstAsync()
    {
        while (true)
        {
            var available = await feed.FillAsync(1, ct);
            var first = available.Span[0];
            if (first is not ((byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t'))
            {
                return first;
            }

            feed.Skip(1);
        }
    }

    private async Task ExpectAsync(char wanted)
    {
        var found = await FirstAsync();
        Write(found == wanted ? feed.Take(1) : throw new FormatException($"The answer has '{(char)found}' where '{wanted}' belongs."));
    }

    private string NameFrom(int from)
    {
        try
        {
            return JsonElement.Parse(rest.WrittenSpan[from..]) is { ValueKind: JsonValueKind.String } text ? ProviderJson.TextOf(text) ?? "" : "";
        }
        catch (JsonException e)
        {
            throw new FormatException("The answer has a name that is no JSON.", e);
        }
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (rest.WrittenCount + bytes.Length > maxRestBytes)
        {
            throw new FormatException($"The answer has more than {maxRestBytes} bytes beside its media.");
        }

        rest.Write(bytes);
    }

    /// <summary>
    /// The bytes that a JSON string says in base64, up to its closing quote. Slashes and plus signs may be escaped, as some writers do; white
    /// space is passed over, both alphabets are read (RFC 4648 §4 and §5), and padding may be missing.
    /// </summary>
    private sealed class Base64Text(LookaheadReader feed) : ForwardStream
    {
        /// <summary>Kept back until more is known: only the last four letters may be padded.</summary>
        private const int Tail = 4;

        /// <summary>That may have to be added.</summary>
        private const int MaxPadding = 2;

        private static readonly SearchValues<byte> Unusual = SearchValues.Create("-_ \t\r\n"u8);

        private readonly byte[] letters = ArrayPool<byte>.Shared.Rent(8192);
        private readonly byte[] bytes = ArrayPool<byte>.Shared.Rent(8192);
        private int held;
        private int next;
        private int decoded;
        private bool isBegun;
        private bool isEnded;
        private bool isDisposed;

        /// <summary>To the closing quote, undecoded.</summary>
        public async Task SkipAsync(CancellationToken ct)
        {
            while (!isEnded)
            {
                held = 0;
                await CollectAsync(ct);
            }
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            while (next == decoded)
            {
                if (!isEnded)
                {
                    await CollectAsync(ct);
                }

                if (isEnded && held == 0)
                {
                    return 0;
                }

                Decode();
            }

            var count = Math.Min(buffer.Length, decoded - next);
            bytes.AsSpan(next, count).CopyTo(buffer.Span);
            next += count;
            return count;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing && !isDisposed)
            {
                isDisposed = true;
                ArrayPool<byte>.Shared.Return(letters);
                ArrayPool<byte>.Shared.Return(bytes);
            }

            base.Dispose(disposing);
        }

        private void Decode()
        {
            if (isEnded && held % 4 is 2 or 3)
            {
                letters.AsSpan(held, 4 - (held % 4)).Fill((byte)'=');
                held += 4 - (held % 4);
            }

            var ready = isEnded ? held : Math.Max(held - Tail, 0) & ~3;
            var status = Base64.DecodeFromUtf8(letters.AsSpan(0, ready), bytes, out var consumed, out decoded, isFinalBlock: isEnded);
            if (status == OperationStatus.InvalidData || (isEnded && status != OperationStatus.Done))
            {
                throw new FormatException("The answer's media is no base64.");
            }

            letters.AsSpan(consumed, held - consumed).CopyTo(letters);
            held -= consumed;
            next = 0;
        }

        /// <summary>Moves letters from the feed to ours until there are some to decode or the string has ended.</summary>
        private async ValueTask CollectAsync(CancellationToken ct)
        {
            if (!isBegun)
            {
                isBegun = true;
                await SkipPrefixAsync(ct);
            }

            while (!isEnded && held < 2 * Tail)
            {
                var available = await feed.FillAsync(1, ct);
                var stop = available.Span.IndexOfAny((byte)'"', (byte)'\\');
                var count = Math.Min(stop < 0 ? available.Length : stop, letters.Length - MaxPadding - held);
                Add(feed.Take(count));
                if (count > 0 || stop < 0)
                {
                    continue;
                }

                if (available.Span[0] == '"')
                {
                    feed.Skip(1);
                    isEnded = true;
                }
                else
                {
                    Add([await UnescapeAsync(ct)]);
                }
            }
        }

        /// <summary>In the one alphabet, without white space.</summary>
        private void Add(ReadOnlySpan<byte> text)
        {
            if (!text.ContainsAny(Unusual))
            {
                text.CopyTo(letters.AsSpan(held));
                held += text.Length;
                return;
            }

            foreach (var letter in text)
            {
                if (letter is not ((byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n'))
                {
                    letters[held++] = letter switch { (byte)'-' => (byte)'+', (byte)'_' => (byte)'/', _ => letter };
                }
            }
        }

        private async ValueTask SkipPrefixAsync(CancellationToken ct)
        {
            while ((await feed.TryFillAsync(1, ct)).Span is [(byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t', ..])
            {
                feed.Skip(1);
            }

            var start = await feed.TryFillAsync(5, ct);
            if (start.Length < 5 || !start.Span[..5].SequenceEqual("data:"u8))
            {
                return;
            }

            for (var length = 0; length < 200; length++)
            {
                await feed.FillAsync(1, ct);
                if (feed.Take(1)[0] == ',')
                {
                    return;
                }
            }

            throw new FormatException("The answer's media is a data URI without data.");
        }

        private async ValueTask<byte> UnescapeAsync(CancellationToken ct)
        {
            await feed.FillAsync(2, ct);
            var mark = feed.Take(2)[1];
            if (mark == '/')
            {
                return mark;
            }

            if (mark is (byte)'n' or (byte)'r' or (byte)'t')
            {
                return (byte)' ';
            }

            if (mark == 'u')
            {
                await feed.FillAsync(4, ct);
                if (byte.TryParse(Encoding.ASCII.GetString(feed.Take(4)), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var letter))
                {
                    return letter;
                }
            }

            throw new FormatException("The answer's media is no base64.");
        }
    }
}
