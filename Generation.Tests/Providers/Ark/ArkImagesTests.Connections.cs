using System.Net.Sockets;
using Generation.Core.Providers;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Providers.Ark;

/// <content>What is known of a call whose connection fails, at each of its stages.</content>
public sealed partial class ArkImagesTests
{
    [Fact]
    public async Task A_refused_connection_was_not_a_call_and_may_be_made_again()
    {
        using var port = new TcpListener(System.Net.IPAddress.Loopback, 0);
        port.Start();
        var address = $"http://{port.LocalEndpoint}";
        port.Stop();
        using var ark = ArkUnderTest.NewArk(address);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.Unavailable, "ark.not_reached"), (failure.Kind, failure.ProviderCode));
    }

    [Fact]
    public async Task A_server_that_does_not_speak_TLS_was_not_called()
    {
        await using var server = await LocalArk.StartAsync(200, Delivered);
        using var ark = ArkUnderTest.NewArk(server.Address.Replace("http:", "https:", StringComparison.Ordinal));

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.Unavailable, "ark.not_reached"), (failure.Kind, failure.ProviderCode));
        Assert.Empty(server.Calls);
    }

    [Fact]
    public async Task A_connection_that_never_stands_was_not_a_call()
    {
        using var silent = new TcpListener(System.Net.IPAddress.Loopback, 0); // takes the connection, never shakes hands
        silent.Start();
        using var ark = ArkUnderTest.NewArk($"https://{silent.LocalEndpoint}", options => options.ConnectTimeout = TimeSpan.FromMilliseconds(200));

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.Unavailable, "ark.connect_timeout"), (failure.Kind, failure.ProviderCode));
    }

    [Fact]
    public async Task A_call_that_is_never_answered_is_of_unknown_outcome_after_the_timeout()
    {
        var clock = new FakeTimeProvider();
        var arrived = new TaskCompletionSource();
        await using var server = await LocalArk.StartAsync(context =>
        {
            arrived.SetResult();
            return NeverAsync(context);
        });
        using var ark = ArkUnderTest.NewArk(server.Address, time: clock);

        var call = GenerateAsync(ark);
        await arrived.Task.WaitAsync(LocalArk.MaxWait);
        clock.Advance(TimeSpan.FromSeconds(119));
        Assert.False(call.IsCompleted);
        clock.Advance(TimeSpan.FromSeconds(1));
        var failure = (await call).Failure!;

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.timeout"), (failure.Kind, failure.ProviderCode));
        Assert.Contains("Providers:Ark:CallTimeout", failure.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_answer_that_stops_half_way_is_of_unknown_outcome_after_the_timeout()
    {
        var clock = new FakeTimeProvider();
        var half = new TaskCompletionSource();
        await using var server = await LocalArk.StartAsync(async context =>
        {
            await HalfAsync(context);
            half.SetResult();
            await NeverAsync(context);
        });
        using var ark = ArkUnderTest.NewArk(server.Address, time: clock);

        var call = GenerateAsync(ark);
        await half.Task.WaitAsync(LocalArk.MaxWait);
        clock.Advance(TimeSpan.FromSeconds(120));
        var failure = (await call).Failure!;

        Assert.Equal(FailureKind.OutcomeUnknown, failure.Kind);
    }

    [Fact]
    public async Task An_answer_that_is_cut_after_its_headers_is_of_unknown_outcome_and_keeps_its_request_id()
    {
        await using var server = await LocalArk.StartAsync(async context =>
        {
            context.Response.Headers["x-request-id"] = "0217a";
            await HalfAsync(context); // and Kestrel closes the connection
        });
        using var ark = ArkUnderTest.NewArk(server.Address);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.cut_reply", "0217a"), (failure.Kind, failure.ProviderCode, failure.RequestId));
    }

    [Fact]
    public async Task A_call_whose_connection_is_reset_is_of_unknown_outcome()
    {
        await using var server = await LocalArk.StartAsync(context =>
        {
            context.Abort();
            return Task.CompletedTask;
        });
        using var ark = ArkUnderTest.NewArk(server.Address);

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.no_answer"), (failure.Kind, failure.ProviderCode));
        Assert.Single(server.Calls);
    }

    /// <summary>HTTP clients like to repeat a request when a pooled connection turns out to be dead. Here that would buy a picture twice.</summary>
    [Fact]
    public async Task A_call_that_dies_with_a_reused_connection_is_not_sent_twice()
    {
        var connections = new HashSet<string>(StringComparer.Ordinal);
        var calls = 0;
        await using var server = await LocalArk.StartAsync(async context =>
        {
            connections.Add(context.Connection.Id);
            if (++calls > 1)
            {
                context.Abort();
                return;
            }

            await context.Response.WriteAsync(Delivered);
        });
        using var ark = ArkUnderTest.NewArk(server.Address);

        Assert.Null((await GenerateAsync(ark)).Failure);
        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.no_answer"), (failure.Kind, failure.ProviderCode));
        Assert.Equal(2, server.Calls.Count);
        Assert.Single(connections);
    }

    [Fact]
    public async Task An_answer_without_end_is_given_up_at_its_cap()
    {
        var gone = new TaskCompletionSource();
        await using var server = await LocalArk.StartAsync(async context =>
        {
            await context.Response.Body.WriteAsync(new byte[(1 << 20) + 1]);
            await context.Response.Body.FlushAsync();
            await NeverAsync(context);
            gone.SetResult();
        });
        using var ark = ArkUnderTest.NewArk(server.Address, time: new FakeTimeProvider()); // so it is not the timeout

        var failure = (await GenerateAsync(ark)).Failure!;

        Assert.Equal((FailureKind.OutcomeUnknown, "ark.malformed_reply"), (failure.Kind, failure.ProviderCode));
        await gone.Task.WaitAsync(LocalArk.MaxWait);
    }

    [Fact]
    public async Task A_caller_that_stops_gets_its_cancellation_back()
    {
        var arrived = new TaskCompletionSource();
        await using var server = await LocalArk.StartAsync(context =>
        {
            arrived.SetResult();
            return NeverAsync(context);
        });
        using var ark = ArkUnderTest.NewArk(server.Address);
        using var stop = new CancellationTokenSource();

        var call = ark.GenerateAsync(Lighthouse, "c", stop.Token);
        await arrived.Task.WaitAsync(LocalArk.MaxWait);
        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
    }

    /// <summary>A drain while Ark is out of reach must not leave calls behind that look as if they had been paid.</summary>
    [Fact]
    public async Task A_caller_that_stops_before_the_call_was_sent_is_told_that_nothing_was_bought()
    {
        using var ark = ArkUnderTest.NewArk("http://127.0.0.1:9/");
        using var stop = new CancellationTokenSource();
        await stop.CancelAsync();

        var failure = (await ark.GenerateAsync(Lighthouse, "c", stop.Token)).Failure!;

        Assert.Equal((FailureKind.Unavailable, "ark.not_sent"), (failure.Kind, failure.ProviderCode));
    }
}
