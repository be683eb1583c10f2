using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Localization;
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
            : Problems.NotFound("media");

    private static Results<PhysicalFileHttpResult, ProblemHttpResult> ServeFile(string? key, HttpContext context, IMediaStore store)
    {
        if (store is not FolderMediaStore folder)
        {
            return Problems.NotFound("file");
        }

        var query = context.Request.Query;
        switch (folder.OpenSigned(key, query["expires"], query["signature"], query["name"], out var file))
        {
            case SignedUrlVerdict.Valid:
                context.Response.Headers.CacheControl = "private, max-age=3600, immutable";
                context.Response.Headers.XContentTypeOptions = "nosniff";
                return TypedResults.PhysicalFile(file!.Path, file.ContentType, file.DownloadName, enableRangeProcessing: true);
            case SignedUrlVerdict.Expired:
                return Problems.Of(ProblemCodes.UrlExpired, "This URL was signed for an hour, which is over. Get the session again for a new one.");
            case SignedUrlVerdict.Missing:
                return Problems.NotFound("file");
            default:
                return Problems.Of(ProblemCodes.UrlNotSigned, "This URL is not signed by us. Get it from the session.");
        }
    }

    private static Results<FileStreamHttpResult, ProblemHttpResult> ServeSample(string name) =>
        MockSamples.Find(name) is { } sample ? TypedResults.Stream(sample.Open(), sample.ContentType, enableRangeProcessing: true)
            : Problems.NotFound("sample");
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
        var language = UserMessages.Choose(context.Request.GetTypedHeaders().AcceptLanguage
            .Where(l => l.Quality is not 0).OrderByDescending(l => l.Quality ?? 1).Select(l => l.Value.ToString()));
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
