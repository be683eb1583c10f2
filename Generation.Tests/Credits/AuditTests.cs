using Generation.Api;
using Generation.Core.Credits;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Credits;

/// <summary>Every rule finds the one row that breaks it, and a system at work breaks none.</summary>
public sealed class AuditTests
{
    private const string Whole = "(SELECT session_id FROM generation_sessions WHERE status = 'completed' AND requested_outputs = 1)";
    private const string Partial = "(SELECT session_id FROM generation_sessions WHERE status = 'completed' AND captured_credits < held_credits)";
    private const string Failed = "(SELECT session_id FROM generation_sessions WHERE status = 'failed')";
    private const string Waiting = "(SELECT session_id FROM generation_sessions WHERE status = 'queued')";
    private const string Owner = "(SELECT user_id FROM users WHERE handle = 'user')";
    private const string Other = "(SELECT user_id FROM users WHERE handle = 'other')";
    private const string Bought = "(SELECT lot_id FROM credit_lots WHERE reference = 'opening' AND user_id <> " + Other + ")";

    /// <summary>A rule, and a statement that breaks one row and answers with the id that the audit must name.</summary>
    public static TheoryData<string, string> Breaks { get; } = new()
    {
        { "session-end-agrees", $"UPDATE generation_sessions SET status = 'processing' WHERE session_id = {Whole} RETURNING session_id" },
        { "session-charged-at-end", $"UPDATE generation_sessions SET captured_credits = NULL WHERE session_id = {Whole} RETURNING session_id" },
        { "session-has-hold", $"DELETE FROM credit_reservations WHERE session_id = {Whole} RETURNING session_id" },
        { "session-held-is-hold", $"UPDATE generation_sessions SET held_credits = held_credits + 1 WHERE session_id = {Whole} RETURNING session_id" },
        { "session-held-is-price", $"UPDATE generation_sessions SET unit_price = unit_price + 1 WHERE session_id = {Waiting} RETURNING session_id" },
        { "session-charge-is-captured",
            $"UPDATE generation_sessions SET captured_credits = captured_credits + 1 WHERE session_id = {Partial} RETURNING session_id" },
        { "session-extra-is-charged", $"UPDATE generation_sessions SET extra_credits = 1 WHERE session_id = {Whole} RETURNING session_id" },
        { "session-extra-follows-hold", $"UPDATE generation_sessions SET shortfall_credits = 1 WHERE session_id = {Partial} RETURNING session_id" },
        { "session-charge-is-stored", $"DELETE FROM media WHERE session_id = {Partial} RETURNING session_id" },
        { "completed-has-output", $"DELETE FROM media WHERE session_id = {Whole} RETURNING session_id" },
        {
            "failed-has-no-output",
            $"""
            INSERT INTO media (media_id, session_id, user_id, ordinal, kind, object_key, content_type, bytes, sha256, credits, lease_token,
                session_version)
            SELECT gen_random_uuid(), {Failed}, user_id, 0, kind, 'another', content_type, bytes, sha256, credits, lease_token, session_version
            FROM media WHERE session_id = {Whole}
            RETURNING session_id
            """
        },
        { "hold-of-session-user", $"UPDATE credit_reservations SET user_id = {Other} WHERE session_id = {Whole} RETURNING reservation_id" },
        { "hold-closes-with-session", $"UPDATE credit_reservations SET status = 'held' WHERE session_id = {Failed} RETURNING reservation_id" },
        { "hold-open-while-session-runs",
            $"UPDATE credit_reservations SET status = 'released' WHERE session_id = {Waiting} RETURNING reservation_id" },

        { "hold-has-session", $"WITH gone AS (DELETE FROM generation_sessions WHERE session_id = {Whole} RETURNING session_id) SELECT "
            + "reservation_id FROM credit_reservations JOIN gone USING (session_id)" },
        { "hold-is-divided", $"UPDATE credit_reservations SET released = released + 1 WHERE session_id = {Failed} RETURNING reservation_id" },
        { "hold-is-drawn", $"UPDATE credit_reservation_draws SET amount = amount + 1 WHERE {DrawOf(Waiting)} RETURNING reservation_id" },
        { "hold-capture-is-drawn", $"UPDATE credit_reservation_draws SET captured = captured + 1 WHERE {DrawOf(Whole)} RETURNING reservation_id" },
        { "hold-extra-is-drawn", $"UPDATE credit_reservations SET extra = 1 WHERE session_id = {Whole} RETURNING reservation_id" },
        { "draw-is-divided", $"UPDATE credit_reservation_draws SET released = released + 1 WHERE {DrawOf(Failed)} RETURNING reservation_id" },
        { "hold-is-booked", $"DELETE FROM credit_transactions WHERE type = 'reservation' AND session_id = {Waiting} RETURNING reservation_id" },
        { "hold-capture-is-booked", $"DELETE FROM credit_transactions WHERE type = 'usage' AND session_id = {Whole} RETURNING reservation_id" },
        { "hold-release-is-booked", $"DELETE FROM credit_transactions WHERE type = 'refund' AND session_id = {Failed} RETURNING reservation_id" },
        { "hold-extra-is-booked", $"UPDATE credit_reservations SET extra = 1 WHERE session_id = {Whole} RETURNING reservation_id" },
        { "draw-has-hold", $"DELETE FROM credit_reservations WHERE session_id = {Whole} RETURNING reservation_id" },
        { "draw-from-own-lot", $"UPDATE credit_reservation_draws SET lot_id = (SELECT lot_id FROM credit_lots WHERE user_id = {Other}) WHERE "
            + $"{DrawOf(Whole)} RETURNING reservation_id" },

        { "media-has-session", $"UPDATE media SET session_id = gen_random_uuid() WHERE session_id = {Whole} RETURNING media_id" },
        { "media-of-session-user", $"UPDATE media SET user_id = {Other} WHERE session_id = {Whole} RETURNING media_id" },
        { "media-costs-its-price", $"UPDATE media SET credits = credits + 1 WHERE session_id = {Whole} RETURNING media_id" },

        { "row-is-possible", $"UPDATE credit_transactions SET from_bucket = 'external' WHERE type = 'usage' AND session_id = {Whole} RETURNING "
            + "transaction_id" },
        { "row-of-own-hold", $"UPDATE credit_transactions SET session_id = {Failed} WHERE type = 'usage' AND session_id = {Whole} RETURNING "
            + "transaction_id" },
        { "row-amount-is-of-hold",
            $"UPDATE credit_transactions SET amount = amount - 1 WHERE type = 'usage' AND session_id = {Whole} RETURNING transaction_id" },
        { "row-of-own-lot", $"UPDATE credit_transactions SET user_id = {Other} WHERE lot_id = {Bought} RETURNING transaction_id" },
        { "row-of-own-action", $"UPDATE credit_transactions SET user_id = {Other} WHERE admin_action_id = (SELECT admin_action_id FROM "
            + "admin_actions WHERE idempotency_key = 'less') RETURNING transaction_id" },
        { "row-carries-balances", "UPDATE credit_transactions SET available_after = available_after + 1 WHERE type = 'usage' AND session_id = "
            + $"{Whole} RETURNING transaction_id" },

        { "account-exists", $"DELETE FROM credit_accounts WHERE user_id = {Other} RETURNING user_id" },
        { "account-not-negative", $"UPDATE credit_accounts SET reserved = -1 WHERE user_id = {Other} RETURNING user_id" },
        { "available-is-in-lots", $"UPDATE credit_lots SET available = available - 1 WHERE lot_id = {Bought} RETURNING user_id" },
        { "reserved-is-held", $"UPDATE credit_reservations SET amount = amount + 1 WHERE session_id = {Waiting} RETURNING user_id" },
        { "replay-gives-available", $"UPDATE credit_accounts SET available = available + 1 WHERE user_id = {Owner} RETURNING user_id" },
        { "replay-gives-reserved", $"UPDATE credit_accounts SET reserved = reserved + 1 WHERE user_id = {Owner} RETURNING user_id" },
        { "spent-is-booked", $"UPDATE credit_lots SET spent = spent + 1 WHERE lot_id = {Bought} RETURNING user_id" },
        { "expired-is-booked", $"UPDATE credit_lots SET expired = expired + 1 WHERE lot_id = {Bought} RETURNING user_id" },
        { "withdrawn-is-booked", $"UPDATE credit_lots SET withdrawn = withdrawn + 1 WHERE lot_id = {Bought} RETURNING user_id" },
        { "granted-is-booked", $"UPDATE credit_lots SET granted = granted + 1 WHERE lot_id = {Bought} RETURNING user_id" },

        { "lot-adds-up", $"UPDATE credit_lots SET withdrawn = withdrawn + 1 WHERE lot_id = {Bought} RETURNING lot_id" },
        { "lot-not-negative", $"UPDATE credit_lots SET held = -1 WHERE user_id = {Other} RETURNING lot_id" },
        { "lot-held-is-drawn", $"UPDATE credit_lots SET held = held + 1 WHERE lot_id = {Bought} RETURNING lot_id" },
        { "lot-spent-is-captured", $"UPDATE credit_lots SET spent = spent + 1, available = available - 1 WHERE lot_id = {Bought} RETURNING lot_id" },
        { "lot-grant-is-booked", $"UPDATE credit_lots SET granted = granted + 1, available = available + 1 WHERE lot_id = {Bought} RETURNING lot_id" },
        { "lot-expiry-is-explained", $"UPDATE credit_lots SET expired = expired + 1 WHERE user_id = {Other} RETURNING lot_id" },

        { "action-is-booked", "UPDATE admin_actions SET result = jsonb_set(result, '{amount}', '21') WHERE idempotency_key = 'more' RETURNING "
            + "admin_action_id" },
        { "ledger-only-grows", "ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only; SELECT 'credit_transactions'" },
    };

