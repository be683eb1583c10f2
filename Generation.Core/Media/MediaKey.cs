using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Generation.Core.Media;

/// <summary>What an object is for; the first word of its name.</summary>
public enum MediaRole
{
    /// <summary>A result that was sold.</summary>
    Output,

    /// <summary>The still picture that goes with a video.</summary>
    Poster,

    /// <summary>What an output looked like on its way; worth nothing afterwards.</summary>
    Preview,

    /// <summary>A user's own picture, for reference.</summary>
    Upload,

    /// <summary>One of the shared samples.</summary>
    Sample,
}

/// <summary>
/// The name of a stored object: <c>user-id/YYYY-MM-DD/session-id/output-&lt;ordinal&gt;-&lt;leaseToken&gt;.&lt;ext&gt;</c> (also
/// <c>poster-…</c> and <c>preview-…</c>), <c>user-id/YYYY-MM-DD/upload-id/upload.&lt;ext&gt;</c>, or <c>samples/&lt;name&gt;</c> for what
/// mock runs hand out. The only type that forms or reads one.
/// </summary>
/// <remarks>
/// The lease token is part of the name, so that a worker that lost its lease writes beside the good object and never over it.
/// <see cref="TryParse"/> accepts exactly what <see cref="ToString"/> writes: a string that has passed it can be joined to a
/// folder or a URL without further checks.
/// </remarks>
public sealed record MediaKey
{
    /// <summary>The longest sample name, extension included, in characters.</summary>
    public const int MaxSampleNameLength = 80;

    private const string DateFormat = "yyyy-MM-dd";
    private const string SamplePrefix = "samples/";
    private static readonly SearchValues<char> SampleNameCharacters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-");
    private readonly string text;

    private MediaKey(string text, MediaType type)
    {
        this.text = text;
        Type = type;
    }

    /// <summary>What it is for.</summary>
    public MediaRole Role { get; private init; } = MediaRole.Sample;

    /// <summary>Whose object it is; null for a sample.</summary>
    public Guid? UserId { get; private init; }

    /// <summary>The day the session, or the upload, was created, UTC; null for a sample.</summary>
    public DateOnly? SessionDate { get; private init; }

    /// <summary>The session that produced it, or the upload's own id; null for a sample.</summary>
    public Guid? SessionId { get; private init; }

    /// <summary>Which output of the session, from 0; null for a sample.</summary>
    public int? Ordinal { get; private init; }

    /// <summary>The fencing token of the lease it was written under, at least 0; null for a sample.</summary>
    public long? LeaseToken { get; private init; }

    /// <summary>What the object is, as its extension says.</summary>
    public MediaType Type { get; }

    /// <summary>Whether it is one of the shared samples, which have no owner.</summary>
    public bool IsSample => Role == MediaRole.Sample;

