using System.Data;
using System.Diagnostics;
using Generation.Core.Database;
using Generation.Core.Settings;
using Npgsql;

namespace Generation.Core.Credits;

/// <summary>Section <c>Audit</c>.</summary>
public sealed class AuditOptions
{
    public const string Section = "Audit";

    /// <summary>
    /// After how long an audit is given up; default 10 min, up to 6 h. While it runs, Postgres keeps every row version that its snapshot may
    /// need, so that a very long one makes the busy tables grow.
    /// </summary>
    public TimeSpan Timeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// Memory for one sort or hash of the audit, in MB, as <c>work_mem</c> of its transaction only; default 64, from 1 to 4,096. It uses up
    /// to six times that at once. Less is slower: a million sessions no longer fit and go through temporary files.
    /// </summary>
    public int WorkMemoryMegabytes { get; set; } = 64;

    internal void Check(SettingsCheck check)
    {
        check.Timeout(nameof(Timeout), Timeout, TimeSpan.FromHours(6));
        check.Range(nameof(WorkMemoryMegabytes), WorkMemoryMegabytes, 1, 4_096);
    }
}

/// <param name="Name">Stable, in kebab-case: used by metrics, alerts and runbooks.</param>
/// <param name="IdKind">What a difference's id names: user, lot, reservation, session, transaction, media, action or table.</param>
/// <param name="Says">What holds, as a sentence.</param>
public sealed record AuditRule(string Name, string IdKind, string Says);

/// <summary>One row that breaks a rule.</summary>
/// <param name="Rule">The name of the rule.</param>
/// <param name="Says">Its sentence.</param>
/// <param name="Id">Of the row.</param>
/// <param name="IdKind">What it is the id of.</param>
/// <param name="Expected">What the rest of the books says.</param>
/// <param name="Actual">What the row says.</param>
public sealed record LedgerDifference(string Rule, string Says, string Id, string IdKind, string Expected, string Actual);

/// <summary>How many rows were looked at.</summary>
public sealed record AuditedRows(long Users, long Sessions, long Reservations, long Transactions, long Media);

/// <param name="Clean">No rule is broken.</param>
/// <param name="StartedAt">The moment that it is about.</param>
/// <param name="Seconds">How long it took.</param>
/// <param name="Checked">How much was looked at.</param>
/// <param name="Differences">What breaks a rule, at most <see cref="LedgerAudit.MaxDifferences"/> a rule.</param>
/// <param name="Totals">Every rule with the number of rows that break it, also beyond those listed; 0 is kept.</param>
public sealed record AuditReport(
    bool Clean, DateTimeOffset StartedAt, double Seconds, AuditedRows Checked, IReadOnlyList<LedgerDifference> Differences,
        IReadOnlyDictionary<string, long> Totals);

/// <summary>
/// Checks that money, work and media agree, over the whole database. Everything is read in one transaction on one snapshot,
/// which a running system leaves consistent at every commit: a difference is never a matter of timing. It takes no locks that a writer
/// could wait for. Rules with a table in common share a pass over it, so that a million sessions take seconds.
/// </summary>
public sealed class LedgerAudit(NpgsqlDataSource database, AuditOptions options, TimeProvider time)
{
    /// <summary>Rows listed for one rule; a total says how many there are.</summary>
    public const int MaxDifferences = 100;

    /// <summary>The name of the lock that lets one process at a time audit by itself.</summary>
    private const string Lock = "generation.ledger.audit";

