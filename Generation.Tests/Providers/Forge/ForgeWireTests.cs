using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Worker.Providers.Forge;

namespace Generation.Tests.Providers.Forge;

/// <summary>What goes over the wire, in both directions.</summary>
public sealed class ForgeWireTests
{
    [Fact]
    public void A_picture_is_asked_for_with_every_field_that_a_WebUI_would_otherwise_choose()
    {
        var request = ForgeImageRequest.From(Settings(), firstSeed: 1_000, ordinal: 2, "gen-1", model => model + ".safetensors")!;

        Assert.Equal(
            """
            {"prompt":"a lagoon","negative_prompt":"people","width":1216,"height":832,"steps":30,"cfg_scale":6.5,"sampler_name":"DPM++ 2M","scheduler":"Karras","seed":44,
            "batch_size":1,"n_iter":1,"send_images":true,"save_images":false,"force_task_id":"gen-1","override_settings":{"sd_model_checkpoint":"sd_xl_base_1.0.safetensors"},
            "override_settings_restore_afterwards":false}
            """.ReplaceLineEndings(""),
            Encoding.UTF8.GetString(request.ToUtf8Json()).Replace("\\u002B", "+", StringComparison.Ordinal));
    }

    [Fact]
    public void What_is_not_set_is_left_out_or_has_a_seed_of_the_sessions_own()
    {
        var settings = Settings();
        foreach (var name in new[] { "seed", "negative_prompt", "scheduler" })
        {
            settings.Remove(name);
        }

        var request = JsonNode.Parse(ForgeImageRequest.From(settings, firstSeed: 1_000, ordinal: 3, "gen-1", _ => null)!.ToUtf8Json())!.AsObject();

        Assert.Equal(1_003, (int)request["seed"]!);
        Assert.Equal("", (string?)request["negative_prompt"]);
        Assert.False(request.ContainsKey("scheduler"));
        Assert.False(request.ContainsKey("override_settings"));
    }

    [Theory]
    [InlineData("prompt")]
    [InlineData("providerModel")]
    [InlineData("size")]
    [InlineData("steps")]
    [InlineData("cfg_scale")]
    [InlineData("sampler")]
    public void Without_what_it_needs_there_is_no_request(string name)
    {
        var settings = Settings();
        settings.Remove(name);

        Assert.Null(ForgeImageRequest.From(settings, 0, 0, "gen-1", model => model));
    }

    [Theory]
    [InlineData("""{"active":true,"queued":false,"completed":false,"progress":0.25,"eta":3.1,"live_preview":"","id_live_preview":4,"textinfo":null}""", true, false, 0.25, 4)]
    [InlineData("""{"active":false,"queued":true,"completed":false,"progress":null,"eta":null,"live_preview":null,"id_live_preview":-1,"textinfo":"In queue: 1/2"}""", false, true, null, -1)]
    [InlineData("""{"active":true,"queued":false,"paused":false,"completed":false,"progress":7}""", true, false, 1.0, -1)]
    [InlineData("""{"active":false}""", false, false, null, -1)]
    public void A_tasks_state_is_read_from_whatever_came(string json, bool active, bool queued, double? progress, int preview) =>
        Assert.Equal(new ForgeTaskState(active, queued, progress, preview), ForgeTaskState.Read(JsonElement.Parse(json)));

    [Theory]
    [InlineData("""{"detail":"Not Found"}""")]
    [InlineData("""{"active":"yes"}""")]
    public void Another_document_holds_no_state(string json) => Assert.Null(ForgeTaskState.Read(JsonElement.Parse(json)));

    private static JsonObject Settings() => new()
    {
        ["providerModel"] = "sd_xl_base_1.0",
        ["prompt"] = "a lagoon",
        ["negative_prompt"] = "people",
        ["size"] = "1216x832",
        ["steps"] = 30,
        ["cfg_scale"] = 6.5,
        ["sampler"] = "DPM++ 2M",
        ["scheduler"] = "Karras",
        ["seed"] = 42,
        ["n"] = 4,
    };
}
