using Generation.Api;
using Generation.Tests.Harness;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Resilience;

/// <summary>Wrong settings of the queue: a nonsense transport stops the start, a wrong lane stops that lane alone.</summary>
[Trait("tier", "process")]
public sealed class QueueSettingTests(TestSqs sqs)
{
    [Theory]
    [InlineData("kafka")]
    [InlineData("7")]
    public void A_transport_that_does_not_exist_stops_the_start_and_is_named(string transport)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["ConnectionStrings:generation"] = "Host=127.0.0.1;Port=1;Username=nobody;Database=none",
            ["ConnectionStrings:redis"] = "127.0.0.1:1",
            ["Queue:Transport"] = transport,
        };

        var refusal = Assert.ThrowsAny<Exception>(() => new InProcessService<ApiOptions>(settings, null));
        Assert.True(refusal is OptionsValidationException or InvalidOperationException, refusal.ToString());
        Assert.Contains("Queue:Transport", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lane_whose_queue_is_wrong_is_named_and_the_other_lanes_go_on()
    {
        var url = await sqs.NewQueueAsync();
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Queue:Transport"] = "sqs";
            o.Settings["Queue:Sqs:MainQueueUrl"] = url;
            o.Settings["Queue:Sqs:AccessKey"] = TestSqs.AccessKey;
            o.Settings["Queue:Sqs:SecretKey"] = TestSqs.SecretKey;
            o.Settings["Queue:Sqs:WaitTimeSeconds"] = "1";
            o.Settings["Queue:Lanes:image:Url"] = url + "-that-nobody-made";
            o.Settings["Worker:LeaseDuration"] = "00:00:30";
        });
        var waiting = await system.SubmitAsync("a picture whose lane has no queue");
        await system.Relays[0].UntilLoggedAsync("Lane image cannot be dispatched");
        for (var i = 0; i < 3; i++)
        {
            var video = await system.SubmitAsync("seedance-2", new { prompt = "a film whose lane has one", duration = 4 });
            Assert.Equal("completed", (string?)(await system.EndOfAsync(video))["status"]);
        }

        var error = Assert.Single(system.Relays[0].Log, line => line.Contains("outbox.queue_missing", StringComparison.Ordinal));
        Assert.Contains("Queue:Lanes:image:Url names no queue", error, StringComparison.Ordinal);
        Assert.Equal("queued", (string?)(await system.GetAsync(waiting))["status"]);
    }

    [Fact]
    public async Task A_credentials_file_that_is_put_right_is_read_again_without_a_restart()
    {
        var file = Path.GetTempFileName();
        try
        {
            var url = await sqs.NewQueueAsync();
            await WriteAsync("AKIDOFYESTERDAY", "rotated");
            await using var system = await TestSystem.StartAsync(o =>
            {
                o.AsProcesses = true; // the chain looks at the environment
                o.Settings["Queue:Transport"] = "sqs";
                o.Settings["Queue:Sqs:MainQueueUrl"] = url;
                o.Settings["Queue:Sqs:WaitTimeSeconds"] = "1";
                o.Settings["AWS_SHARED_CREDENTIALS_FILE"] = file;
                o.Settings["AWS_EC2_METADATA_DISABLED"] = "true";
            });
            var waiting = await system.SubmitAsync("until the key is right");
            await system.Relays[0].UntilLoggedAsync("outbox.queue_missing");
            Assert.Contains(system.Relays[0].Log, line => line.Contains("SQS refuses the credentials for Queue:Sqs:MainQueueUrl",
                StringComparison.Ordinal));
            Assert.Equal("queued", (string?)(await system.GetAsync(waiting))["status"]);

            await WriteAsync(TestSqs.AccessKey, TestSqs.SecretKey);

            Assert.Equal("completed", (string?)(await system.EndOfAsync(waiting))["status"]);
        }
        finally
        {
            File.Delete(file);
        }

        Task WriteAsync(string key, string secret) => File.WriteAllTextAsync(file,
            $"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    }
}
