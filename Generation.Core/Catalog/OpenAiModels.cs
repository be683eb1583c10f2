namespace Generation.Core.Catalog;

/// <summary>Pictures from OpenAI, and Sora, which OpenAI has shut down.</summary>
public static class OpenAiModels
{
    private const string Sora = "sora-2";

    private static readonly TextParameter Prompt = new("prompt", "What is to be seen.", 1, 4000) { Required = true };

    /// <summary>
    /// Limits: OpenAI's documentation. Sizes are those whose cost is bounded: <c>auto</c> is not, and above 2560x1440 OpenAI calls them
    /// experimental. Ids retire every few months; <c>Providers:OpenAi:Models</c> sends another in their place.
    /// </summary>
    public static readonly Model[] All =
    [
        Image("gpt-image-2", "gpt-image-2"),
        Image("gpt-image-2.6", "gpt-image-2.6-sunburst"),
        new()
        {
            Id = Sora,
            Tool = "sora",
            JobType = "gen.sora",
            Provider = "openai-videos", // a gateway's breaker is not OpenAI's
            ProviderModel = Sora,
            Kind = "video",
            Lane = "video",
            Lifecycle = ModelLifecycle.Retired,
            Successor = "veo-3.1", // the other one that makes sound and picture together
            Sunset = new DateOnly(2026, 9, 24),
            Parameters =
            [
                Prompt,
                new ChoiceParameter("resolution", "Lines of the picture.", "720p") { Default = "720p" },
                new ChoiceParameter("ratio", "Width to height.", "16:9", "9:16") { Default = "16:9" },
                new IntegerChoiceParameter("duration", "Seconds.", 4, 8, 12) { Default = 4 },
                new ImageParameter("first_frame", "The picture that the video begins with, of the video's size."),
            ],
        },
    ];

    /// <summary>
    /// The models where an operator has a gateway that still speaks OpenAI's videos: Sora is sold again. Without an address they stay as they are.
    /// </summary>
    public static IEnumerable<Model> WithGateway(IEnumerable<Model> models, string? videoBaseUrl) => string.IsNullOrWhiteSpace(videoBaseUrl)
        ? models
        : models.Select(model => model.Id == Sora ? model with { Lifecycle = ModelLifecycle.Active, Successor = null, Sunset = null } : model);

    private static Model Image(string id, string providerModel) => new()
    {
        Id = id,
        Tool = "openai-image",
        JobType = "gen.openai-image",
        Provider = "openai",
        ProviderModel = providerModel,
        Kind = "image",
        Lane = "image",
        Parameters =
        [
            Prompt,
            new ChoiceParameter(
                "size", "Width and height in pixels.",
                "1024x1024", "1536x1024", "1024x1536", "1536x864", "864x1536", "2048x1152", "1152x2048", "2560x1440",
                    "1440x2560") { Default = "1024x1024" },
            new ChoiceParameter("quality", "More costs more.", "low", "medium", "high") { Default = "medium" },
            new IntegerParameter("n", "How many pictures.", 1, 10) { Default = 1 },
            new ChoiceParameter("output_format", "The file's format.", "png", "jpeg") { Default = "png" },
            new IntegerParameter("previews", "How often the picture is shown while it is made; each time costs 100 tokens.", 0, 3) { Default = 1 },
        ],
    };
}
