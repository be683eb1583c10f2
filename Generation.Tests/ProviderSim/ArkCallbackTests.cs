using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Generation.Core.Media;
using Generation.Tests.Providers.Ark;
using Microsoft.AspNetCore.Http;

namespace Generation.Tests.ProviderSim;

/// <summary>Ark's callbacks, the last frame of a video, and a stream of pictures that breaks off.</summary>
public sealed class ArkCallbackTests(ArkVideosTests.VideoSim sim) : IClassFixture<ArkVideosTests.VideoSim>
{
    private const string Model = "dreamina-seedance-2-0-260128";
    private const string Route = "/api/v3/contents/generations/tasks";

    [Fact]
    public async Task Each_state_is_called_back_in_order_with_what_a_question_would_be_answered()
    {
        await using var receiver = await Receiver.StartAsync();
        var id = await CreateAsync("told step by step [latency=300]", receiver);

        var told = await receiver.TakeAsync(3);

        Assert.Equal(["queued", "running", "succeeded"], told.Select(t => (string?)t["status"]));
        Assert.All(told, task => Assert.Equal(id, (string?)task["id"]));
        Assert.False(told[1].ContainsKey("content"));
        var asked = (await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}/{id}"))!;
        Assert.Equal(asked.Select(f => f.Key), told[2].Select(f => f.Key));
        Assert.Equal(asked["usage"]!.ToJsonString(), told[2]["usage"]!.ToJsonString());
    }

    [Fact]
    public async Task A_terminal_callback_that_is_not_taken_comes_three_times_more_and_another_does_not()
    {
        await using var receiver = await Receiver.StartAsync(HttpStatusCode.InternalServerError);
        await CreateAsync("nobody listens [fault=moderation-output]", receiver);

        Assert.Equal(["queued", "running", "failed", "failed", "failed", "failed"], (await receiver.TakeAsync(6)).Select(t => (string?)t["status"]));
    }

    [Theory]
    [InlineData("callback-duplicate", "queued queued queued running running running succeeded succeeded succeeded")]
    [InlineData("callback-disordered", "succeeded running queued")]
    public async Task Callbacks_go_wrong_as_the_prompt_says(string fault, string states)
    {
        await using var receiver = await Receiver.StartAsync();
        await CreateAsync($"told wrongly [fault={fault}]", receiver);

        Assert.Equal(states, string.Join(' ', (await receiver.TakeAsync(states.Split(' ').Length)).Select(t => (string?)t["status"])));
    }

    [Fact]
    public async Task A_task_that_is_not_to_be_called_back_is_not_and_its_end_waits_for_nobody()
    {
        await using var receiver = await Receiver.StartAsync();
        var silent = await CreateAsync("never told [fault=callback-none]", receiver);
        var late = await CreateAsync("told in the end [callback-delay=200]", receiver);

        Assert.Equal("succeeded", (string?)(await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}/{late}"))!["status"]); // before its callback
        Assert.All(await receiver.TakeAsync(3), task => Assert.Equal(late, (string?)task["id"]));
        Assert.Equal("succeeded", (string?)(await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}/{silent}"))!["status"]);
    }

    [Theory]
    [InlineData("\"not a url\"")]
    [InlineData("\"ftp://a.example/\"")]
    [InlineData("7")]
    public async Task Where_to_call_back_must_be_an_address(string url)
    {
        using var response = await sim.Http.PostAsJsonAsync(
            Route, JsonNode.Parse($$"""{"model":"{{Model}}","content":[{"type":"text","text":"p"}],"callback_url":{{url}}}"""));
        Assert.Equal((HttpStatusCode.BadRequest, "InvalidParameter.callback_url"), (response.StatusCode, await SimApp.CodeAsync(response)));
    }

    [Fact]
    public async Task The_last_frame_is_a_PNG_of_the_videos_size_and_another_picture_for_another_length()
    {
        var (four, five) = (await FrameAsync(4), await FrameAsync(5));

        Assert.Equal(MediaType.Png, MediaType.Sniff(four));
        var header = MediaStructure.Read(MediaType.Png, four);
        Assert.Equal((864, 480), (header.Width, header.Height));
        Assert.NotEqual(four, five); // the camera has moved on

        async Task<byte[]> FrameAsync(int duration)
        {
            using var created = await sim.Http.PostAsJsonAsync(Route, new
            {
                model = "seedance-1-0-pro-250528",
                content = new[] { new { type = "text", text = "to the last" } },
                resolution = "480p",
                duration,
                seed = 7,
                return_last_frame = true,
            });
            var task = await sim.Http.GetFromJsonAsync<JsonObject>($"{Route}/{(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]}");
            using var anyone = new HttpClient();
            return await anyone.GetByteArrayAsync((string?)task!["content"]!["last_frame_url"]);
        }
    }

    [Fact]
    public async Task A_stream_that_breaks_off_after_its_first_picture_is_paid_as_a_whole()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/v3/images/generations")
        {
            Content = JsonContent.Create(new
            {
                model = SimApp.Model,
                prompt = "three pictures of a break [fault=cut-reply-half][gate=break]",
                size = "1K",
                stream = true,
                sequential_image_generation = "auto",
                sequential_image_generation_options = new { max_images = 3 },
            }),
        };
        using var response = await sim.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        (await sim.Http.GetAsync("/sim/gates/break/waiting")).EnsureSuccessStatusCode();
        (await sim.Http.DeleteAsync("/sim/gates/break")).EnsureSuccessStatusCode(); // the first passes
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());

        Assert.Equal("event: image_generation.partial_succeeded", await reader.ReadLineAsync());
        (await sim.Http.PostAsync("/sim/gates/break", null)).EnsureSuccessStatusCode();
        await Assert.ThrowsAnyAsync<IOException>(reader.ReadToEndAsync);
        JsonObject report;
        do
        {
            report = (await sim.Http.GetFromJsonAsync<JsonObject>("/sim/calls?prompt=of%20a%20break"))!;
        }
        while ((int)report["images"]! < 3); // it goes on without the caller
    }

    private async Task<string> CreateAsync(string prompt, Receiver receiver)
    {
        using var created = await sim.Http.PostAsJsonAsync(Route,
            new { model = Model, content = new[] { new { type = "text", text = prompt } }, duration = 4, callback_url = receiver.Url });
        return (string)(await created.Content.ReadFromJsonAsync<JsonObject>())!["id"]!;
    }

    /// <summary>Whoever is called back.</summary>
    private sealed class Receiver : IAsyncDisposable
    {
        private readonly Channel<JsonObject> told = Channel.CreateUnbounded<JsonObject>();
        private LocalArk server = null!;

        public string Url => $"{server.Address}/told";

        public static async Task<Receiver> StartAsync(HttpStatusCode answer = HttpStatusCode.OK)
        {
            var receiver = new Receiver();
            receiver.server = await LocalArk.StartAsync(context =>
            {
                receiver.told.Writer.TryWrite(receiver.server.Calls.Last().Body);
                context.Response.StatusCode = (int)answer;
                return Task.CompletedTask;
            });
            return receiver;
        }

        public async Task<List<JsonObject>> TakeAsync(int count)
        {
            using var timeout = new CancellationTokenSource(LocalArk.MaxWait);
            var taken = new List<JsonObject>();
            while (taken.Count < count)
            {
                taken.Add(await told.Reader.ReadAsync(timeout.Token));
            }

            return taken;
        }

        public ValueTask DisposeAsync() => server.DisposeAsync();
    }
}
