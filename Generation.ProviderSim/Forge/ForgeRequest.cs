using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Generation.ProviderSim.Forge;

/// <summary>The body of <c>POST /sdapi/v1/txt2img</c>, as far as it matters here; other fields are ignored, as pydantic does.</summary>
public sealed record ForgeRequest
{
    public static readonly string[] Samplers =
    [
        "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS", "Heun", "DPM2",
            "DPM2 a",
        "DPM fast", "DPM adaptive", "Restart", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM", "DDPM",
    ];

    public static readonly string[] Schedulers =
        ["Automatic", "Karras", "Exponential", "SGM Uniform", "Polyexponential", "Uniform", "Normal", "DDIM", "Simple", "Beta", "Align Your Steps",
            "KL Optimal"];

    /// <summary>Name without ending, and the first ten digits of its SHA-256.</summary>
    public static readonly (string Name, string Hash)[] Models = [("sd_xl_base_1.0", "31e35c80fc"), ("v1-5-pruned-emaonly", "6ce0161689")];

    public string Prompt { get; private init; } = "";

    public string NegativePrompt { get; private init; } = "";

    /// <summary>−1: any.</summary>
    public long Seed { get; private init; }

    public int Steps { get; private init; }

    public double CfgScale { get; private init; }

    public int Width { get; private init; }

    public int Height { get; private init; }

    public int BatchSize { get; private init; }

    public int Iterations { get; private init; }

    public string Sampler { get; private init; } = "";

    public string Scheduler { get; private init; } = "";

    /// <summary>Of this request alone; null: what the options say.</summary>
    public string? Model { get; private init; }

    public string? ForceTaskId { get; private init; }

    public bool SendImages { get; private init; }

    /// <summary>What the answer's <c>parameters</c> echoes.</summary>
    public JsonObject Echo { get; private init; } = [];

    public static string Title((string Name, string Hash) model) => $"{model.Name}.safetensors [{model.Hash}]";

    /// <summary>A model by any of its names: title, file name, name, hash.</summary>
    public static (string Name, string Hash)? FindModel(string name) =>
        Models.FirstOrDefault(model => name == Title(model) || name == model.Name || name == model.Name + ".safetensors" || name == model.Hash)
            is { Name: not null } found
            ? found : null;

    /// <summary>Reads a body in the order in which FastAPI and then the WebUI check it.</summary>
    public static (ForgeRequest? Request, ForgeInvalid? Invalid, ForgeError? Error) Read(JsonElement body)
    {
        ForgeInvalid? invalid = null;
        var echo = new JsonObject();
        var request = new ForgeRequest
        {
            Prompt = Text("prompt", ""),
            NegativePrompt = Text("negative_prompt", ""),
            Seed = Whole("seed", -1),
            Steps = (int)Whole("steps", 50),
            CfgScale = Fraction("cfg_scale", 7),
            Width = (int)Whole("width", 512),
            Height = (int)Whole("height", 512),
            BatchSize = (int)Whole("batch_size", 1),
            Iterations = (int)Whole("n_iter", 1),
            Sampler = Text("sampler_name", null) ?? Text("sampler_index", "Euler"),
            Scheduler = Text("scheduler", null) ?? "Automatic",
            ForceTaskId = Text("force_task_id", null),
            SendImages = Truth("send_images", true),
            Model = Override(body, "sd_model_checkpoint"),
            Echo = echo,
        };
        var script = Text("script_name", null);
        if (invalid is not null)
        {
            return (null, invalid, null);
        }

        if (request.Model is { } model && FindModel(model) is null)
        {
            return (null, null, ForgeError.UnknownModel(model));
        }

        if (script is { Length: > 0 })
        {
            return (null, null, ForgeError.UnknownScript(script));
        }

        // "DPM++ 2M Karras" is how it was said before schedulers had a name of their own.
        var scheduler = Schedulers.FirstOrDefault(known => request.Sampler.EndsWith(" " + known, StringComparison.Ordinal));
        var sampler = scheduler is null ? request.Sampler : request.Sampler[..^(scheduler.Length + 1)];
        if (!Samplers.Contains(sampler, StringComparer.OrdinalIgnoreCase))
        {
            return (null, null, ForgeError.UnknownSampler);
        }

        if (request.Width < 8 || request.Height < 8 || request.BatchSize < 1 || request.Iterations < 1 || request.Steps < 1)
        {
            return (null, null, new ForgeError(500, "RuntimeError", "", "shape must be positive")); // not validated: a tensor operation fails
        }

        return (request with { Sampler = sampler, Scheduler = scheduler ?? request.Scheduler }, null, null);

        string Text(string name, string? otherwise)
        {
            var value = Field(name);
            if (value?.ValueKind is not (null or JsonValueKind.String))
            {
                Refuse(name, "str type expected", "type_error.str");
            }

            var text = value?.ValueKind == JsonValueKind.String ? value.Value.GetString() : otherwise;
            echo[name] = text;
            return text!;
        }

        long Whole(string name, long otherwise)
        {
            var number = otherwise;
            if (Field(name) is { } value && !(value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out number))
                && !(value.ValueKind == JsonValueKind.String && long.TryParse(value.GetString(), CultureInfo.InvariantCulture, out number)))
            {
                Refuse(name, "value is not a valid integer", "type_error.integer");
            }

            echo[name] = number;
            return number;
        }

        double Fraction(string name, double otherwise)
        {
            var number = otherwise;
            if (Field(name) is { } value && !(value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out number)))
            {
                Refuse(name, "value is not a valid float", "type_error.float");
            }

            echo[name] = number;
            return number;
        }

        bool Truth(string name, bool otherwise)
        {
            var value = Field(name);
            if (value?.ValueKind is not (null or JsonValueKind.True or JsonValueKind.False))
            {
                Refuse(
                name, "value could not be parsed to a boolean", "type_error.bool");
            }

            var truth = value is null ? otherwise : value.Value.ValueKind == JsonValueKind.True;
            echo[name] = truth;
            return truth;
        }

        JsonElement? Field(string name) => body.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

        void Refuse(string name, string message, string type) => invalid ??= new ForgeInvalid(["body", name], message, type);
    }

    /// <summary>What the picture is made from, as image programs and the WebUI itself read it from the file.</summary>
    /// <param name="prompt">Without the simulator's own words.</param>
    /// <param name="seed">This picture's.</param>
    /// <param name="model">That made it.</param>
    public string Infotext(string prompt, long seed, (string Name, string Hash) model) => string.Create(
        CultureInfo.InvariantCulture,
        $"{prompt}{(NegativePrompt.Length > 0 ? $"\nNegative prompt: {NegativePrompt}" : "")}\nSteps: {Steps}, Sampler: {Sampler}, Schedule type: "
            + $"{Scheduler}, "
        + $"CFG scale: {CfgScale:0.0##}, Seed: {seed}, Size: {Width}x{Height}, Model hash: {model.Hash}, Model: {model.Name}, Version: {Version}");

    public const string Version = "f2.0.1v1.10.1-previous-665-gae278f79";

    private static string? Override(JsonElement body, string setting) =>
        body.TryGetProperty("override_settings", out var settings) && settings.ValueKind == JsonValueKind.Object
        && settings.TryGetProperty(setting, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
