using System.Text.Json;
using Generation.ProviderSim.Ark;

namespace Generation.ProviderSim.Kie;

/// <summary>An error as Kie sends it: HTTP 200, and the code in the body. Some of them call the text <c>message</c> instead of <c>msg</c>.</summary>
public sealed record KieError(int Code, string Text)
{
    public static readonly KieError Access = new(401, "You do not have access permissions");
    public static readonly KieError NoCredits = new(402,
        "Credits insufficient: your current balance isn't enough to run this request. Please top up to continue.");
    public static readonly KieError UnknownTask = new(404, "The requested resource does not exist: task not found");
    public static readonly KieError TooFast = new(429, "Your call frequency is too high. Please try again later.");
    public static readonly KieError Maintenance = new(455, "Service unavailable: the system is currently undergoing maintenance.");
    public static readonly KieError Internal = new(500, "Internal Error, Please try again later.");
    public static readonly KieError Prohibited = new(422, "Invalid prompt: prompt contains prohibited content");

    public static KieError Invalid(string why) => new(422, why);

    /// <summary>How Kie words a refusal.</summary>
    public static KieError For(string faultWord, string model) => faultWord switch
    {
        "moderation-input" => Prohibited,
        "unauthorized" or "forbidden" => Access,
        "overdue" or "quota" => NoCredits,
        "not-found" => Invalid($"The model name you specified is not supported: {model}"),
        "rate-limit" or "rate-limit-bare" => TooFast,
        "overload" => Maintenance,
        "disabled" => new(505, "Feature disabled: the requested feature is currently disabled."),
        _ => Internal,
    };

    public async Task SendAsync(HttpResponse response)
    {
        response.ContentType = "application/json";
        await using var json = new Utf8JsonWriter(response.BodyWriter, ArkError.JsonOptions);
        json.WriteStartObject();
        json.WriteNumber("code", Code);
        json.WriteString(Code is 402 or 455 ? "message" : "msg", Text);
        json.WriteNull("data");
        json.WriteEndObject();
    }
}
