using System.Data;
using Generation.Bench.Harness;
using Generation.Bench.Submit;
using Npgsql;

namespace Generation.Bench.Pressure;

/// <summary>
/// A steady load of mock jobs over HTTP, on a database that others use too: a forgotten transaction that keeps dead rows alive, long reads, an
/// operator who terminates backends, a restart. What a phase accepted and completed, and how long jobs waited, is read from the rows.
/// </summary>
internal static class PressureBenchmark
{
    public static readonly Benchmark Entry = new(
        "pressure", "Under pressure on the database jobs go on at 70 % of the clean rate, and at 95 % within 30 s after it.", RunAsync);

    private const int Users = 1_000;
    private const int PerSecond = 200;
    private const int Connections = 64;
    private const int Scans = 4;
    private const double MinUnderPressure = 0.7;
    private const double MinAfterwards = 0.95;
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(30); // code is compiled in tiers, plans settle
    private static readonly TimeSpan Measured = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Recovery = TimeSpan.FromSeconds(30);

    private const string Statistics =
        """
        SELECT count(*) FILTER (WHERE created_at >= $1 AND created_at < $2) / $3 AS accepted,
               count(*) FILTER (WHERE completed_at >= $1 AND completed_at < $2 AND status = 'completed') / $3 AS completed,
               percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at) * 1000)
                   FILTER (WHERE created_at >= $1 AND created_at < $2) AS pickup,
               percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at) * 1000)
                   FILTER (WHERE created_at >= $1 AND created_at < $2) AS total
        FROM generation_sessions
        """;

    private const string Counters =
        """
        SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::double precision, d.xact_commit::double precision,
               (SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables)::double precision,
               (SELECT count(*) FROM generation_sessions WHERE status = 'completed')::double precision
        FROM pg_stat_database AS d
        WHERE d.datname = current_database()
        """;

    private static async Task RunAsync(Report report, CancellationToken ct)
    {
        using var folder = await RunFolder.CreateAsync(ct);
        Report.Say("starting Postgres, Redis, relay, api and worker");
        await using var system = await BenchSystem.StartAsync(
            folder, BenchScope.Jobs,
            new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["Mock:Enabled"] = "true",
                ["Mock:StageDelay"] = "00:00:00",
                ["Worker:Concurrency"] = "64",
            },
            ct);
        await using var database = NpgsqlDataSource.Create(system.OwnerConnectionString + ";Command Timeout=600;Pooling=false");
        await Fill.UsersAsync(database, Users, ct);
        var load = new LoadGenerator(system.Api.Address, Users) { MayRefuse = true };
        var phases = new List<Phase>();

        Report.Say($"warming up: {PerSecond} jobs/s for {WarmUp.TotalSeconds:0} s");
        await load.RunAsync(Connections, TimeSpan.Zero, WarmUp, ct, PerSecond);
        var before = await CountersAsync();
        await PhaseAsync("clean", Measured, _ => Task.CompletedTask);
        await PhaseAsync("idle_in_transaction", Measured, IdleAsync);
        await PhaseAsync("scans", Measured, ScanAsync);
        await PhaseAsync("terminated_backends", Measured, TerminateAsync);
        await PhaseAsync("restart", Measured, _ => system.RestartPostgresAsync(ct));
        await PhaseAsync("recovery", Recovery, _ => Task.CompletedTask);
        await PhaseAsync("afterwards", Measured, _ => Task.CompletedTask);
        await DrainAsync();
        var after = await CountersAsync();

        foreach (var phase in phases)
        {
            await ReadAsync(phase);
        }

        var jobs = after[3] - before[3];
        report.Add("wal_per_job", (after[0] - before[0]) / jobs, "bytes");
        report.Add("commits_per_job", (after[1] - before[1]) / jobs, "");
        report.Add("dead_rows_per_job", (after[2] - before[2]) / jobs, "");
        var clean = report["clean.completed"];
        foreach (var phase in phases.Where(phase => phase.Name is not ("clean" or "recovery")))
        {
            var share = report[$"{phase.Name}.completed"] / clean;
            var wanted = phase.Name == "afterwards" ? MinAfterwards : MinUnderPressure;
            report.AddRatio($"{phase.Name}.over_clean", share);
            report.Check(share >= wanted, $"{phase.Name}: {share:0.00} of the clean rate, less than {wanted:0.00}.");
        }

