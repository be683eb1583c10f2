using System.Net;
using System.Text.Json.Nodes;
using Generation.Api;
using Generation.Api.Errors;
using Generation.Core.Localization;
using Generation.Tests.Harness;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Description;

/// <summary><c>/openapi/v1.json</c> and <c>/openapi/admin.json</c>: complete, stable, and true.</summary>
[Trait("tier", "slow")]
public sealed class DescriptionTests
{
    [Theory]
    [InlineData("v1")]
    [InlineData("admin")]
    public async Task The_description_is_the_one_that_is_committed(string name)
    {
        var system = await ApiSystem.Queued;
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        var document = DescribedApi.Indented(JsonNode.Parse(await anybody.GetStringAsync(new Uri($"/openapi/{name}.json", UriKind.Relative)))!);
        var golden = Repository.PathOf("Generation.Api", "Description", $"{name}.json");
        if (Environment.GetEnvironmentVariable("UPDATE_OPENAPI") is not null) await File.WriteAllTextAsync(golden, document);
        Assert.True(
            File.Exists(golden) && document == await File.ReadAllTextAsync(golden),
            $"Generation.Api/Description/{name}.json is not what the Api answers. Run the tests once with UPDATE_OPENAPI=1 and read the difference: "
                + "clients will.");
    }

    [Fact]
    public async Task Every_route_is_described_with_an_answer_and_its_problems()
    {
        var system = await ApiSystem.Queued;
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        var described = (await DescribedApi.ReadAsync(anybody)).Operations()
            .ToDictionary(one => $"{one.Method} {one.Template}", one => one.Operation, StringComparer.Ordinal);
        var endpoints = ((InProcessService<ApiOptions>)system.Apis[0]).Services.GetRequiredService<EndpointDataSource>().Endpoints;
        var routes = endpoints.OfType<RouteEndpoint>()
            .Where(route => route.Metadata.GetMetadata<IExcludeFromDescriptionMetadata>() is not { ExcludeFromDescription: true })
            .SelectMany(route => route.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods.Select(method => $"{method} {Template(route)}") ?? [])
            .Where(route => !route.EndsWith('z')).ToHashSet(StringComparer.Ordinal); // /healthz, /readyz
        Assert.Empty(routes.Except(described.Keys, StringComparer.Ordinal));
        Assert.All(described, pair =>
        {
            var responses = pair.Value["responses"]!.AsObject();
            Assert.Contains(responses, response => response.Key[0] is '2' or '3');
            Assert.All(responses.Where(response => response.Key[0] == '2' && response.Key != "204"), response =>
                Assert.All(response.Value!["content"]!.AsObject(), content => Assert.NotNull(content.Value!["schema"])));
            Assert.All(responses.Where(response => response.Key[0] is '4' or '5'), response =>
                Assert.NotNull(response.Value!["content"]?["application/problem+json"]?["schema"]));
            Assert.NotNull(pair.Value["operationId"]);
            Assert.NotNull(pair.Value["summary"]);
            Assert.Single(pair.Value["tags"]!.AsArray());
        });

        static string Template(RouteEndpoint route) =>
            System.Text.RegularExpressions.Regex.Replace("/" + route.RoutePattern.RawText!.Trim('/'), @"\{\**(?<name>\w+)(:\w+)?\}", "{${name}}",
                System.Text.RegularExpressions.RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task A_real_answer_of_each_route_is_what_its_schema_says_and_has_every_field()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Settings:CacheMs"] = "0";
            o.Settings["Worker:BreakDuration"] = "00:01:00";
            (o.Settings["Worker:SlotRetries:1"], o.Settings["Worker:SlotRetries:2"]) = ("00:00:00.050", "00:00:00.050");
            o.Settings["Mock:OverrideKey"] = "only for this test, long enough";
            o.Credits = 100_000;
        });
        var user = new ApiUser(system, system.UserId, TestSystem.UserKey);
        var admin = await system.NewUserAsync(role: "admin");
        var api = await DescribedApi.ReadAsync(system.Http);

