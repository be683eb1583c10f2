using System.Text.Json;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Sessions;
using Generation.Core.Settings;

namespace Generation.Tests.Credits;

/// <summary>
/// What a session costs when the provider counted less, as much or more than was held for it. The price: four credits an
/// output are held, a hundred tokens cost one.
/// </summary>
public sealed class CostTests(CostTests.Books books) : IClassFixture<CostTests.Books>
{
    private readonly LedgerDatabase ledger = books.Ledger;

    [Fact]
    public async Task Less_than_was_held_goes_back_as_an_adjustment()
    {
        var (user, session) = await StartAsync(granted: 100, outputs: 2);
        await StoreAsync(session, 100, 200);

        var end = await ledger.FinishAsync(session);

        Assert.Equal(("completed", 3, 5), (end.Status, end.Captured, end.Released));
        Assert.Equal(
            ["purchase external available 100 100 0", "reservation available reserved 8 92 8", "usage reserved spent 3 92 5",
                "adjustment reserved available 5 97 0"],
            await ledger.LedgerAsync(user));
        Assert.Equal(["97 0 3 0"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Exactly_what_was_held_is_one_usage_row_and_nothing_else()
    {
        var (user, session) = await StartAsync(granted: 8, outputs: 2);
        await StoreAsync(session, 500, 300);

        var end = await ledger.FinishAsync(session, CostPolicy.ChargeAvailable);

        Assert.Equal(("completed", 8, 0), (end.Status, end.Captured, end.Released));
        Assert.Equal(["purchase external available 8 8 0", "reservation available reserved 8 0 8", "usage reserved spent 8 0 0"],
            await ledger.LedgerAsync(user));
        Assert.Empty(await ShortfallsAsync(user));
    }

    [Theory]
    [InlineData(CostPolicy.Absorb, 100, 0, 4)]
    [InlineData(CostPolicy.ChargeAvailable, 100, 4, 0)] // enough is available
    [InlineData(CostPolicy.ChargeAvailable, 12, 4, 0)] // exactly enough
    [InlineData(CostPolicy.ChargeAvailable, 11, 3, 1)] // some
    [InlineData(CostPolicy.ChargeAvailable, 8, 0, 4)] // nothing
    public async Task More_than_was_held_follows_the_policy_and_what_nobody_paid_is_recorded(
        CostPolicy policy, long granted, long charged, long shortfall)
    {
        var (user, session) = await StartAsync(granted, outputs: 2);
        await StoreAsync(session, 500, 700);

        var end = await ledger.FinishAsync(session, policy);

        Assert.Equal(("completed", 8 + charged, 0), (end.Status, end.Captured, end.Released));
        Assert.Equal(
            [$"{8 + charged} {charged} {shortfall}"],
            await ledger.LinesAsync("SELECT captured_credits, extra_credits, shortfall_credits FROM generation_sessions WHERE session_id = $1",
                session.SessionId));
        List<string> rows = [$"usage reserved spent 8 {granted - 8} 0"];
        if (charged > 0) rows.Add($"usage available spent {charged} {granted - 8 - charged} 0");
        Assert.Equal(rows, (await ledger.LedgerAsync(user)).Skip(2));
        Assert.Equal([$"{granted - 8 - charged} 0 {8 + charged} 0"], await ledger.LotsAsync(user));
        Assert.Equal(shortfall == 0 ? [] : [$"12 8 {8 + charged} {shortfall}"], await ShortfallsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task What_is_charged_beyond_the_hold_is_drawn_like_a_hold_by_priority_then_expiry_then_age()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 10, "young");
        await ledger.GrantAsync(user, 10, "younger");
        await ledger.GrantAsync(user, 2, "ends", expiresIn: TimeSpan.FromHours(5));
        await ledger.GrantAsync(user, 9, "first", priority: 50);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2); // eight of the nine
        await StoreAsync(session, 800, 1_300);

        var end = await ledger.FinishAsync(session, CostPolicy.ChargeAvailable);

        Assert.Equal(21, end.Captured);
        Assert.Equal(
            ["1 first 8 8 False", "2 first 1 1 True", "3 ends 2 2 True", "4 young 10 10 True"],
            await ledger.LinesAsync(
                """
                SELECT d.ordinal, substr(l.reference, 7), d.amount, d.captured, d.extra
                FROM credit_reservation_draws AS d JOIN credit_lots AS l USING (lot_id) JOIN credit_reservations AS v USING (reservation_id)
                WHERE v.session_id = $1 ORDER BY d.ordinal
                """,
                session.SessionId));
        Assert.Equal(["0 0 10 0", "10 0 0 0", "0 0 2 0", "0 0 9 0"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task Sessions_that_end_in_one_batch_share_what_their_own_users_have_and_no_more()
    {
        var (poor, first) = await StartAsync(granted: 14, outputs: 1);
        var second = await ledger.StartWorkAsync(poor, books.Metered);
        var third = await ledger.StartWorkAsync(poor, books.Metered);
        var (rich, other) = await StartAsync(granted: 1_000, outputs: 1);
        await StoreAsync(first, 700);
        await StoreAsync(second, 600);
        await StoreAsync(third, 100);
        await StoreAsync(other, 900);

        var ends = await ledger.Settlement(CostPolicy.ChargeAvailable).SettleAsync(
            [.. new[] { first, second, third, other, first }.Select(LedgerDatabase.Fenced)], CancellationToken.None);

        // Poor: 3 + 2 beyond the holds, 2 available; what the third gives back comes with the same commit and is not charged.
        Assert.Equal(4, ends.Count);
        Assert.Equal(4 + 4 + 1 + 2, ends.Where(e => e.UserId == poor).Sum(e => e.Captured));
        Assert.Equal(["3 0 11 0"], await ledger.LotsAsync(poor));
        Assert.Equal(["991 0 9 0"], await ledger.LotsAsync(rich));
        Assert.Equal(3, await ledger.ScalarAsync<decimal>("SELECT sum(shortfall_credits) FROM generation_sessions WHERE user_id = $1", poor));
        Assert.Equal(3, (await ShortfallsAsync(poor)).Sum(line => long.Parse(line.Split(' ')[3])));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task What_has_expired_but_was_not_swept_yet_is_not_charged()
    {
        var (user, session) = await StartAsync(granted: 10, outputs: 2);
        await ledger.GrantAsync(user, 50, expiresIn: TimeSpan.FromMinutes(30));
        await ledger.JumpAsync(TimeSpan.FromMinutes(31), user);
        await StoreAsync(session, 600, 600);

        var end = await ledger.FinishAsync(session, CostPolicy.ChargeAvailable);

        Assert.Equal(10, end.Captured);
        Assert.Equal(["12 8 10 2"], await ShortfallsAsync(user));
        await ledger.Holds.ExpireLotsAsync(CancellationToken.None);
        Assert.Equal(["0 0 10 0", "0 0 0 50"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Theory]
    [InlineData(new[] { 600, 300 }, 9, 3, 0)]
    [InlineData(new[] { 50 }, 1, 11, 0)]
    [InlineData(new[] { 2_000 }, 12, 0, 8)]
    public async Task Of_a_partly_delivered_session_the_outputs_pay_by_their_own_usage(int[] tokens, long captured, long released, long shortfall)
    {
        var (user, session) = await StartAsync(granted: 40, outputs: 3);
        await StoreAsync(session, tokens);

        var end = await ledger.FinishAsync(session);

        Assert.Equal(("completed", captured, released), (end.Status, end.Captured, end.Released));
        Assert.Equal([$"{40 - captured} 0 {captured} 0"], await ledger.LotsAsync(user));
        Assert.Equal(shortfall, (await ShortfallsAsync(user)).Sum(line => long.Parse(line.Split(' ')[3])));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_session_that_failed_costs_nothing_and_its_release_goes_back_to_the_lots_it_came_from()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 3, priority: 50);
        await ledger.GrantAsync(user, 20);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        Assert.Equal(["0 3 0 0", "15 5 0 0"], await ledger.LotsAsync(user));

        var end = await ledger.FinishAsync(session, CostPolicy.ChargeAvailable);

        Assert.Equal(("failed", 0, 8, "no_output"), (end.Status, end.Captured, end.Released, end.ErrorCode));
        Assert.Equal(["3 0 0 0", "20 0 0 0"], await ledger.LotsAsync(user));
        Assert.Equal("refund reserved available 8 23 0", (await ledger.LedgerAsync(user))[^1]);
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_partial_capture_consumes_the_draws_in_their_order_and_releases_the_last_ones()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 3, priority: 50);
        await ledger.GrantAsync(user, 20);
        var session = await ledger.StartWorkAsync(user, books.Metered, outputs: 2);
        await StoreAsync(session, 400);

        await ledger.FinishAsync(session);

        Assert.Equal(["0 0 3 0", "19 0 1 0"], await ledger.LotsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Theory]
    [InlineData(null, 4)] // the provider says nothing: the listed price
    [InlineData("{}", 4)]
    [InlineData("""{"other":900}""", 4)]
    [InlineData("""{"tokens":null}""", 4)]
    [InlineData("""{"tokens":"900"}""", 4)]
    [InlineData("""{"tokens":true}""", 4)]
    [InlineData("""{"tokens":[900]}""", 4)]
    [InlineData("""["tokens"]""", 4)]
    [InlineData("900", 4)]
    [InlineData("""{"tokens":0}""", 1)] // what is free is not stored
    [InlineData("""{"tokens":-900}""", 1)]
    [InlineData("""{"tokens":1e-30}""", 1)]
    [InlineData("""{"tokens":100}""", 1)]
    [InlineData("""{"tokens":100.0000001}""", 2)] // rounded up, per output
    [InlineData("""{"tokens":1e30}""", 1_000_000_000_000)] // a mistake of whoever counted, cut
    [InlineData("""{"tokens":1e130000}""", 1_000_000_000_000)]
    public async Task Whatever_a_provider_says_it_counted_an_output_has_a_cost(string? usage, long cost)
    {
        var (user, session) = await StartAsync(granted: 10, outputs: 1);
        Assert.NotNull(await ledger.StoreAsync(session, 0, usage));
        Assert.Equal(cost, await ledger.ScalarAsync<long>("SELECT credits FROM media WHERE session_id = $1", session.SessionId));

        var end = await ledger.FinishAsync(session, CostPolicy.ChargeAvailable);

        var paid = Math.Min(cost, 10);
        Assert.Equal(("completed", paid, Math.Max(0, 4 - cost)), (end.Status, end.Captured, end.Released));
        Assert.Equal(cost == paid ? [] : [$"{cost} 4 10 {cost - 10}"], await ShortfallsAsync(user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task A_session_pays_by_the_price_row_it_was_sold_at_whatever_the_price_is_when_it_ends()
    {
        var settings = new SettingsOptions();
        Task<Price?> CurrentAsync() => new PriceList(ledger.Db, settings, TimeProvider.System)
            .QuoteAsync(ModelRegistry.BuiltIn[0], new() { ["n"] = 1 }, CancellationToken.None).AsTask()
                .ContinueWith(q => q.Result?.Price, TaskScheduler.Default);
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 100);
        var old = (await CurrentAsync())!;
        var running = await ledger.StartWorkAsync(user, old, outputs: 2);

        await ledger.ExecuteAsync("UPDATE model_pricing SET retired_at = now() WHERE price_version = $1", old.Version);
        await ledger.ExecuteAsync(
            "INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit) VALUES ('seedream-4', 9, 'tokens', 0.5)");
        var now = (await CurrentAsync())!;
        var late = await ledger.StartWorkAsync(user, now);
        await StoreAsync(running, 1_000, 1_000);
        await StoreAsync(late, 10);

        Assert.Equal((4, 9), (old.Credits, now.Credits));
        Assert.Equal((8, 0), (await ledger.FinishAsync(running)) is var first ? (first.Captured, first.Released) : default);
        Assert.Equal((5, 4), (await ledger.FinishAsync(late)) is var second ? (second.Captured, second.Released) : default);
        Assert.Equal(
            [$"{old.Version} 4", $"{now.Version} 9"],
            await ledger.LinesAsync("SELECT price_version, unit_price FROM generation_sessions WHERE user_id = $1 ORDER BY price_version", user));
        await ledger.AssertBooksAreCleanAsync();
    }

    [Fact]
    public async Task What_the_provider_takes_from_us_is_counted_a_call_also_when_its_output_was_not_stored()
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, 100);
        var byUnit = await ledger.AddPriceAsync(4, "tokens", 0.01m, usdPerOutput: 0.5m, usdPerUnit: 0.002m);
        var byOutput = await ledger.AddPriceAsync(4, usdPerOutput: 0.03m);

        var counted = await ledger.StartWorkAsync(user, byUnit, outputs: 3);
        await DeliverAsync(counted, 0, """{"usage":{"tokens":100}}""");
        await DeliverAsync(counted, 1, """{"usage":{"tokens":300}}""");
        await DeliverAsync(counted, 2, """{"usage":{}}"""); // says nothing of tokens: by output
        await StoreAsync(counted, 100);
        await ledger.FinishAsync(counted);
        var listed = await ledger.StartWorkAsync(user, byOutput, outputs: 2);
        await DeliverAsync(listed, 0, """{"url":"x"}""");
        await DeliverAsync(listed, 1, """{"url":"y"}""");
        await ledger.FinishAsync(listed); // failed: nothing could be stored, and was paid for all the same
        var said = await ledger.StartWorkAsync(user, byOutput);
        await DeliverAsync(said, 0, "{}");
        Assert.Single(await ledger.Settlement().SettleAsync([LedgerDatabase.Fenced(said) with { ProviderUsd = 1.25m }], CancellationToken.None));
        var mocked = await ledger.StartWorkAsync(user, byOutput, mock: true);
        await StoreAsync(mocked, 1);
        await ledger.FinishAsync(mocked);

        Assert.Equal(
            ["completed 1.300000", "failed 0.060000", "failed 1.250000", "completed -"],
            await ledger.LinesAsync("SELECT status, provider_usd FROM generation_sessions WHERE user_id = $1 ORDER BY session_id", user));
        await ledger.AssertBooksAreCleanAsync();
    }

    private async Task DeliverAsync(ClaimedSession session, int ordinal, string result)
    {
        var intent = await ledger.Leases.RecordIntentAsync(session, ordinal, 1, TimeSpan.FromMinutes(1), callbackTokenHash: null,
            CancellationToken.None);
        Assert.True(await ledger.Leases.RecordTaskAsync(session, intent!.Value, ProviderTaskState.Delivered, CancellationToken.None, result: result));
    }

    private async Task<(Guid User, ClaimedSession Session)> StartAsync(long granted, int outputs)
    {
        var user = await ledger.AddUserAsync($"user-{Guid.NewGuid():N}");
        await ledger.GrantAsync(user, granted);
        return (user, await ledger.StartWorkAsync(user, books.Metered, outputs));
    }

    /// <summary>The first outputs, each with so many tokens.</summary>
    private async Task StoreAsync(ClaimedSession session, params int[] tokens)
    {
        for (var ordinal = 0; ordinal < tokens.Length; ordinal++)
        {
            Assert.NotNull(await ledger.StoreAsync(session, ordinal, JsonSerializer.Serialize(new { tokens = tokens[ordinal] })));
        }
    }

    /// <summary>Cost, held, charged and shortfall of what was recorded for the operator.</summary>
    private Task<List<string>> ShortfallsAsync(Guid user) => ledger.LinesAsync(
        """
        SELECT detail ->> 'cost', detail ->> 'held', detail ->> 'charged', detail ->> 'shortfall'
        FROM error_events WHERE user_id = $1 AND code = 'cost_shortfall' ORDER BY error_event_id
        """,
        user);

    /// <summary>One database for these tests: each has users of its own.</summary>
    public sealed class Books : IAsyncLifetime
    {
        internal LedgerDatabase Ledger { get; private set; } = null!;

        internal Price Metered { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Ledger = await LedgerDatabase.StartAsync();
            Metered = await Ledger.AddPriceAsync(4, "tokens", 0.01m);
        }

        public ValueTask DisposeAsync() => Ledger.DisposeAsync();
    }
}
