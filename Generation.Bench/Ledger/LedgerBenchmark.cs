using Generation.Bench.Harness;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Identity;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Generation.Bench.Ledger;

/// <summary>
/// What credits cost without HTTP, queue and provider: holds through the group commit, ends one session a transaction as the workers
/// write them, for a thousand users and for one whose rows everybody wants.
/// </summary>
internal static class LedgerBenchmark
{
    public static readonly Benchmark Entry = new("ledger", "Holds and ends of one hot user go on while everybody waits for the same rows.", RunAsync);

    private const int Users = 1_000;
    private const int Rounds = 3;
    private const int Submitters = 64;
    private const int Settlers = 16; // as many as one worker has slots, and a bit
    private const int SessionsPerRound = 8_000;
    private const int HotSessionsPerRound = 4_000;

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres");
        await using var system = await BenchSystem.StartAsync(folder, BenchScope.Submits, new Dictionary<string, string>(StringComparer.Ordinal), ct);
        await system.Api.DisposeAsync();
        await system.Relay.DisposeAsync(); // it has migrated; now only what is measured writes
        await using var owner = NpgsqlDataSource.Create(system.OwnerConnectionString);
        await Fill.UsersAsync(owner, Users, ct);
        var users = new List<Guid>();
        await using (var command = owner.CreateCommand(
            "SELECT user_id FROM credit_accounts JOIN users USING (user_id) WHERE handle LIKE 'bench-%' ORDER BY user_id"))
        await using (var reader = await command.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                users.Add(reader.GetGuid(0));
            }
        }

        // As ServiceDefaults/DatabaseConnections.cs has it.
        await using var service = NpgsqlDataSource.Create(system.OwnerConnectionString
            + ";Options=-c role=generation_service;MaxAutoPrepare=64;No Reset On Close=true;Maximum Pool Size=20");
        using var notifier = new ChangeNotifier(service, NullLogger<ChangeNotifier>.Instance);
        var settlement = new Settlement(service, notifier, new CreditOptions(), TimeProvider.System, NullLogger<Settlement>.Instance);
        using var writer = new SubmitWriter(service, notifier, new SubmitOptions(), TimeProvider.System, NullLogger<SubmitWriter>.Instance);
        await writer.StartAsync(ct);
        try
        {
            Report.Say("warming up");
            for (var i = 0; i < 2; i++)
            {
                await EndAsync(await ReserveAsync(users, 2_000), capture: true);
                await EndAsync(await ReserveAsync(users, 2_000), capture: false);
            }

            foreach (var (name, who, sessions) in new[] { ("users_1000", users, SessionsPerRound), ("hot_user", users[..1], HotSessionsPerRound) })
            {
                foreach (var capture in new[] { true, false })
                {
                    var (reserves, ends, pairs) = (new List<double>(), new List<double>(), new List<double>());
                    for (var round = 1; round <= Rounds; round++)
                    {
                        Report.Say($"{name}: round {round} of {Rounds}, reserve + {(capture ? "capture" : "release")}");
                        var started = TimeProvider.System.GetTimestamp();
                        var reserved = await ReserveAsync(who, sessions);
                        var reserveSeconds = TimeProvider.System.GetElapsedTime(started).TotalSeconds;
                        var endSeconds = await EndAsync(reserved, capture);
                        reserves.Add(sessions / reserveSeconds);
                        ends.Add(sessions / endSeconds);
                        pairs.Add(sessions / (reserveSeconds + endSeconds));
                    }

                    var end = capture ? "capture" : "release";
                    report.Add($"{name}.reserve_{end}.pairs", Report.Median(pairs), "pairs/s");
                    report.Add($"{name}.reserve_{end}.reserve", Report.Median(reserves), "holds/s");
                    report.Add($"{name}.reserve_{end}.{end}", Report.Median(ends), "ends/s");
                }
            }
        }
        finally
        {
            await writer.StopAsync(CancellationToken.None);
        }

        await using var open = owner.CreateCommand("SELECT count(*) FROM credit_reservations WHERE status = 'held'");
        report.Check((long)(await open.ExecuteScalarAsync(ct))! == 0, "Holds are open although every session has ended.");

        async Task<Guid[]> ReserveAsync(IReadOnlyList<Guid> who, int sessions)
        {
            var made = new Guid[sessions];
            var next = -1;
            await Task.WhenAll(Enumerable.Range(0, Submitters).Select(_ => Task.Run(
                async () =>
                {
                    for (var i = Interlocked.Increment(ref next); i < sessions; i = Interlocked.Increment(ref next))
                    {
                        var result = await writer.SubmitAsync(Request(who[i % who.Count]), ct);
                        made[i] = result.Outcome == SubmitOutcome.Accepted ? result.SessionId
                            : throw new InvalidOperationException($"A hold was not accepted: {result}");
                    }
                },
                ct)));
            return made;
        }

        // Seconds that the ends took. What a worker does in between (claim, store) is not measured, and is done for all at once.
        async Task<double> EndAsync(Guid[] sessions, bool capture)
        {
            if (capture)
            {
                await using var work = owner.CreateCommand(
                    """
                    WITH claimed AS (
                        UPDATE generation_sessions
                        SET status = 'processing', phase = 'storing', lease_owner = 'bench', lease_token = 1, lease_until = now()
                            + interval '1 hour', started_at = now()
                        WHERE session_id = ANY ($1)
                        RETURNING session_id, user_id, unit_price
                    )
                    INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, credits, lease_token,
                        session_version)
                    SELECT session_id, session_id, user_id, 0, 'image', 'bench/' || session_id, 'image/jpeg', 1, sha256('bench'), unit_price, 1, 1
                    FROM claimed
                    """);
                work.Parameters.AddWithValue(sessions);
                work.CommandTimeout = 120;
                await work.ExecuteNonQueryAsync(ct);
            }

            var started = TimeProvider.System.GetTimestamp();
            var (next, ended) = (-1, 0);
            await Task.WhenAll(Enumerable.Range(0, Settlers).Select(_ => Task.Run(
                async () =>
                {
                    for (var i = Interlocked.Increment(ref next); i < sessions.Length; i = Interlocked.Increment(ref next))
                    {
                        var settle = capture
                            ? new Settle(sessions[i], SettleGuard.Fenced) { LeaseToken = 1 }
                            : new Settle(sessions[i], SettleGuard.Queued) { Canceled = true };
                        Interlocked.Add(ref ended, (await settlement.SettleAsync([settle], ct)).Count);
                    }
                },
                ct)));
            var seconds = TimeProvider.System.GetElapsedTime(started).TotalSeconds;
            report.Check(ended == sessions.Length, $"{ended:#,0} of {sessions.Length:#,0} sessions ended.");
            return seconds;
        }
    }

    private static SubmitRequest Request(Guid user)
    {
        var key = Guid.CreateVersion7().ToString();
        return new SubmitRequest
        {
            UserId = user,
            ClientKey = key,
            RequestHash = ApiKeys.Hash(key),
            Model = ModelRegistry.BuiltIn[0],
            Params = """{"prompt": "a lighthouse at dusk"}""",
            InputSettings = """{"n": 1, "size": "2K", "prompt": "a lighthouse at dusk", "watermark": false, "providerModel": "seedream-4-0-250828"}""",
            Mock = false,
            Outputs = 1,
            Price = new Price(4, 1, null),
            Lifetime = TimeSpan.FromHours(24),
        };
    }
}
