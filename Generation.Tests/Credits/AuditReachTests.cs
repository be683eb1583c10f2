using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.Core.Credits;
using Generation.Relay;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Credits;

/// <summary>Where the audit can be asked for and where it speaks up: the endpoint, the relay's timer, the command.</summary>
[Trait("tier", "slow")]
public sealed class AuditReachTests
{
    [Fact]
    public async Task An_administrator_reads_what_was_checked_and_what_differs_and_nobody_else_does()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        using var admin = system.Client(system.Apis[0], (await system.AddUserAsync("auditor", 0, "admin")).Key);
        await system.SubmitAsync("one that waits");
        using (var refused = await system.Http.GetAsync("/api/admin/ledger/audit"))
        {
            Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        }

        var clean = await AuditAsync(admin);
        Assert.True((bool?)clean["clean"]);
        Assert.Empty(clean["differences"]!.AsArray());
        Assert.Equal(
            (2, 1, 1, 2, 0),
            ((int)clean["checked"]!["users"]!, (int)clean["checked"]!["sessions"]!, (int)clean["checked"]!["reservations"]!,
                (int)clean["checked"]!["transactions"]!, (int)clean["checked"]!["media"]!));
        Assert.True((double?)clean["seconds"] > 0);
        Assert.NotEqual(default, (DateTimeOffset)clean["startedAt"]!);
        Assert.Equal(LedgerAudit.Rules.Count, clean["totals"]!.AsObject().Count);

