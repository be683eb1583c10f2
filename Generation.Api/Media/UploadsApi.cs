using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core;
using Generation.Core.Localization;
using Generation.Core.Media;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;
using Npgsql;

namespace Generation.Api.Media;

/// <param name="UploadId">Its id.</param>
/// <param name="Reference">What a parameter that takes a picture names: <c>upload:…</c>.</param>
/// <param name="ContentType">What it is.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Width">Pixels.</param>
/// <param name="Height">Pixels.</param>
/// <param name="Sha256">Hex.</param>
/// <param name="ExpiresAt">When it goes.</param>
public sealed record UploadView(Guid UploadId, string Reference, string ContentType, long Bytes, int? Width, int? Height, string Sha256,
    DateTimeOffset ExpiresAt);

/// <summary>
/// <c>POST /api/uploads</c>: a reference picture as the first file of a multipart form. It is streamed into the store while its type, size
/// and pixels are checked; what is wrong with it leaves nothing behind.
/// </summary>
public static class UploadsApi
{
    /// <summary>What the strictest provider takes (Ark).</summary>
    public const long MaxBytes = 30L << 20;

    private const int MinSide = 15;
    private const long MaxPixels = 36_000_000;
    private const int MaxRatio = 16;
    private const int MaxFormBytes = 64 << 10;

    public static void MapUploads(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/api/uploads", ReceiveAsync).RequireAuthorization().DisableAntiforgery()
        .Describe("upload", ApiTags.Media, "Send a reference picture", ProblemCodes.ValidationFailed, ProblemCodes.UnsupportedMediaType,
            ProblemCodes.BodyTooLarge, ProblemCodes.TooManyUploads, ProblemCodes.StorageUnavailable)
        .TakesFile();

    private static async Task<Results<Created<UploadView>, ProblemHttpResult>> ReceiveAsync(
        HttpContext context, Uploads uploads, MediaTransfer transfer, IMediaStore store, TimeProvider time, ILogger<Uploads> log,
            CancellationToken ct)
    {
        if (!MediaTypeHeaderValue.TryParse(context.Request.ContentType, out var type) || type.MediaType != "multipart/form-data"
            || HeaderUtilities.RemoveQuotes(type.Boundary).Value is not { Length: > 0 and <= 200 } boundary)
        {
            return Problems.Of(ProblemCodes.UnsupportedMediaType, $"Send a form with one file: Content-Type: multipart/form-data; boundary=….");
        }

        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = MaxBytes + MaxFormBytes;
        }

        var user = context.Caller().UserId;
        try
        {
            if (!await uploads.HasRoomAsync(user, ct))
            {
                return Problems.Of(ProblemCodes.TooManyUploads,
                    $"You have {Uploads.MaxPerUser} uploads. They go {Uploads.Lifetime.TotalDays} days after they came.");
            }

            var reader = new MultipartReader(boundary, context.Request.Body) { BodyLengthLimit = MaxBytes + MaxFormBytes };
            while (await reader.ReadNextSectionAsync(ct) is { } section)
            {
                if (ContentDispositionHeaderValue.TryParse(section.ContentDisposition, out var part) && part.IsFileDisposition())
                {
                    return await KeepAsync(context, user, section.Body, uploads, transfer, store, time, ct);
                }
            }

            return Wrong($"is required: a picture as a file of the form");
        }
        catch (MediaException e)
        {
            log.LogInformation(OperationEvents.UploadRejected, "Rejected an upload: {Failure}, {Problem}", e.Failure, e.Message);
            return e.Failure switch
            {
                MediaFailure.TooLarge => Problems.Of(ProblemCodes.BodyTooLarge, $"A picture has at most {MaxBytes >> 20} MiB."),
                MediaFailure.SourceUnavailable => Broken(e.InnerException), // its sender's doing, not ours
                MediaFailure.StoreUnavailable =>
                    Problems.RetryLater(context, ProblemCodes.StorageUnavailable, $"The picture could not be stored now. Send it again."),
                MediaFailure.WrongType => Wrong($"must be a picture: JPEG, PNG, WebP, GIF or AVIF"),
                _ => Wrong($"could not be read: it is empty or incomplete"),
            };
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException)
        {
            log.LogWarning("Could not record an upload: {Problem}", e.Message);
            return Problems.RetryLater(context, ProblemCodes.DatabaseUnavailable, $"The picture could not be recorded now. Send it again.");
        }
        catch (BadHttpRequestException e) when (e.StatusCode == StatusCodes.Status413PayloadTooLarge)
        {
            return Problems.Of(ProblemCodes.BodyTooLarge, $"A picture has at most {MaxBytes >> 20} MiB.");
        }
        catch (Exception e) when (e is IOException or InvalidDataException && !ct.IsCancellationRequested)
        {
            return Broken(e);
        }
    }

    /// <summary>The body ended too early, or came too slowly.</summary>
    private static ProblemHttpResult Broken(Exception? error) => error switch
    {
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } =>
            Problems.Of(ProblemCodes.BodyTooLarge, $"A picture has at most {MaxBytes >> 20} MiB."),
        BadHttpRequestException bad => Problems.Unreadable(bad),
        OperationCanceledException => Problems.Of(ProblemCodes.MalformedRequest with { Status = StatusCodes.Status408RequestTimeout },
            $"The body came too slowly. Send it again."),
        _ => Wrong($"could not be read: it is empty or incomplete"),
    };

    private static async Task<Results<Created<UploadView>, ProblemHttpResult>> KeepAsync(
        HttpContext context, Guid user, Stream file, Uploads uploads, MediaTransfer transfer, IMediaStore store, TimeProvider time,
            CancellationToken ct)
    {
        var now = time.GetUtcNow();
        var id = Guid.CreateVersion7(now);
        var media = await transfer.StoreAsync(
            new MediaSource.Direct(file), new MediaDestination(user, now, id, 0, 0, MediaKind.Image) { Role = MediaRole.Upload, MaxBytes = MaxBytes },
                reportBytes: null, ct);
        var isKept = false;
        try
        {
            if (ProblemOf(media) is { } problem)
            {
                return Invalid(problem);
            }

            await uploads.AddAsync(new Upload(id, user, media), ct);
            isKept = true;
            return TypedResults.Created($"/api/uploads/{id}", new UploadView(
                id, Uploads.Scheme + id, media.ContentType, media.Bytes, media.Width, media.Height, Convert.ToHexStringLower(media.Sha256), now
                    + Uploads.Lifetime));
        }
        finally
        {
            if (!isKept)
            {
                await store.DeleteAsync(media.Key, CancellationToken.None);
            }
        }
    }

    private static string? ProblemOf(StoredMedia media) => (media.Width, media.Height) switch
    {
        ({ } width, { } height) when width < MinSide || height < MinSide =>
            Refusals.Say($"must be at least {MinSide} pixels on each side; it is {width}x{height}"),
        ({ } width, { } height) when (long)width * height > MaxPixels =>
            Refusals.Say($"must have at most {MaxPixels} pixels; it is {width}x{height}"),
        ({ } width, { } height) when width > (long)height * MaxRatio || height > (long)width * MaxRatio =>
            Refusals.Say($"must have sides of at most {MaxRatio}:1; it is {width}x{height}"),
        ({ }, { }) => null,
        _ => Refusals.Say($"must say its width and height"),
    };

    private static ProblemHttpResult Wrong(Sentence problem) => Invalid(problem.ToString());

    private static ProblemHttpResult Invalid(string problem) =>
        Problems.Invalid(new Dictionary<string, string[]>(StringComparer.Ordinal) { ["file"] = [problem] });
}
