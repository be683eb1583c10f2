using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.ServiceDefaults;

/// <summary>A service that was asked to stop ends in order, also when a connection dies at that very moment.</summary>
public sealed class EndTests
{
    [Fact]
    public async Task A_connection_that_dies_while_its_statement_is_cancelled_is_no_crash() =>
        await RunAsync(new AggregateException(new AggregateException(new ObjectDisposedException("System.Threading.ManualResetEventSlim"))));

    [Fact]
    public async Task What_goes_wrong_otherwise_while_stopping_is_told() =>
        await Assert.ThrowsAnyAsync<Exception>(() => RunAsync(
            new AggregateException(new ObjectDisposedException("a connection"), new InvalidDataException("ours"))));

    private static async Task RunAsync(Exception atTheStop)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        var listener = new Listener(atTheStop);
        builder.Services.AddHostedService(_ => listener);
        await using var app = builder.Build();
        var run = app.RunToEndAsync();
        await listener.Listens;
        app.Lifetime.StopApplication();
        await run;
    }

    private sealed class Listener(Exception atTheStop) : BackgroundService
    {
        private readonly TaskCompletionSource listens = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Listens => listens.Task;

        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            _ = stoppingToken.Register(() => throw atTheStop); // not disposed: whoever sees the token fired first must not take it back
            listens.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
