namespace Generation.Core.Catalog;

/// <summary>Stable Diffusion on our own GPUs.</summary>
public static class ForgeModels
{
    /// <summary>
    /// The shapes that SDXL was trained on, of about a megapixel each: others come out with two heads, or not at all for want of memory.
    /// </summary>
    private static readonly string[] Sizes =
        ["1024x1024", "1152x896", "896x1152", "1216x832", "832x1216", "1344x768", "768x1344", "1536x640", "640x1536", "512x512"];

    public static readonly Model[] All =
    [
        new()
        {
            Id = "forge-sdxl",
            Tool = "forge",
            JobType = "gen.forge",
            Provider = "forge",
            ProviderModel = "sd_xl_base_1.0",
            Kind = "image",
            Lane = "gpu",
            Parameters =
            [
                new TextParameter("prompt", "What is to be seen.", 1, 4000) { Required = true },
                new TextParameter("negative_prompt", "What is not to be seen.", 0, 4000),
                new ChoiceParameter("size", "Width and height in pixels.", Sizes) { Default = "1024x1024" },
                new IntegerParameter("n", "How many pictures.", 1, 4) { Default = 1 },
                new IntegerParameter("steps", "Sampling steps: more take longer and show more detail, up to a point.", 1, 80) { Default = 30 },
                new NumberParameter("cfg_scale", "How closely the prompt is followed.", 1, 20) { Default = 7 },
                new ChoiceParameter("sampler", "How noise becomes a picture.", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "Euler a", "Euler", "Heun",
                    "DDIM", "UniPC", "LCM") { Default = "DPM++ 2M" },
                new ChoiceParameter("scheduler", "How the noise is spread over the steps; left out it suits the sampler.", "Karras", "Exponential",
                    "SGM Uniform", "Simple"),
                new IntegerParameter("seed",
                    "The same seed and settings make the same picture; each further picture has the next seed. Left out it is random.", 0,
                    int.MaxValue),
                new BooleanParameter("allow_placeholder",
                    "When no GPU can be reached, show a placeholder that is marked as such and costs nothing.") { Default = false },
            ],
        },
    ];
}
