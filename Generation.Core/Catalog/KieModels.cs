namespace Generation.Core.Catalog;

/// <summary>
/// Models of Kie's market, among them ElevenLabs' for speech and sounds. Limits: the pages of Kie's market. The market changes from month to
/// month: <c>Providers:Kie:Models</c> sends another id in a model's place.
/// </summary>
public static class KieModels
{
    private static readonly IntegerParameter Count = new("n", "How many; each is a task of its own.", 1, 4) { Default = 1 };

    private static readonly BooleanParameter Sound = new("generate_audio", "With sound, which doubles the price.") { Default = false };

    public static readonly Model[] All =
    [
        new()
        {
            Id = "nano-banana",
            Tool = "kie",
            JobType = "gen.kie",
            Provider = "kie",
            ProviderModel = "google/nano-banana",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt("What is to be seen, or what is to be changed in the pictures.", 1, 20_000),
                new ChoiceParameter("ratio", "Width to height.", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9",
                    "auto") { Default = "1:1" },
                new ChoiceParameter("output_format", "The file.", "png", "jpeg") { Default = "jpeg" },
                new ImagesParameter("reference_images", "Pictures to work on.", 10),
                Count,
            ],
        },
        new()
        {
            Id = "flux-2-pro",
            Tool = "kie",
            JobType = "gen.kie",
            Provider = "kie",
            ProviderModel = "flux-2/pro-text-to-image",
            Kind = "image",
            Lane = "image",
            Parameters =
            [
                Prompt("What is to be seen.", 3, 5_000),
                new ChoiceParameter("ratio", "Width to height.", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3") { Default = "1:1" },
                new ChoiceParameter("resolution", "About as many pixels as a square of this side.", "1K", "2K") { Default = "1K" },
                Count,
            ],
        },
        new()
        {
            Id = "kling-2.6",
            Tool = "kie",
            JobType = "gen.kie",
            Provider = "kie",
            ProviderModel = "kling-2.6/text-to-video",
            Kind = "video",
            Lane = "video",
            Parameters =
            [
                Prompt("What is to be seen and to happen.", 1, 2_500),
                new IntegerChoiceParameter("duration", "Seconds.", 5, 10) { Default = 5 },
                new ChoiceParameter("ratio", "Width to height; a first frame decides it by itself.", "16:9", "9:16", "1:1") { Default = "16:9" },
                Sound,
                new ImageParameter("first_frame", "The picture that the video begins with."),
            ],
        },
        new()
        {
            Id = "wan-2.6",
            Tool = "kie",
            JobType = "gen.kie",
            Provider = "kie",
            ProviderModel = "wan/2-6-text-to-video",
            Kind = "video",
            Lane = "video",
            Parameters =
            [
                Prompt("What is to be seen and to happen.", 1, 5_000),
                new IntegerChoiceParameter("duration", "Seconds.", 5, 10, 15) { Default = 5 },
                new ChoiceParameter("resolution", "Lines of the picture.", "720p", "1080p") { Default = "720p" },
            ],
        },
        new()
        {
            Id = "sound-effect-2",
            Tool = "kie",
            JobType = "gen.kie",
            Provider = "kie",
            ProviderModel = "elevenlabs/sound-effect-v2",
            Kind = "audio",
            Lane = "video",
            Parameters =
            [
                Prompt("What is to be heard.", 1, 5_000),
                new NumberParameter("duration", "Seconds; left out it is as long as suits the sound.", 0.5, 22),
                new BooleanParameter("loop", "Whether its end fits its beginning."),
                new NumberParameter("prompt_influence", "How closely it keeps to the prompt.", 0, 1),
            ],
        },
        new()
        {
            Id = "speech-multilingual-2",
            Tool = "speech",
            JobType = "gen.speech",
            Provider = "kie",
            ProviderModel = "elevenlabs/text-to-speech-multilingual-v2",
            Kind = "audio",
            Lane = "video",
            Parameters =
            [
                Prompt("What is to be said.", 1, 5_000),
                new TextParameter("voice", "A voice of GET /api/voices, by id or by name.", 1, 100) { Default = "Rachel" },
                new NumberParameter("stability", "0: lively, 1: even.", 0, 1),
                new NumberParameter("similarity_boost", "How closely it keeps to the voice.", 0, 1),
                new NumberParameter("style", "How much the voice's manner is exaggerated.", 0, 1),
                new NumberParameter("speed", "1: as the voice speaks by itself.", 0.7, 1.2),
            ],
        },
    ];

    private static TextParameter Prompt(string description, int minLength, int maxLength) =>
        new("prompt", description, minLength, maxLength) { Required = true };
}
