using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Core.Media;
using Generation.Tests.Harness;

namespace Generation.Tests.Jobs;

/// <summary>The tool of <c>EchoTool.cs</c>: one file of another assembly, and nothing else knows of it.</summary>
[Trait("tier", "slow")]
public sealed class PluginTests
{
    /// <summary>As processes: an Api and a relay have no worker beside them, and read the models all the same.</summary>
    [Fact]
    [Trait("tier", "process")]
    public async Task One_file_of_another_assembly_is_a_tool_with_its_models_and_prices_and_gets_the_address_of_an_upload()
    {
        await using var system = await StartAsync(o => o.AsProcesses = true);
        var picture = MockSamples.Choose(1);
        var upload = await UploadAsync(system, picture);

        var session = await system.SubmitAsync("test-echo", new { prompt = "the same again", picture = upload });
        var end = await system.EndOfAsync(session);
        Assert.Equal(("completed", EchoModels.Price), ((string?)end["status"], (int)end["receipt"]!["captured"]!));
        Assert.Equal(Convert.ToHexStringLower(picture.AsStored().Sha256), (string?)end["media"]![0]!["sha256"]);
        Assert.Equal(upload, (string?)end["params"]!["picture"]); // what the user sent, not what the handler got
        Assert.Contains("test-echo", await system.Http.GetStringAsync(new Uri("/api/models", UriKind.Relative)), StringComparison.Ordinal);
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task A_default_price_is_written_once_and_never_over_an_operators()
    {
        await using var system = await StartAsync(o => o.Workers = 0);
        const string Prices = "SELECT string_agg(credits::text, ', ') FROM model_pricing WHERE model = 'test-echo' AND retired_at IS NULL";
        Assert.Equal($"{EchoModels.Price}", await system.ScalarAsync<string>(Prices));
        await system.ExecuteAsync("UPDATE model_pricing SET retired_at = now() WHERE model = 'test-echo'");
        await system.AddRelayAsync();
        Assert.Null(await system.ScalarAsync<string>(Prices)); // not to be sold any more
        await system.ExecuteAsync("INSERT INTO model_pricing (model, credits) VALUES ('test-echo', 9)");
        await system.AddRelayAsync();
        Assert.Equal("9", await system.ScalarAsync<string>(Prices));
        Assert.Equal(4, await system.ScalarAsync<int>("SELECT credits::int FROM model_pricing WHERE model = 'seedream-4' AND retired_at IS NULL"));
    }

    [Fact]
    public async Task A_tool_assembly_that_is_not_there_stops_the_start_and_names_the_setting()
    {
        var error = await Assert.ThrowsAnyAsync<Exception>(() => TestSystem.StartAsync(o =>
        {
            (o.Relays, o.Workers) = (0, 0);
            o.Settings[ToolAssemblies.Setting] = "not-there.dll";
        }));
        Assert.Contains("Tools:Assemblies names not-there.dll, which cannot be loaded", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_upload_that_went_before_its_job_ran_fails_the_session_and_costs_nothing()
    {
        await using var system = await StartAsync(o => o.Workers = 0);
        var session = await system.SubmitAsync("test-echo", new { prompt = "too late", picture = await UploadAsync(system, MockSamples.Choose(1)) });
        await system.ExecuteAsync("DELETE FROM uploads");
        await system.AddWorkerAsync();
        var end = await system.EndOfAsync(session);
        Assert.Equal(("failed", "invalid_request", EchoModels.Price),
            ((string?)end["status"], (string?)end["error"]!["code"], (int)end["receipt"]!["released"]!));
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>With the tools of this assembly. In Development a relay does the migration step as it starts.</summary>
    private static Task<TestSystem> StartAsync(Action<TestSystemOptions> configure) => TestSystem.StartAsync(options =>
    {
        options.IsPublic = true;
        options.Settings["environment"] = "Development";
        options.Settings[ToolAssemblies.Setting] = typeof(EchoTool).Assembly.Location;
        configure(options);
    });

    private static async Task<string> UploadAsync(TestSystem system, MockSample picture)
    {
        await using var body = picture.Open();
        using var file = new StreamContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("image/jpeg") } };
        using var form = new MultipartFormDataContent { { file, "file", "reference.jpg" } };
        using var answer = await system.Http.PostAsync("/api/uploads", form);
        return JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["reference"]!.GetValue<string>();
    }
}
