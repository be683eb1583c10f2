using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Generation.Core.Media;

/// <summary>Which <see cref="IMediaStore"/> is used.</summary>
public enum MediaStoreKind
{
    Folder,
    S3,
}

/// <summary>Section <c>Media</c>: where results are kept and how they may be fetched.</summary>
public sealed class MediaOptions
{
    public const string Section = "Media";

    /// <summary><c>folder</c> (default) or <c>s3</c>. A folder serves one machine; services on several need S3.</summary>
    public MediaStoreKind Store { get; set; } = MediaStoreKind.Folder;

    public FolderStoreOptions Folder { get; set; } = new();

    public S3StoreOptions S3 { get; set; } = new();

    /// <summary>Flat name MAX_IMAGE_DOWNLOAD_BYTES. Bytes, default 50 MiB. A larger image fails as too large.</summary>
    public long MaxImageDownloadBytes { get; set; } = 50L << 20;

    /// <summary>Flat name MAX_REMOTE_DOWNLOAD_BYTES. Bytes, default 2 GiB. A larger video or sound fails as too large.</summary>
    public long MaxRemoteDownloadBytes { get; set; } = 2L << 30;

    /// <summary>How long a signed URL works. Default one hour; from one second to seven days, which is where S3 ends.</summary>
    public TimeSpan SignedUrlLifetime { get; set; } = TimeSpan.FromHours(1);

    /// <summary>
    /// Default false. True lets any allow-listed host resolve to a private address, over plain http too: for a development
    /// machine with a simulated provider. In production it opens the internal network to anyone who can supply a URL;
    /// <see cref="PrivateHosts"/> opens one host instead.
    /// </summary>
    public bool AllowPrivateAddresses { get; set; }

    /// <summary>
    /// Hosts that may resolve to private addresses, over plain http too: <c>gpu-1.lan</c>, <c>*.internal.example</c>.
    /// Default none. They still have to be on the provider's own list.
    /// </summary>
    public IList<string> PrivateHosts { get; set; } = [];

    /// <summary>Default 15 minutes from the request to the stored object; then the transfer fails as source unavailable.</summary>
    public TimeSpan DownloadTimeout { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>Default 30 s without a byte (or without an answer); then the transfer fails as source unavailable.</summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The cap for one output of this kind, in bytes.</summary>
    public long MaxBytes(MediaKind kind) => kind == MediaKind.Image ? MaxImageDownloadBytes : MaxRemoteDownloadBytes;

    internal void Check(SettingsCheck check)
    {
        check.Defined(nameof(Store), Store);
        check.Range("MaxImageDownloadBytes (MAX_IMAGE_DOWNLOAD_BYTES)", MaxImageDownloadBytes, 1, S3MediaStore.MaxObjectBytes);
        check.Range("MaxRemoteDownloadBytes (MAX_REMOTE_DOWNLOAD_BYTES)", MaxRemoteDownloadBytes, 1, S3MediaStore.MaxObjectBytes);
        check.Range(nameof(SignedUrlLifetime), SignedUrlLifetime, TimeSpan.FromSeconds(1), TimeSpan.FromDays(7));
        check.Positive(nameof(IdleTimeout), IdleTimeout);
        check.That(
            DownloadTimeout >= IdleTimeout && DownloadTimeout <= TimeSpan.FromDays(1),
            $"{nameof(DownloadTimeout)} must be from {Section}:{nameof(IdleTimeout)} ({IdleTimeout}) to one day; it is {DownloadTimeout}.");
        check.Hosts(nameof(PrivateHosts), PrivateHosts);
        if (Store == MediaStoreKind.Folder)
        {
            Folder.Check(check);
        }
        else
        {
            S3.Check(check);
        }
    }
}

/// <summary>Section <c>Media:Folder</c>.</summary>
public sealed class FolderStoreOptions
{
    /// <summary>Default <c>.data/media</c>. Worker and Api must see the same folder: one writes, the other serves.</summary>
    public string Root { get; set; } = ".data/media";

    /// <summary>
    /// At least 32 characters that sign URLs. Default none: a random key is kept in <c>&lt;Root&gt;/.signing-key</c>, which only
    /// the service's own user may read. A changed key ends every URL that is out.
    /// </summary>
    public string? SigningKey { get; set; }

    internal void Check(SettingsCheck check)
    {
        check.That(!string.IsNullOrWhiteSpace(Root), "Folder:Root must name a folder.");
        check.That(SigningKey is null or { Length: >= 32 }, "Folder:SigningKey must have at least 32 characters, or be left out.");
    }
}

/// <summary>Section <c>Media:S3</c>; used when <see cref="MediaOptions.Store"/> is <c>s3</c>.</summary>
public sealed class S3StoreOptions
{
    /// <summary>
    /// <c>https://s3.us-west-004.backblazeb2.com</c> for Backblaze B2. Empty (default) means AWS itself, in <see cref="Region"/>.
    /// Signed URLs name this host, so clients must reach it too.
    /// </summary>
    public string Endpoint { get; set; } = "";

    /// <summary>Required. It must exist; everything is kept in it.</summary>
    public string Bucket { get; set; } = "";

    /// <summary>With <see cref="SecretKey"/>, or neither: then the SDK's chain finds them (environment, instance role).</summary>
    public string AccessKey { get; set; } = "";

    public string SecretKey { get; set; } = "";

    /// <summary>Default <c>us-east-1</c>. Part of every signature; B2 wants the one in its endpoint (<c>us-west-004</c>).</summary>
    public string Region { get; set; } = "us-east-1";

    /// <summary>Default false: <c>https://bucket.host/key</c>. True: <c>https://host/bucket/key</c>, for servers without wildcard DNS.</summary>
    public bool ForcePathStyle { get; set; }

    internal void Check(SettingsCheck check)
    {
        check.That(!string.IsNullOrWhiteSpace(Bucket), "S3:Bucket must name a bucket when Media:Store is s3.");
        check.That(!string.IsNullOrWhiteSpace(Region), "S3:Region must not be empty: it is part of every signature.");
        check.That(
            Endpoint.Length == 0 || (Uri.TryCreate(Endpoint, UriKind.Absolute, out var endpoint) && endpoint.Scheme is "http" or "https"),
            $"S3:Endpoint must be an http(s) URL, or empty for AWS; it is '{Endpoint}'.");
        check.That(
            string.IsNullOrEmpty(AccessKey) == string.IsNullOrEmpty(SecretKey),
            "S3:AccessKey and Media:S3:SecretKey go together: set both, or neither.");
    }
}

public static class MediaRegistration
{
    /// <summary>
    /// Registers <see cref="IMediaStore"/> (and <see cref="FolderMediaStore"/> itself when it is the one, for the Api's
    /// <c>/media</c> route), <see cref="MediaDownloader"/> and <see cref="MediaTransfer"/>, from section <c>Media</c>.
    /// </summary>
    public static IServiceCollection AddMedia(this IServiceCollection services, IConfiguration configuration)
    {
        services.AddChecked<MediaOptions>(configuration, MediaOptions.Section, (options, check) => options.Check(check));
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<FolderMediaStore>();
        services.TryAddSingleton<S3MediaStore>();
        services.TryAddSingleton<IMediaStore>(provider => provider.GetRequiredService<IOptions<MediaOptions>>().Value.Store switch
        {
            MediaStoreKind.S3 => provider.GetRequiredService<S3MediaStore>(),
            _ => provider.GetRequiredService<FolderMediaStore>(),
        });
        services.TryAddSingleton<MediaDownloader>();
        services.TryAddSingleton<MediaTransfer>();
        return services;
    }
}