        async Task<Reply> SendAsync(ApiUser who, string method, string template, string? path = null, string? json = null, params (
            string, string)[] headers)
        {
            var reply = await who.SendAsync(new HttpMethod(method), path ?? template, json, headers);
            api.Check(method, template, reply);
            return reply;
        }

        // Every example of the description is a request that works.
        foreach (var (_, method, template, operation) in api.Operations().ToList())
        {
            if (operation["requestBody"]?["content"]?["application/json"] is not { } media) continue;
            var example = media["example"];
            Assert.True(example is not null, $"{method} {template} has no example");
            var json = example!.ToJsonString().Replace("\"demo\"", $"\"{user.UserId}\"", StringComparison.Ordinal);
            if (template.EndsWith("/reprioritize", StringComparison.Ordinal)) // by the order of the paths its lane is paused now
            {
                json = json.Replace("01990000-0000-7000-8000-000000000000", $"{await user.AcceptedAsync()}", StringComparison.Ordinal);
                Assert.NotNull((await SendAsync(admin, "GET", "/api/admin/queues")).Body["lanes"]![0]!["paused"]);
                var line = await SendAsync(admin, "GET", "/api/admin/queues/{lane}/waiting", "/api/admin/queues/image/waiting?limit=1");
                Assert.Single(line.Body["waiting"]!.AsArray());
            }

            var who = template.StartsWith("/api/admin/", StringComparison.Ordinal) ? admin : user;
            var path = template.Replace("{user}", $"{user.UserId}", StringComparison.Ordinal)
                .Replace("{tool}", "seedream4", StringComparison.Ordinal).Replace("{lane}", "image", StringComparison.Ordinal);
            var headers = (operation["parameters"]?.AsArray() ?? []).Where(parameter => (string?)parameter!["in"] == "header")
                .Where(parameter => (bool?)parameter!["required"] == true)
                .Select(parameter => ((string)parameter!["name"]!, (string)parameter["example"]!)).ToArray();
            (await SendAsync(who, method, template, path, json, headers)).AssertStatus(
                operation["responses"]!.AsObject().ContainsKey("202") ? HttpStatusCode.Accepted : HttpStatusCode.OK);
        }

        const string Submit = "/api/generations", One = "/api/generations/{sessionId}";
        var done = await SendAsync(user, "POST", Submit, null,
            """{"model":"seedream-4","params":{"prompt":"a city [fault=rate-limit:times=1]","size":"1K","n":2}}""", ("Prefer", "wait=60"));
        done.AssertStatus(HttpStatusCode.OK);
        var failed = await SendAsync(user, "POST", Submit, null,
            """{"model":"seedream-4","params":{"prompt":"[fault=moderation-input]","size":"1K"}}""", ("Prefer", "wait=60"));
        var unknown = await SendAsync(user, "POST", Submit, null, """{"model":"seedream-4","params":{"prompt":"[fault=cut-reply]","size":"1K"}}""", (
            "Prefer", "wait=60"));
        Assert.Equal(("failed", "failed"), ((string?)failed.Body["status"], (string?)unknown.Body["status"]));
        var film = await SendAsync(user, "POST", Submit, null,
            """{"model":"seedance-2","params":{"prompt":"a boat","duration":4,"last_frame_poster":true}}""", ("Prefer", "wait=60"));
        var partial = await SendAsync(user, "POST", Submit, null,
            """{"model":"seedream-4","params":{"prompt":"[fault=moderation-output:image=1]","size":"1K","n":2}}""", ("Prefer", "wait=60"));
        // opens the breaker
        await SendAsync(user, "POST", Submit, null, """{"model":"forge-sdxl","params":{"prompt":"[fault=server-error]"}}""", ("Prefer", "wait=60"));
        var instead = await SendAsync(user, "POST", Submit, null, """{"model":"forge-sdxl","params":{"prompt":"a hill","allow_placeholder":true}}""",
            ("Prefer", "wait=60"));
        foreach (var reply in new[] { done, failed, film, partial, instead }) await SendAsync(user, "GET", One, $"{Submit}/{reply.SessionId}");
        await SendAsync(user, "GET", Submit, Submit + "?limit=2");
        await SendAsync(user, "POST", One + "/retry", $"{Submit}/{failed.SessionId}/retry");
        await SendAsync(user, "POST", One + "/retry", $"{Submit}/{done.SessionId}/retry");
        await SendAsync(user, "POST", One + "/cancel", $"{Submit}/{done.SessionId}/cancel");
        var slow = await SendAsync(user, "POST", Submit, null, """{"model":"seedance-2","params":{"prompt":"[latency=20000] slow","duration":4}}""");
        await SendAsync(user, "POST", One + "/cancel", $"{Submit}/{slow.SessionId}/cancel");
        await SendAsync(user, "POST", "/api/image/generate", null, """{"model":"seedream-4","prompt":"a hill","size":"1K"}""");
        await SendAsync(user, "GET", "/api/models");
        await SendAsync(user, "GET", "/api/voices");
        await SendAsync(user, "GET", "/api/credits");
        await SendAsync(user, "GET", "/api/credits/transactions", "/api/credits/transactions?limit=20");
        await SendAsync(user, "GET", "/api/credits/transactions", "/api/credits/transactions?limit=0");
        await SendAsync(user, "POST", Submit, null, """{"model":"no-such","params":{}}""");
        await SendAsync(user, "GET", "/api/media/{mediaId}", $"/api/media/{Guid.NewGuid()}");
        using (var form = new MultipartFormDataContent { { new ByteArrayContent(await PngAsync(system, done)), "file", "boat.png" } })
        {
            api.Check("POST", "/api/uploads", await Reply.ReadAsync(await user.Http.PostAsync(new Uri("/api/uploads", UriKind.Relative), form)));
        }

