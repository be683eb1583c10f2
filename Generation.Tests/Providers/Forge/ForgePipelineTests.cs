using Generation.Tests.Harness;
using Generation.Tests.ProviderSim;

namespace Generation.Tests.Providers.Forge;

/// <summary>Pictures from our own GPUs through the whole pipeline.</summary>
[Trait("tier", "slow")]
public sealed class ForgePipelineTests
{
    [Fact]
    public async Task Pictures_come_one_after_the_other_say_what_they_were_made_from_and_are_paid()
    {
        await using var system = await TestSystem.StartAsync();
        var end = await system.EndOfAsync(await system.SubmitForgeAsync("a lagoon", n: 3));

        Assert.Equal(("completed", 0), ((string?)end["status"], (int?)end["attempt"]));
        Assert.Equal((3 * WebUiSystem.UnitPrice, 3), ((long?)end["receipt"]!["captured"], (int?)end["receipt"]!["providerUsage"]!["pictures"]));
        var media = end["media"]!.AsArray();
        Assert.Equal(["image/png 512x512", "image/png 512x512", "image/png 512x512"],
            media.Select(m => $"{m!["contentType"]} {m["width"]}x{m["height"]}"));
        for (var ordinal = 0; ordinal < 3; ordinal++)
        {
            var parameters = WebUiSystem.ParametersOf(await system.Http.GetByteArrayAsync((string)media[ordinal]!["url"]!));
            Assert.StartsWith("a lagoon\nSteps: 10, Sampler: DPM++ 2M, ", parameters, StringComparison.Ordinal);
            Assert.Contains($"Seed: {7 + ordinal}, Size: 512x512, Model hash: 31e35c80fc, Model: sd_xl_base_1.0", parameters,
                StringComparison.Ordinal);
        }

        var gpu = await system.Sim.GpuAsync();
        Assert.Equal((3, 1, 0), (gpu.Jobs, gpu.MostInside, gpu.Interrupts));
        await system.AssertSlotsAreFreeAsync();
        await system.AssertBooksAreCleanAsync();
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task Without_a_seed_a_sessions_pictures_are_its_own()
    {
        await using var system = await TestSystem.StartAsync();
        var seeds = new List<string>();
        foreach (var id in new[] { await system.SubmitAsync("forge-sdxl", new { prompt = "any", n = 2 }),
            await system.SubmitAsync("forge-sdxl", new { prompt = "any", n = 2 }) })
        {
            foreach (var picture in (await system.EndOfAsync(id))["media"]!.AsArray())
            {
                seeds.Add(WebUiSystem.ParametersOf(await system.Http.GetByteArrayAsync((string)picture!["url"]!)).Split("Seed: ")[1].Split(',')[0]);
            }
        }

        Assert.Equal(4, seeds.Distinct().Count());
    }

    [Fact]
    public async Task A_watcher_sees_the_picture_come_and_the_preview_goes_when_it_is_there()
    {
        await using var system = await TestSystem.StartAsync();
        var id = await system.SubmitForgeAsync("coming up [gate=half][latency=3000]", steps: 20);
        var percents = new List<int>();
        var previews = new List<(int Ordinal, Uri Url, int Percent)>();
        var isOpen = false;
        await foreach (var e in system.EventsAsync(id))
        {
            if (e.Name is not "progress")
            {
                continue;
            }

            percents.Add((int)e.Data["percent"]!);
            if (e.Data["preview"] is { } preview)
            {
                previews.Add(((int)preview["ordinal"]!, new Uri(system.Http.BaseAddress!, (string)preview["url"]!), percents[^1]));
            }

            if (!isOpen && previews is [.., (0, var url, >= 52)]) // halfway: nothing moves until it has been looked at
            {
                Assert.Equal((64, 64), PictureFiles.PngSize(await system.Http.GetByteArrayAsync(url)));
                await system.Sim.OpenGateAsync("half");
                isOpen = true;
            }
        }

        Assert.Equal(percents.Order(), percents);
        Assert.InRange(previews.Count, 3, 10); // every tenth part at most
        Assert.Equal(previews.Count, previews.Select(p => p.Percent).Distinct().Count());
        Assert.Equal("completed", (string?)(await system.GetAsync(id))["status"]);
        await system.AssertNothingIsLeftBehindAsync();
    }

    [Fact]
    public async Task A_model_says_what_it_takes()
    {
        await using var system = await TestSystem.StartAsync(o => o.Workers = 0);
        using var refused = await system.PostAsync(
            new
            {
                model = "forge-sdxl",
                @params = new
                {
                    prompt = "p",
                    size = "4096x4096",
                    n = 5,
                    steps = 0,
                    cfg_scale = 0.5,
                    sampler = "magic",
                    allow_placeholder = 1
                }
            }, "k");
        var errors = (await TestSystem.ReadAsync(refused))["errors"]!.AsObject();
        Assert.Equal(
            ["params.allow_placeholder", "params.cfg_scale", "params.n", "params.sampler", "params.size", "params.steps"],
                errors.Select(e => e.Key).Order(StringComparer.Ordinal));
        Assert.Equal("must be a number from 1 to 20", (string?)errors["params.cfg_scale"]![0]);
    }
}
