using System.Buffers.Binary;
using System.IO.Compression;

namespace Generation.Tests.ProviderSim;

/// <summary>Reads just enough of a file to know that a picture of a given size is in it.</summary>
internal static class PictureFiles
{
    /// <summary>Width and height from SOF0, having walked every segment up to the scan, to whose end-of-image marker nothing is added.</summary>
    public static (int Width, int Height) JpegSize(byte[] file)
    {
        Assert.Equal([0xFF, 0xD8], file[..2]);
        Assert.Equal([0xFF, 0xD9], file[^2..]);
        (int, int)? size = null;
        for (var at = 2; ;)
        {
            Assert.Equal(0xFF, file[at]);
            while (file[at] == 0xFF) at++;
            var marker = file[at++];
            var segment = file.AsSpan(at, BinaryPrimitives.ReadUInt16BigEndian(file.AsSpan(at)));
            if (marker == 0xC0) size = (BinaryPrimitives.ReadUInt16BigEndian(segment[5..]), BinaryPrimitives.ReadUInt16BigEndian(segment[3..]));
            at += segment.Length;
            if (marker != 0xDA) continue;
            // In the scan every 0xFF is stuffed, so the only marker left is the last.
            for (; at < file.Length - 2; at++) Assert.False(file[at] == 0xFF && file[at + 1] != 0, $"a marker in the scan at {at}");
            return size ?? throw new InvalidDataException("No SOF0 before the scan.");
        }
    }

    /// <summary>Width and height from IHDR, after inflating every row of the image.</summary>
    public static (int Width, int Height) PngSize(byte[] file)
    {
        Assert.Equal([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], file[..8]);
        var (width, height) = (BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(16)), BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(20)));
        using var data = new MemoryStream();
        var types = new List<string>();
        for (var at = 8; at < file.Length;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(at));
            types.Add(System.Text.Encoding.ASCII.GetString(file, at + 4, 4));
            if (types[^1] == "IDAT") data.Write(file, at + 8, length);
            at += length + 12;
        }

        Assert.Equal(["IHDR", "IDAT", "IEND"], types);
        data.Position = 0;
        using var rows = new MemoryStream();
        using (var inflate = new ZLibStream(data, CompressionMode.Decompress)) inflate.CopyTo(rows);
        Assert.Equal((width * 3 + 1) * height, rows.Length);
        return (width, height);
    }
}
