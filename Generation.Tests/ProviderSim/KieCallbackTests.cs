using System.Net.Http.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Generation.ProviderSim.Kie;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.ProviderSim;

/// <summary>What Kie calls back, and all that can be wrong with it on demand.</summary>
public sealed class KieCallbackTests(KieTests.KieSim sim) : IClassFixture<KieTests.KieSim>
{
    private const string Key = "sim-kie-webhook-key";

    [Fact]
    public async Task The_end_of_a_task_is_called_back_signed_over_its_id_and_the_time()
    {
        await using var receiver = await Receiver.StartAsync();
        var id = await CreateAsync("called back", receiver);
        var callback = await receiver.NextAsync();

        Assert.Equal(200, (int?)callback.Body["code"]);
        Assert.Equal((id, "success"), ((string?)callback.Body["data"]!["taskId"], (string?)callback.Body["data"]!["state"]));
        Assert.Equal(KieCallbacks.Signature(Key, id, callback.Timestamp!), callback.Signature);
        var asked = await sim.Http.GetFromJsonAsync<JsonObject>($"/api/v1/jobs/recordInfo?taskId={id}");
        Assert.Equal(asked!["data"]!.AsObject().Select(field => field.Key), callback.Body["data"]!.AsObject().Select(field => field.Key));
    }

    [Fact]
    public async Task A_failure_is_called_back_with_code_501()
    {
        await using var receiver = await Receiver.StartAsync();
        await CreateAsync("fails [fault=image-500]", receiver);
        var callback = await receiver.NextAsync();
        Assert.Equal((501, "Playground task failed.", "fail"),
            ((int?)callback.Body["code"], (string?)callback.Body["msg"], (string?)callback.Body["data"]!["state"]));
    }

    [Theory]
    [InlineData("callback-unsigned", null)]
    [InlineData("callback-forged", false)]
    [InlineData("callback-stale", true)]
    [InlineData("callback-snake", true)]
    public async Task A_callback_is_wrong_on_demand(string fault, bool? isSignedWell)
    {
        await using var receiver = await Receiver.StartAsync();
        var id = await CreateAsync($"wrong [fault={fault}]", receiver);
        var callback = await receiver.NextAsync();

        Assert.Equal(isSignedWell, callback.Signature is null ? null : callback.Signature == KieCallbacks.Signature(Key, id, callback.Timestamp!));
        Assert.Equal(fault == "callback-snake" ? "task_id" : "taskId", callback.Body["data"]!.AsObject().First().Key);
        if (fault == "callback-stale") Assert.True(long.Parse(callback.Timestamp!) < sim.Time.GetUtcNow().AddMinutes(-50).ToUnixTimeSeconds());
    }

    [Fact]
    public async Task A_lie_comes_while_the_task_runs_and_three_copies_and_none_on_demand()
    {
        await using var receiver = await Receiver.StartAsync();
        var id = await CreateAsync("lied about [fault=callback-lying][latency=3600000]", receiver);
        var lie = await receiver.NextAsync();
        Assert.Equal((200, "success"), ((int?)lie.Body["code"], (string?)lie.Body["data"]!["state"]));
        Assert.Equal(KieCallbacks.Signature(Key, id, lie.Timestamp!), lie.Signature);
        Assert.Equal("generating", (string?)(await sim.Http.GetFromJsonAsync<JsonObject>($"/api/v1/jobs/recordInfo?taskId={id}"))!["data"]!["state"]);

        await CreateAsync("silent [fault=callback-none]", receiver);
        var thrice = await CreateAsync("thrice [fault=callback-duplicate]", receiver);
        for (var copy = 0; copy < 3; copy++) Assert.Equal(thrice, (string?)(await receiver.NextAsync()).Body["data"]!["taskId"]);
        Assert.Equal(0, receiver.Waiting);
    }

    [Fact]
    public async Task An_early_callback_comes_before_the_tasks_id_and_one_at_a_gate_waits()
    {
        await using var receiver = await Receiver.StartAsync();
        var id = await CreateAsync("early [fault=callback-early]", receiver);
        Assert.Equal(1, receiver.Waiting);
        Assert.Equal(id, (string?)(await receiver.NextAsync()).Body["data"]!["taskId"]);

        var held = await CreateAsync("held [callback-gate=hold]", receiver);
        var after = await CreateAsync("after", receiver);
        Assert.Equal(after, (string?)(await receiver.NextAsync()).Body["data"]!["taskId"]); // out of order
        (await sim.Http.PostAsync("/sim/gates/hold", null)).EnsureSuccessStatusCode();
        Assert.Equal(held, (string?)(await receiver.NextAsync()).Body["data"]!["taskId"]);
    }

    private async Task<string> CreateAsync(string prompt, Receiver receiver)
    {
        using var response = await sim.Http.PostAsJsonAsync(
            "/api/v1/jobs/createTask", new { model = "google/nano-banana", callBackUrl = receiver.Address, input = new { prompt } });
        return (string)(await response.Content.ReadFromJsonAsync<JsonObject>())!["data"]!["taskId"]!;
    }

    private sealed record Callback(JsonObject Body, string? Timestamp, string? Signature);

    /// <summary>An endpoint that takes callbacks.</summary>
    private sealed class Receiver : IAsyncDisposable
    {
        private readonly Channel<Callback> callbacks = Channel.CreateUnbounded<Callback>();
        private readonly WebApplication app;

        private Receiver()
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            app = builder.Build();
            app.Urls.Add("http://127.0.0.1:0");
            app.MapPost("/callback", async (HttpRequest request) =>
            {
                var body = await request.ReadFromJsonAsync<JsonObject>();
                await callbacks.Writer.WriteAsync(new Callback(
                    body!, request.Headers["X-Webhook-Timestamp"], request.Headers["X-Webhook-Signature"]));
            });
        }

        public string Address => $"{app.Urls.First()}/callback";

        public int Waiting => callbacks.Reader.Count;

        public static async Task<Receiver> StartAsync()
        {
            var receiver = new Receiver();
            await receiver.app.StartAsync();
            return receiver;
        }

        public Task<Callback> NextAsync() => callbacks.Reader.ReadAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(
            TimeSpan.FromSeconds(30));

        public async ValueTask DisposeAsync() => await app.DisposeAsync();
    }
}
