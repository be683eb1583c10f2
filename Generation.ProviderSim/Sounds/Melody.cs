using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.Sounds;

/// <summary>
/// What the simulator says instead of speech and sound effects: a plucked melody, one note for about each syllable, as an MP3. It is
/// the same to the byte for the same seed and length.
/// </summary>
public static class Melody
{
    public const int MaxSeconds = 120;

    private const int LoudestNote = 203;

    /// <summary>Lines near a pentatonic scale from e' upwards: pitch is as coarse as the spectrum.</summary>
    private static readonly int[] Scale = [8, 11, 13, 15, 17, 20, 23, 26, 30];

    private static readonly byte[] Padding = new byte[64 << 10];

    /// <summary>An MP3 of so many seconds, rounded up to a frame of 26 ms.</summary>
    public static byte[] Play(ulong seed, int seconds)
    {
        var dice = new Dice(seed);
        var mp3 = new Mp3Writer();
        var granules = (int)Math.Ceiling(Math.Clamp(seconds, 1, MaxSeconds) * (double)Mp3Writer.SampleRate / Mp3Writer.GranuleSamples);
        var step = dice.Whole(0, Scale.Length - 1);
        for (var at = 0; at < granules;)
        {
            var length = Math.Min(dice.Whole(9, 20), granules - at);
            step = Math.Clamp(step + dice.Whole(-2, 2), 0, Scale.Length - 1);
            var isRest = dice.Chance(0.12f);
            for (var n = 0; n < length; n++, at++)
            {
                mp3.Add(isRest ? new Mp3Writer.Granule(0, []) : Note(Scale[step], at, n));
            }
        }

        return mp3.Finish();
    }

    /// <summary>The file in pieces, padded with zeros, which players pass over, to so many bytes; 0: as it is.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Pieces(byte[] file, long bytes)
    {
        // In two halves, so that a download gate has a middle to wait in.
        yield return file.AsMemory(0, file.Length / 2);
        yield return file.AsMemory(file.Length / 2);
        for (var left = bytes - file.Length; left > 0; left -= Padding.Length)
        {
            yield return Padding.AsMemory(0, (int)Math.Min(left, Padding.Length));
        }
    }

    /// <summary>The file, then zeros for ever.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Endless(byte[] file)
    {
        yield return file;
        while (true)
        {
            yield return Padding;
        }
    }

    private static Mp3Writer.Granule Note(int line, int at, int since) =>
        new(LoudestNote - (since == 0 ? 4 : since), [(line, IsNegative(line, at)), (line * 2, IsNegative(line * 2, at))]);

    /// <summary>
    /// A steady tone in the middle of a line advances by a quarter or three quarters of a period from one granule to the next, so the
    /// signs of its line come in pairs; any others would be heard as a buzz.
    /// </summary>
    private static bool IsNegative(int line, int at) => (at & 3) is var phase && (line % 2 == 0 ? phase is 1 or 2 : phase is 2 or 3);
}
