using FsCheck;
using FsCheck.Fluent;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Outbox;
using Generation.Core.Queue;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Core.Submit;
using Generation.Tests.Harness;
using Generation.Tests.Submit;
using Microsoft.Extensions.Logging.Abstractions;

namespace Generation.Tests.Outbox;

/// <summary>
/// Random submits, dispatches and cancels of a few users, compared with a model of start-time fair queuing; and its bound: a user with nothing
/// waiting is overtaken by at most one later request of each other user. The same sequences in every run.
/// </summary>
[Trait("tier", "slow")]
public sealed class FairOrderProperties
{
    private const int Users = 4;
    private static readonly int Cases = FullTier.IsOn ? 200 : 40;

    /// <param name="Kind">0 to 5: a submit; 6, 7: a dispatch; 8: a cancel.</param>
    /// <param name="User">Who.</param>
    /// <param name="Seconds">Work of one output.</param>
    /// <param name="Count">Outputs, rows or which of those that wait.</param>
    /// <param name="IsBatch">Its priority.</param>
    private sealed record Step(int Kind, int User, int Seconds, int Count, bool IsBatch);

    [Fact]
    public async Task The_order_of_dispatch_is_the_models_and_that_of_the_positions_and_nobody_is_overtaken_beyond_the_bound()
    {
        await using var writer = await WriterUnderTest.CreateAsync();
        await writer.StartAsync();
        using var notifier = new ChangeNotifier(writer.Service, NullLogger<ChangeNotifier>.Instance);
        var settlement = new Settlement(writer.Service, notifier, new CreditOptions(), TimeProvider.System, NullLogger<Settlement>.Instance);
        var steps = Arb.From(
            from length in Gen.Choose(10, 60)
            from script in (
                from kind in Gen.Choose(0, 8)
                from user in Gen.Choose(0, Users - 1)
                from seconds in Gen.Elements(1, 5, 10, 30)
                from count in Gen.Choose(1, 4)
                from isBatch in Gen.Frequency((4, Gen.Constant(false)), (1, Gen.Constant(true)))
                select new Step(kind, user, seconds, count, isBatch)).ArrayOf(length)
            select script);
        var (run, overtakes) = (0, 0);
        Prop.ForAll(steps, script => overtakes += new Case(writer, settlement, ++run).RunAsync(script).GetAwaiter().GetResult())
            .Check(Config.QuickThrowOnFailure.WithMaxTest(Cases).WithReplay(20261201, 7));
        Assert.True(overtakes > 0, "nobody was ever overtaken: the bound was not tried");
        await writer.AssertBooksAreCleanAsync();
    }

    /// <summary>What waits, in the model.</summary>
    private sealed record Waiting(Guid Session, int User, bool IsBatch, double Work, double Rank, int Number, bool WasIdle);

    private sealed class Case(WriterUnderTest writer, Settlement settlement, int run)
    {
        private readonly Dictionary<(int User, bool IsBatch), double> finish = [];
        private readonly List<Waiting> waiting = [];
        private readonly List<Waiting> dispatched = [];
        private readonly RecordingQueue queue = new();
        private readonly Guid[] users = new Guid[Users];
        private double clock;
        private int number;

        /// <summary>How often somebody was overtaken.</summary>
        public async Task<int> RunAsync(Step[] script)
        {
            await writer.ExecuteAsync("DELETE FROM outbox; UPDATE lanes SET clock = 0, clocked_at = '-infinity'");
            for (var u = 0; u < Users; u++)
            {
                users[u] = await writer.UserAsync(credits: 100_000);
            }

            foreach (var step in script)
            {
                await (step.Kind switch
                {
                    <= 5 => SubmitAsync(step),
                    <= 7 => DispatchAsync(step.Count),
                    _ => CancelAsync(step.Count),
                });
            }

            var positions = (await writer.PositionsAsync(waiting.Select(row => row.Session))).ConvertAll(place => place.Session);
            await DispatchAsync(1_000);
            Assert.Equal(positions, dispatched.TakeLast(positions.Count).Select(row => row.Session));
            return dispatched.Sum(row => OvertakesOf(row));
        }

        private async Task SubmitAsync(Step step)
        {
            var model = ModelRegistry.BuiltIn[0] with { TypicalSeconds = step.Seconds };
            var result = await writer.SubmitAsync(users[step.User], $"{run} {number}", step.Count, model: model,
                priority: step.IsBatch ? Priority.Batch : Priority.Interactive);
            var flow = (step.User, step.IsBatch);
            var work = (double)step.Seconds * step.Count / (step.IsBatch ? 0.25 : 1);
            var rank = Math.Max(clock, finish.GetValueOrDefault(flow));
            var wasIdle = finish.GetValueOrDefault(flow) <= clock;
            finish[flow] = rank + work;
            waiting.Add(new Waiting(result.SessionId, step.User, step.IsBatch, work, rank, number++, wasIdle));
        }

        private async Task DispatchAsync(int rows)
        {
            await writer.ExecuteAsync("UPDATE lanes SET clocked_at = '-infinity'"); // it may move now
            var before = queue.Sent.Count;
            await new OutboxDispatcher(writer.Service, queue, new QueueOptions(), TimeProvider.System, NullLogger<OutboxDispatcher>.Instance)
                .DispatchAsync("image", rows, 1_000_000, CancellationToken.None);
            var expected = waiting.OrderBy(row => row.Rank).ThenBy(row => row.Number).Take(rows).ToList();
            Assert.Equal(expected.Select(row => row.Session), queue.Sent.Skip(before));
            clock = expected.Select(row => row.Rank).Append(clock).Max();
            waiting.RemoveAll(expected.Contains);
            dispatched.AddRange(expected);
        }

        private async Task CancelAsync(int which)
        {
            if (waiting.Count == 0)
            {
                return;
            }

            var row = waiting[which % waiting.Count];
            Assert.Single(await settlement.SettleAsync([new Settle(row.Session, SettleGuard.Queued) { Canceled = true }], CancellationToken.None));
            waiting.Remove(row);
            finish[(row.User, row.IsBatch)] -= row.Work;
        }

        /// <summary>Of those that came later and went earlier; at most one of every other flow when its own had nothing waiting.</summary>
        private int OvertakesOf(Waiting row)
        {
            var overtaking = dispatched.Take(dispatched.IndexOf(row)).Where(other => other.Number > row.Number).ToList();
            if (row.WasIdle)
            {
                Assert.All(overtaking.GroupBy(other => (other.User, other.IsBatch)), flow => Assert.InRange(flow.Count(), 0, 1));
            }

            return overtaking.Count;
        }
    }
}
