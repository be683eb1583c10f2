using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Generation.ProviderSim;

namespace Generation.Tests.Harness;

/// <summary>A provider simulator of the test's own, quick and with small pictures. It counts what was paid for.</summary>
public sealed class TestSim : IAsyncDisposable
{
    private readonly InProcessService<SimOptions> service;
    private readonly HttpClient http;

    private TestSim(InProcessService<SimOptions> service)
    {
        this.service = service;
        http = new HttpClient { BaseAddress = service.Address };
    }

    public Uri Address => service.Address;

    public static Task<TestSim> StartAsync(IReadOnlyDictionary<string, string>? more = null) => Task.Run(() =>
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal) { ["Sim:LatencyMs"] = "0", ["Sim:PictureBytes"] = "20000" };
        (settings["Sim:VideoLatencyMs"], settings["Sim:VideoQueueMs"], settings["Sim:VideoReadsPerSecond"]) = ("0", "0", "0");
        (settings["Sim:KieQueueMs"], settings["Sim:KieCreationsPerWindow"], settings["Sim:KieReadsPerSecond"]) = ("0", "0", "0");
        foreach (var (key, value) in more ?? new Dictionary<string, string>(StringComparer.Ordinal))
        {
            settings[key] = value;
        }

        return new TestSim(new InProcessService<SimOptions>(settings, null));
    });

    /// <summary>How many pictures were made, and would have been billed, for prompts that contain this.</summary>
    public async Task<int> PaidAsync(string prompt) =>
        (await http.GetFromJsonAsync<JsonObject>($"/sim/calls?prompt={Uri.EscapeDataString(prompt)}"))!["paid"]!.GetValue<int>();

    /// <summary>Waits until a call or a download stands at the gate.</summary>
    public async Task WaitAtGateAsync(string gate) =>
        Assert.True((int)(await http.GetFromJsonAsync<JsonObject>($"/sim/gates/{gate}/waiting?timeoutSeconds=60"))!["waiting"]! > 0,
            $"Nobody came to the gate '{gate}'.");

    public async Task OpenGateAsync(string gate) => (await http.PostAsync($"/sim/gates/{gate}", null)).EnsureSuccessStatusCode();

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        await service.DisposeAsync();
    }
}