    /// <summary>The key of one output of a session.</summary>
    /// <param name="sessionCreatedAt">When the session was created; its UTC date is part of the key.</param>
    /// <param name="extension">Without a dot, one of <see cref="MediaType.All"/>.</param>
    /// <param name="role">An output, its poster, or its preview.</param>
    /// <exception cref="ArgumentException">A negative number, or an extension that is not stored here.</exception>
    public static MediaKey Output(
        Guid userId, DateTimeOffset sessionCreatedAt, Guid sessionId, int ordinal, long leaseToken, string extension,
        MediaRole role = MediaRole.Output)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(ordinal);
        ArgumentOutOfRangeException.ThrowIfNegative(leaseToken);
        var name = role switch
        {
            MediaRole.Output => "output",
            MediaRole.Poster => "poster",
            MediaRole.Preview => "preview",
            _ => throw new ArgumentOutOfRangeException(nameof(role), role, "No part of a session's work."),
        };
        var type = TypeOf(extension);
        var date = DateOnly.FromDateTime(sessionCreatedAt.UtcDateTime);
        return new($"{SessionPrefix(userId, sessionCreatedAt, sessionId)}{name}-{ordinal}-{leaseToken}.{type.Extension}", type)
        {
            Role = role,
            UserId = userId,
            SessionDate = date,
            SessionId = sessionId,
            Ordinal = ordinal,
            LeaseToken = leaseToken,
        };
    }

    /// <summary>The key of a user's reference picture.</summary>
    /// <param name="createdAt">When it was uploaded; its UTC date is part of the key.</param>
    /// <param name="extension">Without a dot, one of <see cref="MediaType.All"/>.</param>
    public static MediaKey Upload(Guid userId, DateTimeOffset createdAt, Guid uploadId, string extension)
    {
        var type = TypeOf(extension);
        return new($"{SessionPrefix(userId, createdAt, uploadId)}upload.{type.Extension}", type)
        {
            Role = MediaRole.Upload,
            UserId = userId,
            SessionDate = DateOnly.FromDateTime(createdAt.UtcDateTime),
            SessionId = uploadId,
        };
    }

    /// <summary>The key of a sample, <c>samples/&lt;name&gt;</c>.</summary>
    /// <param name="name">Lower-case letters, digits and single hyphens, then a known extension: <c>lighthouse.png</c>.</param>
    /// <exception cref="ArgumentException">Any other name.</exception>
    public static MediaKey Sample(string name) =>
        TryParse(SamplePrefix + name, out var key) ? key : throw new ArgumentException($"'{name}' is no sample's name.", nameof(name));

    /// <summary>What the keys of one session begin with; for sweeps. Ends in a slash.</summary>
    public static string SessionPrefix(Guid userId, DateTimeOffset sessionCreatedAt, Guid sessionId) =>
        $"{userId:D}/{sessionCreatedAt.UtcDateTime.ToString(DateFormat, CultureInfo.InvariantCulture)}/{sessionId:D}/";

    /// <summary>The key that <see cref="ToString"/> wrote.</summary>
    /// <exception cref="FormatException">Anything else.</exception>
    public static MediaKey Parse(string text) =>
        TryParse(text, out var key) ? key : throw new FormatException("Not a media key.");

    /// <summary>Reads a key; false for every string that <see cref="ToString"/> would not have written.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out MediaKey? key)
    {
        key = null;
        if (text is null || text.Length > 200)
        {
            return false;
        }

        key = text.StartsWith(SamplePrefix, StringComparison.Ordinal) ? ParseSample(text) : ParseOutput(text);
        // Guid, date and number parsers are lenient (braces, case, leading zeros and signs); writing the key again is not.
        if (key?.text != text)
        {
            key = null;
        }

        return key is not null;
    }

    /// <summary>The object's name, with slashes between its parts and none at its ends.</summary>
    public override string ToString() => text;

    private static MediaKey? ParseOutput(string text)
    {
        var parts = text.Split('/');
        if (parts.Length != 4
            || !Guid.TryParseExact(parts[0], "D", out var userId)
            || !DateOnly.TryParseExact(parts[1], DateFormat, CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
            || !Guid.TryParseExact(parts[2], "D", out var sessionId))
        {
            return null;
        }

        var day = new DateTimeOffset(date, default, TimeSpan.Zero);
        var name = parts[3].Split('-', '.');
        if (name is ["upload", var uploadExtension])
        {
            return MediaType.ByExtension(uploadExtension) is null ? null : Upload(userId, day, sessionId, uploadExtension);
        }

        return name is [var role, var ordinalText, var tokenText, var extension]
            && RoleOf(role) is { } known
            && int.TryParse(ordinalText, NumberStyles.None, CultureInfo.InvariantCulture, out var ordinal)
            && long.TryParse(tokenText, NumberStyles.None, CultureInfo.InvariantCulture, out var leaseToken)
            && MediaType.ByExtension(extension) is not null
                ? Output(userId, day, sessionId, ordinal, leaseToken, extension, known)
                : null;
    }

    private static MediaRole? RoleOf(string name) => name switch
    {
        "output" => MediaRole.Output,
        "poster" => MediaRole.Poster,
        "preview" => MediaRole.Preview,
        _ => null,
    };

    private static MediaType TypeOf(string extension) => MediaType.ByExtension(extension)
        ?? throw new ArgumentException($"No media is stored with the extension '{extension}'.", nameof(extension));

    private static MediaKey? ParseSample(string text)
    {
        var name = text.AsSpan(SamplePrefix.Length);
        var dot = name.IndexOf('.');
        if (name.Length > MaxSampleNameLength || dot < 1 || name[0] == '-' || name[dot - 1] == '-'
            || name[..dot].ContainsAnyExcept(SampleNameCharacters) || name.Contains("--", StringComparison.Ordinal))
        {
            return null;
        }

        return MediaType.ByExtension(name[(dot + 1)..].ToString()) is { } type ? new(text, type) : null;
    }
}
