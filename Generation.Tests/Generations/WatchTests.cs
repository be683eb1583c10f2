using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>Reading, listing and cancelling sessions.</summary>
public sealed class WatchTests
{
    [Fact]
    public async Task A_queued_session_shows_what_was_asked_and_where_it_waits()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var first = await user.AcceptedAsync("the first", n: 2);
        var second = await user.AcceptedAsync("the second");
        var session = (await user.GetAsync($"/api/generations/{first}")).AssertStatus(HttpStatusCode.OK).Body;

        Assert.Equal(first, session["sessionId"]!.GetValue<Guid>());
        Assert.Equal(
            ("seedream-4", "seedream4", "image", "queued", "queued"),
            ((string?)session["model"], (string?)session["tool"], (string?)session["kind"], (string?)session["status"], (string?)session["phase"]));
        Assert.Equal((0, 1L, 0), ((int)session["progress"]!, (long)session["version"]!, (int)session["attempt"]!));
        Assert.Equal("the first", (string?)session["params"]!["prompt"]);
        Assert.False(string.IsNullOrEmpty((string?)session["clientKey"]));
        Assert.NotNull(session["createdAt"]);
        Assert.Empty(session["media"]!.AsArray());
        foreach (var field in new[] { "startedAt", "completedAt", "error", "receipt", "etaSeconds" })
        {
            Assert.True(session.ContainsKey(field), $"no {field}");
            Assert.Null(session[field]);
        }

