using System.Buffers.Binary;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;
using Generation.Worker.Jobs;
using Microsoft.Extensions.Options;

namespace Generation.Worker.Providers.Forge;

/// <summary>
/// Stable Diffusion on GPUs of our own. A job has a GPU to itself while it makes its pictures, one call each; running a call twice costs
/// nothing but time, so what a crash cut off is made again. When every GPU has failed too often the session ends at once, as a clear
/// failure or with a placeholder, whichever it asked for.
/// </summary>
public sealed class ForgeHandler(
    ForgeWebUis webUis, GpuSlots slots, ForgeGpus gpus, IOptions<ForgeOptions> options, TimeProvider time, ILogger<ForgeHandler> log)
    : IGenerationHandler
{
    /// <summary>Leases before ours whose tasks may still run: each death takes two, the lease and its revocation.</summary>
    private const int MaxOrphanLeases = 4;

    /// <summary>Between two attempts to take a GPU.</summary>
    private static readonly TimeSpan GpuPause = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a job that found no GPU leaves its place in the worker to others.</summary>
    private static readonly TimeSpan BusyPause = TimeSpan.FromSeconds(2);

    public IReadOnlyCollection<string> JobTypes => ["gen.forge"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        if (RequestFor(job, 0) is null)
        {
            return Failed(job, new Failure(FailureKind.InvalidRequest, "settings",
                "The session's settings lack prompt, size, steps, cfg_scale, sampler or providerModel."));
        }

        while (true)
        {
            var usable = gpus.Usable;
            if (usable.Count == 0)
            {
                return Failed(job, new Failure(FailureKind.Unavailable, "breaker.open", "Every WebUI failed too often and is left alone.")
                {
                    IsFinal = true,
                });
            }

            if (await TakeGpuAsync(job, usable, ct) is not { } endpoint)
            {
                return Failed(job, Busy("No GPU came free."));
            }

            if (gpus.BreakerAt(endpoint).OpenFor is null) // its last job may have opened it since
            {
                var rules = new CallRules
                {
                    CallTimeout = options.Value.CallTimeout,
                    IsRepeatable = true,
                    Breaker = ForgeGpus.BreakerName(endpoint),
                };
                var outcome = await new PerOutputCalls(
                    job, rules, (ordinal, token) => MakeAsync(job, endpoint, ordinal, token)).RunAsync(ct);

                // Opened between two pictures: what to do then is decided by the next step, for there may be other machines.
                return outcome is StepOutcome.Failed { Failure.ProviderCode: "breaker.open" }
                    ? Failed(job, Busy($"{endpoint} failed too often.")) : outcome;
            }
        }
    }

    /// <summary>
    /// The GPU that was reserved for the job, or another that is better or free. It waits only where its own failed or its reservation ran out; null
    /// when none came free in time. The worker frees it when the job is over: tries that follow each other keep it.
    /// </summary>
    private async Task<string?> TakeGpuAsync(JobContext job, IReadOnlyList<string> usable, CancellationToken ct)
    {
        var since = time.GetTimestamp();
        while (true)
        {
            if (await slots.TakeAsync(job.Session, usable, ct) is { } endpoint)
            {
                return endpoint;
            }

            if (time.GetElapsedTime(since) >= options.Value.SlotWait)
            {
                return null;
            }

            job.ReportProgress(0, "waiting_for_gpu");
            await Task.Delay(GpuPause, time, ct);
        }
    }

    /// <summary>One picture, with somebody who watches it being made. It is stopped when nobody waits for it any more.</summary>
    private async Task<ProviderReply> MakeAsync(JobContext job, string endpoint, int ordinal, CancellationToken ct)
    {
        var request = RequestFor(job, ordinal)!;
        if (job.Session.LostLeases > 0)
        {
            await StopOrphansAsync(job, endpoint, ordinal);
        }

        using var watching = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var watch = WatchAsync(job, endpoint, request.ForceTaskId, ordinal, watching.Token);
        ProviderReply? reply = null;
        try
        {
            return reply = await webUis.GenerateAsync(
                endpoint, request, job.Session.Model, (picture, token) => job.Outputs.StoreAsync(ordinal, new MediaSource.Direct(picture), token),
                ct);
        }
        finally
        {
            await watching.CancelAsync();
            await watch;
            if (reply is null or { Failure.ProviderCode: "forge.timeout" or "forge.no_answer" })
            {
                await StopAsync(endpoint, request.ForceTaskId);
            }

            if (reply is null or { Failure: not null })
            {
                await job.Outputs.RemovePreviewAsync(ordinal);
            }
        }
    }

    /// <summary>Tells the session's watchers of every tenth part of the picture, with what it looks like by then.</summary>
    private async Task WatchAsync(JobContext job, string endpoint, string taskId, int ordinal, CancellationToken ct)
    {
        try
        {
            for (var (toldTenths, shown) = (0, -1); ; await Task.Delay(options.Value.PollInterval, time, ct))
            {
                if (await webUis.GetProgressAsync(endpoint, taskId, shown, onPreview: null, ct) is not { IsActive: true, Progress: { } made }
                    || (int)(made * 10) <= toldTenths)
                {
                    continue;
                }

                toldTenths = (int)(made * 10);
                var percent = 10 + (int)(85 * (ordinal + made) / job.RequestedOutputs);
                var isShown = false;
                var newest = await webUis.GetProgressAsync(endpoint, taskId, shown, picture =>
                {
                    isShown = true;
                    return job.Outputs.ShowPreviewAsync(ordinal, picture, percent, "generating", ct);
                }, ct);
                shown = newest?.PreviewId ?? shown;
                if (!isShown)
                {
                    job.ReportProgress(percent, "generating");
                }
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The picture is there, or nobody waits for it any more.
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            log.LogWarning(e, "Could not read the progress of {TaskId}; the picture continues", taskId);
        }
    }

    /// <summary>What a worker that died has left running for this very picture: nobody waits for it, and the GPU may as well begin anew.</summary>
    private async Task StopOrphansAsync(JobContext job, string endpoint, int ordinal)
    {
        for (var token = job.Session.LeaseToken - 1; token >= Math.Max(1, job.Session.LeaseToken - MaxOrphanLeases); token--)
        {
            await StopAsync(endpoint, NameOfTask(job, ordinal, token));
        }
    }

    /// <summary>Best effort: a GPU that is not told goes on for somebody who has left, and the next picture waits for it.</summary>
    private async Task StopAsync(string endpoint, string taskId)
    {
        try
        {
            await webUis.InterruptAsync(endpoint, taskId, CancellationToken.None);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException)
        {
            log.LogWarning(e, "Could not interrupt {TaskId}", taskId);
        }
    }

    /// <summary>
    /// A session's picture. Without a seed its seeds follow from its id, so that the picture that is made again after a crash is the same.
    /// The task's name has the lease in it: who lost the lease can stop only what it began itself.
    /// </summary>
    private ForgeImageRequest? RequestFor(JobContext job, int ordinal)
    {
        var id = job.Session.SessionId;
        var firstSeed = BinaryPrimitives.ReadUInt32BigEndian(id.ToByteArray(bigEndian: true).AsSpan(12)) & int.MaxValue;
        return ForgeImageRequest.From(job.Settings, firstSeed, ordinal, NameOfTask(job, ordinal, job.Session.LeaseToken), options.Value.CheckpointOf);
    }

    private static string NameOfTask(JobContext job, int ordinal, long leaseToken) => $"{job.Session.SessionId:N}-{ordinal}-{leaseToken}";

    private static Failure Busy(string detail) => new(FailureKind.Unavailable, "gpu.busy", detail) { NotTried = true, RetryAfter = BusyPause };

    /// <summary>Nothing was tried, and every picture that is missing fails alike.</summary>
    private static StepOutcome.Failed Failed(JobContext job, Failure failure) =>
        new(failure, [.. Enumerable.Range(0, job.RequestedOutputs).Except(job.Outputs.StoredOrdinals)
            .Select(ordinal => new FailedOutput(ordinal, failure))]);
}
