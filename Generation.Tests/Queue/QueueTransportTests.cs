using Generation.Core.Hosting;
using Generation.Core.Queue;
using Generation.Tests.ServiceDefaults;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.Queue;

/// <summary>Which queue a service takes: the one that is said, else the one that is named.</summary>
public sealed class QueueTransportTests
{
    private const string Main = "Queue:Sqs:MainQueueUrl";
    private const string Lane = "Queue:Lanes:video:Url";

    [Theory]
    [InlineData(null, null, typeof(RedisJobQueue))]
    [InlineData(null, Main, typeof(SqsJobQueue))]
    [InlineData("", Main, typeof(SqsJobQueue))]
    [InlineData(null, Lane, typeof(SqsJobQueue))]
    [InlineData("sqs", null, typeof(SqsJobQueue))]
    [InlineData("sqs", Main, typeof(SqsJobQueue))]
    [InlineData("redis", null, typeof(RedisJobQueue))]
    [InlineData("redis", Main, typeof(RedisJobQueue), "the SQS queue in Queue:Sqs:MainQueueUrl (SQS_MAIN_QUEUE_URL) is not used")]
    [InlineData("redis", Lane, typeof(RedisJobQueue), "the SQS queue in Queue:Lanes:video:Url is not used")]
    public async Task The_transport_is_as_set_else_as_the_named_queue_tells(string? transport, string? named, Type expected, string? warning = null)
    {
        var settings = new List<(string, string)>
        {
            ("ConnectionStrings:generation", "Host=127.0.0.1;Port=1;Username=nobody;Database=none"),
            ("ConnectionStrings:redis", "127.0.0.1:1"),
        };
        settings.AddRange(transport is null ? [] : [("Queue:Transport", transport)]);
        settings.AddRange(named is null ? [] : [(named, "http://127.0.0.1:1/000000000000/q")]);
        await using var service = await ServiceUnderTest.StartAsync(settings, builder => builder.AddInfrastructure().AddCore());

        Assert.IsType(expected, service.App.Services.GetRequiredService<IJobQueue>());
        Assert.IsType(expected, service.App.Services.GetRequiredService<IJobQueue>());

        var warnings = service.Logs.Where(log => log.Level == LogLevel.Warning && log.Message.StartsWith(
            "Queue:Transport", StringComparison.Ordinal)).ToList();
        Assert.Equal(warning is null ? 0 : 1, warnings.Count);
        Assert.All(warnings, log => Assert.Contains(warning!, log.Message, StringComparison.Ordinal));
    }
}
