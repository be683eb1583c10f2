using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Providers.Forge;

/// <summary>What tests of Forge ask a system and its simulated GPUs.</summary>
internal static class WebUiSystem
{
    /// <summary>Credits for one picture (0004_providers.sql).</summary>
    public const long UnitPrice = 2;

    /// <summary>A small picture of few steps.</summary>
    public static Task<Guid> SubmitForgeAsync(this TestSystem system, string prompt, int n = 1, bool placeholder = false, int steps = 10) =>
        system.SubmitAsync("forge-sdxl", new { prompt, n, steps, size = "512x512", seed = 7, allow_placeholder = placeholder });

    /// <summary>What the simulated GPU has counted.</summary>
    public static async Task<Gpu> GpuAsync(this TestSim sim)
    {
        using var http = new HttpClient { BaseAddress = sim.Address };
        var report = (await http.GetFromJsonAsync<JsonObject>("/sim/forge"))!;
        return new Gpu((int)report["jobs"]!, (int)report["inside"]!, (int)report["mostInside"]!, (int)report["interrupts"]!,
            (string?)report["running"], report["pending"]!.AsArray().Count);
    }

    /// <summary>Asks until the GPU is in such a state.</summary>
    public static async Task<Gpu> UntilGpuAsync(this TestSim sim, Predicate<Gpu> wanted)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var gpu = await sim.GpuAsync();
            if (wanted(gpu))
            {
                return gpu;
            }

            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60), $"The GPU stays {gpu}.");
            await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, CancellationToken.None);
        }
    }

    public static async Task CancelAsync(this TestSystem system, Guid sessionId)
    {
        using var response = await system.Http.PostAsync($"/api/generations/{sessionId}/cancel", null);
        response.EnsureSuccessStatusCode();
    }

    /// <summary>No session has a GPU, a moment after its end.</summary>
    public static Task AssertSlotsAreFreeAsync(this TestSystem system) =>
        system.UntilAsync("SELECT count(*) = 0 FROM gpu_slots WHERE session_id IS NOT NULL");

    /// <summary>What a stored picture says it was made from.</summary>
    public static string ParametersOf(byte[] png)
    {
        var text = Encoding.Latin1.GetString(png);
        var at = text.IndexOf("tEXtparameters\0", StringComparison.Ordinal);
        Assert.True(at > 0, "The picture has no parameters.");
        return text[(at + 15)..text.IndexOf("Version:", StringComparison.Ordinal)];
    }

    internal sealed record Gpu(int Jobs, int Inside, int MostInside, int Interrupts, string? Running, int Pending);
}
