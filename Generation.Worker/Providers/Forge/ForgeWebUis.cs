using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Worker.Calls;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Forge;

/// <summary>
/// The WebUIs. A picture is one call that stays open until the picture is made; beside it the WebUI is asked how far it is, and told to
/// stop. Only the caller's own task is ever stopped: the WebUI's interrupt hits whatever runs.
/// </summary>
public sealed class ForgeWebUis : IDisposable
{
    /// <summary>Of an answer's text beside the picture: the request's echo and what was made from it.</summary>
    private const int MaxRestBytes = 1 << 20;

    private readonly ForgeOptions options;
    private readonly TimeProvider time;
    private readonly ILogger<ForgeWebUis> log;
    private readonly Dictionary<string, ProviderHttp> byEndpoint;

    public ForgeWebUis(IOptions<ForgeOptions> options, TimeProvider time, ILogger<ForgeWebUis> log)
    {
        ArgumentNullException.ThrowIfNull(options);
        (this.options, this.time, this.log) = (options.Value, time, log);
        byEndpoint = this.options.Endpoints.ToDictionary(endpoint => endpoint, Open, StringComparer.Ordinal);
    }

    /// <summary>Makes one picture and hands its bytes on while they arrive.</summary>
    /// <param name="endpoint">One of the options' endpoints, on which nobody else of ours is at work.</param>
    /// <param name="request">The picture.</param>
    /// <param name="model">Its model, for the log.</param>
    /// <param name="store">Reads the file, a PNG unless the WebUI is set up otherwise.</param>
    /// <param name="ct">Stops waiting; the WebUI goes on until it is interrupted.</param>
    /// <exception cref="OperationCanceledException"><paramref name="ct"/> was cancelled.</exception>
    public Task<ProviderReply> GenerateAsync(
        string endpoint, ForgeImageRequest request, string model, Func<Stream, CancellationToken, Task<(StoredMedia? Media, Failure? Problem)>> store,
            CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(request);
        return byEndpoint[endpoint].SendPaidAsync(
            new ProviderCall
            {
                Method = HttpMethod.Post,
                Path = "sdapi/v1/txt2img",
                Json = request.ToUtf8Json(),
                Timeout = options.CallTimeout,
                TimeoutSetting = "Providers:Forge:CallTimeout",
                KeepsBodyOpen = true,
                IsRepeatable = true,
            },
            model, request.ForceTaskId, answer => ConcludeAsync(answer, store, ct), ct);
    }

    /// <summary>How far a task is; null when that could not be learned, which says nothing about the task.</summary>
    /// <param name="endpoint">Where it is.</param>
    /// <param name="taskId">Our name for it.</param>
    /// <param name="seenPreview">The preview that need not be sent again; −1: none.</param>
    /// <param name="onPreview">Reads the preview, if there is a newer one; null: none is wanted, which also spares the GPU making it.</param>
    /// <param name="ct">Stops.</param>
    public async Task<ForgeTaskState?> GetProgressAsync(string endpoint, string taskId, int seenPreview, Func<Stream, Task>? onPreview,
        CancellationToken ct)
    {
        var question = JsonSerializer.SerializeToUtf8Bytes(new JsonObject
        {
            ["id_task"] = taskId,
            ["id_live_preview"] = seenPreview,
            ["live_preview"] = onPreview is not null,
        });
        var (status, state) = await ReadAsync(endpoint, Quick(HttpMethod.Post, "internal/progress", question), "live_preview", ForgeTaskState.Read);

        // Started with --nowebui it has no such route. Forge then still says whose progress the global one is; AUTOMATIC1111 does not, and is not
        // believed.
        return status != HttpStatusCode.NotFound ? state : (await ReadAsync(
            endpoint, Quick(HttpMethod.Get, $"sdapi/v1/progress?skip_current_image={(onPreview is null ? "true" : "false")}"), "current_image",
            document => ForgeTaskState.ReadGlobal(document, taskId))).Item;

        async Task<(HttpStatusCode? Status, ForgeTaskState? Item)> ReadAsync(
            string at, ProviderCall call, string preview, Func<JsonElement, ForgeTaskState?> read)
        {
            using var answer = await byEndpoint[at].SendAsync(call, ct);
            if (answer.Response is not { IsSuccessStatusCode: true } response)
            {
                return (answer.Response?.StatusCode, null);
            }

            try
            {
                await using var body = await answer.OpenBodyAsync();
                var document = await MediaInJson.ReadAsync(
                    body, path => path == preview, (_, picture) =>
                        onPreview is null ? Task.CompletedTask : onPreview(picture), MaxRestBytes, answer.ReadCancellation);
                return (response.StatusCode, read(document));
            }
            catch (Exception e) when (e is FormatException or IOException or HttpRequestException || (
                e is OperationCanceledException && !ct.IsCancellationRequested))
            {
                log.LogDebug("Could not read the progress of {TaskId} at {Endpoint}: {Problem}", at, taskId, e.Message);
                return (response.StatusCode, null);
            }
        }
    }

