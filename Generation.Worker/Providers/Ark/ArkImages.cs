using Generation.Core.Catalog;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Ark;

/// <summary>
/// Ark's pictures: one call, one picture, one bill; or one call and a group. The call is never sent twice from here, and every way it can
/// end says whether it may have been billed.
/// </summary>
public sealed partial class ArkImages : IDisposable
{
    private readonly ArkOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<ArkImages> log;
    private readonly ProviderHttp http;

    public ArkImages(IOptions<ArkOptions> options, TimeProvider time, ILogger<ArkImages> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options.Value;
        this.time = time;
        this.log = log;
        http = this.options.Open(time, log);
        if (this.options.ApiKey.Length == 0)
        {
            log.LogWarning("Providers:Ark:ApiKey is not set: every call to Ark will fail as Unauthorized; mock runs do not need it");
        }
    }

    /// <summary>Makes one picture. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    /// <param name="request">As <see cref="ArkImageRequest.From"/> made it; its model is exchanged for the configured endpoint here.</param>
    /// <param name="clientRequestId">Ours, sent as <c>X-Client-Request-Id</c>: Ark's support finds a call by it whose answer we never saw.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    /// <param name="store">Stores a picture that comes in the answer although its address was asked for.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public Task<ProviderReply> GenerateAsync(ArkImageRequest request, string clientRequestId, CancellationToken ct,
        Func<Stream, Task<(StoredMedia? Media, Failure? Problem)>>? store = null)
    {
        ArgumentNullException.ThrowIfNull(request);
        return http.SendPaidAsync(
            Call(request, clientRequestId) with
            {
                Timeout = options.CallTimeout,
                TimeoutSetting = "Providers:Ark:CallTimeout",
                KeepsBodyOpen = true,
            },
            request.Model, clientRequestId, answer => ConcludeAsync(answer, store, ct), ct);
    }

    public void Dispose() => http.Dispose();

    private ProviderCall Call(ArkImageRequest request, string clientRequestId) => new()
    {
        Method = HttpMethod.Post,
        Path = "images/generations",
        Json = (request with { Model = options.IdOf(request.Model) }).ToUtf8Json(),
        Headers = [("X-Client-Request-Id", clientRequestId)],
        Timeout = default,
        TimeoutSetting = "",
    };

    private ProviderReply Refused(HttpResponseMessage response, string? text) => ProviderReply.Failed(
        text is not null && ArkError.In(text) is { } refusal
            ? ArkFailures.Of(response, refusal, time.GetUtcNow())
            : ArkFailures.OfUnrecognized(response, text ?? "", time.GetUtcNow()));

    private async ValueTask<ProviderReply> ConcludeAsync(
        ProviderResponse answer, Func<Stream, Task<(StoredMedia? Media, Failure? Problem)>>? store, CancellationToken ct)
    {
        var response = answer.Response!;
        if (!response.IsSuccessStatusCode)
        {
            return Refused(response, answer.Text);
        }

        var requestId = ArkFailures.IdOf(response.Headers);
        var inReply = store is null ? null : new MediaInReply(store);
        ArkImagesReply reply;
        try
        {
            await using var body = await answer.OpenBodyAsync();
            reply = ArkImagesReply.Of(await MediaInJson.ReadAsync(
                body, path => inReply is { Media: null } && path is ("data[0].url" or "data[0].b64_json"),
                (_, picture) => inReply!.StoreAsync(picture),
                ProviderHttp.MaxReplyBytes, answer.ReadCancellation));
        }
        catch (UnusableMediaException)
        {
            return ProviderReply.Failed(inReply!.FailureOf(requestId)!);
        }
        catch (Exception e) when (inReply?.Media is not null && e is (FormatException or IOException or HttpRequestException))
        {
            return ProviderReply.Stored(inReply!.Media!, null, requestId); // a whole picture is one, whatever became of the words behind it
        }
        catch (FormatException e)
        {
            return Silent("ark.malformed_reply", $"The {(int)response.StatusCode} is not a JSON object: {e.Message}");
        }
        catch (Exception e) when (e is IOException or HttpRequestException || (e is OperationCanceledException && !ct.IsCancellationRequested))
        {
            return Silent("ark.cut_reply", $"The {(int)response.StatusCode} broke off, or took too long: {e.Message}");
        }

        if (inReply?.Media is { } media)
        {
            return ProviderReply.Stored(media, reply.Usage, requestId);
        }

        // A picture that can be fetched was made and billed, whatever else the answer says.
        var made = reply.Pictures.FirstOrDefault(picture => picture.Address is not null);
        if (made?.Url is { } url)
        {
            CompareTokens(reply, [made], requestId);
            return ProviderReply.Delivered(url, reply.Usage, requestId);
        }

        if (made is not null)
        {
            return ProviderReply.Failed(BadAddress(requestId));
        }

        if ((reply.Pictures.Select(picture => picture.Error).FirstOrDefault(wrong => wrong is not null) ?? reply.Error) is { } error)
        {
            return ProviderReply.Failed(ArkFailures.Of(response, error, time.GetUtcNow()));
        }

        return ProviderReply.Failed(Empty(reply, requestId));

        ProviderReply Silent(string code, string detail) => ProviderReply.Failed(
            ProviderHttp.TransportFailure(mayHaveCost: true, code, detail, requestId));
    }

    private static Failure BadAddress(string? requestId) =>
        new(FailureKind.OutputUnusable, "ark.bad_url", "The picture is neither an address that can be fetched nor base64.") { RequestId = requestId };

    /// <summary>
    /// No picture and no reason. Where Ark itself counts none, none was billed and asking again is free; where it does not say, one may have been.
    /// </summary>
    private static Failure Empty(ArkImagesReply reply, string? requestId) => (reply.GeneratedImages == 0
        ? new Failure(FailureKind.Unavailable, "ark.empty_reply", "Ark made no picture and did not say why.") { RequestId = requestId }
        : ProviderHttp.TransportFailure(mayHaveCost: true, "ark.empty_reply", "The answer has no picture, and does not say that none was made.",
            requestId)) with
    {
        ProviderIsThere = true,
    };

    /// <summary>
    /// Ark counts a token for 256 pixels. When it counts otherwise our idea of its prices is out of date: worth a line, not a failure.
    /// </summary>
    private void CompareTokens(ArkImagesReply reply, IReadOnlyCollection<ArkPicture> made, string? requestId)
    {
        var pixels = 0L;
        foreach (var picture in made)
        {
            if (picture.Size is not { } size || !SizeParameter.TryParsePixels(size, out var width, out var height))
            {
                return;
            }

            pixels += (long)width * height;
        }

        var expected = (long)Math.Round(pixels / 256.0, MidpointRounding.AwayFromZero);
        if (reply.OutputTokens is { } counted && counted != expected)
        {
            log.LogDebug("Ark counts {Tokens} tokens for {Pictures} pictures, expected {ExpectedTokens} (request {RequestId})", counted, made.Count,
                expected, requestId);
        }
    }
}
