using System.Text.Json;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.OpenAi;

/// <summary>Where the pictures of an answer go, while it arrives.</summary>
/// <param name="Store">Puts the picture into the store; its stream ends with the picture.</param>
/// <param name="Preview">Shows one of the previews, counted from 0.</param>
public sealed record PictureSink(Func<Stream, Task<(StoredMedia? Media, Failure? Problem)>> Store, Func<int, Stream, Task> Preview);

/// <summary>
/// OpenAI's pictures: one call, one picture, one bill. The picture is in the answer, in base64; it goes into the store while it arrives,
/// and what it cost comes after it. The call is never sent twice from here, and every way it can end says whether it may have been billed:
/// an answer that has begun is a bill, because nobody can ask for the picture again.
/// </summary>
public sealed class OpenAiImages : IDisposable
{
    private const string Field = "b64_json";
    private const string AddressField = "url";
    private const int MaxRestBytes = 256 << 10;

    private readonly OpenAiOptions options;
    private readonly TimeProvider time;
    private readonly ProviderHttp http;

    public OpenAiImages(IOptions<OpenAiOptions> options, TimeProvider time, ILogger<OpenAiImages> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.options, this.time) = (options.Value, time);
        http = this.options.Open(time, log);
        if (this.options.ApiKey.Length == 0)
        {
            log.LogWarning("Providers:OpenAi:ApiKey is not set: every call to OpenAI will fail as Unauthorized; mock runs do not need it");
        }
    }

    /// <summary>Makes one picture. Everything that can go wrong outside this process comes back as a failure of the reply.</summary>
    /// <param name="request">As <see cref="OpenAiImageRequest.From"/> made it; its model is exchanged for the configured id here.</param>
    /// <param name="clientRequestId">Ours, sent as <c>X-Client-Request-Id</c>: OpenAI's support finds a call by it whose answer we never saw.</param>
    /// <param name="sink">Where the pictures go.</param>
    /// <param name="ct">Stops waiting; a call under way is then of unknown outcome.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public Task<ProviderReply> GenerateAsync(OpenAiImageRequest request, string clientRequestId, PictureSink sink, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(sink);
        return http.SendPaidAsync(
            new ProviderCall
            {
                Method = HttpMethod.Post,
                Path = "images/generations",
                Json = (request with { Model = options.IdOf(request.Model) }).ToUtf8Json(),
                Headers = [("X-Client-Request-Id", clientRequestId)],
                Timeout = options.CallTimeout,
                TimeoutSetting = "Providers:OpenAi:CallTimeout",
                KeepsBodyOpen = true,
            },
            request.Model, clientRequestId, answer => ConcludeAsync(answer, sink), ct);
    }

    public void Dispose() => http.Dispose();

    private async ValueTask<ProviderReply> ConcludeAsync(ProviderResponse answer, PictureSink sink)
    {
        var response = answer.Response!;
        if (!response.IsSuccessStatusCode)
        {
            return ProviderReply.Failed(OpenAiFailures.OfRefusal(response, answer.Text, time.GetUtcNow()));
        }

        var reading = new Reading(response, sink);
        Failure? broken = null;
        try
        {
            await using var body = await answer.OpenBodyAsync();
            using var feed = new LookaheadReader(body);
            await (await feed.IsEventStreamAsync(answer.ReadCancellation) ? reading.StreamAsync(feed, answer.ReadCancellation)
                : reading.WholeAsync(feed, answer.ReadCancellation));
        }
        catch (UnusableMediaException)
        {
            // What is left of the answer is of no use: reading has ended, and with it the call.
        }
        catch (FormatException e)
        {
            broken = reading.Lost("openai.malformed_reply", e.Message);
        }
        catch (Exception e) when (e is IOException or HttpRequestException)
        {
            broken = reading.Lost("openai.cut_reply", $"The {(int)response.StatusCode} broke off: {e.Message}");
        }
        catch (OperationCanceledException) when (answer.IsOverdue)
        {
            broken = reading.Lost("openai.timeout", $"No whole answer within {options.CallTimeout} (Providers:OpenAi:CallTimeout).");
        }

        return reading.Conclude(broken, time.GetUtcNow());
    }

    /// <summary>What an answer has said so far.</summary>
    private sealed class Reading(HttpResponseMessage response, PictureSink sink)
    {
        private readonly string? requestId = OpenAiFailures.IdOf(response.Headers);
        private readonly MediaInReply picture = new(sink.Store);
        private JsonElement? rest;
        private Uri? address;
        private int previews;

        public async Task WholeAsync(LookaheadReader body, CancellationToken ct)
        {
            rest = await MediaInJson.ReadAsync(
                body, path => picture.Media is null && path is ("data[0]." + Field) or ("data[0]." + AddressField),
                (_, bytes) => picture.StoreAsync(bytes), MaxRestBytes, onText: null, ct);
            address = AddressIn(ProviderJson.Items(rest, "data").FirstOrDefault());
        }

        /// <summary>Events of one picture: previews, then the picture, or an error.</summary>
        public Task StreamAsync(LookaheadReader body, CancellationToken ct) =>
            ServerEvents.ReadAsync(body, (name, data) => ReadEventAsync(name, data, ct), ct);

        /// <summary>The failure of an answer that did not come to its end.</summary>
        public Failure Lost(string code, string detail) => ProviderHttp.TransportFailure(mayHaveCost: true, code, detail, requestId);

        public ProviderReply Conclude(Failure? broken, DateTimeOffset now)
        {
            // A whole picture is one, whatever became of the words behind it: then it costs what the list says.
            if (picture.Media is { } media)
            {
                return ProviderReply.Stored(media, rest is { } said ? OpenAiUsage.In(said) : null, requestId);
            }

            if (picture.FailureOf(requestId) is { } problem)
            {
                return ProviderReply.Failed(problem);
            }

            if (address is not null) // not what was asked for, but it can be fetched
            {
                return ProviderReply.Delivered(address, rest is { } said ? OpenAiUsage.In(said) : null, requestId);
            }

            return ProviderReply.Failed(
                broken
                ?? (rest is { } end && OpenAiError.Of(end) is { } error ? OpenAiFailures.Of(response, error, now)
                : Lost("openai.empty_reply", "The answer has no picture, and does not say that none was made.") with { ProviderIsThere = true }));
        }

        private static Uri? AddressIn(JsonElement found) => ProviderJson.Address(found, AddressField) ?? ProviderJson.Address(found, Field);

        /// <summary>
        /// The event's kind is in its name and in its <c>type</c>; one of them is enough, and where neither came before the picture, it is the
        /// picture unless it turns out to be a preview.
        /// </summary>
        private async Task<bool> ReadEventAsync(string name, Stream data, CancellationToken ct)
        {
            var (isPreview, isStored) = (IsPreview(name), false);
            using var feed = new LookaheadReader(data);
            var said = await MediaInJson.ReadAsync(
                feed, path => path is Field or AddressField,
                (_, bytes) =>
                {
                    isStored = !isPreview;
                    return isPreview ? sink.Preview(previews++, bytes) : picture.StoreAsync(bytes);
                },
                MaxRestBytes,
                (path, text) => isPreview |= path == "type" && IsPreview(text),
                ct);
            if (isPreview)
            {
                if (isStored)
                {
                    picture.Forget(); // the picture itself is stored over it
                }

                return true;
            }

            var kind = ProviderJson.Text(said, "type") ?? name;
            if (picture.Media is not null || kind.EndsWith(".completed", StringComparison.Ordinal) || OpenAiError.Of(said) is not null
                || AddressIn(said) is not null)
            {
                (rest, address) = (said, AddressIn(said));
            }

            return rest is null;
        }

        private static bool IsPreview(string kind) => kind.EndsWith(".partial_image", StringComparison.Ordinal);
    }
}
