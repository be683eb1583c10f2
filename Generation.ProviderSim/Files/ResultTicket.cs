using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Web;
using Generation.ProviderSim.Pictures;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Files;

/// <summary>What a result URL must bring back, because the simulator keeps nothing: the picture's recipe and the words for its download.</summary>
/// <param name="Recipe">How to draw it.</param>
/// <param name="PromptKey">Hash of the prompt; limited faults are counted by it.</param>
/// <param name="Words">Bracketed words that matter when the URL is fetched.</param>
/// <param name="Seconds">Length of a film of the recipe, or of a sound, up to 127; 0: a picture.</param>
/// <param name="IsSound">A sound, of which the recipe gives only the seed.</param>
public sealed record ResultTicket(Recipe Recipe, ulong PromptKey, string Words, byte Seconds = 0, bool IsSound = false)
{
    private const byte SoundBit = 0x80;

    private const int FixedBytes = Recipe.EncodedBytes + sizeof(ulong) + 1;
    private const int TimeDigits = 13;

    /// <summary>The last frame of the film that is so many seconds long: a PNG.</summary>
    public bool IsLastFrame => Seconds > 0 && !IsSound && Recipe.Format == PictureFormat.Png;

    public bool IsFilm => Seconds > 0 && !IsSound && !IsLastFrame;

    public string Extension => IsSound ? "mp3" : IsFilm ? "mp4" : Recipe.Format.Name();

    public string ContentType => IsSound ? "audio/mpeg" : IsFilm ? "video/mp4" : $"image/{Recipe.Format.Name()}";

    /// <summary>The file's name without index and extension: long and opaque, as the provider's are.</summary>
    public string ToId(DateTimeOffset at)
    {
        var words = Encoding.UTF8.GetBytes(Words);
        var bytes = new byte[FixedBytes + words.Length];
        Recipe.Write(bytes);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(Recipe.EncodedBytes), PromptKey);
        bytes[FixedBytes - 1] = (byte)(Seconds | (IsSound ? SoundBit : 0));
        words.CopyTo(bytes, FixedBytes);
        return string.Create(CultureInfo.InvariantCulture, $"021{at.ToUnixTimeMilliseconds():D13}{Convert.ToHexStringLower(bytes)}");
    }

    /// <summary>Reads <c>{id}_{index}.{extension}</c>; null when it is no such name.</summary>
    public static ResultTicket? FromFileName(string fileName)
    {
        var end = fileName.LastIndexOf('_');
        const int Start = 3 + TimeDigits;
        if (end <= Start || (end - Start) % 2 != 0 || !fileName.AsSpan(Start, end - Start).ToString().All(char.IsAsciiHexDigit))
        {
            return null;
        }

        var bytes = Convert.FromHexString(fileName.AsSpan(Start, end - Start));
        if (bytes.Length < FixedBytes || Recipe.Read(bytes) is not { } recipe)
        {
            return null;
        }

        return new ResultTicket(recipe, BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(Recipe.EncodedBytes)),
            Encoding.UTF8.GetString(bytes.AsSpan(FixedBytes)), (byte)(bytes[FixedBytes - 1] & ~SoundBit), (bytes[FixedBytes - 1] & SoundBit) != 0);
    }
}

/// <summary>Signs and checks result URLs in the shape of presigned TOS URLs. The signature is our own: an HMAC over path, date and
/// lifetime.</summary>
public sealed class SignedUrls(IOptions<SimOptions> options, TimeProvider time)
{
    private const string DateFormat = "yyyyMMdd'T'HHmmss'Z'";

    private readonly byte[] key = Encoding.UTF8.GetBytes(options.Value.SigningKey);

    /// <summary>Whether a URL may be answered.</summary>
    public enum Verdict { Valid, Forged, Expired }

    /// <param name="host">Scheme and host without a slash at the end.</param>
    /// <param name="path">Path with a slash at the start.</param>
    /// <param name="lifetimeSeconds">Null: <see cref="SimOptions.UrlLifetimeSeconds"/>.</param>
    public string Sign(string host, string path, int? lifetimeSeconds = null)
    {
        var date = time.GetUtcNow().UtcDateTime.ToString(DateFormat, CultureInfo.InvariantCulture);
        var expires = (lifetimeSeconds ?? options.Value.UrlLifetimeSeconds).ToString(CultureInfo.InvariantCulture);
        var credential = HttpUtility.UrlEncode($"AKLTsim/{date[..8]}/ap-southeast-1/tos/request");
        return $"{host}{path}?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential={credential}&X-Tos-Date={date}&X-Tos-Expires={expires}"
            + $"&X-Tos-Signature={Signature(path, date, expires)}&X-Tos-SignedHeaders=host";
    }

    public Verdict Check(HttpRequest request)
    {
        string date = request.Query["X-Tos-Date"].ToString(), expires = request.Query["X-Tos-Expires"].ToString();
        var expected = Encoding.ASCII.GetBytes(Signature(request.Path.Value ?? "", date, expires));
        var given = Encoding.UTF8.GetBytes(request.Query["X-Tos-Signature"].ToString());
        if (!CryptographicOperations.FixedTimeEquals(expected, given))
        {
            return Verdict.Forged;
        }

        var signedAt = DateTimeOffset.ParseExact(date, DateFormat, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
        return time.GetUtcNow() >= signedAt.AddSeconds(int.Parse(expires, CultureInfo.InvariantCulture)) ? Verdict.Expired : Verdict.Valid;
    }

    private string Signature(string path, string date, string expires) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes($"GET\n{path}\n{date}\n{expires}")));
}