    [Theory]
    [MemberData(nameof(Breaks))]
    public async Task A_rule_names_the_one_row_that_breaks_it(string rule, string breaking)
    {
        await using var books = await AuditBooks.CopyAsync();
        var id = Assert.Single(await books.BreakAsync(breaking));
        var report = await Books.AuditAsync(books.Db);

        Assert.False(report.Clean);
        var difference = Assert.Single(report.Differences, d => d.Rule == rule);
        Assert.Equal(id, difference.Id);
        Assert.Equal(1, report.Totals[rule]);
        Assert.NotEqual(difference.Expected, difference.Actual);
    }

    [Fact]
    public void Every_rule_is_broken_by_a_test() => Assert.Equal(
        LedgerAudit.Rules.Select(rule => rule.Name).Order(StringComparer.Ordinal),
        Breaks.Select(row => row.Data.Item1).Order(StringComparer.Ordinal));

    [Fact]
    public async Task Untouched_books_are_clean_and_the_report_says_how_much_was_checked()
    {
        await using var books = await AuditBooks.CopyAsync();
        var report = await Books.AuditAsync(books.Db);

        Assert.True(report.Clean, string.Join('\n', report.Differences));
        Assert.Equal(new AuditedRows(Users: 2, Sessions: 6, Reservations: 6, Transactions: report.Checked.Transactions, Media: 4), report.Checked);
        Assert.Equal(LedgerAudit.Rules.Select(rule => rule.Name), report.Totals.Keys);
        Assert.All(report.Totals.Values, rows => Assert.Equal(0, rows));
    }

