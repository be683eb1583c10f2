using System.Buffers.Text;
using System.Text;

namespace Generation.Worker.Calls;

/// <summary>Media in an address (RFC 2397). It came in an answer of bounded length, so that it may be held in memory.</summary>
internal static class DataUrl
{
    /// <summary>The bytes; none when it is no data URL, or does not hold what it says.</summary>
    public static MemoryStream Open(Uri url)
    {
        var text = url.OriginalString;
        var comma = text.IndexOf(',', StringComparison.Ordinal);
        if (comma < 0)
        {
            return new MemoryStream([]);
        }

        var bytes = Unescape(text.AsSpan(comma + 1));
        return new MemoryStream(text[..comma].EndsWith(";base64", StringComparison.OrdinalIgnoreCase) ? FromBase64(bytes) : bytes);
    }

    private static byte[] FromBase64(byte[] text)
    {
        var letters = text.Where(letter => letter is not ((byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n' or (byte)'='))
            .Select(letter => letter switch { (byte)'+' => (byte)'-', (byte)'/' => (byte)'_', _ => letter }).ToArray();
        return Base64Url.IsValid(letters) ? Base64Url.DecodeFromUtf8(letters) : [];
    }

    private static byte[] Unescape(ReadOnlySpan<char> text)
    {
        using var bytes = new MemoryStream(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '%' && i + 2 < text.Length && char.IsAsciiHexDigit(text[i + 1]) && char.IsAsciiHexDigit(text[i + 2]))
            {
                bytes.WriteByte(Convert.FromHexString(text.Slice(i + 1, 2))[0]);
                i += 2;
            }
            else if (char.IsAscii(text[i]))
            {
                bytes.WriteByte((byte)text[i]);
            }
            else
            {
                bytes.Write(Encoding.UTF8.GetBytes([text[i]]));
            }
        }

        return bytes.ToArray();
    }
}
