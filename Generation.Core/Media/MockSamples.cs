using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace Generation.Core.Media;

/// <summary>
/// The pictures, the video and the sound that mock runs hand out: small files of this assembly, served by the Api as <c>samples/…</c> when they are
/// not uploaded.
/// </summary>
public static class MockSamples
{
    private static readonly MockSample[] Pictures = [new("lagoon.jpg", 512, 512), new("ridge.jpg", 512, 512), new("harbour.jpg", 512, 512)];

    private static readonly MockSample[] Videos = [new("sail.mp4", 160, 96) { DurationSeconds = 49 / 24.0 }];

    private static readonly MockSample[] Sounds = [new("melody.mp3", null, null) { DurationSeconds = 154 * 1152 / 44_100.0 }];

    /// <summary>Stands where a picture would be that could not be made, for who asked for that (<c>allow_placeholder</c>). Never sold.</summary>
    public static readonly MockSample Placeholder = new("placeholder.png", 512, 512);

    public static MockSample Choose(int ordinal, MediaKind kind = MediaKind.Image) => kind switch
    {
        MediaKind.Image => Pictures[ordinal % Pictures.Length],
        MediaKind.Video => Videos[ordinal % Videos.Length],
        _ => Sounds[ordinal % Sounds.Length],
    };

    public static MockSample? Find(string name) => Array.Find([.. Pictures, .. Videos, .. Sounds, Placeholder], s => s.Name == name);
}

/// <param name="Name">File name, and the name in the key <c>samples/…</c>.</param>
/// <param name="Width">Pixels; null of a sound.</param>
/// <param name="Height">Pixels; null of a sound.</param>
public sealed record MockSample(string Name, int? Width, int? Height)
{
    private static readonly ConcurrentDictionary<string, byte[]> Hashes = new(StringComparer.Ordinal);

    /// <summary>Null for a picture.</summary>
    public double? DurationSeconds { get; init; }

    public string ContentType => MediaType.ByExtension(Path.GetExtension(Name)[1..])!.ContentType;

    public Stream Open() => typeof(MockSample).Assembly.GetManifestResourceStream($"Generation.Core.Media.Samples.{Name}")
        ?? throw new InvalidOperationException($"The sample {Name} is not in the assembly.");

    /// <summary>The sample as an object that need not be uploaded.</summary>
    public StoredMedia AsStored()
    {
        using var body = Open();
        var hash = Hashes.GetOrAdd(Name, _ => SHA256.HashData(body));
        return new StoredMedia(MediaKey.Sample(Name), ContentType, body.Length, hash, Width, Height, DurationSeconds);
    }
}