        await system.ExecuteAsync($"UPDATE credit_accounts SET available = available + 5 WHERE user_id = '{system.UserId}'");
        var broken = await AuditAsync(admin);
        Assert.False((bool?)broken["clean"]);
        var difference = Assert.Single(broken["differences"]!.AsArray(), d => (string?)d!["rule"] == "replay-gives-available")!;
        Assert.Equal(
            ("user", system.UserId.ToString(), "996", "1001", "Replaying the ledger gives what is available."),
            ((string?)difference["idKind"], (string?)difference["id"], (string?)difference["expected"], (string?)difference["actual"],
                (string?)difference["says"]));
    }

    [Fact]
    public async Task A_second_audit_is_told_to_come_again_and_one_that_is_left_makes_room()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Relays) = (0, 0));
        using var admin = system.Client(system.Apis[0], (await system.AddUserAsync("auditor", 0, "admin")).Key);
        using var leaving = new CancellationTokenSource();
        Task<HttpResponseMessage> first;
        await using (await BlockAsync(system.Db))
        {
            first = admin.GetAsync("/api/admin/ledger/audit", leaving.Token);
            await system.UntilAsync(IsWaiting);
            using var second = await admin.GetAsync("/api/admin/ledger/audit");
            Assert.Equal(HttpStatusCode.ServiceUnavailable, second.StatusCode);
            Assert.Equal("audit_running", (string?)(await TestSystem.ReadAsync(second))["code"]);
            Assert.True(second.Headers.RetryAfter?.Delta > TimeSpan.Zero);

            await leaving.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
            await system.UntilAsync($"NOT ({IsWaiting})"); // the database has stopped, too
        }

        await UntilAsync(async () => (bool?)(await AuditAsync(admin, mayWait: true))["clean"] == true);
    }

    [Fact]
    public async Task One_that_takes_too_long_is_given_up_and_names_the_setting()
    {
        await using var books = await AuditBooks.CopyAsync();
        await using var block = await BlockAsync(books.Db);
        var audit = new LedgerAudit(books.Db, new AuditOptions { Timeout = TimeSpan.FromMilliseconds(300) }, TimeProvider.System);
        var late = await Assert.ThrowsAsync<TimeoutException>(() => audit.RunAsync(CancellationToken.None));
        Assert.Contains("Audit:Timeout", late.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_several_that_audit_by_themselves_one_does()
    {
        await using var books = await AuditBooks.CopyAsync();
        var audit = new LedgerAudit(books.Db, new AuditOptions(), TimeProvider.System);
        Task<AuditReport?> first;
        await using (await BlockAsync(books.Db))
        {
            first = audit.TryRunAloneAsync(CancellationToken.None);
            await UntilAsync(async () => (await books.BreakAsync($"SELECT {IsWaiting}"))[0] == "True");
            Assert.Null(await audit.TryRunAloneAsync(CancellationToken.None));
        }

        Assert.True((await first)!.Clean);
        Assert.True((await audit.TryRunAloneAsync(CancellationToken.None))!.Clean);
    }

    [Fact]
    public async Task The_relay_audits_on_its_timer_and_raises_an_alert_and_a_metric_until_it_is_repaired()
    {
        var seen = new ConcurrentBag<(string? Rule, long Rows)>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name == Telemetry.Name && instrument.Name == "generation.ledger.differences")
                {
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((_, rows, tags, _) => seen.Add((tags[0].Value as string, rows)));
        listener.Start();

        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Apis, o.Workers) = (0, 0);
            o.Settings["Relay:AuditInterval"] = "00:00:00.200";
        });
        var log = system.Relays[0];
        await UntilAsync(() => Task.FromResult(log.Log.Any(
            line => line.StartsWith("Information", StringComparison.Ordinal)
            && line.Contains("ledger.audit The ledger is clean", StringComparison.Ordinal))));

        // 37 rows: a number that no other relay of this process reports.
        await system.ExecuteAsync(
            $"INSERT INTO credit_lots (lot_id, user_id, kind, granted, available, reference) SELECT gen_random_uuid(), '{system.UserId}', 'grant', "
                + "1, 1, n::text FROM generate_series(1, 37) AS n");
        var id = await system.ScalarAsync<string>("SELECT lot_id::text FROM credit_lots WHERE reference <> 'opening' ORDER BY lot_id LIMIT 1");
        await UntilAsync(() => Task.FromResult(log.Log.Any(line =>
            line.StartsWith("Critical", StringComparison.Ordinal) && line.Contains("ledger.audit", StringComparison.Ordinal)
            && line.Contains("lot-grant-is-booked in 37 rows", StringComparison.Ordinal) && line.Contains(id!, StringComparison.Ordinal))));
        await UntilAsync(() =>
        {
            listener.RecordObservableInstruments();
            return Task.FromResult(seen.Contains(("lot-grant-is-booked", 37)));
        });

        await system.ExecuteAsync("DELETE FROM credit_lots WHERE reference <> 'opening'");
        var lines = log.Log.Count;
        await UntilAsync(() => Task.FromResult(log.Log.Skip(lines).Any(
            line => line.Contains("ledger.audit The ledger is clean", StringComparison.Ordinal))));
        await UntilAsync(() =>
        {
            seen.Clear();
            listener.RecordObservableInstruments();
            return Task.FromResult(!seen.IsEmpty && seen.All(found => found.Rows != 37));
        });
    }

    [Fact]
    [Trait("tier", "process")]
    public async Task The_command_prints_and_ends_with_0_when_clean_1_with_differences_and_2_when_it_could_not_run()
    {
        await using var books = await AuditBooks.CopyAsync();
        var (code, said) = await CommandAsync(books.ConnectionString);
        Assert.Equal((AuditCommand.Clean, true), (code, said.EndsWith("The ledger is clean.", StringComparison.Ordinal)));
        Assert.DoesNotContain("\e[", said, StringComparison.Ordinal); // this is no terminal

        var id = Assert.Single(await books.BreakAsync(
            "UPDATE credit_accounts SET reserved = reserved + 1 WHERE user_id = (SELECT user_id FROM users WHERE handle = 'other') RETURNING "
            + "user_id"));
        (code, said) = await CommandAsync(books.ConnectionString);
        Assert.Equal(AuditCommand.Differences, code);
        Assert.Contains("reserved-is-held  1  What is reserved is the sum of the open holds.", said, StringComparison.Ordinal);
        Assert.Contains($"  user {id}  expected 0  found 1", said, StringComparison.Ordinal);

        (code, said) = await CommandAsync(new NpgsqlConnectionStringBuilder(books.ConnectionString) { Port = 1 }.ConnectionString);
        Assert.Equal(AuditCommand.CouldNotRun, code);
        Assert.Equal("The audit could not run", said.Split(':')[0]);
        Assert.Contains("ConnectionStrings:generation", Assert.Single(said.Split('\n')), StringComparison.Ordinal);
    }

    /// <summary>An audit waits for this table; nothing but a schema change would lock it so.</summary>
    private static async Task<IAsyncDisposable> BlockAsync(NpgsqlDataSource db)
    {
        var connection = await db.OpenConnectionAsync();
        await using var command = new NpgsqlCommand("BEGIN; LOCK TABLE media IN ACCESS EXCLUSIVE MODE", connection);
        await command.ExecuteNonQueryAsync();
        return connection; // closing it rolls back
    }

    private const string IsWaiting =
        "EXISTS (SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database WHERE d.datname = current_database() AND NOT l.granted)";

    private static async Task<JsonObject> AuditAsync(HttpClient admin, bool mayWait = false)
    {
        using var response = await admin.GetAsync("/api/admin/ledger/audit");
        Assert.True(response.IsSuccessStatusCode || mayWait, $"{response.StatusCode}");
        return await TestSystem.ReadAsync(response);
    }

    private static async Task UntilAsync(Func<Task<bool>> isThere)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!await isThere())
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
        }
    }

    private static async Task<(int Code, string Said)> CommandAsync(string connectionString)
    {
        using var process = Process.Start(new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Generation.Relay.dll"), "audit"])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = AppContext.BaseDirectory,
            Environment = { ["ConnectionStrings__generation"] = connectionString, ["ConnectionStrings__redis"] = "127.0.0.1:1" }, // it is not asked
        })!;
        var (said, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        Assert.Empty(await errors);
        return (process.ExitCode, (await said).TrimEnd());
    }
}
