using System.Globalization;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.Extensions.Options;

namespace Generation.Api.Media;

/// <summary>Outputs by signed URLs. The bytes never pass through the Api's memory: S3 serves its own, files go from disk to socket.</summary>
public static class MediaApi
{
    public static void MapMedia(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/api/media/{mediaId:guid}", RedirectAsync).RequireAuthorization()
            .Describe("getMedia", ApiTags.Media, "Redirect to an output of mine, by a URL that is signed for an hour", ProblemCodes.NotFound)
            .Redirects();
        routes.MapGet(FolderMediaStore.UrlPrefix + "{**key}", ServeFile).AllowAnonymous()
            .Describe("getFile", ApiTags.Media, "An output by its signed URL; ranges are served", ProblemCodes.NotFound, ProblemCodes.UrlExpired,
                ProblemCodes.UrlNotSigned)
            .ServesFile();
        routes.MapGet("/samples/{name}", ServeSample).AllowAnonymous()
            .Describe("getSample", ApiTags.Media, "A picture that stands in for one in mock mode", ProblemCodes.NotFound)
            .ServesFile();
    }

    private static async Task<Results<RedirectHttpResult, ProblemHttpResult>> RedirectAsync(Guid mediaId, SessionReader sessions, MediaLinks links,
        HttpContext context, CancellationToken ct) =>
        await sessions.FindMediaKeyAsync(context.Caller().UserId, mediaId, ct) is { } key
            ? TypedResults.Redirect(links.Sign(key, context).Url)
            : Problems.NoSuchFile();

    private static Results<PhysicalFileHttpResult, ProblemHttpResult> ServeFile(string? key, HttpContext context, IMediaStore store,
        TimeProvider time)
    {
        if (store is not FolderMediaStore folder)
        {
            return Problems.NoSuchFile();
        }

        var query = context.Request.Query;
        switch (folder.OpenSigned(key, query["expires"], query["signature"], query["name"], out var file))
        {
            case SignedUrlVerdict.Valid:
                Protect(context.Response.Headers);
                // no longer than the signature: who may no longer fetch it may no longer have it either
                var seconds = Math.Max((long)(file!.ExpiresAt - time.GetUtcNow()).TotalSeconds, 0);
                context.Response.Headers.CacheControl = $"private, max-age={seconds.ToString(CultureInfo.InvariantCulture)}, immutable";
                return TypedResults.PhysicalFile(file.Path, file.ContentType, file.DownloadName, enableRangeProcessing: true);
            case SignedUrlVerdict.Expired:
                return Problems.Of(ProblemCodes.UrlExpired, $"The time of this URL is over. Get the generation again for a new one.");
            case SignedUrlVerdict.Missing:
                return Problems.NoSuchFile();
            default:
                return Problems.Of(ProblemCodes.UrlNotSigned, $"This URL is not signed by us. Get it from the generation.");
        }
    }

    private static Results<FileStreamHttpResult, ProblemHttpResult> ServeSample(string name, HttpContext context)
    {
        if (MockSamples.Find(name) is not { } sample)
        {
            return Problems.NoSuchFile();
        }

        Protect(context.Response.Headers);
        return TypedResults.Stream(sample.Open(), sample.ContentType, enableRangeProcessing: true);
    }

    /// <summary>A file is shown and not run, whatever is in it; any site may embed it, because its URL is the permission.</summary>
    private static void Protect(IHeaderDictionary headers)
    {
        headers.XContentTypeOptions = "nosniff";
        headers.ContentSecurityPolicy = "default-src 'none'; sandbox";
        headers["Cross-Origin-Resource-Policy"] = "cross-origin";
    }
}

/// <summary>Makes the links under which a session's outputs can be opened for an hour. Whoever calls has checked that they may be.</summary>
public sealed class MediaLinks(IMediaStore store, IOptions<MediaOptions> options, TimeProvider time)
{
    public (string Url, DateTimeOffset ExpiresAt) Sign(string objectKey, HttpContext context)
    {
        var lifetime = options.Value.SignedUrlLifetime;
        var url = !MediaKey.TryParse(objectKey, out var key) ? throw new InvalidOperationException($"'{objectKey}' is not a media key.")
            : key.IsSample ? "/" + objectKey
            : store.SignedUrl(key, lifetime);
        return (url.StartsWith('/') ? $"{context.Request.Scheme}://{context.Request.Host}{url}" : url, time.GetUtcNow() + lifetime);
    }

    /// <summary>The session with links to its outputs.</summary>
    public SessionView Present(SessionView session, HttpContext context)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(context);
        var language = RequestLanguage.Of(context.Request);
        if (!context.Response.HasStarted)
        {
            context.Response.Headers.ContentLanguage = language;
            context.Response.Headers.Vary = "Accept-Language";
        }

        return session.Localize(language) with
        {
            Media = [.. session.Media.Select(m => Present(m, context))],
            Placeholder = session.Placeholder is { } instead
                ? instead with { Url = Sign(MockSamples.Placeholder.AsStored().Key.ToString(), context).Url } : null,
        };
    }

    public MediaView Present(MediaView media, HttpContext context)
    {
        var (url, expiresAt) = Sign(media.ObjectKey, context);
        return media with { Url = url, UrlExpiresAt = expiresAt, PosterUrl = media.PosterKey is { } poster ? Sign(poster, context).Url : null };
    }
}
