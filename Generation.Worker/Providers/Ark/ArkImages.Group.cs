using System.Globalization;
using System.Text.Json;
using Generation.Core.Providers;
using Generation.Worker.Calls;

namespace Generation.Worker.Providers.Ark;

/// <content>Groups: one call, announced picture by picture.</content>
public sealed partial class ArkImages
{
    /// <summary>No event of Ark's but a preview is longer.</summary>
    private const int MaxEventBytes = 64 << 10;

    /// <summary>
    /// Makes a group. Everything that can go wrong outside this process comes back as a failure of the reply; a stream that ends before
    /// <c>completed</c> is of unknown outcome as far as it was not announced.
    /// </summary>
    /// <param name="request">As <see cref="ArkImageRequest.From"/> made it of settings with <c>group</c>.</param>
    /// <param name="clientRequestId">Ours, sent as <c>X-Client-Request-Id</c>.</param>
    /// <param name="announced">Is told of each picture while the others are made. What it throws comes out.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled after the call was sent.</exception>
    public Task<ProviderReply> GenerateGroupAsync(ArkImageRequest request, string clientRequestId, Func<GroupOutput, Task> announced,
        CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        return http.SendPaidAsync(
            Call(request, clientRequestId) with
            {
                Timeout = options.GroupTimeout,
                TimeoutSetting = "Providers:Ark:GroupTimeout",
                KeepsBodyOpen = true
            },
            request.Model, clientRequestId,
            async answer => answer.Response!.IsSuccessStatusCode ? await new GroupReading(this, answer, announced, ct).ReadAsync()
                : Refused(answer.Response, answer.Text), ct);
    }

    /// <summary>One answer to a group, while it is read.</summary>
    private sealed class GroupReading(ArkImages ark, ProviderResponse answer, Func<GroupOutput, Task> announced, CancellationToken ct)
    {
        private readonly HttpResponseMessage response = answer.Response!;
        private readonly string? requestId = ArkFailures.IdOf(answer.Response!.Headers);
        private readonly List<ArkPicture> made = [];
        private ArkImagesReply? end;
        private Failure? problem;
        private int refused;

        public async Task<ProviderReply> ReadAsync()
        {
            try
            {
                await using var body = await answer.OpenBodyAsync();
                using var feed = new LookaheadReader(body);
                await (await feed.IsEventStreamAsync(answer.ReadCancellation)
                    ? ServerEvents.ReadAsync(feed, ReadEventAsync, answer.ReadCancellation) : ReadWholeAsync(feed));
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested && answer.IsOverdue)
            {
                problem ??= Unknown("ark.timeout", $"The group was not complete within {ark.options.GroupTimeout} (Providers:Ark:GroupTimeout).");
            }
            catch (Exception e) when (e is HttpRequestException or IOException or FormatException)
            {
                problem ??= Unknown("ark.cut_stream", $"The stream broke off after {made.Count} pictures: {e.Message}");
            }

            return (problem ?? Judge()) is { } failure ? ProviderReply.Failed(failure with { RequestId = failure.RequestId ?? requestId })
                : ProviderReply.Finished(end!.Usage, requestId);
        }

        /// <summary>What is wrong with a stream that came to an end of its own; null when nothing is.</summary>
        private Failure? Judge()
        {
            if (end is null)
            {
                return Unknown("ark.cut_stream", $"The stream ended after {made.Count} pictures and did not say that it was complete.");
            }

            if (end.Error is { } error)
            {
                return ArkFailures.Of(response, error, ark.time.GetUtcNow());
            }

            if (end.GeneratedImages > made.Count)
            {
                return Unknown("ark.missing_pictures", $"Ark bills {end.GeneratedImages} pictures and has announced {made.Count}.");
            }

            ark.CompareTokens(end, made, requestId);
            return made.Count + refused == 0 ? Empty(end, requestId) : null;
        }

