using Generation.Tests.Harness;
using Generation.Tests.Resilience;

namespace Generation.Tests.Outbox;

[Trait("tier", "slow")]
public sealed class WindowTests
{
    /// <summary>The relay slept until its next poll once the window was full, so that fast workers ran dry.</summary>
    [Fact]
    public async Task A_window_that_workers_empty_is_filled_again_without_a_poll()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Relay:DispatchWindow"] = "1";
            o.Settings["Relay:PollInterval"] = "00:10:00";
        });
        var ids = new List<Guid>();
        for (var i = 0; i < 8; i++) ids.Add(await system.SubmitAsync($"window {i}"));

        foreach (var id in ids) Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        await system.AssertAllIsWellAsync();
    }
}
