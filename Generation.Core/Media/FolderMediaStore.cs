using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Options;

namespace Generation.Core.Media;

/// <summary>A file that a signed URL opened.</summary>
/// <param name="Path">Absolute, inside the store's root, existing a moment ago.</param>
/// <param name="DownloadName">The name to save it under; null to show it.</param>
/// <param name="ExpiresAt">Until when its URL opens it.</param>
public sealed record SignedFile(MediaKey Key, string Path, string ContentType, string? DownloadName, DateTimeOffset ExpiresAt);

/// <summary>What became of a signed URL, in the order it is checked.</summary>
public enum SignedUrlVerdict
{
    Valid,

    /// <summary>Not signed by this store, or changed since. Says nothing about whether the object exists.</summary>
    Forged,

    /// <summary>Rightly signed, but its time is over.</summary>
    Expired,

    /// <summary>Rightly signed; the object is gone.</summary>
    Missing,
}

/// <summary>
/// Keeps objects as files under <c>Media:Folder:Root</c>, by their key. The default, and enough for one machine.
/// </summary>
/// <remarks>
/// A body is written to <c>.unfinished/</c>, flushed to the disk and renamed, so that a reader, a crash or a full disk never
/// shows half an object. (The folder entry itself is durable when the file system's journal is; .NET offers no fsync of a folder.)
/// URLs are <c>/media/&lt;key&gt;?expires=&lt;unix seconds&gt;&amp;signature=&lt;base64url HMAC-SHA256&gt;</c>, with <c>&amp;name=</c>
/// under the signature too; the Api's route asks <see cref="OpenSigned"/>.
/// </remarks>
public sealed class FolderMediaStore : IMediaStore
{
    /// <summary>What every URL of this store begins with.</summary>
    public const string UrlPrefix = "/media/";

    private const string UnfinishedFolder = ".unfinished";
    private const string SigningKeyFile = ".signing-key";
    private const int BufferBytes = 128 << 10;
    private const int MaxMoveAttempts = 50;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const int SigningKeyBytes = 32;
    private const int SigningKeyCharacters = 43; // of base64url, without padding

    private static readonly TimeSpan SigningKeyTimeout = TimeSpan.FromSeconds(10);

    private readonly string root;
    private readonly TimeProvider time;
    private readonly Lazy<byte[]> signingKey;

    public FolderMediaStore(IOptions<MediaOptions> options, TimeProvider time)
    {
        var folder = options.Value.Folder;
        root = Path.GetFullPath(folder.Root);
        this.time = time;
        signingKey = new(() => folder.SigningKey is { } key ? Encoding.UTF8.GetBytes(key) : ReadOrCreateSigningKey());
    }

