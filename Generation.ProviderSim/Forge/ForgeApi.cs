using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Pictures;
using Microsoft.AspNetCore.Mvc;

namespace Generation.ProviderSim.Forge;

/// <summary>What a WebUI answers beside pictures: how far it is, what it has, and that it is to stop. None of it waits for the card.</summary>
public sealed class ForgeApi(ForgeEntrance entrance, ForgeGpu gpu, FaultDesk faults, TimeProvider time, IHostApplicationLifetime lifetime)
{
    /// <summary>A preview is this much smaller on each side: it is made from the latents, of which one stands for 8 × 8 pixels.</summary>
    private const int PreviewScale = 8;

    private readonly Lock gate = new();
    private readonly JsonObject settings = new()
    {
        ["samples_format"] = "png",
        ["sd_model_checkpoint"] = ForgeRequest.Title(ForgeRequest.Models[0]),
        ["live_previews_enable"] = true,
        ["live_previews_image_format"] = "png",
        ["show_progress_every_n_steps"] = 2,
        ["CLIP_stop_at_last_layers"] = 1,
    };

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sdapi/v1/progress", (HttpContext http, [FromQuery(Name = "skip_current_image")] bool? skipImage, ForgeApi api) =>
            api.ProgressAsync(http, skipImage ?? false));
        routes.MapPost("/internal/progress", (HttpContext http, TaskQuestion question, ForgeApi api) => api.TaskProgressAsync(http, question));
        routes.MapGet("/internal/pending-tasks", (ForgeGpu gpu) =>
        {
            var tasks = gpu.Pending;
            return new { size = tasks.Count, tasks };
        });
        var api = routes.MapGroup("/sdapi/v1").AddEndpointFilter(async (context, next) =>
            await context.HttpContext.RequestServices.GetRequiredService<ForgeEntrance>().AdmitAsync(context.HttpContext) ? await next(context)
                : Results.Empty);
        api.MapPost("/interrupt", (ForgeGpu gpu) =>
        {
            gpu.Interrupt();
            return new { };
        });
        api.MapPost("/skip", (ForgeGpu gpu) =>
        {
            gpu.Skip();
            return Results.Text("null", "application/json");
        });
        api.MapGet("/sd-models", () => ForgeRequest.Models.Select(model => new
        {
            title = ForgeRequest.Title(model),
            model_name = model.Name,
            hash = model.Hash,
            sha256 = (string?)null,
            filename = $"/models/Stable-diffusion/{model.Name}.safetensors",
            config = (string?)null,
        }));
        api.MapGet("/samplers", () => ForgeRequest.Samplers.Select(name =>
            new { name, aliases = (string[])[$"k_{name.ToLowerInvariant().Replace(' ', '_')}"], options = new { } }));
        api.MapGet("/schedulers", () => ForgeRequest.Schedulers.Select(label =>
            new
            {
                name = label.ToLowerInvariant().Replace(' ', '_'),
                label,
                aliases = (string[]?)null,
                default_rho = -1.0,
                need_inner_model = false
            }));
        api.MapGet("/options", (ForgeApi forge) => forge.Settings());
        api.MapPost("/options", (JsonObject changes, HttpContext http, ForgeApi forge) => forge.ChangeAsync(http, changes));
        api.MapGet("/memory", () => new { ram = new { error = "no psutil" }, cuda = new { error = "unavailable" } });
        routes.MapGet("/sim/forge", (ForgeGpu gpu) => gpu.Report());
        routes.MapDelete("/sim/forge", (ForgeGpu gpu) =>
        {
            gpu.Reset();
            return Results.NoContent();
        });
    }

    /// <summary>Body of <c>POST /internal/progress</c>.</summary>
    /// <param name="Task">The <c>force_task_id</c> of a txt2img.</param>
    /// <param name="SeenPreview">The preview that the caller has.</param>
    /// <param name="WantsPreview">Default true.</param>
    public sealed record TaskQuestion(
        [property: JsonPropertyName("id_task")] string? Task, [property: JsonPropertyName("id_live_preview")] int? SeenPreview,
        [property: JsonPropertyName("live_preview")] bool? WantsPreview);

    /// <summary>Of the running job.</summary>
    private async Task ProgressAsync(HttpContext http, bool skipImage)
    {
        var job = gpu.Running;
        if (job is not null && await FailsAsync(http, job))
        {
            return;
        }

        var progress = job is null ? 0 : Math.Min(1, 0.01 + job.Progress);
        var (done, step) = job?.Done ?? (0, 0);
        var elapsed = job is null ? 0 : (time.GetUtcNow() - job.StartedAt).TotalSeconds;
        var preview = job is null || skipImage ? null : Preview(job);
        await http.Response.WriteAsJsonAsync(new
        {
            progress,
            eta_relative = job is null ? 0 : (elapsed / progress) - elapsed,
            state = new
            {
                skipped = job?.IsSkipped ?? false,
                interrupted = job?.IsInterrupted ?? false,
                stopping_generation = false,
                job = job is null ? "" : "scripts_txt2img",
                job_count = job?.Request.Iterations ?? 0,
                job_timestamp = job?.StartedAt.ToString("yyyyMMddHHmmss") ?? "0",
                job_no = done,
                sampling_step = step,
                sampling_steps = job?.Request.Steps ?? 0,
            },
            current_image = preview is null ? null : Convert.ToBase64String(preview),
            textinfo = (string?)null,
            current_task = gpu.CurrentTask,
        });
    }

    /// <summary>Of one task.</summary>
    private async Task TaskProgressAsync(HttpContext http, TaskQuestion question)
    {
        var (active, queued, completed, place, waiting) = gpu.StateOf(question.Task ?? "");
        var job = gpu.Running;
        if (!active || job is null)
        {
            await http.Response.WriteAsJsonAsync(new
            {
                active,
                queued,
                completed,
                progress = (double?)null,
                eta = (double?)null,
                live_preview = (string?)null,
                id_live_preview = -1,
                textinfo = queued ? $"In queue: {place}/{waiting}" : "Waiting...",
            });
            return;
        }

        if (await FailsAsync(http, job))
        {
            return;
        }

        var progress = job.Progress;
        var elapsed = (time.GetUtcNow() - job.StartedAt).TotalSeconds;
        var seen = question.SeenPreview ?? -1;
        var picture = question.WantsPreview ?? true ? Preview(job, seen) : null;
        await http.Response.WriteAsJsonAsync(new
        {
            active,
            queued,
            completed,
            progress,
            eta = progress > 0 ? (elapsed / progress) - elapsed : (double?)null,
            live_preview = picture is null ? null : $"data:image/png;base64,{Convert.ToBase64String(picture)}",
            id_live_preview = picture is null ? seen : PreviewId(job),
            textinfo = (string?)null,
        });
    }

    /// <summary>A fault of the job's prompt for a progress request; true when it was triggered.</summary>
    private async Task<bool> FailsAsync(HttpContext http, ForgeJob job)
    {
        switch (faults.ForPoll(job.Prompt, Recipe.Hash(job.Prompt), PromptWords.Parse(job.Prompt))?.Word)
        {
            case "poll-error": await ForgeError.Crashed.SendAsync(http, entrance.IsBare); return true;
            case "poll-lost": await ForgeError.NoSuchRoute.SendAsync(http, entrance.IsBare); return true;
            case "poll-gateway":
                http.Response.StatusCode = StatusCodes.Status502BadGateway;
                http.Response.ContentType = "text/html";
                await http.Response.WriteAsync("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>");
                return true;
            case "poll-timeout":
                using (var end = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping))
                {
                    await Task.Delay(Timeout.InfiniteTimeSpan, time, end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                http.Abort();
                return true;
            default: return false;
        }
    }

    private int PreviewId(ForgeJob job)
    {
        lock (gate)
        {
            var (done, step) = job.Done;
            var every = Math.Max(1, settings["show_progress_every_n_steps"]!.GetValue<int>());
            return settings["live_previews_enable"]!.GetValue<bool>() ? (done * (job.Request.Steps / every)) + (step / every) : 0;
        }
    }

    /// <summary>What the picture looks like by now; null before there is anything to see, and when the caller has seen it.</summary>
    private byte[]? Preview(ForgeJob job, int seen = -1)
    {
        var id = PreviewId(job);
        if (id == 0 || id == seen || job.Picture is not { } picture)
        {
            return null;
        }

        var (_, step) = job.Done;
        return ForgeImages.Unfinished(
            picture with { Width = Math.Max(16, picture.Width / PreviewScale), Height = Math.Max(16, picture.Height / PreviewScale) },
            (double)step / job.Request.Steps);
    }

    private JsonNode Settings()
    {
        lock (gate)
        {
            return settings.DeepClone();
        }
    }

    private async Task ChangeAsync(HttpContext http, JsonObject changes)
    {
        if (changes["sd_model_checkpoint"]?.GetValue<string>() is { } model && ForgeRequest.FindModel(model) is null)
        {
            await ForgeError.UnknownModel(model).SendAsync(http, entrance.IsBare);
            return;
        }

        lock (gate)
        {
            foreach (var (name, value) in changes)
            {
                settings[name] = value?.DeepClone();
            }
        }

        await http.Response.WriteAsJsonAsync((object?)null);
    }
}
