using System.Text.Json;

namespace Generation.ProviderSim.Kie;

/// <summary>What a field of <c>input</c> may hold.</summary>
/// <param name="Name">The field.</param>
/// <param name="IsRequired">Whether it must be there.</param>
internal abstract record KieField(string Name, bool IsRequired)
{
    /// <summary>What is wrong with a value; null: nothing.</summary>
    public abstract string? Check(JsonElement value);

    public sealed record Text(string Name, int Least, int Most, bool IsRequired = false) : KieField(Name, IsRequired)
    {
        public override string? Check(JsonElement value) => value.ValueKind != JsonValueKind.String ? "must be a string"
            : value.GetString()!.Length < Least || value.GetString()!.Length > Most ? $"must have {Least} to {Most} characters"
            : null;
    }

    public sealed record Choice(string Name, string[] Words, bool IsRequired = false) : KieField(Name, IsRequired)
    {
        public override string? Check(JsonElement value) =>
            value.ValueKind == JsonValueKind.String && Words.Contains(value.GetString()) ? null : $"must be one of {string.Join(", ", Words)}";
    }

    public sealed record Number(string Name, double Least, double Most) : KieField(Name, false)
    {
        public override string? Check(JsonElement value) =>
            value.ValueKind == JsonValueKind.Number && value.GetDouble() >= Least && value.GetDouble() <= Most ? null
                : $"must be a number from {Least} to {Most}";
    }

    public sealed record Flag(string Name, bool IsRequired = false) : KieField(Name, IsRequired)
    {
        public override string? Check(JsonElement value) => value.ValueKind is JsonValueKind.True or JsonValueKind.False ? null : "must be a boolean";
    }

    /// <summary>Public addresses; data URIs are not fetched.</summary>
    public sealed record Addresses(string Name, int Most, bool IsRequired = false) : KieField(Name, IsRequired)
    {
        public override string? Check(JsonElement value) =>
            value.ValueKind != JsonValueKind.Array || value.GetArrayLength() is 0 || value.GetArrayLength() > Most
                ? $"must be an array of 1 to {Most} URLs"
            : value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String && Uri.TryCreate(
                item.GetString(), UriKind.Absolute, out var url) && url.Scheme is "http" or "https") ? null
            : "must hold public http(s) URLs";
    }
}

