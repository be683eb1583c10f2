using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Resilience;

/// <summary>Invariant 6 inside the statements of a worker: each compares its token under the lock of the session's row.</summary>
[Trait("tier", "process")]
public sealed class FencingTests
{
    /// <summary>
    /// An intent was recorded without that lock: a revocation in this moment let a worker that had lost its lease make a paid call.
    /// </summary>
    [Theory]
    [InlineData("the intent", "BEFORE INSERT ON provider_tasks FOR EACH ROW")]
    [InlineData("the outcome of a call", "BEFORE UPDATE ON provider_tasks FOR EACH ROW")]
    [InlineData("an output", "BEFORE INSERT ON media FOR EACH ROW")]
    public async Task A_session_cannot_be_taken_over_while_its_holder_writes(string what, string trigger)
    {
        await using var system = await TestSystem.StartAsync(o => o.Settings["Worker:LeaseDuration"] = "00:01:00");
        await using var write = await StandStill.AtAsync(system, trigger);
        var id = await system.SubmitAsync(what);
        await write.ReachedAsync();

        var refused = await Assert.ThrowsAsync<PostgresException>(
            () => system.ExecuteAsync($"SELECT FROM generation_sessions WHERE session_id = '{id}' FOR NO KEY UPDATE NOWAIT"));
        Assert.Equal(PostgresErrorCodes.LockNotAvailable, refused.SqlState);
        await write.LetGoAsync();
        Assert.Equal("completed", (string?)(await system.EndOfAsync(id))["status"]);
        await system.AssertAllIsWellAsync();
    }
}