        async Task PhaseAsync(string name, TimeSpan duration, Func<CancellationToken, Task> press)
        {
            Report.Say($"{name}: {duration.TotalSeconds:0} s");
            using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var from = await NowAsync();
            var pressure = press(end.Token);
            var run = await load.RunAsync(Connections, TimeSpan.Zero, duration, ct, PerSecond);
            var to = await NowAsync();
            await end.CancelAsync();
            await pressure.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (pressure.IsFaulted)
            {
                await pressure;
            }

            phases.Add(new Phase(name, from, to, run.RefusedPerSecond));
        }

        // A transaction that was forgotten open, with an id of its own: nothing that died after it can be removed.
        async Task IdleAsync(CancellationToken end)
        {
            await using var connection = await database.OpenConnectionAsync(ct);
            await using var transaction = await connection.BeginTransactionAsync(ct);
            await using (var command = new NpgsqlCommand("SELECT pg_current_xact_id()::text", connection, transaction))
            {
                await command.ExecuteScalarAsync(ct);
            }

            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        // Reports of somebody else: each reads the busy tables whole, on one snapshot, again and again; a new one begins before the last ends.
        Task ScanAsync(CancellationToken end) => Task.WhenAll(Enumerable.Range(0, Scans).Select(async number =>
        {
            await Task.Delay(TimeSpan.FromSeconds(number), TimeProvider.System, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            while (!end.IsCancellationRequested)
            {
                await using var connection = await database.OpenConnectionAsync(ct);
                await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, ct);
                await using var command = new NpgsqlCommand(
                    """
                    SELECT count(*), sum(length(s::text)) FROM generation_sessions AS s;
                    SELECT count(*), sum(length(o::text)) FROM outbox AS o;
                    SELECT count(*), sum(length(r::text)) FROM credit_reservations AS r;
                    SELECT count(*), sum(length(t::text)) FROM credit_transactions AS t;
                    SELECT pg_sleep(1);
                    """, connection, transaction);
                await command.ExecuteNonQueryAsync(ct);
            }
        }));

        async Task TerminateAsync(CancellationToken end)
        {
            while (!end.IsCancellationRequested)
            {
                await using (var command = database.CreateCommand(
                    """
                    SELECT pg_terminate_backend(pid) FROM (
                        SELECT pid FROM pg_stat_activity
                        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
                        ORDER BY random() LIMIT 1) AS one
                    """))
                {
                    await command.ExecuteNonQueryAsync(ct);
                }

                await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        async Task DrainAsync()
        {
            for (var seconds = 0; seconds < 60; seconds++)
            {
                await using (var command = database.CreateCommand("SELECT EXISTS (SELECT FROM generation_sessions WHERE completed_at IS NULL)"))
                {
                    if (!(bool)(await command.ExecuteScalarAsync(ct))!)
                    {
                        return;
                    }
                }

                await Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System, ct);
            }

            report.Check(false, "A minute after the load there are still open sessions.");
        }

        async Task<DateTime> NowAsync()
        {
            while (true)
            {
                try
                {
                    await using var command = database.CreateCommand("SELECT clock_timestamp()");
                    return (DateTime)(await command.ExecuteScalarAsync(ct))!;
                }
                catch (NpgsqlException) when (!ct.IsCancellationRequested)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, ct); // it is being restarted
                }
            }
        }

        async Task<double[]> CountersAsync()
        {
            await using var command = database.CreateCommand(Counters);
            await using var reader = await command.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            return [.. Enumerable.Range(0, reader.FieldCount).Select(reader.GetDouble)];
        }

        async Task ReadAsync(Phase phase)
        {
            await using var command = database.CreateCommand(Statistics);
            command.Parameters.AddWithValue(phase.From);
            command.Parameters.AddWithValue(phase.To);
            command.Parameters.AddWithValue((phase.To - phase.From).TotalSeconds);
            await using var reader = await command.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            report.Add($"{phase.Name}.accepted", reader.GetDouble(0), "jobs/s");
            report.Add($"{phase.Name}.refused", phase.RefusedPerSecond, "requests/s");
            report.Add($"{phase.Name}.completed", reader.GetDouble(1), "jobs/s");
            foreach (var (column, name) in new[] { (2, "pickup"), (3, "total") })
            {
                var times = reader.GetFieldValue<double[]>(column);
                report.Add($"{phase.Name}.{name}.p50", times[0], "ms");
                report.Add($"{phase.Name}.{name}.p99", times[1], "ms");
            }
        }
    }

    /// <param name="Name">Of the pressure.</param>
    /// <param name="From">By the database's clock.</param>
    /// <param name="To">Likewise.</param>
    /// <param name="RefusedPerSecond">429 and 503.</param>
    private sealed record Phase(string Name, DateTime From, DateTime To, double RefusedPerSecond);
}
