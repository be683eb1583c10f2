namespace Generation.Core.Catalog;

/// <summary>Seedream and Seedance on Ark.</summary>
public static class ArkModels
{
    private static readonly TextParameter Prompt = new("prompt", "What is to be seen.", 1, 4000) { Required = true };

    private static readonly IntegerParameter Count = new("n", "How many pictures.", 1, 15) { Default = 1 };

    private static readonly ImagesParameter References = new("images", "Pictures to go by: to change, to combine, or to take a style from.", 14);

    private static readonly BooleanParameter Group =
        new("group", "Pictures that belong together, made one after the other: the model decides how many, at most n. Those that it does not make "
            + "are not paid.")
        { Default = false };

    /// <summary>Ark counts both together.</summary>
    private static readonly Rule[] GroupBesideReferences = [new AtMostTogether("group", "images", "n", 15, 14)];

    private static readonly ChoiceParameter Format = new("output_format", "What kind of file.", "jpeg", "png") { Default = "jpeg" };

    private static readonly BooleanParameter LastFramePoster =
        new("last_frame_poster", "Keep the last frame beside the video, as its still picture.") { Default = false };

    private static readonly BooleanParameter Watermark = new("watermark", "Put \"AI generated\" into the corner.") { Default = false };

    private static readonly ImageParameter FirstFrame = new("first_frame", "The picture that the video begins with.");

    private static readonly ImageParameter LastFrame = new("last_frame", "The picture that the video ends with.");

    private static readonly BooleanParameter Sound = new("generate_audio", "With sound.") { Default = true };

    /// <summary>What Seedance 2 takes; <c>adaptive</c> is the picture's own shape, or what suits the prompt.</summary>
    private static readonly ChoiceParameter Shape = new("ratio", "Width to height.", "16:9", "4:3", "1:1", "3:4", "9:16", "21:9",
        "adaptive")
    { Default = "adaptive" };

    private static readonly Rule[] Frames = [new Needs("last_frame", "first_frame")];

    private static readonly Rule[] FramesOrReferences = [.. Frames, new Excludes(["first_frame", "last_frame"], ["reference_images"])];

    /// <summary>
    /// Limits: BytePlus' documentation of Ark. Left out of what Seedance can do: durations
    /// that the model chooses (they have no price) and 4k, a 10-bit H.265 that most browsers do not play. Left out altogether: Seedance 2.5,
    /// of which neither a price nor the pixels that its tokens follow from are known, and Seedream 5 flash, of which no price is. The ids of
    /// Seedream 5 have no date here, because none is documented: Providers:Ark:Models exchanges them for those of the account.
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
                Group,
                References,
                Watermark,
                new ChoiceParameter("optimize_prompt", "How much thought goes into rewriting the prompt.", "standard", "fast"),
            ],
            Rules = GroupBesideReferences,
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
                Group,
                References,
                Watermark,
            ],
            Rules = GroupBesideReferences,
        },
        new()
        {
            Id = "seedream-5-lite",
            Tool = "seedream5",
            JobType = "gen.seedream4",
            Provider = "ark",
            ProviderModel = "seedream-5-0-lite",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt,
                new SizeParameter("size", "Resolution, or exact pixels.", ["2K", "3K", "4K"], 3_686_400, 16_777_216) { Default = "2K" },
                Count,
                Group,
                References,
                Format,
                Watermark,
            ],
            Rules = GroupBesideReferences,
        },
        new()
        {
            Id = "seedream-5-pro",
            Tool = "seedream5",
            JobType = "gen.seedream4",
            Provider = "ark",
            ProviderModel = "seedream-5-0-pro",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt,
                new SizeParameter("size", "Resolution, or exact pixels.", ["2K", "4K"], 3_686_400, 16_777_216) { Default = "2K" },
                Count,
                References with { MaxCount = 10 },
                Format,
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
            Parameters =
            [
                Prompt,
                new SizeParameter("size", "Exact pixels.", [], 262_144, 4_194_304) { Default = "1024x1024", Sides = (512, 2048) },
                Count,
                new IntegerParameter("seed",
                    "The same seed and prompt make the same picture; of several pictures each has the next seed. Left out it is random.", 0,
                    int.MaxValue),
                new NumberParameter("guidance_scale", "How closely the prompt is followed.", 1, 10) { Default = 2.5 },
                Watermark,
            ],
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
                LastFramePoster,
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
                LastFramePoster,
                Watermark,
            ],
            Rules = FramesOrReferences,
        },
        new()
        {
            Id = "seedance-2-mini",
            Tool = "seedance",
            JobType = "gen.seedance",
            Provider = "ark",
            ProviderModel = "dreamina-seedance-2-0-mini-260615",
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
                LastFramePoster,
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
                new ChoiceParameter("ratio", "Width to height; left out it is the first frame's, or 16:9.", "16:9", "4:3", "1:1", "3:4", "9:16",
                    "21:9"),
                new IntegerParameter("duration", "Seconds.", 2, 12) { Default = 5 },
                new IntegerParameter("seed", "The same seed and prompt make a similar video; left out it is random.", 0, int.MaxValue),
                FirstFrame,
                LastFrame,
                LastFramePoster,
                Watermark,
            ],
            Rules = Frames,
        },
    ];

    private static ChoiceParameter Resolution(params string[] classes) => new("resolution", "Lines of the picture.", classes) { Default = "720p" };
}
