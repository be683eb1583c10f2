using System.IO.Compression;

namespace Generation.Core.Media;

/// <summary>
/// Bodies that come encoded although that was not asked for (RFC 9110 §8.4): some proxies compress whatever they pass on. What a reader gets
/// is counted and capped behind the decoding, so that a bomb ends at the cap.
/// </summary>
public static class ContentCoding
{
    private const int HeadBytes = 2;

    /// <summary>Whether the body is of another length than its header says.</summary>
    public static bool IsEncoded(HttpContent content)
    {
        ArgumentNullException.ThrowIfNull(content);
        return content.Headers.ContentEncoding.Any(coding => !coding.Equals("identity", StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>The body, decoded while it is read.</summary>
    /// <returns>A stream whose reads throw <see cref="IOException"/> when the body is not what its header says.</returns>
    public static async Task<Stream> OpenAsync(HttpContent content, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(content);
        var body = await content.ReadAsStreamAsync(ct);
        foreach (var coding in content.Headers.ContentEncoding.Reverse()) // the last was applied last
        {
            body = coding.ToUpperInvariant() switch
            {
                "GZIP" or "X-GZIP" or "DEFLATE" or "BR" => new Decoded(body, coding.ToUpperInvariant()),
                _ => body, // identity, or one that nobody here knows: then the bytes speak for themselves
            };
        }

        return body;
    }

    /// <summary>Looks at the first bytes to see what the coding really is, when it is read for the first time.</summary>
    private sealed class Decoded(Stream source, string coding) : ForwardStream
    {
        private Stream? plain;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            try
            {
                plain ??= await BeginAsync(ct);
                return await plain.ReadAsync(buffer, ct);
            }
            catch (Exception e) when (e is InvalidDataException or InvalidOperationException)
            {
                throw new IOException($"The body is not what its Content-Encoding ({coding}) says.", e);
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                plain?.Dispose();
                source.Dispose();
            }

            base.Dispose(disposing);
        }

        private async ValueTask<Stream> BeginAsync(CancellationToken ct)
        {
            var head = new byte[HeadBytes];
            var length = await source.ReadAtLeastAsync(head, HeadBytes, throwOnEndOfStream: false, ct);
            var body = new Rewound(head.AsMemory(0, length), source);
            var isZlib = (head[0] & 0x0F) == 8 && ((head[0] << 8) | head[1]) % 31 == 0;
            return coding switch
            {
                "BR" => new BrotliStream(body, CompressionMode.Decompress),
                "DEFLATE" when isZlib => new ZLibStream(body, CompressionMode.Decompress),
                "DEFLATE" => new DeflateStream(body, CompressionMode.Decompress),
                _ when head is [0x1F, 0x8B] => new GZipStream(body, CompressionMode.Decompress),
                _ => body, // said to be gzip, and plain
            };
        }
    }

    /// <summary>A stream from which some bytes were read already.</summary>
    private sealed class Rewound(ReadOnlyMemory<byte> head, Stream rest) : ForwardStream
    {
        private ReadOnlyMemory<byte> head = head;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken ct = default)
        {
            if (head.IsEmpty)
            {
                return rest.ReadAsync(buffer, ct);
            }

            var count = Math.Min(head.Length, buffer.Length);
            head[..count].CopyTo(buffer);
            head = head[count..];
            return ValueTask.FromResult(count);
        }
    }
}
