using System.Net;
using System.Text.Json.Nodes;
using Generation.Api;
using Generation.Core.Outbox;
using Generation.Core.Providers;
using Generation.Core.Queue;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;

namespace Generation.Tests.Generations;

/// <summary>Where a generation stands in its queue, and when it will be ready, as its user sees it.</summary>
[Trait("tier", "slow")]
public sealed class PositionTests
{
    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task Eight_that_wait_stand_at_0_to_7_in_the_202_in_the_list_and_each_by_itself()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var user = new ApiUser(system, system.UserId, TestSystem.UserKey);
        await UntilIndexAsync(system, "image", _ => true);
        var (ids, told) = (new List<Guid>(), new List<long?>());
        for (var n = 0; n < 8; n++)
        {
            var accepted = await user.SubmitAsync($$$"""{"model":"seedream-4","params":{"prompt":"number {{{n}}}","size":"1K"}}""");
            ids.Add(accepted.AssertStatus(HttpStatusCode.Accepted).SessionId);
            told.Add((long?)accepted.Body["queuePosition"]);
            Assert.True(accepted.Body.ContainsKey("etaSeconds"));
            Assert.Null(accepted.Body["etaSeconds"]); // nobody works
            Assert.False(accepted.Body.ContainsKey("queue_position"));
        }

        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], told);
        var single = await Task.WhenAll(ids.Select(async id => (await user.GetAsync($"/api/generations/{id}")).Body));
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], single.Select(body => (long?)body["queuePosition"]));
        Assert.All(single, body => Assert.Equal(
            ((long?)body["queuePosition"], true, "image", "no_workers", null),
            ((long?)body["queue"]!["ahead"], (bool)body["queue"]!["exact"]!, (string?)body["queue"]!["lane"], (string?)body["queue"]!["reason"],
                (int?)body["etaSeconds"])));
        var list = (await user.GetAsync("/api/generations?limit=8")).Body["generations"]!.AsArray();
        Assert.Equal([7, 6, 5, 4, 3, 2, 1, 0], list.Select(body => (long?)body!["queuePosition"])); // the newest first

        var alias = await user.SendAsync(HttpMethod.Post, "/api/image/generate", """{"model":"seedream-4","prompt":"an old client's"}""");
        Assert.Equal((8, 9), ((long?)alias.AssertStatus(HttpStatusCode.Accepted).Body["queuePosition"], (long?)alias.Body["queue_position"]));
    }

    [Fact]
    public async Task A_watcher_is_told_of_each_step_to_the_front_and_not_of_places_once_it_is_claimed()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Worker:Concurrency"] = "1";
        });
        var ids = new List<Guid>();
        for (var n = 0; n < 4; n++) ids.Add(await system.SubmitAsync($"[gate=g{n}] number {n}"));
        var seen = new List<SseEvent>();
        using var timeout = new CancellationTokenSource(MaxWait);
        await foreach (var e in system.EventsAsync(ids[3], ct: timeout.Token))
        {
            seen.Add(e);
            switch (e.Name, (long?)e.Data["queuePosition"])
            {
                case ("snapshot", _):
                    Assert.Equal(3, (long?)e.Data["queue"]!["ahead"]);
                    await system.AddWorkerAsync(); // claims the first
                    break;
                case ("queue", 2):
                    await system.Sim.OpenGateAsync("g0");
                    break;
                case ("queue", 1):
                    await system.Sim.OpenGateAsync("g1");
                    break;
                case ("queue", 0):
                    await system.Sim.OpenGateAsync("g2");
                    break;
                case ("status", _):
                    await system.Sim.OpenGateAsync("g3");
                    break;
            }
        }

        var told = seen.Where(e => e.Name == "queue").ToList();
        Assert.Equal([2, 1, 0], told.Select(e => (long)e.Data["queuePosition"]!).Where(place => place < 3).Distinct());
        Assert.All(told, e =>
        {
            Assert.Null(e.Id);
            Assert.Equal((ids[3], 1L), (e.Data["sessionId"]!.GetValue<Guid>(), (long)e.Data["version"]!));
            Assert.Equal((long?)e.Data["queuePosition"], (long?)e.Data["queue"]!["ahead"]);
            Assert.True(e.Data.ContainsKey("etaSeconds"));
        });
        Assert.NotNull(told[^1].Data["etaSeconds"]);
        var claimed = seen.FindIndex(e => e.Name == "status");
        Assert.DoesNotContain(seen.Skip(claimed), e => e.Name == "queue");
        Assert.Equal("done", seen[^1].Name);
        Assert.Null(seen[^1].Data["queue"]);
        Assert.Null(seen[^1].Data["etaSeconds"]);
    }

    [Fact]
    public async Task In_a_paused_lane_places_are_by_rank_an_interactive_one_before_ones_own_batch_and_nobody_knows_when()
    {
        await using var system = await TestSystem.StartAsync();
        await system.ExecuteAsync("UPDATE lanes SET paused_at = now(), paused_by = 'an operator'");
        var user = new ApiUser(system, system.UserId, TestSystem.UserKey);
        var ids = new List<Guid>();
        foreach (var priority in new[] { "batch", "batch", "batch", "interactive" })
        {
            ids.Add((await user.SubmitAsync($$$"""{"model":"seedream-4","priority":"{{{priority}}}","params":{"prompt":"a hill","size":"1K"}}"""))
                .AssertStatus(HttpStatusCode.Accepted).SessionId);
        }

        await UntilIndexAsync(system, "image", index => index.State is { IsPaused: true, WaitingCount: 4 });
        var shown = await Task.WhenAll(ids.Select(id => system.GetAsync(id)));
        Assert.Equal([0, 2, 3, 1], shown.Select(body => (long)body["queuePosition"]!));
        Assert.All(shown, body => Assert.Equal(("lane_paused", null, null),
            ((string?)body["queue"]!["reason"], (int?)body["queue"]!["startsInSeconds"], (int?)body["etaSeconds"])));
        await system.ExecuteAsync("UPDATE lanes SET paused_at = NULL, paused_by = NULL");
        foreach (var id in ids) await system.EndOfAsync(id);
        await system.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Without_Redis_a_generation_still_has_its_place_and_nobody_waits_long_for_an_answer()
    {
        await using var system = await TestSystem.StartAsync(o => (o.OwnRedis, o.Workers) = (true, 0));
        var ids = new List<Guid>();
        for (var n = 0; n < 3; n++) ids.Add(await system.SubmitAsync($"number {n}"));
        await system.Redis.KillAsync();
        for (var n = 0; n < 3; n++) ids.Add(await system.SubmitAsync($"number {n} in the dark"));
        var shown = await Task.WhenAll(ids.Select(id => system.GetAsync(id)));
        Assert.Equal([0, 1, 2, 3, 4, 5], shown.Select(body => (long)body["queuePosition"]!));
        Assert.All(shown, body => Assert.Null(body["etaSeconds"]));
        var positions = Services<ApiOptions>(system.Apis[0]).GetRequiredService<LanePositions>();
        while (await positions.GetAsync("image") is not null) // the Api's copy lasts for a second
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }

        var list = await system.Http.GetStringAsync(new Uri("/api/generations", UriKind.Relative));
        Assert.All(JsonNode.Parse(list)!["generations"]!.AsArray(), body => Assert.Null(body!["queuePosition"]));
        Assert.Equal([5, 4, 3], (await Task.WhenAll(ids.Skip(3).Reverse().Select(id => system.GetAsync(id)))).Select(body =>
            (long)body["queuePosition"]!));
    }

    [Fact]
    public async Task In_a_backlog_of_20000_the_places_are_those_that_counting_gives()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        await system.ExecuteAsync("UPDATE lanes SET paused_at = now(), paused_by = 'an operator'");
        double[] ranks = [0, 12.5, 4_321, 19_000, 19_990, 20_000, 55_555, 123_456.7, 199_999, 1e9];
        var ids = new List<Guid>();
        foreach (var n in Enumerable.Range(0, ranks.Length)) ids.Add(await system.SubmitAsync($"number {n}"));
        await system.ExecuteAsync(
            """
            INSERT INTO outbox (event_type, lane, session_id, rank, work)
            SELECT 'gen.seedream4', 'image', gen_random_uuid(), 10 * (i * 7919 % 20000), 10 FROM generate_series(1, 20000) AS i
            """);
        foreach (var (id, rank) in ids.Zip(ranks))
        {
            await system.ExecuteAsync(FormattableString.Invariant($"UPDATE outbox SET rank = {rank}, work = 10 WHERE session_id = '{id}'"));
        }

        await system.ExecuteAsync("ANALYZE outbox");
        var since = await system.ScalarAsync<DateTime>("SELECT now()");
        await UntilIndexAsync(system, "image", index => index.State.AsOf.UtcDateTime > since && index.State.WaitingCount == 20_000 + ranks.Length);
        var list = JsonNode.Parse(await system.Http.GetStringAsync(new Uri("/api/generations?limit=20", UriKind.Relative)))!["generations"]!.AsArray()
            .ToDictionary(body => body!["sessionId"]!.GetValue<Guid>(), body => body!);
        foreach (var id in ids)
        {
            var counted = await system.ScalarAsync<long>(
                $"SELECT count(*) FROM outbox AS w, outbox AS o WHERE o.session_id = '{id}' AND (w.rank, w.outbox_id) < (o.rank, o.outbox_id)");
            var (one, listed) = (await system.GetAsync(id), list[id]);
            Assert.Equal((counted, counted, true),
                ((long)one["queuePosition"]!, (long)one["queue"]!["ahead"]!, (bool)one["queue"]!["exact"]!));
            var exact = (bool)listed["queue"]!["exact"]!;
            Assert.Equal((long)listed["queuePosition"]!, (long)listed["queue"]!["ahead"]!);
            Assert.InRange((long)listed["queuePosition"]! - counted, exact ? 0 : -499, exact ? 0 : 499);
            Assert.True(exact || counted >= PositionIndex.Singles, $"{counted}: {listed["queue"]}");
        }

        Assert.Contains(list.Values, body => !(bool)body["queue"]!["exact"]!);
    }

    [Fact]
    public async Task With_workers_that_say_what_they_do_an_estimate_follows_from_their_rate_and_their_measurements()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        var health = Services<ApiOptions>(system.Apis[0]).GetRequiredService<ProviderHealth>();
        var ids = new List<Guid>();
        for (var n = 0; n < 5; n++) ids.Add(await system.SubmitAsync($"number {n}"));
        var report = new WorkerReport("one", TimeProvider.System.GetUtcNow(), [new ProviderReport("ark", "closed", null, 1, 0, 1, 1, null)])
        {
            Lanes = [new LaneReport("image", 2, 2, [new LaneProviderReport("ark", 2, 2, 20)])],
            Durations = [new DurationReport("seedream-4", JobVariant.NameOf(new JsonObject { ["size"] = "1K" }, 1, mock: false), 50, 3, 4, 9)],
        };
        await health.PublishAsync(report);
        await UntilIndexAsync(system, "image", index => index.State is { HasWorkers: true, QueueCount: 5 });
        var last = await system.GetAsync(ids[4]);
        Assert.Equal(("in_line", 20, 24, 23, 29), // 4 × 10 s of work for 2 slots, and then 4 s
            ((string)last["queue"]!["reason"]!, (int)last["queue"]!["startsInSeconds"]!, (int)last["etaSeconds"]!,
                (int)last["queue"]!["etaLow"]!, (int)last["queue"]!["etaHigh"]!));

        await health.PublishAsync(report with { Providers = [new ProviderReport("ark", "open", 500, 9, 9, 1, 1, "broken")] });
        await UntilIndexAsync(system, "image", index => index.State.Providers.Any(provider => provider.OpenUntil is not null));
        var first = await system.GetAsync(ids[0]);
        Assert.Equal((0, "provider_unavailable"), ((long)first["queuePosition"]!, (string)first["queue"]!["reason"]!));
        Assert.InRange((int)first["queue"]!["startsInSeconds"]!, 440, 500);
    }

    [Fact]
    public async Task Workers_measure_what_they_complete_and_the_index_has_it()
    {
        await using var system = await TestSystem.StartAsync();
        await system.EndOfAsync(await system.SubmitAsync("measured", n: 2));
        var index = await UntilIndexAsync(system, "image", found => found.State.Durations.Count > 0);
        var measured = Assert.Single(index.State.Durations);
        Assert.Equal(("seedream-4", 1), (measured.Model, measured.Count));
        Assert.Contains("size=1K", measured.Variant, StringComparison.Ordinal);
        Assert.Contains("outputs=2", measured.Variant, StringComparison.Ordinal);
        Assert.InRange(measured.P50, 0.001, 60);
    }

    [Fact]
    public async Task Of_two_relays_one_makes_the_indexes_and_the_other_goes_on_when_it_leaves()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Relays, o.Workers, o.Apis) = (2, 0, 1));
        var index = await UntilIndexAsync(system, "image", _ => true);
        var seen = new HashSet<DateTimeOffset>();
        await UntilIndexAsync(system, "image", found =>
        {
            Assert.Equal(index.State.Maker, found.State.Maker);
            seen.Add(found.State.AsOf);
            return seen.Count >= 4;
        });
        var times = seen.Order().ToList();
        Assert.All(times.Zip(times.Skip(1)), pair => Assert.True(pair.Second - pair.First >= PositionIndexer.MinInterval * 0.9, $"{pair}"));

        // Each relay is stopped in turn; whichever is left, or new, makes them.
        foreach (var relay in system.Relays.ToList())
        {
            var joined = await system.AddRelayAsync();
            system.Relays.Remove(relay);
            await relay.DisposeAsync();
            var stopped = await system.ScalarAsync<DateTime>("SELECT now()");
            await UntilIndexAsync(system, "image", found => found.State.AsOf.UtcDateTime > stopped);
            Assert.Contains(joined, system.Relays);
        }

        Assert.NotEqual(index.State.Maker, (await UntilIndexAsync(system, "image", _ => true)).State.Maker);
    }

    private static IServiceProvider Services<TMarker>(ITestService service)
        where TMarker : class => ((InProcessService<TMarker>)service).Services;

    /// <summary>The lane's index in Redis, once it is as wanted.</summary>
    private static async Task<PositionIndex> UntilIndexAsync(TestSystem system, string lane, Predicate<PositionIndex> isWanted)
    {
        var services = Services<ApiOptions>(system.Apis[0]);
        var key = PositionIndexer.KeyOf(services.GetRequiredService<QueueOptions>(), lane);
        var cache = services.GetRequiredService<IConnectionMultiplexer>().GetDatabase();
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            if ((byte[]?)await cache.StringGetAsync(key) is { } bytes && PositionIndex.Decode(bytes) is { } index && isWanted(index))
            {
                await UntilCopiedAsync(services.GetRequiredService<LanePositions>(), index);
                return index;
            }

            Assert.True(TimeProvider.System.GetElapsedTime(started) < MaxWait, $"No such index\n{system.Logs()}");
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>The Api's own copy may be a second older.</summary>
    private static async Task UntilCopiedAsync(LanePositions positions, PositionIndex index)
    {
        while (await positions.GetAsync(index.State.Lane) is not { } copy || copy.State.AsOf < index.State.AsOf)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }
}
