using System.Net;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Resilience;

/// <summary>
/// Two of each service under load, and kill -9 for one after the other. What is allowed to be missing at the end is exactly the
/// pictures whose paid call a killed worker had under way; everything else is there, once.
/// </summary>
[Trait("tier", "process")]
public sealed class RandomKillsTests
{
    private const int Seed = 20_260;
    private const int SessionsPerRound = 10;

    [Fact]
    public async Task Random_kills_of_every_service_cost_at_most_the_calls_that_a_dead_worker_had_under_way()
    {
        TestSystemOptions options = null!;
        await using var system = await TestSystem.StartAsync(o =>
        {
            (options = o).AsProcesses = true;
            (o.Apis, o.Relays, o.Workers, o.Credits) = (2, 2, 2, 10_000);
            o.Settings["Worker:Concurrency"] = "4";
            o.Settings["Worker:LeaseDuration"] = "00:00:04"; // a busy machine must not look like a dead worker
        });
        var random = new Random(Seed);
        var fleets = new Dictionary<string, Fleet>(StringComparer.Ordinal)
        {
            ["api"] = new(system.Apis, system.AddApiAsync),
            ["relay"] = new(system.Relays, system.AddRelayAsync),
            ["worker"] = new(system.Workers, system.AddWorkerAsync),
        };
        string[] victims = ["worker", "worker", "worker", "relay", "relay", "api", "api"];
        random.Shuffle(victims);

        var submits = new List<Task<Guid>>();
        var lost = new HashSet<(Guid SessionId, long LeaseToken)>();
        var bought = new HashSet<Guid>();
        foreach (var victim in victims)
        {
            for (var i = 0; i < SessionsPerRound; i++)
            {
                submits.Add(SubmitAsync(system, fleets["api"], submits.Count, random.Next(100, 300)));
            }

            // In the middle of paid calls, unless all was done before we looked.
            await system.UntilAsync("(SELECT count(*) >= 2 FROM provider_tasks WHERE state = 'intent') OR (SELECT count(*) > 0 AND "
                + "bool_and(completed_at IS NOT NULL) FROM generation_sessions)");
            var killed = await fleets[victim].KillOneAsync(random);
            if (victim == "worker")
            {
                await RememberAsync(system, killed, lost, bought);
            }
        }

        var ids = await Task.WhenAll(submits);
        await Task.WhenAll(fleets.Values.Select(fleet => fleet.CompleteAsync()));
        await system.AssertAllIsWellAsync();

        Assert.Equal(victims.Length * SessionsPerRound, ids.Distinct().Count());
        Assert.Equal(ids.Length, await system.ScalarAsync<long>("SELECT count(*) FROM generation_sessions"));
        var unknown = await ReadAsync(system, "SELECT session_id, lease_token, provider_task_id FROM provider_tasks WHERE state = 'unknown'", r => (
            Session: r.GetGuid(0), Token: r.GetInt64(1), Task: r.GetGuid(2)));
        Assert.All(unknown, task => Assert.Contains((task.Session, task.Token), lost));
        Assert.All(unknown, task => Assert.DoesNotContain(task.Task, bought));
        Assert.Equal(unknown.Count, await system.ScalarAsync<long>(
            "SELECT count(*) FROM error_events WHERE code = 'outcome_unknown' AND detail ? 'providerTaskId'"));
        var wrong = await ReadAsync(
            system,
            """
            SELECT s.session_id, s.status, s.requested_outputs, m.outputs, t.unknown
            FROM generation_sessions AS s
            CROSS JOIN LATERAL (SELECT count(*) AS outputs FROM media AS m WHERE m.session_id = s.session_id) AS m
            CROSS JOIN LATERAL (SELECT count(*) AS unknown FROM provider_tasks AS t WHERE t.session_id = s.session_id AND t.state = 'unknown') AS t
            WHERE m.outputs + t.unknown <> s.requested_outputs
               OR s.status <> CASE WHEN m.outputs > 0 THEN 'completed' ELSE 'failed' END
            """,
            r => $"{r.GetGuid(0)} {r.GetString(1)}: {r.GetInt64(3)} of {r.GetInt32(2)} stored, {r.GetInt64(4)} unknown");
        Assert.Empty(wrong);
        for (var i = 0; i < ids.Length; i++)
        {
            Assert.InRange(await system.Sim.PaidAsync($"load {i}."), 0, OutputsOf(i));
        }

        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{ids.Length} sessions, {lost.Count} leases lost with their workers, {unknown.Count} calls under way.");
    }

