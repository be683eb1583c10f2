using System.Text.Json;
using Generation.ProviderSim.Faults;

namespace Generation.ProviderSim.Ark;

/// <content>stream:true: an event for each picture as it is made, one at the end, <c>[DONE]</c>.</content>
public sealed partial class ArkImages
{
    private async Task StreamAsync(Work work, ulong promptKey, string downloadWords)
    {
        var (http, call) = (work.Http, work.Call);
        var gone = http.RequestAborted;
        call.Status = StatusCodes.Status200OK;
        http.Response.ContentType = "text/event-stream";
        http.Response.Headers.CacheControl = "no-cache";
        await http.Response.Body.FlushAsync(gone);
        await foreach (var item in MakeAsync(work, promptKey, downloadWords))
        {
            work.Items.Add(item);
            if (gone.IsCancellationRequested)
            {
                continue;
            }

            try
            {
                await AnnounceAsync(work, item, work.Items.Count - 1);
            }
            catch (OperationCanceledException) when (gone.IsCancellationRequested)
            {
                // Whoever has gone pays for the rest all the same.
            }
        }

        if (gone.IsCancellationRequested)
        {
            return;
        }

        switch (work.Fault?.Word)
        {
            case "timeout":
                await HangAsync(gone);
                http.Abort();
                return;
            case "malformed":
                await http.Response.WriteAsync("event: image_generation.completed\ndata: {\"type\":\"image_gener", gone);
                return;
        }

        if (work.Fault is { Stage: FaultStage.Outcome or FaultStage.Reply } fault && ArkError.For(fault.Word, work.Request.Model) is { } error)
        {
            await SendEventAsync(http, "error", json => { error.WriteTo(json, call.Id); return Task.CompletedTask; });
        }
        else
        {
            await SendEventAsync(http, "image_generation.completed", json =>
            {
                json.WriteString("model", work.Request.Model);
                json.WriteNumber("created", work.Created);
                WriteUsage(json, work);
                return Task.CompletedTask;
            });
        }

        await http.Response.WriteAsync("data: [DONE]\n\n", gone);
    }

    /// <summary>One picture's event. <c>cut-reply</c> comes in place of the first, <c>cut-reply-half</c> in place of the second.</summary>
    private async Task AnnounceAsync(Work work, Item item, int index)
    {
        var http = work.Http;
        if (work.Words.Gate is { } gate && work.Call.Paid)
        {
            await gates.PassAsync(gate, http.RequestAborted);
        }

        if (work.Is("cut-reply") || (work.Is("cut-reply-half") && index > 0))
        {
            http.Abort();
            return;
        }

        await SendEventAsync(http, item.Error is null ? "image_generation.partial_succeeded" : "image_generation.partial_failed", async json =>
        {
            json.WriteString("model", work.Request.Model);
            json.WriteNumber("created", work.Created);
            json.WriteNumber("image_index", index);
            if (item.Error is not null)
            {
                item.Error.WriteTo(json, requestId: null);
            }
            else
            {
                await WritePictureAsync(json, work, item, http.RequestAborted);
            }
        });
    }

    private static async Task SendEventAsync(HttpContext http, string type, Func<Utf8JsonWriter, Task> writeFields)
    {
        await http.Response.WriteAsync($"event: {type}\ndata: ", http.RequestAborted);
        await using (var json = new Utf8JsonWriter(http.Response.BodyWriter, ArkError.JsonOptions))
        {
            json.WriteStartObject();
            json.WriteString("type", type);
            await writeFields(json);
            json.WriteEndObject();
        }

        await http.Response.WriteAsync("\n\n", http.RequestAborted);
        await http.Response.Body.FlushAsync(http.RequestAborted);
    }
}
