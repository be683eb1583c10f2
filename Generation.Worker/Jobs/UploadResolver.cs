using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;

namespace Generation.Worker.Jobs;

/// <summary>Replaces references to uploads (<c>upload:&lt;id&gt;</c>) in a session's settings by signed URLs that the provider can fetch.</summary>
public sealed class UploadResolver(Uploads uploads, IMediaStore store, WorkerOptions options)
{
    /// <summary>The shortest and the longest lifetime of a signed URL, in seconds.</summary>
    private const long MinLifetime = 3600, MaxLifetime = 7 * 86_400;

    /// <summary>
    /// Resolves the references in the settings of a job. Returns null, or a failure when an upload is gone or has no public URL. Without
    /// references nothing is queried. The URLs last as long as the session may.
    /// </summary>
    public async Task<Failure?> ResolveAsync(JobContext job, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(job);
        var named = Uploads.In(job.Settings).Select(u => u.UploadId).ToList();
        if (named.Count == 0)
        {
            return null;
        }

        var keys = await uploads.FindAsync(job.Session.UserId, named, ct);
        var lifetime = TimeSpan.FromSeconds(Math.Clamp((long)(job.Deadline - job.Now).TotalSeconds, MinLifetime, MaxLifetime));
        var urls = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var id in named)
        {
            if (!keys.TryGetValue(id, out var key))
            {
                return new Failure(FailureKind.InvalidRequest, "upload.gone", $"{Uploads.Scheme}{id} is not there any more.");
            }

            var url = store.SignedUrl(key, lifetime);
            if (url.StartsWith('/'))
            {
                if (options.PublicBaseUrl is null)
                {
                    return new Failure(FailureKind.Unavailable, "upload.no_address",
                        "Uploads are files here, and Worker:PublicBaseUrl (PUBLIC_BASE_URL) does not say where providers can fetch them.")
                    {
                        IsFinal = true,
                    };
                }

                url = options.PublicBaseUrl.TrimEnd('/') + url;
            }

            urls[$"{Uploads.Scheme}{id}"] = url;
        }

        var resolved = new JsonObject();
        foreach (var (name, value) in job.Settings)
        {
            resolved[name] = value is JsonArray list ? new JsonArray([.. list.Select(Resolve)]) : Resolve(value);
        }

        job.Settings = resolved;
        return null;

        JsonNode? Resolve(JsonNode? value) =>
            value is JsonValue text && text.TryGetValue<string>(out var reference) && urls.TryGetValue(reference, out var url) ? url
                : value?.DeepClone();
    }
}