    private static int OutputsOf(int number) => 1 + (number % 3);

    /// <summary>As a client does that wants its picture: the same key again, to whichever Api answers.</summary>
    private static async Task<Guid> SubmitAsync(TestSystem system, Fleet apis, int number, int latencyMs)
    {
        for (var attempt = number; ; attempt++)
        {
            using var http = system.Client(apis.At(attempt));
            try
            {
                using var response = await system.PostAsync(
                    new
                    {
                        model = "seedream-4",
                        @params = new
                        {
                            prompt = $"load {number}. [latency={latencyMs}]",
                            size = "1K",
                            n =
                        OutputsOf(number)
                        }
                    }, $"key-{number}", http);
                Assert.Contains(response.StatusCode, new[] { HttpStatusCode.Accepted, HttpStatusCode.ServiceUnavailable });
                if (response.StatusCode == HttpStatusCode.Accepted)
                {
                    return (Guid)(await TestSystem.ReadAsync(response))["sessionId"]!;
                }
            }
            catch (HttpRequestException)
            {
                // It was killed; whether it has accepted is found out by asking again.
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>What the dead worker held, and which of its calls had been answered and recorded: those must not be lost.</summary>
    private static async Task RememberAsync(TestSystem system, ProcessService worker, HashSet<(Guid SessionId, long LeaseToken)> lost,
        HashSet<Guid> bought)
    {
        var owner = $"lease_owner = '{Environment.MachineName}:{worker.ProcessId}'";
        lost.UnionWith(await ReadAsync(system, $"SELECT session_id, lease_token FROM generation_sessions WHERE {owner}", r => (
            r.GetGuid(0), r.GetInt64(1))));
        bought.UnionWith(await ReadAsync(
            system, "SELECT provider_task_id FROM provider_tasks WHERE state = 'delivered' AND session_id IN (SELECT session_id FROM "
                + $"generation_sessions WHERE {owner})", r => r.GetGuid(0)));
    }

    private static async Task<List<T>> ReadAsync<T>(TestSystem system, string sql, Func<NpgsqlDataReader, T> row)
    {
        await using var command = system.Db.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var rows = new List<T>();
        while (await reader.ReadAsync())
        {
            rows.Add(row(reader));
        }

        return rows;
    }

    /// <summary>The processes of one service: one that is killed is followed by a new one.</summary>
    private sealed class Fleet(IEnumerable<ITestService> first, Func<Task<ITestService>> add)
    {
        private readonly Lock gate = new();
        private readonly List<ProcessService> alive = [.. first.Cast<ProcessService>()];
        private readonly HashSet<ProcessService> dead = [];
        private readonly List<Task> starting = [];

        public ProcessService At(int number)
        {
            lock (gate)
            {
                return alive[number % alive.Count];
            }
        }

        public async Task<ProcessService> KillOneAsync(Random random)
        {
            if (!HasLiving())
            {
                await CompleteAsync();
            }

            ProcessService victim;
            lock (gate)
            {
                var living = alive.Where(service => !dead.Contains(service)).ToList();
                victim = living[random.Next(living.Count)];
                dead.Add(victim);
            }

            await victim.KillAsync();
            starting.Add(ReplaceAsync(victim));
            return victim;
        }

        /// <summary>Waits until everybody has been replaced.</summary>
        public Task CompleteAsync() => Task.WhenAll(starting);

        private bool HasLiving()
        {
            lock (gate)
            {
                return dead.Count < alive.Count;
            }
        }

        /// <summary>The dead one keeps its place until then: clients find nobody there.</summary>
        private async Task ReplaceAsync(ProcessService victim)
        {
            var successor = (ProcessService)await add();
            lock (gate)
            {
                alive[alive.IndexOf(victim)] = successor;
                dead.Remove(victim);
            }
        }
    }
}