        var (before, after) = ((long)session["queuePosition"]!, (long)(await user.GetAsync($"/api/generations/{second}")).Body["queuePosition"]!);
        Assert.True(before >= 0 && after > before, $"{before}, then {after}");
        foreach (var inside in new[] { "userId", "leaseToken", "requestHash", "objectKey" })
        {
            Assert.False(session.ContainsKey(inside), $"{inside} is nobody's business");
        }
    }

    [Fact]
    public async Task A_completed_session_shows_its_media_and_its_receipt()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync(n: 2);
        await system.EndOfAsync(id, user.Http);
        var session = (await user.GetAsync($"/api/generations/{id}")).AssertStatus(HttpStatusCode.OK).Body;

        Assert.Equal(("completed", 100), ((string?)session["status"], (int)session["progress"]!));
        Assert.NotNull(session["startedAt"]);
        Assert.NotNull(session["completedAt"]);
        Assert.Null(session["queuePosition"]);
        Assert.Equal([0, 1], session["media"]!.AsArray().Select(m => (int)m!["ordinal"]!));
        Assert.All(session["media"]!.AsArray(), m =>
        {
            Assert.Equal(("image", "image/jpeg"), ((string?)m!["kind"], (string?)m["contentType"]));
            Assert.Equal((512, 512), ((int)m["width"]!, (int)m["height"]!));
            Assert.True((long)m["bytes"]! > 1_000);
            Assert.Matches("^[0-9a-f]{64}$", (string?)m["sha256"]);
            Assert.NotNull(m["mediaId"]);
            Assert.False(m.AsObject().ContainsKey("objectKey"));
        });
        var receipt = session["receipt"]!;
        Assert.Equal((8L, 8L, 0L, 0L), ((long)receipt["held"]!, (long)receipt["captured"]!, (long)receipt["released"]!, (long)receipt["adjusted"]!));
        Assert.True((long)receipt["priceVersion"]! > 0);
        Assert.Contains("8", (string?)receipt["summary"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Somebody_elses_session_is_not_there()
    {
        var system = await ApiSystem.Queued;
        var (owner, other, admin) = (await system.NewUserAsync(), await system.NewUserAsync(), await system.NewUserAsync(role: "admin"));
        var id = await owner.AcceptedAsync();
        foreach (var stranger in new[] { other, admin })
        {
            (await stranger.GetAsync($"/api/generations/{id}")).AssertProblem(HttpStatusCode.NotFound, "not_found");
            (await stranger.GetAsync($"/api/generations/{id}/events")).AssertProblem(HttpStatusCode.NotFound, "not_found");
            (await stranger.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertProblem(HttpStatusCode.NotFound, "not_found");
            Assert.Empty((await stranger.GetAsync($"/api/generations?cursor=ffffffff-ffff-ffff-ffff-ffffffffffff")).Body["generations"]!.AsArray());
        }

        Assert.Equal("queued", (string?)(await owner.GetAsync($"/api/generations/{id}")).Body["status"]);
    }

    [Fact]
    public async Task The_list_pages_through_everything_once_newest_first()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var submitted = new List<Guid>();
        for (var i = 0; i < 7; i++)
        {
            submitted.Add(await user.AcceptedAsync($"picture {i}"));
        }

        var seen = new List<Guid>();
        string? cursor = null;
        do
        {
            var page = (await user.GetAsync($"/api/generations?limit=3{(cursor is null ? "" : $"&cursor={cursor}")}"))
                .AssertStatus(HttpStatusCode.OK).Body;
            var ids = page["generations"]!.AsArray().Select(g => g!["sessionId"]!.GetValue<Guid>()).ToList();
            Assert.InRange(ids.Count, 1, 3);
            seen.AddRange(ids);
            cursor = (string?)page["nextCursor"];
            if (cursor is not null && seen.Count == 3)
            {
                await user.AcceptedAsync("while somebody is turning pages");
            }
        }
        while (cursor is not null);

        submitted.Reverse();
        Assert.Equal(submitted, seen);
    }

    [Fact]
    public async Task The_list_can_be_of_one_status()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var (kept, canceled) = (await user.AcceptedAsync(), await user.AcceptedAsync());
        await user.SendAsync(HttpMethod.Post, $"/api/generations/{canceled}/cancel");
        async Task<IEnumerable<Guid>> ListAsync(string status) =>
            (await user.GetAsync($"/api/generations?status={status}")).Body["generations"]!.AsArray().Select(g => g!["sessionId"]!.GetValue<Guid>());
        Assert.Equal([kept], await ListAsync("queued"));
        Assert.Equal([canceled], await ListAsync("canceled"));
        Assert.Empty(await ListAsync("completed"));
    }

    [Fact]
    public async Task A_queued_session_is_canceled_at_once_and_only_once()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync(n: 3);
        var canceled = (await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal("canceled", (string?)canceled["status"]);
        Assert.NotNull(canceled["completedAt"]);
        Assert.Equal((12L, 0L, 12L), ((long)canceled["receipt"]!["held"]!, (long)canceled["receipt"]!["captured"]!,
            (long)canceled["receipt"]!["released"]!));
        Assert.Contains("not charged", (string?)canceled["receipt"]!["summary"], StringComparison.Ordinal);

        var again = (await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertProblem(HttpStatusCode.Conflict, "already_ended");
        Assert.Equal("canceled", (string?)again.Body["sessionStatus"]);
        var credits = (await user.GetAsync("/api/credits")).Body;
        Assert.Equal((1_000L, 0L), ((long)credits["available"]!, (long)credits["reserved"]!));
        Assert.True(JsonNode.DeepEquals(canceled["version"], (await user.GetAsync($"/api/generations/{id}")).Body["version"]));
    }

    [Fact]
    public async Task Of_many_cancels_at_once_one_cancels()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        var replies = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")));
        Assert.Single(replies, r => r.Status == HttpStatusCode.OK);
        Assert.All(replies.Where(r => r.Status != HttpStatusCode.OK), r => r.AssertProblem(HttpStatusCode.Conflict, "already_ended"));
        Assert.Equal(1, await system.ScalarAsync<long>($"SELECT count(*) FROM credit_transactions WHERE session_id = '{id}' AND type = 'refund'"));
    }

    [Fact]
    public async Task A_completed_session_cannot_be_canceled()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        await system.EndOfAsync(id, user.Http);
        (await user.SendAsync(HttpMethod.Post, $"/api/generations/{id}/cancel")).AssertProblem(HttpStatusCode.Conflict, "already_ended");
        Assert.Equal("completed", (string?)(await user.GetAsync($"/api/generations/{id}")).Body["status"]);
    }
}