    private static readonly (string File, AuditRule[] Rules)[] Passes =
    [
        ("sessions.sql",
        [
            new("session-end-agrees", "session", "A session has an end when, and only when, its status says so."),
            new("session-charged-at-end", "session", "A session has a charge when, and only when, it has ended."),
            new("session-has-hold", "session", "Every session has a hold."),
            new("session-held-is-hold", "session", "What a session says is held for it is the amount of its hold."),
            new("session-held-is-price", "session", "What is held is the unit price times the outputs asked for."),
            new("session-charge-is-captured", "session", "What a session was charged is what was captured of its hold, and the extra."),
            new("session-extra-is-charged", "session", "What a session was charged beyond its hold is the extra of its hold."),
            new("session-extra-follows-hold", "session", "Nothing is charged or missing beyond a hold before all of the hold is captured."),
            new("session-charge-is-stored", "session",
                "Charge and shortfall of an ended session are the cost of what is stored: nothing else is charged, nothing is given away."),
            new("completed-has-output", "session", "A completed session has at least one output."),
            new("failed-has-no-output", "session", "A failed session has no output."),
            new("hold-of-session-user", "reservation", "A hold belongs to the user of its session."),
            new("hold-closes-with-session", "reservation", "A hold is closed once its session has ended."),
            new("hold-open-while-session-runs", "reservation", "A hold is open while its session has not ended."),
            new("hold-has-session", "reservation", "Every hold has a session."),
        ]),
        ("holds.sql",
        [
            new("hold-is-divided", "reservation",
                "An open hold is whole; a closed one is captured and released without rest, with an extra only after all of it."),
            new("hold-is-drawn", "reservation", "The draws of a hold make up its amount."),
            new("hold-capture-is-drawn", "reservation", "What was captured of a hold was captured of its draws."),
            new("hold-extra-is-drawn", "reservation", "The extra of a hold is made up by its extra draws."),
            new("draw-is-divided", "reservation", "A draw is open, or divided into captured and released without rest; an extra one is captured."),
            new("hold-is-booked", "reservation", "Every hold is booked by exactly one row of the ledger."),
            new("hold-capture-is-booked", "reservation", "A capture is booked by exactly one row of the ledger."),
            new("hold-release-is-booked", "reservation", "A release is booked by exactly one row of the ledger."),
            new("hold-extra-is-booked", "reservation", "An extra is booked by exactly one row of the ledger."),
            new("draw-from-own-lot", "reservation", "A hold draws from lots of its own user."),
            new("draw-has-hold", "reservation", "Every draw has a hold."),
        ]),
        ("media.sql",
        [
            new("media-has-session", "media", "Every output has a session."),
            new("media-of-session-user", "media", "An output belongs to the user of its session."),
            new("media-costs-its-price", "media", "An output costs what the price says that its session was sold at."),
        ]),
        ("ledger.sql",
        [
            new("row-is-possible", "transaction", "A row of the ledger is a booking that there is, with a cause, and leaves nothing negative."),
            new("row-of-own-hold", "transaction", "A row of the ledger names the user and the session of its hold."),
            new("row-amount-is-of-hold", "transaction", "A row of the ledger moves what its hold says was held, captured, released or extra."),
            new("row-of-own-lot", "transaction", "A row of the ledger names the user of its lot."),
            new("row-of-own-action", "transaction", "A row of the ledger names the user of the administrator's action that caused it."),
            new("row-carries-balances", "transaction", "A row of the ledger carries the balances that the rows up to it give."),
        ]),
        ("accounts.sql",
        [
            new("account-exists", "user", "Whoever has lots, holds or ledger rows has an account."),
            new("account-not-negative", "user", "No account is negative."),
            new("available-is-in-lots", "user", "What is available is the sum of what the lots have left."),
            new("reserved-is-held", "user", "What is reserved is the sum of the open holds."),
            new("replay-gives-available", "user", "Replaying the ledger gives what is available."),
            new("replay-gives-reserved", "user", "Replaying the ledger gives what is reserved."),
            new("spent-is-booked", "user", "What the lots have spent is what the ledger booked as spent."),
            new("expired-is-booked", "user", "What expired of the lots is what the ledger booked as expired."),
            new("withdrawn-is-booked", "user", "What was taken back from the lots is what the ledger booked as taken back."),
            new("granted-is-booked", "user", "What the lots were granted is what the ledger booked as granted."),
        ]),
        ("lots.sql",
        [
            new("lot-adds-up", "lot", "What a lot was granted is available, held, spent, expired or withdrawn."),
            new("lot-not-negative", "lot", "No part of a lot is negative."),
            new("lot-held-is-drawn", "lot", "What a lot holds is what open holds drew from it."),
            new("lot-spent-is-captured", "lot", "What a lot spent is what was captured of the draws from it."),
            new("lot-grant-is-booked", "lot", "What a lot was granted is booked in the ledger under its name."),
            new("lot-expiry-is-explained", "lot", "What expired of a lot was booked under its name, or came back from a hold too late."),
        ]),
        ("admin_actions.sql",
        [
            new("action-is-booked", "action",
                "A grant or adjustment by an administrator is booked by exactly one row of the ledger, of its amount; nothing else is."),
            new("ledger-only-grows", "table", "The ledger and the record of administrators' actions refuse changes, whoever makes them."),
        ]),
    ];

    /// <summary>Every rule, in the order in which they are checked.</summary>
    public static IReadOnlyList<AuditRule> Rules { get; } = [.. Passes.SelectMany(pass => pass.Rules)];

    private static readonly Dictionary<string, AuditRule> ByName = Rules.ToDictionary(rule => rule.Name, StringComparer.Ordinal);