        // a worker reports every 5 s
        while ((await SendAsync(admin, "GET", "/api/admin/providers")).Body["providers"]!.AsArray()
            .All(provider => provider!["workers"]!.AsArray().Count == 0)) await Task.Delay(
            TimeSpan.FromMilliseconds(100), TimeProvider.System, CancellationToken.None);
        await SendAsync(admin, "POST", "/api/admin/dead-letters/redrive", null, """{"all":true}""");
        await SendAsync(admin, "GET", "/api/admin/ledger/audit");
        await system.ExecuteAsync("UPDATE credit_accounts SET available = available + 1");
        await SendAsync(admin, "GET", "/api/admin/ledger/audit");
        await system.ExecuteAsync("UPDATE credit_accounts SET available = available - 1");
        await SendAsync(admin, "GET", "/api/admin/actions", "/api/admin/actions?limit=1");
        await SendAsync(admin, "POST", "/api/admin/mock-overrides");
        await SendAsync(admin, "GET", "/api/admin/dead-letters", "/api/admin/dead-letters?limit=1");
        await SendAsync(admin, "GET", "/api/admin/users/{user}", $"/api/admin/users/{user.UserId}");
        await SendAsync(admin, "GET", "/api/admin/users/{user}/credits", $"/api/admin/users/{user.UserId}/credits");
        await SendAsync(admin, "GET", "/api/admin/users/{user}/transactions", $"/api/admin/users/{user.UserId}/transactions?limit=5");
        await SendAsync(user, "GET", "/api/admin/actions");

        var (document, _, _, watch) = api.Operations().Single(one => one.Template == One + "/events");
        var events = watch["responses"]!["200"]!["content"]!["text/event-stream"]!;
        var live = await SendAsync(user, "POST", Submit, null,
            """{"model":"gpt-image-2","params":{"prompt":"slowly clear [latency=1500]","n":2,"previews":3}}""");
        foreach (var session in new[] { live.SessionId, film.SessionId, slow.SessionId }) await WatchAsync(session, _ => Task.CompletedTask);

