using Generation.Core.Media;
using Generation.Relay;
using Generation.Tests.Harness;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Maintenance;

/// <summary><c>Generation.Relay reconcile</c>: what is done to a restored database before the services start.</summary>
[Trait("tier", "slow")]
public sealed class ReconcileTests
{
    [Fact]
    public async Task It_advances_what_must_not_be_given_out_twice_and_lists_outputs_without_a_row()
    {
        await using var system = await TestSystem.StartAsync();
        var done = await system.SubmitAsync("a lighthouse");
        await system.EndOfAsync(done);
        await StopAsync(system.Workers);
        await StopAsync(system.Relays);
        var open = await system.SubmitAsync("a city");
        (string, string)[] settings = [("Media:Store", "folder"), ("Media:Folder:Root", system.MediaFolder)];

        var refused = await Ended.RelayAsync(system.Db.ConnectionString, ["reconcile"], settings);
        Assert.Equal(ReconcileCommand.CouldNotRun, refused.ExitCode);
        Assert.Contains("generation_api still use the database. Stop all services first", refused.Errors, StringComparison.Ordinal);

        await StopAsync(system.Apis);
        await system.UntilAsync("NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'generation\\_%')");
        var store = new FolderMediaStore(Options.Create(new MediaOptions { Folder = { Root = system.MediaFolder } }), TimeProvider.System);
        var lost = MediaKey.Output(system.UserId, TimeProvider.System.GetUtcNow(), Guid.CreateVersion7(), 0, 3, "png");
        var overtaken = MediaKey.Output(system.UserId, TimeProvider.System.GetUtcNow(), open, 0, 1, "png");
        foreach (var key in new[] { lost, overtaken }) await store.PutAsync(key, new MemoryStream([1, 2, 3]), key.Type.ContentType, default);

        var before = await NumbersAsync();
        var list = Path.GetTempFileName();
        try
        {
            var ended = await Ended.RelayAsync(system.Db.ConnectionString, ["reconcile", list], settings);
            Assert.True(ended.ExitCode == ReconcileCommand.Done, ended.Errors + ended.Output);
            Assert.Contains("Advanced the lease tokens and versions of 1 open sessions", ended.Output, StringComparison.Ordinal);
            Assert.Contains("not called, as far as the backup knows", ended.Output, StringComparison.Ordinal);
            Assert.Contains("The ledger is clean.", ended.Output, StringComparison.Ordinal);
            var rows = (await File.ReadAllLinesAsync(list)).Skip(1).Select(line => line.Split(','))
                .Select(cells => (cells[0], cells[2], cells[4], cells[5])).ToHashSet();
            Assert.Equal([($"{lost.SessionId}", "lost", "3", $"{lost}"), ($"{open}", "known", "3", $"{overtaken}")], rows);
        }
        finally
        {
            File.Delete(list);
        }

        var after = await NumbersAsync();
        Assert.Equal(before.Ended, after.Ended);
        Assert.True(after.Token >= before.Token + 100_000_000 && after.Version >= before.Version + 100_000_000 && after.Outbox >= before.Outbox
            + 100_000_000, $"{before} {after}");

        // And all goes on from there.
        await system.AddApiAsync();
        await system.AddRelayAsync();
        await system.AddWorkerAsync();
        await system.UntilAsync($"(SELECT status FROM generation_sessions WHERE session_id = '{open}') = 'completed'");
        await system.AssertBooksAreCleanAsync();

        async Task<(long Token, long Version, long Outbox, long Ended)> NumbersAsync() => (
            await system.ScalarAsync<long>($"SELECT lease_token FROM generation_sessions WHERE session_id = '{open}'"),
            await system.ScalarAsync<long>($"SELECT version FROM generation_sessions WHERE session_id = '{open}'"),
            await system.ScalarAsync<long>("SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'outbox%'"),
            await system.ScalarAsync<long>($"SELECT version FROM generation_sessions WHERE session_id = '{done}'"));
    }

    private static async Task StopAsync(List<ITestService> services)
    {
        foreach (var service in services) await service.DisposeAsync();
        services.Clear();
    }

    [Fact]
    public async Task What_is_wrong_is_said_in_a_sentence()
    {
        var nowhere = await Ended.RelayAsync("Host=127.0.0.1;Port=1;Username=nobody;Database=none", ["reconcile"]);
        Assert.Equal((ReconcileCommand.CouldNotRun, ""), (nowhere.ExitCode, nowhere.Output));
        Assert.Contains("could not be reconciled", nowhere.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", nowhere.Errors, StringComparison.Ordinal);

        var withoutOwner = await Ended.RunAsync("Generation.Relay", ["reconcile"], ("ConnectionStrings:generation", "Host=127.0.0.1;Port=1"));
        Assert.Equal(ReconcileCommand.CouldNotRun, withoutOwner.ExitCode);
        Assert.Contains("ConnectionStrings:generation-owner is not set", withoutOwner.Errors, StringComparison.Ordinal);
    }
}