/// <summary>A model of Kie's market: what its <c>input</c> takes, what it makes and what that costs. The numbers are those of late 2026.</summary>
/// <param name="Id">As in <c>model</c>.</param>
/// <param name="Kind">image, video or audio.</param>
/// <param name="Fields">All that <c>input</c> takes. Kie ignores others; here they are rejected, because they are mistakes.</param>
/// <param name="Credits">Kie's credits for a task with this input; one is about half a cent.</param>
internal sealed record KieModel(string Id, string Kind, KieField[] Fields, Func<JsonElement, decimal> Credits)
{
    private static readonly string[] Shapes = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "auto"];

    private static readonly KieField[] Banana =
    [
        new KieField.Text("prompt", 1, 20_000, IsRequired: true),
        new KieField.Choice("output_format", ["png", "jpeg"]),
        new KieField.Choice("image_size", ["1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9", "auto"]),
    ];

    private static readonly KieField[] Kling =
    [
        new KieField.Text("prompt", 1, 2_500, IsRequired: true),
        new KieField.Flag("sound", IsRequired: true),
        new KieField.Choice("duration", ["5", "10"], IsRequired: true),
    ];

    private static readonly KieModel[] All =
    [
        new("google/nano-banana", "image", Banana, _ => 4),
        new("google/nano-banana-edit", "image", [.. Banana, new KieField.Addresses("image_urls", 10, IsRequired: true)], _ => 4),
        new(
            "flux-2/pro-text-to-image", "image",
            [
                new KieField.Text("prompt", 3, 5_000, IsRequired: true),
                new KieField.Choice("aspect_ratio", Shapes, IsRequired: true),
                new KieField.Choice("resolution", ["1K", "2K"], IsRequired: true),
            ],
            input => Word(input, "resolution") == "2K" ? 7 : 5),
        new(
            "kling-2.6/text-to-video", "video", [.. Kling, new KieField.Choice("aspect_ratio", ["1:1", "16:9", "9:16"], IsRequired: true)],
            KlingCredits),
        new("kling-2.6/image-to-video", "video", [.. Kling, new KieField.Addresses("image_urls", 1, IsRequired: true)], KlingCredits),
        new(
            "wan/2-6-text-to-video", "video",
            [
                new KieField.Text("prompt", 1, 5_000, IsRequired: true),
                new KieField.Choice("duration", ["5", "10", "15"]),
                new KieField.Choice("resolution", ["720p", "1080p"]),
            ],
            input => (Word(input, "resolution") == "720p" ? 14m : 20.9m) * int.Parse(Word(input, "duration") ?? "5")),
        new(
            "elevenlabs/sound-effect-v2", "audio",
            [
                new KieField.Text("text", 1, 5_000, IsRequired: true),
                new KieField.Flag("loop"),
                new KieField.Number("duration_seconds", 0.5, 22),
                new KieField.Number("prompt_influence", 0, 1),
                new KieField.Choice("output_format", ["mp3_44100_128"]),
            ],
            input => 0.24m * Seconds("elevenlabs/sound-effect-v2", input)),
        new(
            "elevenlabs/text-to-speech-multilingual-v2", "audio",
            [
                new KieField.Text("text", 1, 5_000, IsRequired: true),
                new KieField.Text("voice", 1, 100),
                new KieField.Number("stability", 0, 1),
                new KieField.Number("similarity_boost", 0, 1),
                new KieField.Number("style", 0, 1),
                new KieField.Number("speed", 0.7, 1.2),
                new KieField.Flag("timestamps"),
                new KieField.Text("previous_text", 0, 5_000),
                new KieField.Text("next_text", 0, 5_000),
                new KieField.Text("language_code", 0, 500),
            ],
            input => 0.012m * Word(input, "text")!.Length),
    ];

    public static KieModel? Find(string id) => Array.Find(All, model => model.Id == id);

    /// <summary>
    /// Tasks of ElevenLabs' models are told of in the older words: neither progress nor creditsConsumed, null for an absent failure, seconds for
    /// costTime.
    /// </summary>
    public bool IsOfOldShape => Kind == "audio";

    /// <summary>Where the prompt stands, which is what calls and faults go by.</summary>
    public string PromptField => Kind == "audio" ? "text" : "prompt";

    /// <summary>What is wrong with an input; null: nothing.</summary>
    public string? Check(JsonElement input)
    {
        if (input.ValueKind != JsonValueKind.Object)
        {
            return "input is required and must be an object";
        }

        foreach (var field in Fields)
        {
            var isThere = input.TryGetProperty(field.Name, out var value) && value.ValueKind != JsonValueKind.Null;
            if (!isThere && field.IsRequired)
            {
                return $"{field.Name} is required";
            }

            if (isThere && field.Check(value) is { } wrong)
            {
                return $"{field.Name} {wrong}";
            }
        }

        var unknown = input.EnumerateObject().Select(given => given.Name).FirstOrDefault(name => Fields.All(field => field.Name != name));
        return unknown is null ? null : $"{unknown} is not a field of {Id}";
    }

    /// <summary>Pixels of a picture or a film.</summary>
    public (int Width, int Height) Size(JsonElement input)
    {
        var (across, down) = (Word(input, "image_size") ?? Word(input, "aspect_ratio") ?? (Kind == "video" ? "16:9" : "1:1")).Split(':')
            is [var one, var other]
            ? (double.Parse(one), double.Parse(other))
            : (1, 1);
        var side = (Kind, Word(input, "resolution")) switch
        {
            ("image", "2K") => 2048,
            ("image", _) => 1024,
            (_, "720p") => 960,
            _ => 1440,
        };
        var scale = Math.Sqrt(across / down);
        return (Whole(side * scale), Whole(side / scale));

        static int Whole(double pixels) => (int)Math.Round(pixels / 8, MidpointRounding.AwayFromZero) * 8;
    }

    /// <summary>Length of a film or a sound; 0 of a picture.</summary>
    public int Seconds(JsonElement input) => Kind == "image" ? 0 : Seconds(Id, input);

    private static int Seconds(string id, JsonElement input) => id switch
    {
        "elevenlabs/sound-effect-v2" => (int)Math.Ceiling(Amount(input, "duration_seconds") ?? 4),
        _ when id.StartsWith("elevenlabs/", StringComparison.Ordinal) =>
            // fifteen letters a second are read
            Math.Clamp((int)Math.Ceiling(Word(input, "text")!.Length / 15.0 / (Amount(input, "speed") ?? 1)), 1, Sounds.Melody.MaxSeconds),
        _ => int.Parse(Word(input, "duration") ?? "5"),
    };

    private static decimal KlingCredits(JsonElement input) =>
        (input.GetProperty("sound").GetBoolean() ? 22m : 11m) * int.Parse(Word(input, "duration")!);

    private static string? Word(JsonElement input, string name) =>
        input.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static double? Amount(JsonElement input, string name) =>
        input.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
