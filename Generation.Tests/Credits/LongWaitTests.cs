using System.Text.Json.Nodes;
using Generation.Core.Media;
using Generation.Core.Sessions;
using Generation.Tests.Harness;
using Generation.Worker.Jobs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Generation.Tests.Credits;

/// <summary>
/// The same through the whole system: the relay extends, the worker says what the provider counted, the settings choose the policy.
/// </summary>
[Trait("tier", "slow")]
public sealed class LongWaitTests
{
    [Theory]
    [InlineData("Absorb", 8, 5)]
    [InlineData("ChargeAvailable", 13, 0)]
    public async Task A_session_that_waits_three_hours_keeps_its_hold_and_its_price_and_is_settled_by_the_policy(
        string policy, long captured, long shortfall)
    {
        var provider = new PatientProvider();
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Credits = 20;
            o.Settings["Credits:CostPolicy"] = policy;
            o.Settings["Relay:HoldInterval"] = "00:00:00.100";
            o.Worker = services =>
            {
                services.RemoveAll<IGenerationHandler>();
                services.AddSingleton<IGenerationHandler>(provider);
            };
        });
        await system.ExecuteAsync("UPDATE model_pricing SET retired_at = now() WHERE model = 'seedream-4'");
        await system.ExecuteAsync(
            "INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit) VALUES ('seedream-4', 4, 'pages', 0.01)");
        await UntilSoldByAsync(system, "pages");
        var session = await system.SubmitAsync("patience", n: 2);
        await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{session}'");
        // a model that takes long
        await system.ExecuteAsync($"UPDATE generation_sessions SET deadline = deadline + interval '4 hours' WHERE session_id = '{session}'");

        for (var minute = 0; minute < 180; minute += 45)
        {
            await system.ExecuteAsync(
                "UPDATE credit_reservations SET created_at = created_at - interval '45 minutes', expires_at = expires_at - interval '45 minutes'");
            await system.ExecuteAsync(
                "UPDATE generation_sessions SET created_at = created_at - interval '45 minutes', started_at = started_at - interval '45 minutes', "
                    + $"deadline = deadline - interval '45 minutes' WHERE session_id = '{session}'");
            await system.UntilAsync("SELECT bool_and(expires_at > now() + interval '30 minutes') FROM credit_reservations WHERE status = 'held'");
        }

        // The price has changed meanwhile; the session was sold at the old one.
        await system.ExecuteAsync("UPDATE model_pricing SET retired_at = now() WHERE model = 'seedream-4' AND retired_at IS NULL");
        await system.ExecuteAsync("INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit) VALUES ('seedream-4', 9, 'pages', 1)");
        await system.ExecuteAsync($"UPDATE generation_sessions SET wake_at = now() WHERE session_id = '{session}'");
        await system.ExecuteAsync($"UPDATE outbox SET available_at = now() WHERE session_id = '{session}'");
        var end = await system.EndOfAsync(session);

        Assert.Equal("completed", (string?)end["status"]);
        Assert.Equal(
            $"{captured} {shortfall} 0 {20 - captured}",
            await system.ScalarAsync<string>(
                $"""
                SELECT concat_ws(' ', s.captured_credits, s.shortfall_credits, a.reserved, a.available)
                FROM generation_sessions AS s JOIN credit_accounts AS a USING (user_id) WHERE s.session_id = '{session}'
                """));
        Assert.Equal(shortfall > 0 ? 1 : 0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'cost_shortfall'"));
        Assert.Equal(0, await system.ScalarAsync<long>("SELECT count(*) FROM error_events WHERE code = 'hold_abandoned'"));
        await system.AssertBooksAreCleanAsync();
    }

    /// <summary>Waits until the Api, which keeps prices for a moment, sells by this field of the provider's usage.</summary>
    private static async Task UntilSoldByAsync(TestSystem system, string usageField)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!(await system.Http.GetStringAsync(new Uri("/api/models", UriKind.Relative))).Contains($"\"{usageField}\"", StringComparison.Ordinal))
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60), $"The price by {usageField} is not sold.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>Has its pictures when it is asked a second time; 600 pages the first, 700 the second.</summary>
    private sealed class PatientProvider : IGenerationHandler
    {
        public IReadOnlyCollection<string> JobTypes => ["gen.seedream4"];

        public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
        {
            if (job.FindTask(0) is null)
            {
                var intent = await job.RecordIntentAsync(0, 2, TimeSpan.FromHours(4), callbackTokenHash: null, ct);
                await job.RecordTaskAsync(intent!, ProviderTaskState.Running, taskId: $"task-{job.Session.SessionId}");
                return new StepOutcome.Suspended(TimeSpan.FromMinutes(10));
            }

            for (var ordinal = 0; ordinal < 2; ordinal++)
            {
                await using var picture = MockSamples.Choose(ordinal).Open();
                Assert.Null(await job.Outputs.DeliverAsync(ordinal, new MediaSource.Direct(picture, picture.Length),
                    new JsonObject { ["pages"] = 600 + (100 * ordinal) }, ct));
            }

            return new StepOutcome.Completed(null, []);
        }
    }
}
