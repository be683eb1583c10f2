using Generation.Core.Database;
using Npgsql;

namespace Generation.Tests.Database;

/// <summary>The rules of a group, without a database.</summary>
public sealed class GroupCommitTests
{
    private readonly List<string> written = [];
    private readonly SemaphoreSlim turns = new(0);
    private readonly TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource pairBegun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Func<string, Exception?> fault = _ => null;
    private Func<string, GroupAnswer<string>> answer = text => GroupCommit.Done(text + "!");
    private SemaphoreSlim? isolatedTurns;

    [Fact]
    public async Task The_first_goes_alone_and_who_comes_meanwhile_goes_together_up_to_the_limit()
    {
        var group = Group(maxGroup: 3);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcdef".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(10);

        Assert.Equal("a!", await first);
        Assert.Equal(["b!", "c!", "d!", "e!", "f!"], await Task.WhenAll(others));
        Assert.Equal(["a", "bcd", "ef"], written);
        Assert.Equal("g!", await group.WriteAsync("g", CancellationToken.None));
    }

    [Fact]
    public async Task Who_gives_up_while_waiting_is_not_written_and_nobody_else_notices()
    {
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        using var cancel = new CancellationTokenSource();
        var (second, third) = (group.WriteAsync("b", cancel.Token), group.WriteAsync("c", CancellationToken.None));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        turns.Release(10);

        Assert.Equal(("a!", "c!"), (await first, await third));
        Assert.Equal(["a", "c"], written);
    }

    [Fact]
    public async Task Who_gives_up_while_the_database_has_it_leaves_the_others_their_answers()
    {
        var group = Group(maxGroup: 10);
        using var cancel = new CancellationTokenSource();
        var first = group.WriteAsync("a", cancel.Token);
        await begun.Task;
        var second = group.WriteAsync("b", CancellationToken.None);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        turns.Release(10);

        Assert.Equal("b!", await second);
        Assert.Equal(["a", "b"], written);
    }

    [Fact]
    public async Task A_group_with_a_data_error_is_bisected_and_only_the_faulty_request_fails()
    {
        fault = text => text.Contains('c', StringComparison.Ordinal)
            ? new PostgresException("bad", "ERROR", "ERROR", PostgresErrorCodes.CheckViolation) : null;
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcdefghi".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(100);

        Assert.Equal("a!", await first);
        await Assert.ThrowsAsync<PostgresException>(() => others[1]);
        Assert.Equal(["b!", "d!", "e!", "f!", "g!", "h!", "i!"], await Task.WhenAll(others.Where((_, i) => i != 1)));
        Assert.Equal(["a", "b", "bc", "bcde", "bcdefghi", "bcdefghi", "c", "de", "fghi"], written.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task While_a_group_is_bisected_the_next_groups_are_written()
    {
        fault = text => text.Contains('c', StringComparison.Ordinal)
            ? new PostgresException("bad", "ERROR", "ERROR", PostgresErrorCodes.CheckViolation) : null;
        isolatedTurns = new SemaphoreSlim(0);
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bc".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(); // of the first
        Assert.Equal("a!", await first);
        await pairBegun.Task; // or what comes next would join the group that fails
        turns.Release(10);
        Assert.Equal("z!", await group.WriteAsync("z", CancellationToken.None));
        Assert.All(others, other => Assert.False(other.IsCompleted));
        isolatedTurns.Release(10);
        Assert.Equal("b!", await others[0]);
        await Assert.ThrowsAsync<PostgresException>(() => others[1]);
    }

    [Fact]
    public async Task A_locked_request_joins_later_groups_until_its_time_is_over()
    {
        answer = text => text == "b" ? GroupCommit.Locked<string>() : GroupCommit.Done(text + "!");
        var group = Group(maxGroup: 10);
        turns.Release(1_000);
        var locked = group.WriteAsync("b", CancellationToken.None);
        for (var i = 0; i < 5; i++) Assert.Equal("c!", await group.WriteAsync("c", CancellationToken.None));
        Assert.False(locked.IsCompleted);
        answer = text => GroupCommit.Done(text + "!");
        Assert.Equal("b!", await locked);

        answer = text => GroupCommit.Locked<string>();
        Assert.True(TransientErrors.IsTransient(await Assert.ThrowsAsync<RowLockedException>(() => group.WriteAsync("d", CancellationToken.None))));
    }

    [Fact]
    public async Task Two_requests_of_one_key_are_never_in_one_group()
    {
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcbdb".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(100);
        await Task.WhenAll(others.Prepend(first));
        Assert.Equal(["a", "b", "b", "bcd"], written.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Trouble_with_the_database_is_told_to_all_and_is_not_multiplied()
    {
        fault = text => text == "bcd" ? new NpgsqlException("away", new TimeoutException()) : null;
        var group = Group(maxGroup: 10);
        var first = group.WriteAsync("a", CancellationToken.None);
        await begun.Task;
        var others = "bcd".Select(c => group.WriteAsync($"{c}", CancellationToken.None)).ToList();
        turns.Release(10);

        Assert.Equal("a!", await first);
        foreach (var other in others) Assert.True((await Assert.ThrowsAsync<NpgsqlException>(() => other)).IsTransient);
        Assert.Equal(["a", "bcd"], written);
        Assert.Equal("b!", await group.WriteAsync("b", CancellationToken.None));
    }

    private GroupCommit<string, string> Group(int maxGroup) => new(
        new GroupCommitOptions<string>(maxGroup)
        {
            Key = text => text,
            MaxLockedWait = TimeSpan.FromMilliseconds(200),
            MaxConcurrentGroups = 1, // or a slow machine begins a second one
        },
        async (requests, isIsolated) =>
        {
            var text = string.Concat(requests);
            lock (written) written.Add(text);
            begun.TrySetResult();
            if (text == "bc")
            {
                pairBegun.TrySetResult();
            }

            // longer than the tests beside it may keep this one from its thread: who gives up here writes without a turn
            await (isIsolated && isolatedTurns is { } own ? own : turns).WaitAsync(TimeSpan.FromMinutes(5));
            return fault(text) is { } e ? throw e : [.. requests.Select(answer)];
        },
        TimeProvider.System);
}
