namespace Generation.Core.Media;

/// <summary>Why media could not be stored. Ordered by cause: the file, its source, our store.</summary>
public enum MediaFailure
{
    /// <summary>Larger than the cap for its kind. Not worth a retry.</summary>
    TooLarge,

    /// <summary>Not a format that is stored, or not of the kind that was asked for. Not worth a retry.</summary>
    WrongType,

    /// <summary>The body ended before its declared length or in the middle of what its format announced, or was empty. Worth a retry.</summary>
    Truncated,

    /// <summary>We do not fetch from there: host not allow-listed, address private, scheme not https, too many redirects.</summary>
    SourceRefused,

    /// <summary>The source says no and will keep saying it: 410, a redirect to nowhere.</summary>
    SourceGone,

    /// <summary>
    /// The source does not have it, or says so instead of sending it: 404, 403, 409, 423 and other 4xx, 202, 204, a page or JSON with 200. It may
    /// come: an address can be there before its file is.
    /// </summary>
    SourceNotReady,

    /// <summary>The source cannot answer now: 408, 429, 5xx, no connection, a timeout. Worth a retry.</summary>
    SourceUnavailable,

    /// <summary>Our own store did not take it: disk full, bucket unreachable, keys wrong. Worth a retry.</summary>
    StoreUnavailable,
}

/// <summary>A transfer that failed. Nothing is visible in the store under its key.</summary>
public sealed class MediaException(MediaFailure failure, string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Which kind of failure; decides about the retry.</summary>
    public MediaFailure Failure { get; } = failure;
}

/// <summary>An object as a listing shows it.</summary>
public sealed record StoredObject(MediaKey Key, long Bytes, DateTimeOffset LastModified);

/// <summary>A part of a walk over everything that is stored.</summary>
/// <param name="Objects">In the order of their keys. Names that are no <see cref="MediaKey"/> were passed over.</param>
/// <param name="Position">Where the next page begins; null when this was the last.</param>
public sealed record StoredPage(IReadOnlyList<StoredObject> Objects, string? Position);

/// <summary>
/// Where results are kept. Two implementations, a local folder and S3, pass one contract suite. Every operation throws
/// <see cref="MediaException"/> with <see cref="MediaFailure.StoreUnavailable"/> when the store does not work.
/// </summary>
public interface IMediaStore
{
    /// <summary>Streams a body of unknown length into the store, with memory that does not depend on the length.</summary>
    /// <remarks>
    /// The object appears complete or not at all: when the body's stream throws, the token is cancelled or the store fails,
    /// what was uploaded is discarded and an older object of the same name stays as it was. What the body's stream
    /// throws is passed on unchanged.
    /// </remarks>
    /// <param name="contentType">As it will be served; the key's own <see cref="MediaKey.Type"/> in every ordinary case.</param>
    /// <returns>How many bytes were stored.</returns>
    Task<long> PutAsync(MediaKey key, Stream body, string contentType, CancellationToken ct);

    /// <summary>Opens an object for reading from its start; null when there is none. The caller disposes.</summary>
    Task<Stream?> OpenReadAsync(MediaKey key, CancellationToken ct);

    /// <summary>Whether the object is there.</summary>
    Task<bool> ExistsAsync(MediaKey key, CancellationToken ct);

    /// <summary>Removes the object; nothing happens when there is none.</summary>
    Task DeleteAsync(MediaKey key, CancellationToken ct);

    /// <summary>
    /// Objects whose key begins with <paramref name="prefix"/>, in no promised order. Names that are no
    /// <see cref="MediaKey"/> are not listed, so a sweep cannot touch them. Deleting while listing is fine.
    /// </summary>
    /// <param name="prefix">Empty for all; otherwise such as <see cref="MediaKey.SessionPrefix"/> makes.</param>
    IAsyncEnumerable<StoredObject> ListAsync(string prefix, CancellationToken ct);

    /// <summary>
    /// A page of everything that is stored, in the order of the names, foreign ones counted in: a walk over millions of objects can
    /// stop anywhere and be resumed days later.
    /// </summary>
    /// <param name="position">Empty for the beginning; otherwise what the page before said.</param>
    /// <param name="maxNames">At most 1,000.</param>
    Task<StoredPage> ListPageAsync(string position, int maxNames, CancellationToken ct);

    /// <summary>Aborts uploads that began before now minus <paramref name="minAge"/> and did not complete.</summary>
    /// <param name="minAge">Longer than any upload lives, or it kills one.</param>
    /// <returns>How many were removed.</returns>
    Task<int> SweepUnfinishedAsync(TimeSpan minAge, CancellationToken ct);

    /// <summary>
    /// A URL that lets its holder read the object for a limited time. It is a secret: check who owns the object before, and
    /// never log it. No round trip; the object need not exist.
    /// </summary>
    /// <param name="lifetime">Counted from now, whole seconds, at most seven days.</param>
    /// <param name="downloadName">Makes a browser save under this name instead of showing.</param>
    /// <returns>Absolute (S3), or beginning with <c>/media/</c> on the Api (folder).</returns>
    string SignedUrl(MediaKey key, TimeSpan lifetime, string? downloadName = null);
}
