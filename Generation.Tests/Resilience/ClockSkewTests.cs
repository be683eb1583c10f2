using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Generation.Tests.Resilience;

/// <summary>Hosts whose clocks are hours off: leases, alarms and deadlines are judged by the database's clock alone.</summary>
[Trait("tier", "process")]
public sealed class ClockSkewTests
{
    [Theory]
    [InlineData(5, -3)]
    [InlineData(-3, 5)]
    public async Task Clocks_that_are_hours_off_lose_no_lease_keep_none_and_move_no_timer_and_no_deadline(int hoursOfRelay, int hoursOfWorker)
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Relay = services => services.AddSingleton<TimeProvider>(new ShiftedClock(TimeSpan.FromHours(hoursOfRelay)));
            o.Worker = services => services.AddSingleton<TimeProvider>(new ShiftedClock(TimeSpan.FromHours(hoursOfWorker)));
            o.Api = services => services.AddSingleton<TimeProvider>(new ShiftedClock(TimeSpan.FromHours(hoursOfWorker)));
            o.Settings["Worker:LeaseDuration"] = "00:00:03";
            o.Settings["Relay:StuckInterval"] = "00:00:00.250";
        });

        // Longer than a lease; a task that sleeps and is asked for, a pause that the provider wishes; a lease that nobody renews.
        var held = await system.SubmitAsync("renewed [latency=4000]");
        var asked = await system.SubmitAsync("seedance-2", new { prompt = "asked for [latency=2500][fault=poll-error:times=1]" });
        var paused = await system.SubmitAsync("paused [fault=rate-limit:times=1][retry-after=2]");
        var left = await system.SubmitAsync("left behind [gate=left]");
        await system.Sim.WaitAtGateAsync("left");
        await system.ExecuteAsync(
            $"UPDATE generation_sessions SET lease_token = lease_token + 1, lease_owner = 'nobody' WHERE session_id = '{left}'");
        var submitted = TimeProvider.System.GetTimestamp();
        var ends = await Task.WhenAll(new[] { held, asked, paused }.Select(id => system.EndOfAsync(id)));
        var lasted = TimeProvider.System.GetElapsedTime(submitted);
        var leftEnd = await system.EndOfAsync(left);

        Assert.All(ends, end => Assert.Equal("completed", (string?)end["status"]));
        Assert.True(lasted < TimeSpan.FromSeconds(60), $"{lasted}");
        Assert.Equal("outcome_unknown", (string?)leftEnd["error"]!["code"]); // it was revoked, and its call may have been paid
        Assert.Equal("0 0 0 1", await system.ScalarAsync<string>(
            $"SELECT string_agg(lost_leases::text, ' ' ORDER BY array_position(ARRAY['{held}', '{asked}', '{paused}', '{left}']::uuid[], "
            + "session_id)) FROM generation_sessions"));
        Assert.Equal(1, await system.ScalarAsync<int>($"SELECT attempt FROM generation_sessions WHERE session_id = '{paused}'"));
        Assert.True(await system.ScalarAsync<bool>(
            "SELECT bool_and(deadline BETWEEN now() + interval '23 h' AND now() + interval '24 h') FROM generation_sessions"));
        Assert.Equal(1, await system.Sim.PaidAsync("asked for"));

        // Neither does a relay end early what has time, nor late what has none.
        foreach (var worker in system.Workers)
        {
            await worker.DisposeAsync();
        }

        system.Workers.Clear();
        var (soon, later) = (await system.SubmitAsync("has a second"), await system.SubmitAsync("has an hour"));
        await system.ExecuteAsync(
            $"UPDATE generation_sessions SET deadline = now() + CASE session_id WHEN '{soon}' THEN interval '1 s' ELSE interval '1 h' END WHERE "
            + "completed_at IS NULL");
        Assert.Equal("expired", (string?)(await system.EndOfAsync(soon))["error"]!["code"]);
        Assert.Equal("queued", (string?)(await system.GetAsync(later))["status"]);
        await system.AssertBooksAreCleanAsync();
    }
}
