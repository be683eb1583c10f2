using System.Net;
using System.Text.Json.Nodes;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Tests.Harness;
using Generation.Tests.Outbox;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Admin;

/// <summary>What operators see and change of the order: lanes, what waits in them, and the weight of users.</summary>
public sealed class QueuesTests : IAsyncLifetime
{
    private const string Queues = "/api/admin/queues";

    // Neither relay nor worker: what is submitted stays, and a test dispatches. Tests of one class run one after another.
    private static readonly Lazy<Task<TestSystem>> Shared = new(async () =>
    {
        var started = await TestSystem.StartAsync(o => (o.Relays, o.Workers) = (0, 0));
        TestServers.StopAtTheEnd(async () => await started.DisposeAsync());
        return started;
    });

    private TestSystem system = null!;
    private ApiUser admin = null!;
    private ApiUser user = null!;

    public async ValueTask InitializeAsync()
    {
        system = await Shared.Value;
        await system.ExecuteAsync("DELETE FROM outbox; UPDATE lanes SET clock = 0, paused_at = NULL, paused_by = NULL");
        (admin, user) = (await system.NewUserAsync(role: "admin"), await system.NewUserAsync(credits: 10_000));
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    [Fact]
    public async Task Each_lane_says_what_waits_and_runs_and_since_when()
    {
        var ids = new List<Guid>();
        for (var n = 0; n < 6; n++)
        {
            ids.Add(await user.AcceptedAsync());
        }

        await system.ExecuteAsync(
            $"""
            UPDATE outbox SET available_at = now() - interval '90 seconds' WHERE session_id = '{ids[1]}';
            UPDATE outbox SET rank = NULL, available_at = now() + interval '1 hour' WHERE session_id = '{ids[3]}';
            UPDATE outbox SET dispatched_at = now(), message_id = 'm' WHERE session_id = '{ids[4]}';
            DELETE FROM outbox WHERE session_id IN ('{ids[0]}', '{ids[5]}');
            UPDATE generation_sessions SET status = 'processing', phase = 'preparing', lease_owner = 'w', lease_until = now() + interval '1 hour',
                lease_token = 1, started_at = now(), progress_at = now() WHERE session_id = '{ids[5]}';
            UPDATE lanes SET clock = 12.5 WHERE lane = 'image'
            """);
        var lanes = await LanesAsync();
        Assert.Equal(["image", "video", "gpu"], lanes.Select(lane => (string?)lane["lane"]));
        var image = lanes[0];
        Assert.Equal((2L, 1L, 1L, 1L, false, 12.5),
            ((long)image["waiting"]!, (long)image["delayed"]!, (long)image["inQueue"]!, (long)image["running"]!, (bool)image["more"]!,
                (double)image["clock"]!));
        Assert.InRange((double)image["oldestWaitSeconds"]!, 90, 150);
        Assert.Null(image["paused"]);
        Assert.Equal((0L, 0L, 0L, 0L, 0.0),
            ((long)lanes[2]["waiting"]!, (long)lanes[2]["delayed"]!, (long)lanes[2]["inQueue"]!, (long)lanes[2]["running"]!,
                (double)lanes[2]["oldestWaitSeconds"]!));
        await system.ExecuteAsync($"UPDATE generation_sessions SET lease_until = now() WHERE session_id = '{ids[5]}'");
    }

    [Fact]
    public async Task A_count_stops_at_ten_thousand_and_says_so()
    {
        await system.ExecuteAsync(
            "INSERT INTO outbox (event_type, lane, session_id, rank) SELECT 'x', 'gpu', gen_random_uuid(), n FROM generate_series(1, 10001) AS n");
        var gpu = (await LanesAsync())[2];
        Assert.Equal((10_000L, true), ((long)gpu["waiting"]!, (bool)gpu["more"]!));
        await system.ExecuteAsync("DELETE FROM outbox WHERE rank = 10001");
        gpu = (await LanesAsync())[2];
        Assert.Equal((10_000L, false), ((long)gpu["waiting"]!, (bool)gpu["more"]!));
    }

    [Fact]
    public async Task What_waits_is_listed_in_the_order_of_dispatch_page_by_page()
    {
        var other = await system.NewUserAsync();
        for (var n = 0; n < 3; n++)
        {
            await user.AcceptedAsync();
            await other.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x","size":"1K"},"priority":"batch"}""");
        }

        await system.ExecuteAsync("UPDATE outbox SET dispatched_at = now(), message_id = 'm' WHERE outbox_id = (SELECT min(outbox_id) FROM outbox)");
        var rows = new List<JsonNode>();
        string? cursor = null;
        do
        {
            var page = (await admin.GetAsync($"{Queues}/image/waiting?limit=2&cursor={cursor}")).AssertStatus(HttpStatusCode.OK).Body;
            Assert.InRange(page["waiting"]!.AsArray().Count, 1, 2);
            rows.AddRange(page["waiting"]!.AsArray()!);
            cursor = (string?)page["nextCursor"];
        }
        while (cursor is not null);

        Assert.Equal([1L, 2, 3, 4, 5], rows.Select(row => (long)row["position"]!)); // one is in the queue
        foreach (var row in rows)
        {
            var owner = row["userId"]!.GetValue<Guid>() == user.UserId ? user : other;
            Assert.Equal((long)row["position"]!, (long)(await owner.GetAsync($"/api/generations/{row["sessionId"]}")).Body["queuePosition"]!);
            Assert.Equal(await system.ScalarAsync<string>($"SELECT handle FROM users WHERE user_id = '{owner.UserId}'"), (string?)row["user"]);
            Assert.Equal((owner == user ? "interactive" : "batch", "seedream-4", "ark"),
                ((string?)row["priority"], (string?)row["model"], (string?)row["provider"]));
        }

        Assert.Equal(rows.Select(row => row["sessionId"]!.GetValue<Guid>()), await DispatchAsync(rows: 10));
        Assert.Empty((await admin.GetAsync($"{Queues}/image/waiting")).Body["waiting"]!.AsArray());
    }

