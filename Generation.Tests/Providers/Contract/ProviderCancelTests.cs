using System.Net;
using Generation.Tests.Harness;
using Generation.Tests.Providers.Forge;
using Generation.Tests.Resilience;

namespace Generation.Tests.Providers.Contract;

/// <summary>
/// A cancel while a provider works: the session ends soon, what is stored is paid, and the provider is told where that is possible.
/// </summary>
[Trait("tier", "slow")]
public sealed class ProviderCancelTests(ProviderCancelTests.CancelSystem cancels) : IClassFixture<ProviderCancelTests.CancelSystem>
{
    private readonly TestSystem system = cancels.System;

    public static TheoryData<string, string> Cancels => ProviderRows.Each(row => row.Cancels.Select(cancel => cancel.Words));

    public static TheoryData<string> OfSeveral => ProviderRows.Where(row => row.AfterFirst is not null);

    [Theory]
    [MemberData(nameof(Cancels))]
    public async Task A_cancel_while_the_provider_works_ends_the_session_and_is_not_charged(string provider, string words)
    {
        var row = ProviderRows.Of(provider);
        var cancel = row.Cancels.Single(c => c.Words == words);
        var name = $"{provider} unwanted {words.Split('=')[0].Trim('[')}";
        var gate = row.Style == CallStyle.Task ? null : $"unwanted-{provider.Length}";
        var id = await row.SubmitAsync(system, name, gate is null ? words : $"{words}{gate}]");
        if (gate is null)
        {
            await system.UntilAsync($"SELECT phase = 'awaiting_provider' FROM generation_sessions WHERE session_id = '{id}'");
        }
        else
        {
            await system.Sim.WaitAtGateAsync(gate);
        }

        Assert.Equal(HttpStatusCode.Accepted, await CancelAsync(id));
        var end = await system.EndOfAsync(id);
        var taskId = await system.ScalarAsync<string>($"SELECT task_id FROM provider_tasks WHERE session_id = '{id}'");
        await cancel.AssertAtProviderAsync(system, taskId);
        if (gate is not null)
        {
            await system.Sim.OpenGateAsync(gate);
        }

        Assert.Equal(("canceled", 0), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((0, row.Outputs * row.UnitPrice), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["released"]));
        Assert.Equal((cancel.State, cancel.Unknown), (
            await system.ScalarAsync<string>($"SELECT string_agg(state, ' ') FROM provider_tasks WHERE session_id = '{id}'"),
            await system.ScalarAsync<long>($"SELECT count(*) FROM error_events WHERE session_id = '{id}' AND detail ? 'providerTaskId'")));
        Assert.Single(await system.CallsAsync(name));
        Assert.Equal(HttpStatusCode.Conflict, await CancelAsync(id));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
        await system.AssertNothingIsLeftBehindAsync(id);
    }

    [Theory]
    [MemberData(nameof(OfSeveral))]
    public async Task A_cancel_after_the_first_output_keeps_it_and_releases_the_rest(string provider)
    {
        var row = ProviderRows.Of(provider);
        var (name, gate) = ($"{provider} is enough", $"enough-{provider.Length}");
        var id = await row.SubmitAsync(system, name, $"[gate={gate}]", row.Several);
        await system.Sim.WaitAtGateAsync(gate);
        await system.Sim.LetOnePassAsync(gate);
        await system.UntilAsync($"SELECT count(*) = 1 FROM media WHERE session_id = '{id}'");
        await system.Sim.WaitAtGateAsync(gate);
        Assert.Equal(HttpStatusCode.Accepted, await CancelAsync(id));
        var end = await system.EndOfAsync(id);
        await system.Sim.OpenGateAsync(gate);

        Assert.Equal(("canceled", 1), ((string?)end["status"], end["media"]!.AsArray().Count));
        Assert.Equal((row.UnitPrice, (row.Several - 1) * row.UnitPrice), ((int?)end["receipt"]!["captured"], (int?)end["receipt"]!["adjusted"]));
        Assert.Equal(row.Style == CallStyle.Group ? 1 : 2, (await system.CallsAsync(name)).Count);
        await system.AssertSlotsAreFreeAsync();
        await system.AssertAllIsWellAsync();
        await system.AssertNothingIsLeftBehindAsync(id); // no preview of what did not come
    }

    private async Task<HttpStatusCode> CancelAsync(Guid id)
    {
        using var response = await system.Http.PostAsync(new Uri($"/api/generations/{id}/cancel", UriKind.Relative), null);
        return response.StatusCode;
    }

    public sealed class CancelSystem : IAsyncLifetime
    {
        public TestSystem System { get; private set; } = null!;

        public async ValueTask InitializeAsync() => System = await TestSystem.StartAsync(options =>
        {
            options.Credits = 100_000;
            options.Settings["Providers:Ark:ImageBatch"] = "1"; // one after the other
        });

        public ValueTask DisposeAsync() => System.DisposeAsync();
    }
}
