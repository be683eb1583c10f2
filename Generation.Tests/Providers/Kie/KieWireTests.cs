using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Core.Providers;
using Generation.Tests.Providers.Ark;
using Generation.Worker.Calls;
using Generation.Worker.Providers.Kie;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Kie;

/// <summary>What goes over the wire to Kie and what comes back.</summary>
public sealed class KieWireTests
{
    private const string Created = """{"code":200,"msg":"success","data":{"taskId":"281e5b0f39b9"}}""";

    [Theory]
    [InlineData(
        """{"providerModel":"google/nano-banana","prompt":"a boat, 船 <&>","ratio":"16:9","output_format":"png","n":2}""",
        """{"model":"google/nano-banana","input":{"prompt":"a boat, 船 <&>","image_size":"16:9","output_format":"png"}}""")]
    [InlineData(
        """{"providerModel":"google/nano-banana","prompt":"bluer","ratio":"1:1","output_format":"jpeg","reference_images":["https://a.example/1.png","https://a.example/2.png"]}""",
        """{"model":"google/nano-banana-edit","input":{"prompt":"bluer","image_size":"1:1","output_format":"jpeg","image_urls":["https://a.example/1.png","https://a.example/2.png"]}}""")]
    [InlineData(
        """{"providerModel":"flux-2/pro-text-to-image","prompt":"a boat","ratio":"4:3","resolution":"2K"}""",
        """{"model":"flux-2/pro-text-to-image","input":{"prompt":"a boat","aspect_ratio":"4:3","resolution":"2K"}}""")]
    [InlineData(
        """{"providerModel":"kling-2.6/text-to-video","prompt":"a boat","duration":10,"ratio":"9:16","generate_audio":true}""",
        """{"model":"kling-2.6/text-to-video","input":{"prompt":"a boat","sound":true,"duration":"10","aspect_ratio":"9:16"}}""")]
    [InlineData(
        """{"providerModel":"kling-2.6/text-to-video","prompt":"a boat","duration":5,"ratio":"9:16","generate_audio":false,"first_frame":"https://a.example/1.png"}""",
        """{"model":"kling-2.6/image-to-video","input":{"prompt":"a boat","sound":false,"duration":"5","image_urls":["https://a.example/1.png"]}}""")]
    [InlineData(
        """{"providerModel":"wan/2-6-text-to-video","prompt":"a boat","duration":15,"resolution":"1080p"}""",
        """{"model":"wan/2-6-text-to-video","input":{"prompt":"a boat","duration":"15","resolution":"1080p"}}""")]
    [InlineData(
        """{"providerModel":"elevenlabs/sound-effect-v2","prompt":"rain","duration":2.5,"loop":true,"prompt_influence":0.3}""",
        """{"model":"elevenlabs/sound-effect-v2","input":{"text":"rain","loop":true,"duration_seconds":2.5,"prompt_influence":0.3,"output_format":"mp3_44100_128"}}""")]
    [InlineData(
        """{"providerModel":"elevenlabs/text-to-speech-multilingual-v2","prompt":"Guten Tag","voice":"Rachel","stability":0.5,"similarity_boost":0.75,"style":0,"speed":1.1}""",
        """{"model":"elevenlabs/text-to-speech-multilingual-v2","input":{"text":"Guten Tag","voice":"Rachel","stability":0.5,"similarity_boost":0.75,"style":0,"speed":1.1}}""")]
    public async Task A_request_has_the_fields_of_its_model_and_no_others(string settings, string body)
    {
        await using var server = await LocalArk.StartAsync(200, Created);
        using var kie = NewKie(server.Address);

        var reply = await kie.CreateAsync(KieRequest.From(JsonNode.Parse(settings)!.AsObject())!, null, "0199-0-1", CancellationToken.None);

        var call = Assert.Single(server.Calls);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(body), call.Body), call.Body.ToJsonString());
        Assert.Equal("POST /api/v1/jobs/createTask", call.Route);
        Assert.Equal("Bearer test-key", call.Headers["Authorization"]);
        Assert.NotEmpty(call.Headers["User-Agent"]); // without one Kie's gateway answers 403
        Assert.Equal(("281e5b0f39b9", null), (reply.TaskId, reply.Failure));
    }

    [Fact]
    public async Task The_callback_address_goes_along_and_a_model_is_exchanged_for_the_configured_one()
    {
        await using var server = await LocalArk.StartAsync(200, Created);
        using var kie = NewKie(server.Address, options => options.Models["google/nano-banana"] = "google/nano-banana-2");
        var request = KieRequest.From(new JsonObject { ["providerModel"] = "google/nano-banana", ["prompt"] = "x" })!;

        await kie.CreateAsync(request, new Uri("https://generation.example.com/api/webhooks/kie/t0ken"), "0199-0-1", CancellationToken.None);

        var body = Assert.Single(server.Calls).Body;
        Assert.Equal(("google/nano-banana-2", "https://generation.example.com/api/webhooks/kie/t0ken"),
            ((string?)body["model"], (string?)body["callBackUrl"]));
    }

    [Fact]
    public void Every_model_of_Kies_that_is_sold_has_a_request_by_its_defaults()
    {
        Assert.NotEmpty(KieModels.All);
        foreach (var model in KieModels.All)
        {
            var settings = new JsonObject(model.Parameters.Where(p => p.Default is not null).Select(
                p => KeyValuePair.Create(p.Name, p.Default?.DeepClone())))
            {
                ["providerModel"] = model.ProviderModel,
                ["prompt"] = "abc",
                ["text"] = "abc",
            };
            Assert.True(KieRequest.From(settings)?.Model == model.ProviderModel, model.Id);
        }

        Assert.Null(KieRequest.From(new JsonObject { ["providerModel"] = "sora2/text-to-video", ["prompt"] = "x" }));
    }

    [Theory]
    [InlineData(200, """{"code":401,"msg":"You do not have access permissions"}""", FailureKind.Unauthorized, "401")]
    [InlineData(401, """{"code":401,"message":"You do not have access permissions"}""", FailureKind.Unauthorized, "401")]
    [InlineData(500, """{"code":429,"msg":"too fast"}""", FailureKind.RateLimited, "429")] // the body's code counts
    [InlineData(200, """{"code":500,"msg":"Server Error","data":null}""", FailureKind.OutcomeUnknown, "500")] // the task may be there
    [InlineData(500, """{"code":500,"msg":"Server Error","data":null}""", FailureKind.OutcomeUnknown, "500")]
    [InlineData(200, """{"code":200,"msg":"success","data":{}}""", FailureKind.OutcomeUnknown, "kie.no_task_id")]
    [InlineData(200, """{"code":200,"msg":"success","data":null}""", FailureKind.OutcomeUnknown, "kie.no_task_id")]
    [InlineData(200, """{"code":200,"msg":"success","data":{"taskId":[7]}}""", FailureKind.OutcomeUnknown, "kie.no_task_id")]
    [InlineData(200, """{"code":200,"msg":"succ""", FailureKind.OutcomeUnknown, "kie.malformed_reply")]
    [InlineData(200, """[]""", FailureKind.OutcomeUnknown, "kie.malformed_reply")]
    [InlineData(200, "", FailureKind.OutcomeUnknown, "kie.malformed_reply")]
    [InlineData(502, """{"code":200,"msg":"success","data":{"taskId":"t"}}""", FailureKind.OutcomeUnknown, "http.502")]
    [InlineData(502, "<html>", FailureKind.OutcomeUnknown, "http.502")]
    [InlineData(403, "error code: 1010", FailureKind.Unauthorized, "http.403")]
    public async Task An_answer_to_a_creation_is_read_by_the_code_in_its_body(int status, string body, FailureKind kind, string code)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var kie = NewKie(server.Address);

        var reply = await kie.CreateAsync(new KieRequest("m", []), null, "0199-0-1", CancellationToken.None);

        Assert.Equal((kind, code), (reply.Failure?.Kind, reply.Failure?.ProviderCode));
        Assert.Single(server.Calls);
    }

    [Theory]
    [InlineData("""{"state":"waiting"}""", 15)]
    [InlineData("""{"state":"queuing","progress":0}""", 15)]
    [InlineData("""{"state":"generating"}""", 40)]
    [InlineData("""{"state":"generating","progress":60}""", 59)]
    [InlineData("""{"state":"generating","progress":4000}""", 85)]
    public async Task A_task_that_runs_tells_its_progress_where_it_has_one(string data, int percent) =>
        Assert.Equal(percent, Assert.IsType<TaskReport.Running>(await AskAsync(200, $$"""{"code":200,"msg":"success","data":{{data}}}""")).Percent);

    [Theory]
    [InlineData("""{"state":"success","resultJson":"{\"resultUrls\":[\"https://tempfile.aiquickdraw.com/a.png\",\"https://b\"]}","creditsConsumed":6.5,"failCode":"","costTime":8}""", "{\"creditsConsumed\":6.5}")]
    [InlineData("""{"state":"success","resultJson":{"resultUrls":["https://tempfile.aiquickdraw.com/a.png"]},"failCode":null,"costTime":8000}""",
        null)]
    public async Task A_task_that_is_done_says_where_and_what_it_cost(string data, string? usage)
    {
        var done = Assert.IsType<TaskReport.Delivered>(await AskAsync(200, $$"""{"code":200,"message":"success","data":{{data}}}"""));
        Assert.Equal(("https://tempfile.aiquickdraw.com/a.png", usage), (done.Url.AbsoluteUri, done.Usage?.ToJsonString()));
    }

    [Theory]
    // The question failed.
    [InlineData(200, """{"code":429,"msg":"too fast"}""", "PollFailed", FailureKind.RateLimited, "429")]
    [InlineData(200, """{"code":500,"msg":"m"}""", "PollFailed", FailureKind.Unavailable, "500")]
    [InlineData(200, """{"code":401,"msg":"m"}""", "PollFailed", FailureKind.Unauthorized, "401")]
    [InlineData(200, """{"code":200,"msg":"success","data":null}""", "PollFailed", FailureKind.Unavailable, "kie.no_data")]
    [InlineData(200, """{"code":200,"data":{"state":"paused"}}""", "PollFailed", FailureKind.Unavailable, "kie.unknown_state")]
    [InlineData(200, """{"code":200,"data":{"state":"Canceled","creditsConsumed":0}}""", "Ended", FailureKind.Unavailable, "kie.task_dropped")]
    [InlineData(200, """{"code":200,"da""", "PollFailed", FailureKind.Unavailable, "kie.malformed_reply")]
    [InlineData(502, "<html>", "PollFailed", FailureKind.Unavailable, "http.502")]
    [InlineData(404, "<html>", "PollFailed", FailureKind.Unauthorized, "http.404")]
    // It is over.
    [InlineData(200, """{"code":404,"msg":"task not found"}""", "Ended", FailureKind.OutcomeUnknown, "404")]
    [InlineData(200, """{"code":200,"data":{"state":"fail","failCode":"422","failMsg":"Invalid prompt: prompt contains prohibited content"}}""",
        "Ended", FailureKind.ModerationInput, "422")]
    // a callback's shape, which recordInfo has not
    [InlineData(200, """{"code":501,"data":{"state":"fail","failCode":500,"failMsg":"Internal Error","creditsConsumed":0}}""", "PollFailed",
        FailureKind.Unavailable, "501")]
    [InlineData(200, """{"code":200,"data":{"state":"fail","failCode":500,"failMsg":"Internal Error","creditsConsumed":0}}""", "Ended",
        FailureKind.Unavailable, "500")]
    [InlineData(200, """{"code":200,"data":{"state":"success","resultJson":"{\"resultUrls\":[]}"}}""", "OutputMissing", FailureKind.OutputUnusable,
        "kie.no_result")]
    [InlineData(200, """{"code":200,"data":{"state":"success","resultJson":"{\"resultUrls\":[\"file:///etc/passwd\"]}"}}""", "OutputMissing",
        FailureKind.OutputUnusable, "kie.no_result")]
    [InlineData(200, """{"code":200,"data":{"state":"success","resultJson":"{\"resultUrls\":[7]}"}}""", "OutputMissing", FailureKind.OutputUnusable,
        "kie.no_result")]
    [InlineData(200, """{"code":200,"data":{"state":"success","resultJson":"{\"resul"}}""", "OutputMissing", FailureKind.OutputUnusable, "kie.no_result")]
    [InlineData(200, """{"code":200,"data":{"state":"success"}}""", "OutputMissing", FailureKind.OutputUnusable, "kie.no_result")]
    public async Task A_question_about_a_task_tells_its_own_failure_from_the_tasks(
        int status, string body, string report, FailureKind kind, string code)
    {
        var answer = await AskAsync(status, body);

        Assert.Equal(report, answer.GetType().Name);
        var failure = (answer as TaskReport.Ended)?.Failure ?? (answer as TaskReport.PollFailed)?.Failure
            ?? (answer as TaskReport.OutputMissing)?.Failure;
        Assert.Equal((kind, code), (failure!.Kind, failure.ProviderCode));
    }

    [Fact]
    public async Task A_task_is_asked_for_by_its_escaped_id_and_nothing_is_sent_without_a_key()
    {
        await using var server = await LocalArk.StartAsync(200, """{"code":200,"data":{"state":"waiting"}}""");
        using var kie = NewKie(server.Address);
        await kie.RetrieveAsync("task 1&x=2", CancellationToken.None);
        Assert.Equal("GET /api/v1/jobs/recordInfo", Assert.Single(server.Calls).Route);

        using var keyless = NewKie(server.Address, options => options.ApiKey = "");
        var reply = await keyless.CreateAsync(new KieRequest("m", []), null, "0199-0-1", CancellationToken.None);
        Assert.Equal((FailureKind.Unauthorized, "kie.no_api_key"), (reply.Failure!.Kind, reply.Failure.ProviderCode));
        Assert.Single(server.Calls);
    }

    private static async Task<TaskReport> AskAsync(int status, string body)
    {
        await using var server = await LocalArk.StartAsync(status, body);
        using var kie = NewKie(server.Address);
        return await kie.RetrieveAsync("t", CancellationToken.None);
    }

    private static KieJobs NewKie(string address, Action<KieOptions>? configure = null)
    {
        var options = new KieOptions { BaseUrl = address, ApiKey = "test-key" };
        configure?.Invoke(options);
        return new KieJobs(Options.Create(options), TimeProvider.System, NullLogger<KieJobs>.Instance);
    }
}