        // Seen waiting, then claimed, and held at the provider until its new status was seen.
        foreach (var worker in system.Workers) await worker.DisposeAsync();
        var waiting = await SendAsync(user, "POST", Submit, null, """{"model":"seedream-4","params":{"prompt":"a hill [gate=seen]","size":"1K"}}""");
        await WatchAsync(waiting.SessionId, name => name switch
        {
            "snapshot" => system.ExecuteAsync("UPDATE lanes SET paused_at = now(), paused_by = 'an operator'"), // which is told
            "queue" => GoOnAsync(),
            "status" => system.Sim.OpenGateAsync("seen"),
            _ => Task.CompletedTask,
        });

        async Task GoOnAsync()
        {
            await system.ExecuteAsync("UPDATE lanes SET paused_at = NULL, paused_by = NULL");
            if (system.Workers.Count < 2) await system.AddWorkerAsync(); // beside the one that was stopped
        }

        async Task WatchAsync(Guid session, Func<string, Task> then)
        {
            await foreach (var shown in system.EventsAsync(session))
            {
                var schema = new JsonObject { ["$ref"] = events["x-events"]![shown.Name]!.DeepClone() };
                api.Check(document, schema, shown.Data, $"event {shown.Name}");
                await then(shown.Name);
                if (shown.Name is "done" or "canceled" or "failed") break;
            }
        }

        Assert.Empty(api.UnansweredOperations());
        var unseen = api.UnseenFields().ToList();
        Assert.True(unseen.Count == 0, $"No answer had {string.Join(", ", unseen)}");
    }

    [Fact]
    public async Task The_root_says_where_to_go_and_the_reference_loads_nothing_from_elsewhere()
    {
        var system = await ApiSystem.Queued;
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        var index = JsonNode.Parse(await anybody.GetStringAsync(new Uri("/", UriKind.Relative)))!;
        Assert.Equal("Generation", (string?)index["name"]);
        foreach (var field in new[] { "docs", "openapi", "health" })
        {
            using var found = await anybody.GetAsync(new Uri((string)index[field]!, UriKind.Relative));
            Assert.Equal(HttpStatusCode.OK, found.StatusCode);
        }

        var page = await anybody.GetStringAsync(new Uri("/docs/", UriKind.Relative));
        Assert.DoesNotContain("src=\"http", page, StringComparison.Ordinal);
        Assert.DoesNotContain("fonts.", page, StringComparison.Ordinal);
        Assert.DoesNotContain("gk_dev", page, StringComparison.Ordinal); // Production
    }

    [Fact]
    public async Task HEAD_is_answered_wherever_GET_is_as_the_GET_without_its_body()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var session = await user.AcceptedAsync();
        await system.EndOfAsync(session, user.Http);
        var picture = (string)(await user.GetAsync($"/api/generations/{session}")).Body["media"]![0]!["url"]!;
        foreach (var path in new[] { "/", "/healthz", "/openapi/v1.json", "/api/models", "/api/credits", $"/api/generations/{session}",
            $"/api/generations/{session}/events", picture, "/api/nowhere" })
        {
            using var get = await user.Http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead);
            using var request = new HttpRequestMessage(HttpMethod.Head, path);
            using var head = await user.Http.SendAsync(request);
            Assert.Equal((path, get.StatusCode, get.Content.Headers.ContentType?.MediaType),
                (path, head.StatusCode, head.Content.Headers.ContentType?.MediaType));
            Assert.Empty(await head.Content.ReadAsByteArrayAsync());
        }

        using var post = await user.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, "/api/generations/estimate"));
        Assert.Equal(HttpStatusCode.MethodNotAllowed, post.StatusCode);
    }

    [Fact]
    public void Every_problem_and_failure_code_stands_in_the_documentation()
    {
        var page = File.ReadAllText(Repository.PathOf("docs", "api.md"));
        Assert.All(ProblemCodes.All, code => Assert.Contains($"`{code.Name}`", page, StringComparison.Ordinal));
        Assert.All(UserMessages.FailureCodes, code => Assert.Contains($"`{code}`", page, StringComparison.Ordinal));
    }

    private static async Task<byte[]> PngAsync(TestSystem system, Reply done) =>
        await system.Http.GetByteArrayAsync(new Uri((string)done.Body["images"]![0]!));
}