    /// <summary>
    /// Stops a task if it is the one that runs now, and never another. True when the WebUI was told so. A task that waits cannot be taken back.
    /// </summary>
    public async Task<bool> InterruptAsync(string endpoint, string taskId, CancellationToken ct)
    {
        if (await GetProgressAsync(endpoint, taskId, seenPreview: -1, onPreview: null, ct) is not { IsActive: true })
        {
            return false;
        }

        using var answer = await byEndpoint[endpoint].SendAsync(Quick(HttpMethod.Post, "sdapi/v1/interrupt"), ct);
        log.LogInformation(OperationEvents.ProviderInterrupt, "Interrupted {TaskId} at {Endpoint}: {Status}", taskId, endpoint,
            (object?)(int?)answer.Response?.StatusCode ?? "no answer");
        return answer.Response is { IsSuccessStatusCode: true };
    }

    public void Dispose()
    {
        foreach (var http in byEndpoint.Values)
        {
            http.Dispose();
        }
    }

    private async ValueTask<ProviderReply> ConcludeAsync(
        ProviderResponse answer, Func<Stream, CancellationToken, Task<(StoredMedia? Media, Failure? Problem)>> store, CancellationToken ct)
    {
        var response = answer.Response!;
        if (!response.IsSuccessStatusCode)
        {
            return ProviderReply.Failed(ForgeFailures.Of(response, answer.Text, time.GetUtcNow()));
        }

        (StoredMedia? Media, Failure? Problem) stored = default;
        Failure? broken = null;
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(answer.ReadCancellation);
        try
        {
            await using var body = await answer.OpenBodyAsync();
            await MediaInJson.ReadAsync(
                body, path => path == "images[0]",
                async (_, picture) =>
                {
                    stored = await store(picture, answer.ReadCancellation);
                    if (stored.Problem is not null)
                    {
                        await enough.CancelAsync(); // what is left of it may have no end
                    }
                },
                MaxRestBytes, enough.Token);
        }
        catch (FormatException e)
        {
            broken = new Failure(FailureKind.Unavailable, "forge.malformed_reply", e.Message);
        }
        catch (Exception e) when (e is IOException or HttpRequestException)
        {
            broken = new Failure(FailureKind.Unavailable, "forge.cut_reply", e.Message);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            broken = stored.Problem ?? new Failure(FailureKind.Unavailable, "forge.slow_reply",
                $"The answer did not end within {options.CallTimeout} (Providers:Forge:CallTimeout).");
        }

        // A picture that is stored whole is a picture, whatever becomes of the rest of the answer.
        return stored.Media is { } media ? ProviderReply.Stored(media, new JsonObject { ["pictures"] = 1 }, null)
            : ProviderReply.Failed(broken ?? stored.Problem ?? new Failure(FailureKind.Unavailable, "forge.empty_reply",
                "The answer has no picture.")
            {
                ProviderIsThere = true,
            });
    }

    private ProviderCall Quick(HttpMethod method, string path, byte[]? json = null) => new()
    {
        Method = method,
        Path = path,
        Json = json,
        Timeout = options.PollTimeout,
        TimeoutSetting = "Providers:Forge:PollTimeout",
        KeepsBodyOpen = true,
        IsRepeatable = true,
    };

    private ProviderHttp Open(string endpoint) => new(
        new ProviderAddress
        {
            Name = "forge",
            Section = ForgeOptions.Section,
            BaseUrl = endpoint,
            ConnectTimeout = options.ConnectTimeout,
            ApiKey = null,
            Authenticate = headers => headers.Authorization =
                options.ApiAuth.Length == 0 ? null : new AuthenticationHeaderValue("Basic",
                    Convert.ToBase64String(Encoding.UTF8.GetBytes(options.ApiAuth))),
        },
        time, log);
}