    public async Task<long> PutAsync(MediaKey key, Stream body, string contentType, CancellationToken ct)
    {
        var unfinished = Path.Combine(root, UnfinishedFolder, Guid.NewGuid().ToString("N"));
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            long bytes = 0;
            await using (var file = Guard(() => CreateUnfinished(unfinished)))
            {
                while (await body.ReadAsync(buffer, ct) is > 0 and var read)
                {
                    await GuardAsync(() => file.WriteAsync(buffer.AsMemory(0, read), ct));
                    bytes += read;
                }

                ct.ThrowIfCancellationRequested();
                Guard(() => file.Flush(flushToDisk: true));
            }

            Guard(() => MoveIntoPlace(unfinished, PathOf(key)));
            return bytes;
        }
        catch
        {
            if (File.Exists(unfinished))
            {
                File.Delete(unfinished);
            }

            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    public Task<Stream?> OpenReadAsync(MediaKey key, CancellationToken ct) => Task.FromResult(Guard<Stream?>(() =>
    {
        try
        {
            const FileOptions reading = FileOptions.Asynchronous | FileOptions.SequentialScan;
            return new FileStream(PathOf(key), FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, BufferBytes, reading);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }));

    public Task<bool> ExistsAsync(MediaKey key, CancellationToken ct) => Task.FromResult(File.Exists(PathOf(key)));

    public Task DeleteAsync(MediaKey key, CancellationToken ct)
    {
        Guard(() =>
        {
            var path = PathOf(key);
            try
            {
                File.Delete(path);
            }
            catch (DirectoryNotFoundException)
            {
                return; // the folder was deleted concurrently
            }

            RemoveEmptyFolders(Path.GetDirectoryName(path)!);
        });
        return Task.CompletedTask;
    }

    public async IAsyncEnumerable<StoredObject> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken ct)
    {
        await Task.CompletedTask;
        // The deepest whole folder of the prefix; a hostile prefix finds nothing, because what it finds is no key.
        var folder = Path.GetFullPath(Path.Combine(root, prefix[..(prefix.LastIndexOf('/') + 1)]));
        var isInside = folder == root || folder.StartsWith(root + Path.DirectorySeparatorChar, StringComparison.Ordinal);
        if (!isInside || !Directory.Exists(folder))
        {
            yield break;
        }

        var everything = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
        foreach (var file in new DirectoryInfo(folder).EnumerateFiles("*", everything))
        {
            ct.ThrowIfCancellationRequested();
            var name = Path.GetRelativePath(root, file.FullName).Replace(Path.DirectorySeparatorChar, '/');
            if (name.StartsWith(prefix, StringComparison.Ordinal) && MediaKey.TryParse(name, out var key) && file.Exists)
            {
                yield return new(key, file.Length, new DateTimeOffset(file.LastWriteTimeUtc, TimeSpan.Zero));
            }
        }
    }

    public Task<StoredPage> ListPageAsync(string position, int maxNames, CancellationToken ct) => Task.FromResult(Guard(() =>
    {
        var objects = new List<StoredObject>();
        var (names, last) = (0, "");
        foreach (var name in Directory.Exists(root) ? NamesAfter("", position) : [])
        {
            ct.ThrowIfCancellationRequested();
            if (names == maxNames)
            {
                return new StoredPage(objects, last);
            }

            (names, last) = (names + 1, name);
            var file = new FileInfo(Path.Combine(root, name));
            if (MediaKey.TryParse(name, out var key) && file.Exists)
            {
                objects.Add(new(key, file.Length, new DateTimeOffset(file.LastWriteTimeUtc, TimeSpan.Zero)));
            }
        }

        return new StoredPage(objects, null);
    }));

    public Task<int> SweepUnfinishedAsync(TimeSpan minAge, CancellationToken ct) => Task.FromResult(Guard(() =>
    {
        var removed = 0;
        var folder = new DirectoryInfo(Path.Combine(root, UnfinishedFolder));
        var writtenBefore = (time.GetUtcNow() - minAge).UtcDateTime;
        foreach (var file in folder.Exists ? folder.EnumerateFiles() : [])
        {
            ct.ThrowIfCancellationRequested();
            // An upload that still writes keeps its file young.
            if (file.LastWriteTimeUtc < writtenBefore)
            {
                file.Delete();
                removed++;
            }
        }

        return removed;
    }));

    public string SignedUrl(MediaKey key, TimeSpan lifetime, string? downloadName = null)
    {
        var expires = (time.GetUtcNow() + lifetime).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        var name = downloadName is null ? "" : "&name=" + Uri.EscapeDataString(downloadName);
        return $"{UrlPrefix}{key}?expires={expires}{name}&signature={Sign(key.ToString(), expires, downloadName)}";
    }

    /// <summary>Checks a URL that <see cref="SignedUrl"/> made, and finds its file. The signature is all the authority there is.</summary>
    /// <param name="key">The path after <see cref="UrlPrefix"/>, unescaped.</param>
    /// <param name="expires">The query's <c>expires</c>.</param>
    /// <param name="signature">The query's <c>signature</c>.</param>
    /// <param name="downloadName">The query's <c>name</c>; null when absent.</param>
    /// <param name="file">What to send when the verdict is <see cref="SignedUrlVerdict.Valid"/>.</param>
    public SignedUrlVerdict OpenSigned(string? key, string? expires, string? signature, string? downloadName, out SignedFile? file)
    {
        file = null;
        if (!MediaKey.TryParse(key, out var mediaKey) || expires is null || signature is null
            || !long.TryParse(expires, NumberStyles.None, CultureInfo.InvariantCulture, out var expiresUnixSeconds)
            || expiresUnixSeconds > DateTimeOffset.MaxValue.ToUnixTimeSeconds()
            || !CryptographicOperations.FixedTimeEquals(
                Encoding.UTF8.GetBytes(Sign(key!, expires, downloadName)), Encoding.UTF8.GetBytes(signature)))
        {
            return SignedUrlVerdict.Forged;
        }

        if (time.GetUtcNow().ToUnixTimeSeconds() >= expiresUnixSeconds)
        {
            return SignedUrlVerdict.Expired;
        }

        var path = PathOf(mediaKey);
        if (!File.Exists(path))
        {
            return SignedUrlVerdict.Missing;
        }

        file = new(mediaKey, path, mediaKey.Type.ContentType, downloadName, DateTimeOffset.FromUnixTimeSeconds(expiresUnixSeconds));
        return SignedUrlVerdict.Valid;
    }

    /// <summary>
    /// The names below a folder that come after a position, in the order of their characters, which is S3's. Folders wholly before it are not opened.
    /// </summary>
    private IEnumerable<string> NamesAfter(string folder, string position)
    {
        List<string> entries;
        try
        {
            var below = new DirectoryInfo(Path.Combine(root, folder));
            entries = [.. below.EnumerateFileSystemInfos().Select(entry => entry is DirectoryInfo ? $"{folder}{entry.Name}/" : folder + entry.Name)];
        }
        catch (DirectoryNotFoundException)
        {
            yield break; // its last object was deleted meanwhile
        }

        entries.Sort(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            if (!entry.EndsWith('/'))
            {
                if (string.CompareOrdinal(entry, position) > 0)
                {
                    yield return entry;
                }
            }
            else if (string.CompareOrdinal(entry, position) > 0 || position.StartsWith(entry, StringComparison.Ordinal))
            {
                foreach (var name in NamesAfter(entry, position))
                {
                    yield return name;
                }
            }
        }
    }

    private string PathOf(MediaKey key) => Path.Combine(root, key.ToString());

    private string Sign(string key, string expires, string? downloadName)
    {
        // Neither a key nor a number contains a line break, so the fields cannot run into each other.
        var signed = Encoding.UTF8.GetBytes($"{key}\n{expires}\n{(downloadName is null ? "-" : "+" + downloadName)}");
        return Base64Url.EncodeToString(HMACSHA256.HashData(signingKey.Value, signed));
    }

    /// <summary>Processes that start at once each write a key to a temporary file; the first to link it wins.</summary>
    private byte[] ReadOrCreateSigningKey() => Guard(() =>
    {
        CreateFolder(root);
        var path = Path.Combine(root, SigningKeyFile);
        byte[]? key = null;
        return SpinWait.SpinUntil(() => TryReadOrCreateSigningKey(path, out key), SigningKeyTimeout)
            ? key!
            : throw new IOException($"{path} is held open by another process.");
    });

    /// <summary>
    /// Whoever has the file alone writes the key, unless it is there; the others wait. A move that refuses to overwrite would not do: it
    /// looks and then renames, and two processes that start together would sign with different keys until the next start.
    /// </summary>
    private static bool TryReadOrCreateSigningKey(string path, out byte[]? key)
    {
        key = null;
        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                BufferSize = 0
            };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = OwnerOnly;
            }

