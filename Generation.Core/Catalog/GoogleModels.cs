namespace Generation.Core.Catalog;

/// <summary>Veo on the Gemini API.</summary>
public static class GoogleModels
{
    /// <summary>
    /// Limits: Google's documentation. Left out: pictures to begin with, which Google wants as bytes, and 4k. Ids of previews retire;
    /// <c>Providers:Google:Models</c> sends another in their place.
    /// </summary>
    public static readonly Model[] All = [Veo("veo-3.1", "veo-3.1-generate-preview"), Veo("veo-3.1-fast", "veo-3.1-fast-generate-preview")];

    private static Model Veo(string id, string providerModel) => new()
    {
        Id = id,
        Tool = "veo31",
        JobType = "gen.veo31",
        Provider = "google",
        ProviderModel = providerModel,
        Kind = "video",
        Lane = "video",
        Parameters =
        [
            new TextParameter("prompt", "What is to be seen and heard.", 1, 4000) { Required = true },
            new ChoiceParameter("resolution", "Lines of the picture.", "720p", "1080p") { Default = "720p" },
            new ChoiceParameter("ratio", "Width to height.", "16:9", "9:16") { Default = "16:9" },
            new IntegerChoiceParameter("duration", "Seconds.", 4, 6, 8) { Default = 8 },
            new TextParameter("negative_prompt", "What is not to be seen.", 1, 1000),
        ],
        Rules = [new Limits("resolution", ["1080p"], "duration", [8], 8)],
    };
}
