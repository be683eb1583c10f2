using System.Text.Json;
using System.Text.RegularExpressions;
using Generation.ProviderSim.Pictures;

namespace Generation.ProviderSim.OpenAi;

/// <summary>A valid request of <c>POST /v1/images/generations</c>, with what OpenAI chooses for <c>auto</c>.</summary>
/// <param name="Model">As sent.</param>
/// <param name="Prompt">As sent.</param>
/// <param name="Count">Pictures.</param>
/// <param name="Width">Pixels.</param>
/// <param name="Height">Pixels.</param>
/// <param name="Quality">low, medium or high.</param>
/// <param name="Background">opaque or transparent; drawn opaque in any case.</param>
/// <param name="Format">jpeg, png or webp. The compression asked for changes nothing.</param>
/// <param name="Stream">Events instead of one object.</param>
/// <param name="PartialImages">How many previews a stream has.</param>
internal sealed partial record OpenAiImageRequest(
    string Model, string Prompt, int Count, int Width, int Height, string Quality, string Background, PictureFormat Format, bool Stream,
        int PartialImages)
{
    /// <summary>What a preview costs besides its picture.</summary>
    public const int TokensPerPartial = 100;

    private const int MaxPromptChars = 32_000;

    private static readonly (int Width, int Height)[] Standard = [(1024, 1024), (1536, 1024), (1024, 1536)];

    public string Size => $"{Width}x{Height}";

    /// <summary>Tokens of one picture: OpenAI's table for the standard sizes, and by the pixels for others, where no table is published.</summary>
    public long ImageTokens
    {
        get
        {
            var (square, portrait, landscape) = Quality switch
            {
                "low" => (272, 408, 400),
                "high" => (4160, 6240, 6208),
                _ => (1056, 1584, 1568),
            };
            return (Width, Height) switch
            {
                (1024, 1024) => square,
                (1024, 1536) => portrait,
                (1536, 1024) => landscape,
                _ => (long)Math.Ceiling(square * ((double)Width * Height / (1024 * 1024))),
            };
        }
    }

    public long TextTokens => (Prompt.Length + 3) / 4 + 4;

    /// <summary>Reads a body that is a JSON object; exactly one of the two results is there.</summary>
    public static (OpenAiImageRequest? Request, OpenAiError? Error) Read(JsonElement body)
    {
        var fields = new OpenAiFields(body);
        var prompt = fields.Text("prompt", MaxPromptChars);
        if (fields.Error is null && prompt is not { Length: > 0 })
        {
            fields.Refuse(OpenAiError.Missing("prompt"));
        }

        var model = fields.Text("model") ?? "dall-e-2"; // still the documented default, and gone
        if (!Models().IsMatch(model))
        {
            fields.Refuse(OpenAiError.NoModel(model));
        }

        var isSecond = SecondGeneration().IsMatch(model);
        var (width, height) = Pixels(fields, model, isSecond);
        var quality = fields.Word("quality", "auto", "low", "medium", "high");
        var background = fields.Word("background", "auto", "transparent", "opaque");
        var format = fields.Word("output_format", "png", "jpeg", "webp");
        if (background == "transparent" && (isSecond || format == "jpeg"))
        {
            fields.Refuse(OpenAiError.WrongValue("background", isSecond ? $"transparent backgrounds are not supported by {model}."
                : "a transparent background needs the output format png or webp."));
        }

        var compression = fields.Whole("output_compression", 0, 100, 100);
        if (compression < 100 && format is null or "png")
        {
            fields.Refuse(OpenAiError.WrongValue("output_compression", "compression less than 100 is not supported for the output format png."));
        }

        fields.Word("moderation", "auto", "low");
        fields.Text("user");
        var count = fields.Whole("n", 1, 10, 1);
        var stream = fields.Flag("stream");
        var partials = fields.Whole("partial_images", 0, 3, 0);
        if (partials > 0 && !stream)
        {
            fields.Refuse(OpenAiError.WrongValue("partial_images", "partial images need 'stream' to be true."));
        }
        // Events do not say which picture they are of. What OpenAI does with more than one is not documented.
        if (stream && count > 1)
        {
            fields.Refuse(OpenAiError.WrongValue("n", "a stream is of one picture."));
        }

        return fields.Finish() is { } error
            ? (null, error)
            : (new OpenAiImageRequest(model, prompt!, count, width, height, quality is null or "auto" ? "medium" : quality, background is null
                or "auto" ? "opaque" : background,
                format switch { "jpeg" => PictureFormat.Jpeg, "webp" => PictureFormat.WebP, _ => PictureFormat.Png }, stream, partials), null);
    }

    private static (int Width, int Height) Pixels(OpenAiFields fields, string model, bool isSecond)
    {
        if (fields.Text("size") is not { } size || size == "auto")
        {
            return Standard[0];
        }

        if (Array.Find(Standard, known => $"{known.Width}x{known.Height}" == size) is { Width: > 0 } standard)
        {
            return standard;
        }

        if (!isSecond)
        {
            fields.Refuse(OpenAiError.WrongValue("size", $"'{size}'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'."));
            return default;
        }

        var match = PixelSize().Match(size);
        var (width, height) = match.Success ? (int.Parse(match.Groups["width"].Value), int.Parse(match.Groups["height"].Value)) : default;
        var why = width == 0 ? "it must be 'auto' or WIDTHxHEIGHT."
            : width % 16 != 0 || height % 16 != 0 ? "width and height must both be divisible by 16."
            : width > height * 3 || height > width * 3 ? "the aspect ratio must be between 1:3 and 3:1."
            : Math.Max(width, height) > 3840 || (long)width * height > 3840 * 2160 ? "the maximum supported resolution is 3840x2160."
            : (long)width * height < 65_536 ? "it has too few pixels." // the real floor is not documented
            : null;
        if (why is not null)
        {
            fields.Refuse(OpenAiError.WrongValue("size", $"'{size}': {why}"));
        }

        return (width, height);
    }

    // dall-e-2 and -3 are gone; ids of the GPT image family come and go.
    [GeneratedRegex(@"^(gpt-image-\d[\w.-]*|chatgpt-image-latest)$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Models();

    [GeneratedRegex(@"^gpt-image-[2-9]", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex SecondGeneration();

    [GeneratedRegex("^(?<width>[1-9][0-9]{1,3})x(?<height>[1-9][0-9]{1,3})$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex PixelSize();
}
