using System.Text.Json.Nodes;
using Generation.Core.Identity;
using Generation.Tests.Harness;

namespace Generation.Tests.Description;

/// <summary><c>requests.http</c>: the requests of a first visit, sent one after another as somebody in an editor would.</summary>
[Trait("tier", "slow")]
public sealed class RequestsTests
{
    [Fact]
    public async Task Every_request_of_the_file_succeeds_in_its_order()
    {
        await using var system = await TestSystem.StartAsync(o => o.Sim["Sim:VideoLatencyMs"] = "15000"); // as long as by hand: it is canceled
        var (_, key) = await system.AddUserAsync("demo", 1_000);
        var (_, admin) = await system.AddUserAsync("operator", 0, "admin");
        var file = RequestsFile.Parse(await File.ReadAllTextAsync(Repository.PathOf("requests.http")));
        Assert.Equal((DevelopmentAccounts.DemoKey, DevelopmentAccounts.AdminKey), (file.Variables["key"], file.Variables["admin"]));
        (file.Variables["host"], file.Variables["key"], file.Variables["admin"]) = (system.Apis[0].Address.ToString().TrimEnd('/'), key, admin);
        using var editor = new HttpClient { Timeout = TimeSpan.FromSeconds(100) };

        var answers = new Dictionary<string, Reply>(StringComparer.Ordinal);
        foreach (var request in file.Requests)
        {
            var reply = await file.SendAsync(editor, request);
            Assert.True((int)reply.Status is >= 200 and < 300,
                $"### {request.Title}\n{request.Method} {request.Url}: {(int)reply.Status} {reply.Body}");
            answers.Add(request.Title, reply);
        }

        // What the titles promise: the file would be no help if it only got an answer.
        var made = answers.Single(answer => answer.Key.StartsWith("Or wait", StringComparison.Ordinal)).Value;
        Assert.Equal("completed", (string?)made.Body["status"]);
        var watched = answers.Where(answer => answer.Value.ContentType == "text/event-stream").Select(answer => (string?)answer.Value.Body["text"]);
        Assert.Collection(watched,
            picture => Assert.Contains("event: done", picture, StringComparison.Ordinal),
            video => Assert.Contains("event: canceled", video, StringComparison.Ordinal));
        var audit = answers.Single(answer => answer.Key.EndsWith("do the books add up?", StringComparison.Ordinal)).Value;
        Assert.Empty(Assert.IsType<JsonArray>(audit.Body["differences"]));
    }
}