        /// <summary>False ends the reading.</summary>
        private async Task<bool> ReadEventAsync(string name, Stream data)
        {
            if (name == "image_generation.partial_image")
            {
                return true; // a preview, and large: not delivered
            }

            var (isPreview, isTaken) = (false, false);
            int? index = null;
            JsonElement root;
            try
            {
                using var feed = new LookaheadReader(data);
                root = await MediaInJson.ReadAsync(
                    feed, path => path is "url" or "b64_json",
                    async (_, picture) =>
                    {
                        if (!isPreview && !isTaken)
                        {
                            isTaken = true;
                            await TakeAsync(index, picture);
                        }
                    },
                    MaxEventBytes,
                    (path, text) =>
                    {
                        isPreview |= path == "type" && text == "image_generation.partial_image";
                        index = path == "image_index" && int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                            ? number : index;
                    },
                    answer.ReadCancellation);
            }
            catch (Exception e) when (e is FormatException or EndOfStreamException)
            {
                return true; // should it have been a picture, Ark counts one more at the end than was announced
            }

            if (isTaken || isPreview)
            {
                return true;
            }

            switch (ProviderJson.Text(root, "type") ?? name)
            {
                case "image_generation.partial_succeeded" or "image_generation.partial_failed":
                    await AnnounceAsync(ArkPicture.Of(root));
                    return true;
                case "image_generation.completed":
                    end = ArkImagesReply.Of(root);
                    return false;
                case "error":
                    problem = ArkError.Of(root) is { } error
                        ? ArkFailures.Of(response, error, ark.time.GetUtcNow())
                        : Unknown("ark.malformed_reply", "The stream ended with an error that says nothing.");
                    return false;
                default:
                    return true;
            }
        }

        /// <summary>Asked for a stream, Ark may still answer in one piece: an error before the first picture, or everything.</summary>
        private async Task ReadWholeAsync(LookaheadReader body)
        {
            var taken = new HashSet<int>();
            try
            {
                end = ArkImagesReply.Of(await MediaInJson.ReadAsync(
                    body, path => ElementOf(path) is { } at && !taken.Contains(at),
                    (path, picture) => taken.Add(ElementOf(path)!.Value) ? TakeAsync(null, picture) : Task.CompletedTask,
                    ProviderHttp.MaxReplyBytes, onText: null, answer.ReadCancellation));
            }
            catch (FormatException)
            {
                problem = Unknown("ark.malformed_reply", $"The {(int)response.StatusCode} is neither a stream nor a JSON object.");
                return;
            }

            foreach (var picture in end.Pictures.Where((_, at) => !taken.Contains(at)))
            {
                await AnnounceAsync(picture);
            }
        }

        /// <summary>The place in the list of a string that is a picture or its address.</summary>
        private static int? ElementOf(string path) =>
            path.StartsWith("data[", StringComparison.Ordinal) && path.Split('[', ']') is ["data", var at, ".url" or ".b64_json"]
                ? int.Parse(at, CultureInfo.InvariantCulture) : null;

        /// <summary>A picture that comes in the answer although its address was asked for.</summary>
        private async Task TakeAsync(int? index, Stream picture)
        {
            made.Add(new ArkPicture(index, "data:", null, null, null));
            try
            {
                await announced(new GroupOutput(index, null, null) { Media = picture });
            }
            catch (FormatException) // no base64
            {
                await announced(new GroupOutput(index, null, BadAddress(requestId)));
                throw;
            }
        }

        private Task AnnounceAsync(ArkPicture picture)
        {
            if (picture.Address is not null)
            {
                made.Add(picture);
                return announced(new GroupOutput(picture.Index, picture.Url, picture.Url is null ? BadAddress(requestId) : null));
            }

            refused++;
            return announced(new GroupOutput(picture.Index, null, picture.Error is { } error
                ? ArkFailures.Of(response, error, ark.time.GetUtcNow())
                : new Failure(FailureKind.Unavailable, "ark.no_reason",
                    "A picture was not made, and Ark did not say why.")
                { RequestId = requestId }));
        }

        private Failure Unknown(string code, string detail) => ProviderHttp.TransportFailure(mayHaveCost: true, code, detail, requestId);
    }
}
