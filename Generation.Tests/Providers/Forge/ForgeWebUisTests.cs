using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Providers;
using Generation.Tests.Providers.Ark;
using Generation.Tests.ProviderSim;
using Generation.Worker.Providers.Forge;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.Forge;

/// <summary>The client against a server that says what the test wants, and against the simulator in both of its dialects.</summary>
public sealed class ForgeWebUisTests
{
    private static readonly ForgeImageRequest Request = new()
    {
        Prompt = "p",
        Width = 64,
        Height = 64,
        Steps = 4,
        CfgScale = 7,
        SamplerName = "Euler",
        Seed = 1,
        ForceTaskId = "mine"
    };

    [Fact]
    public async Task A_picture_is_taken_out_of_the_answer_and_the_call_says_who_we_are()
    {
        await using var server = await LocalArk.StartAsync(200, """{"images":["AQID"],"parameters":{"prompt":"p"},"info":"{\"seed\":1}"}""");
        using var webUis = Open(server.Address, o => o.ApiAuth = "forge:word");
        byte[]? picture = null;
        var reply = await webUis.GenerateAsync(server.Address, Request, "m", async (bytes, ct) => (await Keep(bytes, b => picture = b, ct), null),
            CancellationToken.None);

        Assert.Null(reply.Failure);
        Assert.Equal(1, (int)reply.Usage!["pictures"]!);
        Assert.Equal([1, 2, 3], picture);
        var call = Assert.Single(server.Calls);
        Assert.Equal("POST /sdapi/v1/txt2img", call.Route);
        Assert.Equal("Basic " + Convert.ToBase64String("forge:word"u8), call.Headers["Authorization"]);
        Assert.Equal(JsonNode.Parse(Request.ToUtf8Json())!.ToJsonString(), call.Body.ToJsonString());
    }

    [Fact]
    public async Task Without_api_auth_no_credential_is_sent()
    {
        await using var server = await LocalArk.StartAsync(200, """{"images":[],"parameters":{},"info":""}""");
        using var webUis = Open(server.Address);
        var reply = await webUis.GenerateAsync(server.Address, Request, "m", Nothing, CancellationToken.None);

        Assert.Equal((FailureKind.Unavailable, "forge.empty_reply"), (reply.Failure!.Kind, reply.Failure.ProviderCode));
        Assert.DoesNotContain("Authorization", Assert.Single(server.Calls).Headers.Keys);
    }

    [Theory]
    [InlineData("""{"images":["AQID"],"info":""", true, null)] // the picture came whole
    [InlineData("""{"images":["AQI""", false, "forge.")]
    [InlineData("""{"images":null}""", false, "forge.empty_reply")]
    [InlineData("""{"images":[7]}""", false, "forge.empty_reply")]
    [InlineData("""["images"]""", false, "forge.malformed_reply")]
    [InlineData("""<html></html>""", false, "forge.malformed_reply")]
    public async Task An_answer_is_as_good_as_its_picture(string body, bool isStored, string? code)
    {
        await using var server = await LocalArk.StartAsync(200, body);
        using var webUis = Open(server.Address);
        var reply = await webUis.GenerateAsync(server.Address, Request, "m", async (bytes, ct) => (await Keep(bytes, _ => { }, ct), null),
            CancellationToken.None);

        Assert.Equal(isStored, reply.Media is not null);
        Assert.StartsWith(code ?? "", reply.Failure?.ProviderCode ?? "", StringComparison.Ordinal);
        Assert.Equal(isStored ? null : FailureKind.Unavailable, reply.Failure?.Kind);
    }

