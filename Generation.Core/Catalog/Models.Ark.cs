namespace Generation.Core.Catalog;

/// <summary>Seedream and Seedance on Ark.</summary>
public static class ArkModels
{
    private static readonly TextParameter Prompt = new("prompt", "What is to be seen.", 1, 4000) { Required = true };

    private static readonly IntegerParameter Count = new("n", "How many pictures.", 1, 15) { Default = 1 };

    private static readonly BooleanParameter Watermark = new("watermark", "Put \"AI generated\" into the corner.") { Default = false };

    private static readonly ImageParameter FirstFrame = new("first_frame", "The picture that the video begins with.");

    private static readonly ImageParameter LastFrame = new("last_frame", "The picture that the video ends with.");

    private static readonly BooleanParameter Sound = new("generate_audio", "With sound.") { Default = true };

    /// <summary>What Seedance 2 takes; <c>adaptive</c> is the picture's own shape, or what suits the prompt.</summary>
    private static readonly ChoiceParameter Shape = new("ratio", "Width to height.", "16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive") { Default = "adaptive" };

    private static readonly Rule[] Frames = [new Needs("last_frame", "first_frame")];

    private static readonly Rule[] FramesOrReferences = [.. Frames, new Excludes(["first_frame", "last_frame"], ["reference_images"])];

    /// <summary>
    /// Limits of Seedream: provider-apis.md §1.1, of Seedance: §2.1. Left out of what Seedance can do: durations
    /// that the model chooses (they have no price) and 4k, a 10-bit H.265 that most browsers do not play.
    /// </summary>
    public static readonly Model[] All =
    [
        new()
        {
            Id = "seedream-4",
            Tool = "seedream4",
            JobType = "gen.seedream4",
            Provider = "ark",
            ProviderModel = "seedream-4-0-250828",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt,
                new SizeParameter("size", "Resolution, or exact pixels.", ["1K", "2K", "4K"], 921_600, 16_777_216) { Default = "2K" },
                Count,
                Watermark,
                new ChoiceParameter("optimize_prompt", "How much thought goes into rewriting the prompt.", "standard", "fast"),
            ],
        },
        new()
        {
            Id = "seedream-4.5",
            Tool = "seedream4",
            JobType = "gen.seedream4",
            Provider = "ark",
            ProviderModel = "seedream-4-5-251128",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt,
                new SizeParameter("size", "Resolution, or exact pixels.", ["2K", "4K"], 3_686_400, 16_777_216) { Default = "2K" },
                Count,
                Watermark,
            ],
        },
        new()
        {
            Id = "seedream-3",
            Tool = "seedream3",
            JobType = "gen.seedream3",
            Provider = "ark",
            ProviderModel = "seedream-3-0-t2i-250415",
            Kind = "image",
            Lane = "image",
            Lifecycle = ModelLifecycle.Retired,
            Successor = "seedream-4",
            Sunset = new DateOnly(2026, 3, 31),
            Parameters = [Prompt, new SizeParameter("size", "Exact pixels.", [], 262_144, 4_194_304) { Default = "1024x1024" }, Count, Watermark],
        },
        new()
        {
            Id = "seedance-2",
            Tool = "seedance",
            JobType = "gen.seedance",
            Provider = "ark",
            ProviderModel = "dreamina-seedance-2-0-260128",
            Kind = "video",
            Lane = "video",
            Parameters =
            [
                Prompt,
                Resolution("480p", "720p", "1080p"),
                Shape,
                new IntegerParameter("duration", "Seconds.", 4, 15) { Default = 5 },
                Sound,
                FirstFrame,
                LastFrame,
                new ImagesParameter("reference_images", "Pictures of what is to appear in the video.", 9),
                Watermark,
            ],
            Rules = FramesOrReferences,
        },
        new()
        {
            Id = "seedance-2-fast",
            Tool = "seedance",
            JobType = "gen.seedance",
            Provider = "ark",
            ProviderModel = "dreamina-seedance-2-0-fast-260128",
            Kind = "video",
            Lane = "video",
            Parameters =
            [
                Prompt,
                Resolution("480p", "720p"),
                Shape,
                new IntegerParameter("duration", "Seconds.", 4, 15) { Default = 5 },
                Sound,
                FirstFrame,
                LastFrame,
                new ImagesParameter("reference_images", "Pictures of what is to appear in the video.", 9),
                Watermark,
            ],
            Rules = FramesOrReferences,
        },
        new()
        {
            Id = "seedance-1-pro",
            Tool = "seedance",
            JobType = "gen.seedance",
            Provider = "ark",
            ProviderModel = "seedance-1-0-pro-250528",
            Kind = "video",
            Lane = "video",
            Parameters =
            [
                Prompt,
                Resolution("480p", "720p", "1080p"),
                new ChoiceParameter("ratio", "Width to height; left out it is the first frame's, or 16:9.", "16:9", "4:3", "1:1", "3:4", "9:16", "21:9"),
                new IntegerParameter("duration", "Seconds.", 2, 12) { Default = 5 },
                new IntegerParameter("seed", "The same seed and prompt make a similar video; left out it is random.", 0, int.MaxValue),
                FirstFrame,
                LastFrame,
                Watermark,
            ],
            Rules = Frames,
        },
    ];

    private static ChoiceParameter Resolution(params string[] classes) => new("resolution", "Lines of the picture.", classes) { Default = "720p" };
}
