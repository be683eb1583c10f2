using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Identity;
using Generation.Core.Ordering;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Submit;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Outbox;

/// <summary>While nothing comes in, the order of dispatch is that of the positions that were shown, whatever happens to relays.</summary>
[Trait("tier", "slow")]
public sealed class FrozenOrderTests
{
    private const int Backlog = 5_000;
    private const int Users = 60;

    [Fact]
    public async Task Two_relays_one_of_which_dies_dispatch_5000_in_the_order_of_the_positions_that_200_were_shown()
    {
        var random = new Random(20261201);
        await using var writer = await WriterUnderTest.CreateAsync();
        await writer.StartAsync();
        var users = await Task.WhenAll(Enumerable.Range(0, Users).Select(_ => writer.UserAsync(credits: 1_000_000)));
        var admin = await writer.UserAsync();
        await writer.ExecuteAsync($"UPDATE credit_accounts SET share = 3 WHERE user_id = '{users[1]}'");

        // One user has a third of it; seconds, outputs and priorities are of all kinds.
        var posted = await Task.WhenAll(Enumerable.Range(0, Backlog).Select(async n =>
        {
            var user = users[n % 3 == 0 ? 0 : random.Next(Users)];
            var model = ModelRegistry.BuiltIn[0] with { TypicalSeconds = random.Next(1, 60) };
            var result = await writer.SubmitAsync(user, $"{n}", outputs: random.Next(1, 5), model: model,
                priority: random.Next(4) == 0 ? Priority.Batch : Priority.Interactive);
            Assert.Equal(SubmitOutcome.Accepted, result.Outcome);
            return (Session: result.SessionId, User: user);
        }));

        using var notifier = new ChangeNotifier(writer.Service, NullLogger<ChangeNotifier>.Instance);
        var canceled = posted.Where(_ => random.Next(20) == 0).ToList();
        var settlement = new Settlement(writer.Service, notifier, new CreditOptions(), TimeProvider.System, NullLogger<Settlement>.Instance);
        await settlement.SettleAsync(
            [.. canceled.Select(c => new Settle(c.Session, SettleGuard.Queued) { Canceled = true })], CancellationToken.None);
        var left = posted.Except(canceled).ToList();
        var administration = new QueueAdministration(writer.Service, notifier, TimeProvider.System);
        foreach (var (session, user) in left.Where(_ => random.Next(50) == 0).ToList())
        {
            var moved = await administration.ReprioritizeAsync(
                new AdminAction($"move {session}", ApiKeys.Hash($"{session}"), admin, user, "asked for"), "image", session, random.Next(2) == 0,
                CancellationToken.None);
            Assert.Equal(AdminActionOutcome.Done, moved.Outcome);
        }

        var shown = await writer.PositionsAsync(left.OrderBy(_ => random.Next()).Take(200).Select(s => s.Session));
        Assert.Equal(200, shown.Select(place => place.Ahead).Distinct().Count());

        // A relay dies behind its publish now and then: what it sent is sent again, by its successor or by the other.
        var publishes = 0;
        var queue = new RecordingQueue
        {
            AfterAsync = () => Interlocked.Increment(ref publishes) % 10 == 3 ? throw new RelayDiedException() : Task.CompletedTask,
        };
        await Task.WhenAll(Enumerable.Range(0, 2).Select(async _ =>
        {
            var relay = new OutboxDispatcher(writer.Service, queue, new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance);
            while (await writer.ScalarAsync<bool>("SELECT EXISTS (SELECT FROM outbox WHERE dispatched_at IS NULL)"))
            {
                try
                {
                    await relay.DispatchAsync("image", 70, 1_000_000, CancellationToken.None);
                }
                catch (RelayDiedException)
                {
                    continue; // its transaction is rolled back
                }
            }
        }));

        var order = queue.Sent.Distinct().Select((session, n) => (session, n)).ToDictionary(s => s.session, s => (long)s.n);
        Assert.Equal(left.Count, order.Count);
        Assert.True(queue.Sent.Count > order.Count, "No relay died behind a publish.");
        Assert.Equal(shown.Select(place => place.Ahead), shown.Select(place => order[place.Session]));
        await writer.AssertBooksAreCleanAsync();
    }

    private sealed class RelayDiedException : Exception;
}