    [Fact]
    public async Task What_is_not_wanted_is_not_read_to_its_end()
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            await context.Response.WriteAsync($$"""{"images":["{{string.Concat(Enumerable.Repeat("AQID", 200))}}""");
            await context.Response.Body.FlushAsync();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        });
        using var webUis = Open(server.Address);
        var reply = await webUis.GenerateAsync(
            server.Address, Request, "m", (_, _) => Task.FromResult<(StoredMedia?, Failure?)>(
                (null, new Failure(FailureKind.OutputUnusable, "media.TooLarge", "d"))), CancellationToken.None)
            .WaitAsync(LocalArk.MaxWait);

        Assert.Equal("media.TooLarge", reply.Failure!.ProviderCode);
    }

    [Fact]
    public async Task A_missing_response_is_never_of_unknown_outcome()
    {
        await using var server = await LocalArk.StartAsync(context =>
        {
            context.Abort();
            return Task.CompletedTask;
        });
        using var webUis = Open(server.Address, also: "http://127.0.0.1:1");
        foreach (var (endpoint, code) in new[] { (server.Address, "forge.no_answer"), ("http://127.0.0.1:1", "forge.not_reached") })
        {
            var reply = await webUis.GenerateAsync(endpoint, Request, "m", Nothing, CancellationToken.None);
            Assert.Equal((FailureKind.Unavailable, code), (reply.Failure!.Kind, reply.Failure.ProviderCode));
        }
    }

    [Fact]
    public async Task A_task_is_asked_for_by_name_and_its_preview_is_read_when_it_is_wanted()
    {
        await using var server = await LocalArk.StartAsync(200,
            """{"active":true,"queued":false,"completed":false,"progress":0.5,"eta":1.0,"live_preview":"data:image/png;base64,AQID","id_live_preview":3,"textinfo":null}""");
        using var webUis = Open(server.Address);
        byte[]? preview = null;
        var state = await webUis.GetProgressAsync(server.Address, "mine", 2, async picture => await Keep(
            picture, b => preview = b, CancellationToken.None), CancellationToken.None);
        await webUis.GetProgressAsync(server.Address, "mine", -1, null, CancellationToken.None);

        Assert.Equal(new ForgeTaskState(true, false, 0.5, 3), state);
        Assert.Equal([1, 2, 3], preview);
        Assert.Equal(
            ["""POST /internal/progress {"id_task":"mine","id_live_preview":2,"live_preview":true}""",
                """POST /internal/progress {"id_task":"mine","id_live_preview":-1,"live_preview":false}"""],
            server.Calls.Select(call => $"{call.Route} {call.Body.ToJsonString()}"));
    }

    [Theory]
    [InlineData("""{"progress":0.51,"state":{"job_count":1},"current_image":"AQID","current_task":"mine"}""", true, true)]
    [InlineData("""{"progress":0.51,"state":{"job_count":1},"current_image":"AQID","current_task":"theirs"}""", false, false)]
    [InlineData("""{"progress":0.51,"state":{"job_count":1},"current_image":"AQID","current_task":null}""", false, false)]
    [InlineData("""{"progress":0.51,"state":{"job_count":1},"current_image":"AQID"}""", null, false)]
    public async Task Without_a_user_interface_the_global_progress_counts_when_it_says_whose_it_is(string global, bool? isActive, bool isInterrupted)
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            context.Response.StatusCode = context.Request.Path == "/internal/progress" ? 404 : 200;
            context.Response.ContentType = "application/json";
            await context.Response.WriteAsync(context.Request.Path == "/internal/progress" ? """{"detail":"Not Found"}"""
                : context.Request.Path == "/sdapi/v1/progress" ? global : "{}");
        });
        using var webUis = Open(server.Address);

        Assert.Equal(isActive, (await webUis.GetProgressAsync(server.Address, "mine", -1, null, CancellationToken.None))?.IsActive);
        Assert.Equal(isInterrupted, await webUis.InterruptAsync(server.Address, "mine", CancellationToken.None));
        Assert.Equal(isInterrupted, server.Calls.Any(call => call.Route == "POST /sdapi/v1/interrupt"));
    }

    [Theory]
    [InlineData("""{"active":false,"queued":true,"completed":false}""")]
    [InlineData("""{"active":false,"queued":false,"completed":true}""")]
    [InlineData("""{"detail":"anything"}""")]
    [InlineData("""<html></html>""")]
    public async Task What_is_not_certainly_ours_is_not_interrupted(string state)
    {
        await using var server = await LocalArk.StartAsync(200, state);
        using var webUis = Open(server.Address);

        Assert.False(await webUis.InterruptAsync(server.Address, "mine", CancellationToken.None));
        Assert.DoesNotContain(server.Calls, call => call.Route.EndsWith("interrupt", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("false")]
    [InlineData("true")]
    public async Task The_simulators_pictures_and_errors_are_read_in_both_dialects(string isBare)
    {
        await using var sim = new DialectSim(isBare);
        await sim.InitializeAsync();
        var address = sim.Http.BaseAddress!.ToString().TrimEnd('/');
        using var webUis = Open(address, o => o.ApiAuth = "forge:word");
        using var stranger = Open(address);
        byte[]? picture = null;
        await webUis.GenerateAsync(address, Request, "m", async (bytes, ct) => (await Keep(bytes, b => picture = b, ct), null),
            CancellationToken.None);
        Assert.Equal(MediaType.Png, MediaType.Sniff(picture!));

        async Task<(FailureKind, string)> FailureOf(ForgeWebUis from, ForgeImageRequest request) =>
            (await from.GenerateAsync(address, request, "m", Nothing, CancellationToken.None)).Failure is { } failure
                ? (failure.Kind, failure.ProviderCode) : default;

        Assert.Equal((FailureKind.InvalidRequest, "forge.sampler_not_found"), await FailureOf(webUis, Request with { SamplerName = "magic" }));
        Assert.Equal((FailureKind.Unauthorized, "forge.unauthorized"), await FailureOf(stranger, Request));
        Assert.Equal(
            isBare == "true" ? (FailureKind.Unavailable, "forge.exception") : (FailureKind.RateLimited, "forge.out_of_memory"),
            await FailureOf(webUis, Request with { Prompt = "[fault=overload]" }));
        Assert.Equal(
            isBare == "true" ? (FailureKind.Unavailable, "forge.exception") : (FailureKind.Unauthorized, "forge.model_not_found"),
            await FailureOf(webUis, Request with { OverrideSettings = new() { ["sd_model_checkpoint"] = "gone" } }));
    }

    private static Task<(StoredMedia?, Failure?)> Nothing(Stream picture, CancellationToken ct) =>
        throw new InvalidOperationException("There is no picture.");

    private static async Task<StoredMedia> Keep(Stream bytes, Action<byte[]> keep, CancellationToken ct)
    {
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all, ct);
        keep(all.ToArray());
        return MockSamples.Choose(0).AsStored();
    }

    private static ForgeWebUis Open(string endpoint, Action<ForgeOptions>? configure = null, string? also = null)
    {
        var options = new ForgeOptions { Endpoints = also is null ? [endpoint] : [endpoint, also] };
        configure?.Invoke(options);
        return new ForgeWebUis(Options.Create(options), TimeProvider.System, NullLogger<ForgeWebUis>.Instance);
    }

    private sealed class DialectSim(string isBare) : SimApp
    {
        protected override IReadOnlyDictionary<string, string> Settings =>
            new Dictionary<string, string> { ["Sim:ForgeBareErrors"] = isBare, ["Sim:ForgeUsers:0"] = "forge:word" };
    }
}