    /// <summary>Checks every rule. Throws <see cref="TimeoutException"/> when that takes longer than <see cref="AuditOptions.Timeout"/>.</summary>
    public async Task<AuditReport> RunAsync(CancellationToken ct) => (await RunAsync(alone: false, ct))!;

    /// <summary>As <see cref="RunAsync(CancellationToken)"/>; null when another process is auditing in this way at the moment.</summary>
    public Task<AuditReport?> TryRunAloneAsync(CancellationToken ct) => RunAsync(alone: true, ct);

    private async Task<AuditReport?> RunAsync(bool alone, CancellationToken ct)
    {
        using var activity = Telemetry.Source.StartActivity("ledger.audit");
        using var limit = new SafeTimeout(options.Timeout, time, ct);
        try
        {
            return await ReadAsync(alone, limit.Token);
        }
        catch (Exception e) when (!ct.IsCancellationRequested && e is OperationCanceledException
            or PostgresException { SqlState: PostgresErrorCodes.QueryCanceled })
        {
            throw new TimeoutException(
                $"The ledger audit did not end within Audit:Timeout ({options.Timeout}). Raise it, or Audit:WorkMemoryMegabytes.", e);
        }
    }

    private async Task<AuditReport?> ReadAsync(bool alone, CancellationToken ct)
    {
        var (startedAt, started) = (time.GetUtcNow(), time.GetTimestamp());
        await using var connection = await database.OpenConnectionAsync(ct);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, ct);
        if (!await PrepareAsync(connection, alone, ct))
        {
            return null;
        }

        var totals = Rules.ToDictionary(rule => rule.Name, _ => 0L, StringComparer.Ordinal);
        var differences = new List<LedgerDifference>();
        foreach (var (file, _) in Passes)
        {
            // Long ids after short ones: numbers come in their order, and UUIDv7 in that of their time.
            await using var pass = Command(connection,
                $"""
                SELECT rule, id, expected, actual, total
                FROM (
                    SELECT rule, id, expected, actual, count(*) OVER (PARTITION BY rule) AS total,
                        row_number() OVER (PARTITION BY rule ORDER BY length(id), id) AS n
                    FROM (
                {Sql.Text($"Credits/Audit/{file}")}
                    ) AS difference
                ) AS numbered
                WHERE n <= {MaxDifferences}
                ORDER BY rule, n
                """);
            await using var reader = await pass.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                var rule = ByName[reader.GetString(0)];
                totals[rule.Name] = reader.GetInt64(4);
                differences.Add(new LedgerDifference(rule.Name, rule.Says, reader.GetString(1), rule.IdKind, reader.GetString(2), reader.GetString(
                    3)));
            }
        }

        var counted = await CountAsync(connection, ct);
        var seconds = time.GetElapsedTime(started).TotalSeconds;
        Telemetry.AuditDuration.Record(seconds, new KeyValuePair<string, object?>("outcome", differences.Count == 0 ? "clean" : "differences"));
        Activity.Current?.SetTag("generation.ledger.differences", totals.Values.Sum());
        return new AuditReport(differences.Count == 0, startedAt, Math.Round(seconds, 3), counted, differences, totals);
    }

    /// <summary>Settings of this transaction alone; the server ends it also when this process cannot.</summary>
    private async Task<bool> PrepareAsync(NpgsqlConnection connection, bool alone, CancellationToken ct)
    {
        await using (var readOnly = Command(connection, "SET TRANSACTION READ ONLY"))
        {
            await readOnly.ExecuteNonQueryAsync(ct);
        }

        await using var prepare = Command(connection,
            """
            SELECT set_config('statement_timeout', $1, true),
                   set_config('idle_in_transaction_session_timeout', '60s', true),
                   set_config('work_mem', $2, true),
                   set_config('jit', 'off', true), -- compiling takes longer than it saves (measured)
                   NOT $3 OR pg_try_advisory_xact_lock(hashtextextended($4, 0))
            """);
        prepare.Parameters.AddWithValue($"{(long)options.Timeout.TotalMilliseconds}ms");
        prepare.Parameters.AddWithValue($"{options.WorkMemoryMegabytes}MB");
        prepare.Parameters.AddWithValue(alone);
        prepare.Parameters.AddWithValue(Lock);
        await using var reader = await prepare.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        return reader.GetBoolean(4);
    }

    private static async Task<AuditedRows> CountAsync(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var count = Command(connection, Sql.Text("Credits/Audit/counts.sql"));
        await using var reader = await count.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        return new AuditedRows(reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetInt64(3), reader.GetInt64(4));
    }

    private static NpgsqlCommand Command(NpgsqlConnection connection, string sql) => new(sql, connection) { CommandTimeout = 0 };
}