    [Fact]
    public async Task What_breaks_a_rule_many_times_is_counted_in_full_and_listed_in_part()
    {
        await using var books = await AuditBooks.CopyAsync();
        await books.BreakAsync(
            $"""
            INSERT INTO credit_lots (lot_id, user_id, kind, granted, available, reference)
            SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, {Owner}, 'grant', 1, 1, 'conjured ' || n FROM generate_series(1, 250) AS n
            """);
        var report = await Books.AuditAsync(books.Db);

        Assert.Equal(250, report.Totals["lot-grant-is-booked"]);
        Assert.Equal(
            Enumerable.Range(1, LedgerAudit.MaxDifferences).Select(n => $"00000000-0000-7000-8000-{n:D12}"),
            report.Differences.Where(d => d.Rule == "lot-grant-is-booked").Select(d => d.Id));
        Assert.Equal("250 more than the ledger has", $"{Excess("available-is-in-lots")} more than the ledger has");

        long Excess(string rule)
        {
            var difference = Assert.Single(report.Differences, d => d.Rule == rule);
            return long.Parse(difference.Expected) - long.Parse(difference.Actual);
        }
    }

    [Fact]
    [Trait("tier", "slow")]
    public async Task A_system_at_work_is_clean_at_every_moment()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.Apis, o.Relays, o.Workers) = (2, 2, 2);
            o.Settings["Mock:Enabled"] = "true";
        });
        using var second = system.Client(system.Apis[1]);
        // As the service does it: in its role, under its row-level security.
        var audit = ((InProcessService<ApiOptions>)system.Apis[0]).Services.GetRequiredService<LedgerAudit>();
        var work = Task.WhenAll(Enumerable.Range(0, 12).Select(i => Task.Run(async () =>
        {
            for (var turn = 0; turn < 8; turn++)
            {
                var id = await system.SubmitAsync($"at work {i}.{turn}", n: 1 + (turn % 3), http: i % 2 == 0 ? system.Http : second);
                if (turn % 4 == 3)
                {
                    using var answer = await system.Http.PostAsync($"/api/generations/{id}/cancel", null);
                }

                await system.EndOfAsync(id);
            }
        })));

        var openSeen = 0;
        while (!work.IsCompleted)
        {
            var report = await audit.RunAsync(CancellationToken.None);
            Assert.True(report.Clean, string.Join('\n', report.Differences));
            openSeen += report.Checked.Sessions is > 0 and < 96 ? 1 : 0;
        }

        await work;
        Assert.True(openSeen > 0, "No audit ran while there was work.");
        var last = await audit.RunAsync(CancellationToken.None);
        Assert.True(last.Clean, string.Join('\n', last.Differences));
        Assert.Equal(96, last.Checked.Sessions);
    }

    private static string DrawOf(string session) => $"reservation_id = (SELECT reservation_id FROM credit_reservations WHERE session_id = {session})";
}
