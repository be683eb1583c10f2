using System.Net;
using System.Text;
using Generation.ProviderSim.Calls;
using Generation.ProviderSim.Faults;

namespace Generation.ProviderSim;

/// <summary>The last pictures made, for the home page.</summary>
public sealed class RecentPictures
{
    private const int Shown = 12;

    private readonly Lock gate = new();
    private readonly LinkedList<(string FileName, string Prompt, DateTimeOffset At)> pictures = new();

    public void Add(string fileName, string prompt, DateTimeOffset at)
    {
        lock (gate)
        {
            pictures.AddFirst((fileName, prompt, at));
            if (pictures.Count > Shown)
            {
                pictures.RemoveLast();
            }
        }
    }

    public IReadOnlyList<(string FileName, string Prompt, DateTimeOffset At)> List()
    {
        lock (gate)
        {
            return [.. pictures];
        }
    }
}

/// <summary>The operator's window: what was made, what was paid, what can be broken.</summary>
internal static class Home
{
    public static void Map(IEndpointRouteBuilder routes) =>
        routes.MapGet("/", (RecentPictures recent, CallLog calls) => Results.Content(Page(recent, calls), "text/html; charset=utf-8"));

    private static string Page(RecentPictures recent, CallLog calls)
    {
        var report = calls.Report(limit: 0);
        var html = new StringBuilder($$"""
            <!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="15">
            <title>Provider simulator</title>
            <style>
            body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;background:#14161c;color:#e6e3dc}
            h1,h2{font-weight:600}a{color:#ffc48a}code{background:#232733;padding:.1em .35em;border-radius:4px;white-space:nowrap}
            .wall{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
            figure{margin:0}
            figure img{width:100%;aspect-ratio:1;object-fit:cover;border-radius:8px;display:block;background:#232733}
            figcaption{font-size:13px;color:#b8b3a8;margin-top:.3rem;overflow-wrap:anywhere}td{padding:.15rem .8rem .15rem 0;vertical-align:top}
            </style>
            <h1>Provider simulator</h1>
            <p>Stands in for the providers of images and videos: Ark at <code>POST /api/v3/images/generations</code>
            and <code>POST /api/v3/contents/generations/tasks</code>, OpenAI at <code>POST /v1/images/generations</code> and
            <code>/v1/videos</code>, Veo at <code>POST /v1beta/models/{model}:predictLongRunning</code>, a Stable Diffusion WebUI at
            <code>POST /sdapi/v1/txt2img</code> (<a href="/sim/forge">its card</a>), Kie at <code>POST /api/v1/jobs/createTask</code>
            (<a href="/sim/kie/tasks">its tasks and callbacks</a>), ElevenLabs at <code>GET /v2/voices</code>.
            {{report.Total}} calls, {{report.Paid}} paid, {{report.Images}} pictures and videos
            (<a href="/sim/calls">calls</a>, <a href="/sim/faults">fault rules</a>).</p>
            <h2>Last pictures, and what the last videos show</h2>
            """);
        var pictures = recent.List();
        if (pictures.Count == 0)
        {
            html.Append("<p>None yet.</p>");
        }

        html.Append("<div class=\"wall\">");
        foreach (var (fileName, prompt, at) in pictures)
        {
            html.Append($"<figure><img loading=\"lazy\" alt=\"\" src=\"/sim/thumbnails/{fileName}\">");
            html.Append($"<figcaption>{WebUtility.HtmlEncode(prompt)}<br>{at:HH:mm:ss} UTC</figcaption></figure>");
        }

        html.Append("</div><h2>Words in a prompt that break things</h2><table>");
        foreach (var fault in Fault.All)
        {
            html.Append($"<tr><td><code>[fault={fault.Word}]</code><td>{fault.Stage}<td>{WebUtility.HtmlEncode(fault.Says)}");
        }

        html.Append("""
            </table><p><code>[fault=word:times=2]</code> strikes the first two calls (a download fault: the first two downloads) of the same prompt.
            <code>POST /sim/faults {"fault","count"|"probability","prompt","retryAfterSeconds"}</code> strikes prompts that did not ask;
            <code>DELETE /sim/faults</code> ends it.</p><h2>Other words</h2><table>
            <tr><td><code>[latency=250]</code><td>milliseconds this picture or video takes
            <tr><td><code>[queued=5000]</code><td>milliseconds this video task is queued before that
            <tr><td><code>[retry-after=5]</code><td>seconds in the Retry-After of a rate limit
            <tr><td><code>[bytes=500000000]</code><td>a grey picture of exactly so many bytes
            <tr><td><code>[gate=name]</code><td>the call waits, already paid, until <code>POST /sim/gates/name</code>;
            <code>GET /sim/gates/name/waiting</code> waits for it
            <tr><td><code>[callback-gate=name]</code><td>the callback of a task waits there before it is sent
            <tr><td><code>[callback-delay=500]</code><td>milliseconds that the callback of a task comes later than its end
            <tr><td><code>[download-gate=name]</code><td>the download waits after its first half
            <tr><td><code>[wrap=array]</code><td>Google's errors come inside an array of one
            </table>
            """);
        return html.ToString();
    }
}
