using Generation.Core.Database;

namespace Generation.Tests.Jobs;

/// <summary>A time limit of a statement.</summary>
public sealed class SafeTimeoutTests
{
    [Fact]
    public async Task What_a_statement_throws_when_it_is_told_to_stop_does_not_end_the_process()
    {
        using var timeout = new SafeTimeout(TimeSpan.FromMilliseconds(20), TimeProvider.System);
        var told = new TaskCompletionSource();
        using var first = timeout.Token.Register(told.SetResult); // the last to register is the first to be told
        // as Npgsql 10 does, on a thread of the timer's
        using var second = timeout.Token.Register(() => throw new ObjectDisposedException("ManualResetEventSlim"));

        await told.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        // what escapes ends this process
        await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, TestContext.Current.CancellationToken);
        Assert.True(timeout.Token.IsCancellationRequested);
    }

    [Fact]
    public void It_ends_with_who_asked_as_well()
    {
        using var gone = new CancellationTokenSource();
        using var timeout = new SafeTimeout(TimeSpan.FromHours(1), TimeProvider.System, gone.Token);
        Assert.False(timeout.Token.IsCancellationRequested);
        gone.Cancel();
        Assert.True(timeout.Token.IsCancellationRequested);
    }
}