            using var file = new FileStream(path, options);
            var text = new byte[SigningKeyCharacters];
            if (file.ReadAtLeast(text, text.Length, throwOnEndOfStream: false) < text.Length) // none yet, or its writer died
            {
                Base64Url.EncodeToUtf8(RandomNumberGenerator.GetBytes(SigningKeyBytes), text);
                file.Position = 0;
                file.Write(text);
                file.Flush(flushToDisk: true);
            }

            key = text;
            return true;
        }
        catch (IOException) when (File.Exists(path))
        {
            return false;
        }
    }

    private static FileStream CreateUnfinished(string path)
    {
        CreateFolder(Path.GetDirectoryName(path)!);
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.Read | FileShare.Delete,
            BufferSize = 0,
            Options = FileOptions.Asynchronous,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = OwnerOnly;
        }

        return new FileStream(path, options);
    }

    /// <summary>Customers' pictures are for the services' own user, not for everybody who has a login on the machine.</summary>
    private static void CreateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, OwnerOnly | UnixFileMode.UserExecute);
        }
    }

    private static void MoveIntoPlace(string unfinished, string path)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                CreateFolder(Path.GetDirectoryName(path)!);
                File.Move(unfinished, path, overwrite: true);
                return;
            }
            catch (IOException) when (attempt < MaxMoveAttempts)
            {
                // A delete removes folders that are empty, also between these two lines; depending on the moment it shows
                // as "not found" or as "exists". What is really broken stays so.
            }
        }
    }

    private void RemoveEmptyFolders(string folder)
    {
        try
        {
            for (; folder.Length > root.Length; folder = Path.GetDirectoryName(folder)!)
            {
                Directory.Delete(folder, recursive: false);
            }
        }
        catch (IOException)
        {
            // Not empty, or gone already: both are what was wanted.
        }
    }

    private static void Guard(Action step) => Guard(() =>
    {
        step();
        return true;
    });

    private static T Guard<T>(Func<T> step)
    {
        try
        {
            return step();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unavailable(e);
        }
    }

    private static async ValueTask GuardAsync(Func<ValueTask> step)
    {
        try
        {
            await step();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unavailable(e);
        }
    }

    private static MediaException Unavailable(Exception error) =>
        new(MediaFailure.StoreUnavailable, $"The media folder does not work (Media:Folder:Root): {error.Message}", error);
}