    [Fact]
    public async Task A_pause_keeps_its_first_time_and_author_and_each_action_leaves_an_audit_row()
    {
        var colleague = await system.NewUserAsync(role: "admin");
        var first = await DoAsync(admin, $"{Queues}/image/pause", """{"reason":"maintenance"}""", "pause it");
        Assert.Equal(("pause_lane", "image", "maintenance"), ((string?)first["action"], (string?)first["lane"], (string?)first["reason"]));
        var second = await DoAsync(colleague, $"{Queues}/image/pause", """{"reason":"me too"}""");
        Assert.Equal(first["paused"]!.ToJsonString(), second["paused"]!.ToJsonString());
        var handle = await system.ScalarAsync<string>($"SELECT handle FROM users WHERE user_id = '{admin.UserId}'");
        var lanes = await LanesAsync();
        Assert.Equal((handle, (DateTimeOffset)first["paused"]!["at"]!),
            ((string?)lanes[0]["paused"]!["by"], (DateTimeOffset)lanes[0]["paused"]!["at"]!));
        Assert.Null(lanes[1]["paused"]);

        await user.AcceptedAsync(); // accepted all the same
        Assert.Empty(await DispatchAsync(rows: 10));
        Assert.Null((await DoAsync(admin, $"{Queues}/image/resume", """{"reason":"over"}"""))["paused"]);
        Assert.Null((await DoAsync(admin, $"{Queues}/image/resume", """{"reason":"over"}"""))["paused"]);
        Assert.Single(await DispatchAsync(rows: 10));

        var replay = await admin.SendAsync(HttpMethod.Post, $"{Queues}/image/pause", """{"reason":"maintenance"}""", ("Idempotency-Key", "pause it"));
        Assert.Equal((true, first.ToJsonString()), (replay.IsReplay, replay.AssertStatus(HttpStatusCode.OK).Body.ToJsonString()));
        Assert.Null((await LanesAsync())[0]["paused"]); // it is said again, not done again
        foreach (var (path, body) in new[]
        {
            ($"{Queues}/image/pause", """{"reason":"another"}"""), ($"{Queues}/image/resume", """{"reason":"maintenance"}"""),
            ($"{Queues}/gpu/pause", """{"reason":"maintenance"}"""), ($"/api/admin/users/{user.UserId}/freeze", """{"reason":"maintenance"}"""),
        })
        {
            (await admin.SendAsync(HttpMethod.Post, path, body, ("Idempotency-Key", "pause it")))
                .AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");
        }

        var actions = (await admin.GetAsync($"/api/admin/actions?user={admin.UserId}")).Body["actions"]!.AsArray();
        Assert.Equal(["resume_lane", "resume_lane", "pause_lane"], actions.Select(action => (string?)action!["action"]));
        Assert.Equal((admin.UserId, "maintenance", (string?)first["actionId"]),
            (actions[2]!["actorId"]!.GetValue<Guid>(), (string?)actions[2]!["reason"], (string?)actions[2]!["actionId"]));
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_paused_lane_dispatches_nothing_while_others_go_on_and_a_resume_wakes_the_relay()
    {
        await using var own = await TestSystem.StartAsync(o =>
        {
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Relay:PollInterval"] = "01:00:00"; // nothing but a notification wakes it
        });
        var operators = await own.NewUserAsync(role: "admin");
        await DoAsync(operators, $"{Queues}/image/pause", """{"reason":"maintenance"}""");
        var picture = await own.SubmitAsync("waits");
        var film = await own.SubmitAsync("seedance-2", new { prompt = "goes on", duration = 4 });
        Assert.Equal("completed", (string?)(await own.EndOfAsync(film))["status"]); // the relay was told of the picture before it
        Assert.Equal(("queued", 0L), ((string?)(await own.GetAsync(picture))["status"], (long?)(await own.GetAsync(picture))["queuePosition"]));
        Assert.True(await own.ScalarAsync<bool>($"SELECT dispatched_at IS NULL FROM outbox WHERE session_id = '{picture}'"));
        await DoAsync(operators, $"{Queues}/image/resume", """{"reason":"over"}""");
        Assert.Equal("completed", (string?)(await own.EndOfAsync(picture))["status"]);
    }

    [Fact]
    public async Task Front_and_back_change_the_position_that_its_user_sees_and_the_order_of_dispatch()
    {
        var ids = new List<Guid>();
        for (var n = 0; n < 4; n++)
        {
            ids.Add(await user.AcceptedAsync());
        }

        var moved = await MoveAsync(ids[3], "front", key: "to the front");
        Assert.Equal(("reprioritize", "image", ids[3], user.UserId, "front", "r"),
            ((string?)moved["action"], (string?)moved["lane"], moved["sessionId"]!.GetValue<Guid>(), moved["userId"]!.GetValue<Guid>(),
                (string?)moved["to"], (string?)moved["reason"]));
        await MoveAsync(ids[0], "back");
        Guid[] order = [ids[3], ids[1], ids[2], ids[0]];
        for (var n = 0; n < order.Length; n++)
        {
            Assert.Equal(n, (long)(await user.GetAsync($"/api/generations/{order[n]}")).Body["queuePosition"]!);
        }

        Assert.Equal((double)moved["rank"]!, await system.ScalarAsync<double>($"SELECT rank FROM outbox WHERE session_id = '{ids[3]}'"));
        Assert.Equal(order, await DispatchAsync(rows: 10));
        Assert.Equal(moved.ToJsonString(), (await MoveAsync(ids[3], "front", key: "to the front")).ToJsonString()); // also when it is over
        var action = (await admin.GetAsync($"/api/admin/actions?user={user.UserId}")).Body["actions"]!.AsArray().Select(a => (string?)a!["action"]);
        Assert.Equal(["reprioritize", "reprioritize"], action);
        (await SendMoveAsync("image", $$"""{"sessionId":"{{ids[3]}}","to":"back","reason":"r"}""", "to the front"))
            .AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");
    }

    [Fact]
    public async Task What_cannot_be_moved_is_refused_with_the_reason()
    {
        var waits = await user.AcceptedAsync();
        var other = (await SendMoveAsync("video", $$"""{"sessionId":"{{waits}}","to":"front","reason":"r"}"""))
            .AssertProblem(HttpStatusCode.Conflict, "lane_mismatch");
        Assert.Equal("image", (string?)other.Body["lane"]);
        (await SendMoveAsync("image", $$"""{"sessionId":"{{Guid.NewGuid()}}","to":"front","reason":"r"}"""))
            .AssertProblem(HttpStatusCode.NotFound, "not_found");
        (await SendMoveAsync("audio", $$"""{"sessionId":"{{waits}}","to":"front","reason":"r"}"""))
            .AssertProblem(HttpStatusCode.NotFound, "not_found");
        await DispatchAsync(rows: 10);
        (await SendMoveAsync("image", $$"""{"sessionId":"{{waits}}","to":"front","reason":"r"}"""))
            .AssertProblem(HttpStatusCode.Conflict, "not_waiting");
        Assert.Equal(0, await system.ScalarAsync<long>($"SELECT count(*) FROM admin_actions WHERE user_id = '{user.UserId}'"));
    }

    [Theory]
    [InlineData("POST", $"{Queues}/image/pause", "{}", "reason")]
    [InlineData("POST", $"{Queues}/image/resume", """{"reason":" ","until":"x"}""", "reason,until")]
    [InlineData("POST", $"{Queues}/image/reprioritize", "{}", "sessionId,to,reason")]
    [InlineData("POST", $"{Queues}/image/reprioritize", """{"sessionId":"7","to":"top","reason":"r"}""", "sessionId,to")]
    [InlineData("PATCH", "/api/admin/users/u", "{}", "share,reason")]
    [InlineData("PATCH", "/api/admin/users/u", """{"share":0.001,"reason":"r"}""", "share")]
    [InlineData("PATCH", "/api/admin/users/u", """{"share":100.5,"reason":"r"}""", "share")]
    [InlineData("PATCH", "/api/admin/users/u", """{"share":"2","reason":"r"}""", "share")]
    [InlineData("PATCH", "/api/admin/users/u", """{"share":1e999,"reason":"r","role":"admin"}""", "share,role")]
    public async Task A_wrong_action_names_every_wrong_field_and_one_without_a_key_its_header(string method, string path, string body, string fields)
    {
        var refused = (await admin.SendAsync(new HttpMethod(method), path, body)).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal(fields.Split(',').Append("Idempotency-Key").Order(StringComparer.Ordinal),
            refused.Body["errors"]!.AsObject().Select(error => error.Key).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("limit=0", "limit")]
    [InlineData("limit=101", "limit")]
    [InlineData("cursor=x", "cursor")]
    [InlineData("cursor=7ff8000000000000-1-1", "cursor")] // not a number
    [InlineData("cursor=c000000000000000-1-1", "cursor")] // -2
    [InlineData("cursor=0-1-7fffffffffffffff", "cursor")]
    public async Task A_wrong_page_names_its_parameter(string query, string field)
    {
        var refused = (await admin.GetAsync($"{Queues}/image/waiting?{query}")).AssertProblem(HttpStatusCode.BadRequest, "validation_failed");
        Assert.Equal([field], refused.Body["errors"]!.AsObject().Select(error => error.Key));
    }

    [Theory]
    [InlineData("GET", Queues)]
    [InlineData("GET", $"{Queues}/image/waiting")]
    [InlineData("GET", $"{Queues}/nowhere/waiting")]
    [InlineData("POST", $"{Queues}/image/pause")]
    [InlineData("POST", $"{Queues}/image/resume")]
    [InlineData("POST", $"{Queues}/image/reprioritize")]
    [InlineData("GET", "/api/admin/users/nobody")]
    [InlineData("PATCH", "/api/admin/users/nobody")]
    public async Task Only_administrators_may(string method, string path)
    {
        var body = method == "GET" ? null : """{"reason":"r"}""";
        (await user.SendAsync(new HttpMethod(method), path, body, ("Idempotency-Key", "k"))).AssertProblem(HttpStatusCode.Forbidden, "forbidden");
        using var anybody = system.Client(system.Apis[0], "gk_nobody");
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        Assert.Equal(HttpStatusCode.Unauthorized, (await anybody.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task A_share_of_two_gets_twice_as_many_places_in_the_next_dispatch()
    {
        var twice = await system.NewUserAsync();
        var key = $"{Guid.NewGuid()}";
        var path = $"/api/admin/users/{twice.UserId}";
        var set = await DoAsync(admin, path, """{"share":2,"reason":"a plan"}""", key, HttpMethod.Patch);
        Assert.Equal(("set_share", 2.0, twice.UserId, "a plan"),
            ((string?)set["action"], (double)set["share"]!, set["userId"]!.GetValue<Guid>(), (string?)set["reason"]));
        var replay = await admin.SendAsync(HttpMethod.Patch, path, """{"share":2,"reason":"a plan"}""", ("Idempotency-Key", key));
        Assert.Equal((true, set.ToJsonString()), (replay.IsReplay, replay.Body.ToJsonString()));
        (await admin.SendAsync(HttpMethod.Patch, path, """{"share":3,"reason":"a plan"}""", ("Idempotency-Key", key)))
            .AssertProblem(HttpStatusCode.UnprocessableEntity, "idempotency_key_reused");

        var owners = new Dictionary<Guid, ApiUser>();
        for (var n = 0; n < 20; n++)
        {
            owners[await twice.AcceptedAsync()] = twice;
            owners[await user.AcceptedAsync()] = user;
        }

        var dispatched = await DispatchAsync(rows: 15);
        Assert.Equal(15, dispatched.Count);
        Assert.InRange(dispatched.Count(session => owners[session] == twice), 9, 11);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_user_is_shown_by_id_or_handle_with_share_and_credits()
    {
        await user.AcceptedAsync();
        var handle = await system.ScalarAsync<string>($"SELECT handle FROM users WHERE user_id = '{user.UserId}'");
        await DoAsync(admin, $"/api/admin/users/{handle}", """{"share":0.5,"reason":"many batches"}""", method: HttpMethod.Patch);
        await DoAsync(admin, $"/api/admin/users/{handle}/freeze", """{"reason":"stolen card"}""");
        var shown = (await admin.GetAsync($"/api/admin/users/{handle}")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal((user.UserId, handle, "user", 0.5, 9_996L, 4L, true),
            (shown["userId"]!.GetValue<Guid>(), (string?)shown["handle"], (string?)shown["role"], (double)shown["share"]!, (long)shown["available"]!,
                (long)shown["reserved"]!, (bool)shown["frozen"]!));
        Assert.Equal(shown.ToJsonString(), (await admin.GetAsync($"/api/admin/users/{user.UserId}")).Body.ToJsonString());
        Assert.Equal("admin", (string?)(await admin.GetAsync($"/api/admin/users/{admin.UserId}")).Body["role"]);
        (await admin.GetAsync("/api/admin/users/nobody")).AssertProblem(HttpStatusCode.NotFound, "not_found");
        (await admin.SendAsync(HttpMethod.Patch, "/api/admin/users/nobody", """{"share":1,"reason":"r"}""", ("Idempotency-Key", $"{Guid.NewGuid()}")))
            .AssertProblem(HttpStatusCode.NotFound, "user_not_found");
    }

    private async Task<List<JsonNode>> LanesAsync() =>
        [.. (await admin.GetAsync(Queues)).AssertStatus(HttpStatusCode.OK).Body["lanes"]!.AsArray().OfType<JsonNode>()];

    /// <summary>What is dispatched of the lane image, in its order.</summary>
    private async Task<IReadOnlyList<Guid>> DispatchAsync(int rows)
    {
        var queue = new RecordingQueue();
        await new OutboxDispatcher(system.Db, queue, new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance)
            .DispatchAsync("image", rows, 1_000_000, CancellationToken.None);
        return queue.Sent;
    }

    private async Task<JsonObject> MoveAsync(Guid session, string to, string? key = null) =>
        (await SendMoveAsync("image", $$"""{"sessionId":"{{session}}","to":"{{to}}","reason":"r"}""", key)).AssertStatus(HttpStatusCode.OK).Body;

    private Task<Reply> SendMoveAsync(string lane, string body, string? key = null) =>
        admin.SendAsync(HttpMethod.Post, $"{Queues}/{lane}/reprioritize", body, ("Idempotency-Key", key ?? $"{Guid.NewGuid()}"));

    private static async Task<JsonObject> DoAsync(ApiUser who, string path, string body, string? key = null, HttpMethod? method = null) =>
        (await who.SendAsync(method ?? HttpMethod.Post, path, body, ("Idempotency-Key", key ?? $"{Guid.NewGuid()}")))
            .AssertStatus(HttpStatusCode.OK).Body;
}
