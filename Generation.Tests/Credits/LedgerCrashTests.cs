using System.Collections.Concurrent;
using System.Net;
using Generation.Tests.Harness;

namespace Generation.Tests.Credits;

/// <summary>
/// Money through kill -9. Beside <see cref="Resilience.RandomKillsTests"/>, which counts pictures: here users have too little, two clients of
/// each send the same keys, some cancel, and what a session costs is known only when its provider has counted.
/// </summary>
[Trait("tier", "process")]
public sealed class LedgerCrashTests
{
    private const int Seed = 20_262;
    private const int Users = 3;
    private const int ClientsPerUser = 2;
    private const int KeysPerRound = 3;
    private const int Kills = 8;
    private const int Granted = 130;

    private readonly ConcurrentDictionary<string, Guid> accepted = new(StringComparer.Ordinal);
    private readonly ConcurrentBag<string> refused = [];

    [Fact]
    public async Task Kills_of_Api_and_worker_at_random_moments_cost_nobody_a_credit_that_is_not_in_the_books()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.AsProcesses = true;
            (o.Apis, o.Relays, o.Workers) = (2, 1, 2);
            o.Settings["Credits:CostPolicy"] = "ChargeAvailable";
            o.Settings["Relay:HoldInterval"] = "00:00:00.500";
            o.Settings["Worker:Concurrency"] = "4";
            o.Settings["Worker:LeaseDuration"] = "00:00:04"; // a busy machine must not look like a dead worker
        });

        // Four credits are held for a picture; of 1K it costs three, of 2K nine.
        await system.ExecuteAsync("UPDATE model_pricing SET retired_at = now() WHERE model = 'seedream-4'");
        await system.ExecuteAsync(
            "INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit, usd_per_output) VALUES ('seedream-4', 4, 'total_tokens', "
            + "0.0005, 0.03)");
        var users = new List<(Guid UserId, string Key)>();
        for (var n = 0; n < Users; n++)
        {
            users.Add(await system.AddUserAsync($"user-{n}", Granted));
        }

        var random = new Random(Seed);
        ProcessService[] apis = [.. system.Apis.Cast<ProcessService>()];
        ProcessService[] workers = [.. system.Workers.Cast<ProcessService>()];
        var (clients, starting) = (new List<Task>(), new List<Task>());
        var underLoad = 0;
        for (var kill = 0; kill < Kills; kill++)
        {
            var round = kill;
            clients.AddRange(Enumerable.Range(0, Users * ClientsPerUser)
                .Select(n => SendPaidAsync(system, apis, n, users[n % Users].Key, round, new Random(Seed + (100 * round) + n))));

            // A random moment is some steps of the pipeline later, unless everything has come to its end before.
            var steps = await StepsAsync(system) + random.Next(1, 12);
            while (await StepsAsync(system) < steps && !await IsOverAsync(system, clients))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, CancellationToken.None);
            }

            var (fleet, add) = random.Next(2) == 0 ? (apis, (Func<Task<ITestService>>)system.AddApiAsync) : (workers, system.AddWorkerAsync);
            var victim = random.Next(fleet.Length);
            underLoad += await IsOverAsync(system, clients) ? 0 : 1;
            await fleet[victim].KillAsync();
            starting.Add(ReplaceAsync(fleet, victim, add));
            if (starting.Count % 2 == 0)
            {
                await Task.WhenAll(starting); // somebody must be there to be killed
            }
        }

        await Task.WhenAll(starting);
        await Task.WhenAll(clients);
        await system.UntilAsync("SELECT count(*) = 0 FROM generation_sessions WHERE completed_at IS NULL", TimeSpan.FromMinutes(2));

        await system.AssertBooksAreCleanAsync();
        await system.AssertMediaAreStoredAsync();
        Assert.Equal(accepted.Values.Order(), (await IdsAsync(system)).Order());
        Assert.Equal(0, await system.ScalarAsync<decimal>("SELECT sum(reserved) FROM credit_accounts"));
        Assert.Equal(
            0,
            await system.ScalarAsync<long>(
                $"""
                SELECT count(*)
                FROM credit_accounts AS a JOIN users AS u USING (user_id)
                WHERE u.handle LIKE 'user-%' AND a.available + (SELECT coalesce(sum(s.captured_credits), 0) FROM generation_sessions AS s WHERE s.user_id = a.user_id) <> {Granted}
                """));
        foreach (var key in accepted.Keys)
        {
            Assert.InRange(await system.Sim.PaidAsync($"{key}."), 0, OutputsOf(int.Parse(key.Split(' ')[1])));
        }

        // It was a load: sessions ended, some cost more than was held and some less, and some users ran dry.
        TestContext.Current.TestOutputHelper!.WriteLine(
            await system.ScalarAsync<string>(
                """
                SELECT format('%s completed, %s failed, %s canceled; %s paid beyond their hold, %s less, %s short',
                    count(*) FILTER (WHERE status = 'completed'),
                              count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'canceled'),
                                  count(*) FILTER (WHERE extra_credits > 0),
                              count(*) FILTER (WHERE captured_credits BETWEEN 1 AND held_credits - 1), count(*) FILTER (WHERE shortfall_credits > 0))
                FROM generation_sessions
                """) + $"; {refused.Count} refused; {underLoad} of {Kills} kills under load");
        Assert.True(underLoad > Kills / 2, $"Only {underLoad} of {Kills} kills met any work.");
        Assert.True(await system.ScalarAsync<bool>(
            "SELECT bool_or(status = 'completed') AND bool_or(extra_credits > 0) AND bool_or(captured_credits BETWEEN 1 AND held_credits - 1) FROM "
            + "generation_sessions"));
    }

    /// <summary>The dead one keeps its place until then: clients find nobody there.</summary>
    private static async Task ReplaceAsync(ProcessService[] fleet, int victim, Func<Task<ITestService>> add) =>
        Volatile.Write(ref fleet[victim], (ProcessService)await add());

    private static int OutputsOf(int key) => 1 + (key % 2);

    /// <summary>As a client does that wants its pictures: the same key again, to whichever Api answers, until it has an answer.</summary>
    private async Task SendPaidAsync(TestSystem system, ProcessService[] apis, int client, string apiKey, int round, Random random)
    {
        for (var number = KeysPerRound * round; number < KeysPerRound * (round + 1); number++)
        {
            var key = $"{apiKey} {number}"; // the other client of this user sends the same
            var body = new
            {
                model = "seedream-4",
                @params = new
                {
                    prompt = $"{key}. [latency={100 + (37 * number % 300)}]",
                    size = number % 3 == 0
                ? "2K" : "1K",
                    n = OutputsOf(number)
                }
            };
            for (var attempt = client; ; attempt++)
            {
                using var http = system.Client(Volatile.Read(ref apis[attempt % apis.Length]), apiKey);
                try
                {
                    using var response = await system.PostAsync(body, key, http);
                    Assert.Contains(response.StatusCode, new[] { HttpStatusCode.Accepted, HttpStatusCode.PaymentRequired,
                        HttpStatusCode.ServiceUnavailable });
                    if (response.StatusCode == HttpStatusCode.PaymentRequired)
                    {
                        refused.Add(key);
                        break;
                    }

                    if (response.StatusCode == HttpStatusCode.Accepted)
                    {
                        var session = (Guid)(await TestSystem.ReadAsync(response))["sessionId"]!;
                        Assert.Equal(session, accepted.GetOrAdd(key, session));
                        if (random.Next(10) == 0)
                        {
                            using var canceled = await http.PostAsync(new Uri($"/api/generations/{session}/cancel", UriKind.Relative), null);
                        }

                        break;
                    }
                }
                catch (HttpRequestException)
                {
                    // It was killed; whether it has accepted is found out by asking again.
                }

                await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
            }
        }
    }

    /// <summary>How far everything has come: grows with every submit, call, output and end.</summary>
    private static Task<long> StepsAsync(TestSystem system) => system.ScalarAsync<long>(
        "SELECT (SELECT count(*) FROM credit_transactions) + (SELECT count(*) FROM media) + (SELECT count(*) + count(result) FROM provider_tasks)");

    private static async Task<bool> IsOverAsync(TestSystem system, List<Task> clients) =>
        clients.TrueForAll(c => c.IsCompleted) && await system.ScalarAsync<bool>(
            "SELECT NOT EXISTS (SELECT FROM generation_sessions WHERE completed_at IS NULL)");

    private static async Task<List<Guid>> IdsAsync(TestSystem system)
    {
        await using var command = system.Db.CreateCommand("SELECT session_id FROM generation_sessions");
        await using var reader = await command.ExecuteReaderAsync();
        var ids = new List<Guid>();
        while (await reader.ReadAsync())
        {
            ids.Add(reader.GetGuid(0));
        }

        return ids;
    }
}
