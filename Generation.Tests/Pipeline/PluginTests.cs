using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Core.Media;
using Generation.Tests.Harness;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Pipeline;

/// <summary>A tool of another assembly: one handler and one model, and nothing else knows of it.</summary>
public sealed class PluginTests
{
    private static readonly Model Echo = new()
    {
        Id = "test-echo",
        Tool = "test-echo",
        JobType = "gen.test-echo",
        Provider = "nobody",
        ProviderModel = "echo-1",
        Kind = "image",
        Lane = "image",
        Parameters = [new TextParameter("prompt", "Anything.", 1, 100) { Required = true },
            new ImageParameter("picture", "What comes back.") { Required = true }],
    };

    [Fact]
    public async Task A_handler_and_a_model_of_another_assembly_are_a_tool_and_get_the_address_of_an_upload()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.IsPublic = true;
            o.Worker = services => services.AddHandlers(typeof(EchoTool).Assembly);
            o.Api = services => services.AddSingleton(new ModelRegistry([.. ModelRegistry.BuiltIn, Echo]));
        });
        await system.ExecuteAsync("INSERT INTO model_pricing (model, credits) VALUES ('test-echo', 7)");
        var picture = MockSamples.Choose(1);
        var upload = await UploadAsync(system, picture);

        var session = await system.SubmitAsync("test-echo", new { prompt = "the same again", picture = upload });
        var end = await system.EndOfAsync(session);
        Assert.Equal(("completed", 7), ((string?)end["status"], (int)end["receipt"]!["captured"]!));
        Assert.Equal(Convert.ToHexStringLower(picture.AsStored().Sha256), (string?)end["media"]![0]!["sha256"]);
        Assert.Equal(upload, (string?)end["params"]!["picture"]); // what the user sent, not what the handler got
        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
    }

    [Fact]
    public async Task An_upload_that_went_before_its_job_ran_fails_the_session_and_costs_nothing()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.IsPublic = true;
            o.Workers = 0;
            o.Worker = services => services.AddHandlers(typeof(EchoTool).Assembly);
            o.Api = services => services.AddSingleton(new ModelRegistry([.. ModelRegistry.BuiltIn, Echo]));
        });
        await system.ExecuteAsync("INSERT INTO model_pricing (model, credits) VALUES ('test-echo', 7)");
        var session = await system.SubmitAsync("test-echo", new { prompt = "too late", picture = await UploadAsync(system, MockSamples.Choose(1)) });
        await system.ExecuteAsync("DELETE FROM uploads");
        await system.AddWorkerAsync();
        var end = await system.EndOfAsync(session);
        Assert.Equal(("failed", "invalid_request", 7), ((string?)end["status"], (string?)end["error"]!["code"], (int)end["receipt"]!["released"]!));
        await system.AssertBooksAreCleanAsync();
    }

    private static async Task<string> UploadAsync(TestSystem system, MockSample picture)
    {
        await using var body = picture.Open();
        using var file = new StreamContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("image/jpeg") } };
        using var form = new MultipartFormDataContent { { file, "file", "reference.jpg" } };
        using var answer = await system.Http.PostAsync("/api/uploads", form);
        return JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["reference"]!.GetValue<string>();
    }
}

/// <summary>Found by scanning this assembly: gives back the picture that it was given.</summary>
public sealed class EchoTool : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.test-echo"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        using var http = new HttpClient();
        await using var picture = await http.GetStreamAsync(new Uri(job.Settings["picture"]!.GetValue<string>()), ct);
        return await job.Outputs.DeliverAsync(0, new MediaSource.Direct(picture), usage: null, ct) is { } failure
            ? new StepOutcome.Failed(failure, [new FailedOutput(0, failure)])
            : new StepOutcome.Completed(null, []);
    }
}
