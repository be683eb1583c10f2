using System.Text.Json.Nodes;

namespace Generation.Api.Description;

/// <summary>A body of each operation that takes one, as a first visitor would send it to a system of Development. A test sends them all.</summary>
internal static class RequestExamples
{
    private static readonly Dictionary<string, string> Bodies = new(StringComparer.Ordinal)
    {
        ["submitGeneration"] = """{ "model": "seedream-4", "params": { "prompt": "a lighthouse at dusk", "size": "2K", "n": 1 } }""",
        ["estimateGeneration"] = """{ "model": "seedream-4", "params": { "prompt": "a city", "size": "4K", "n": 2 } }""",
        ["submitByTool"] = """{ "prompt": "a lighthouse at dusk", "size": "2K" }""",
        ["submitImage"] = """{ "prompt": "a lighthouse at dusk", "size": "2K" }""",
        ["redriveDeadLetters"] = """{ "filter": { "provider": "kie" } }""",
        ["grantCredits"] = """{ "user": "demo", "amount": 100, "kind": "bonus", "reason": "sorry for the outage" }""",
        ["adjustCredits"] = """{ "user": "demo", "amount": -20, "reason": "charged back" }""",
        ["freezeUser"] = """{ "reason": "stolen card" }""",
        ["pauseLane"] = """{ "reason": "the provider does maintenance" }""",
        ["reprioritize"] = """{ "sessionId": "01990000-0000-7000-8000-000000000000", "to": "front", "reason": "the deadline of ticket 4711" }""",
        ["resumeLane"] = """{ "reason": "the provider is back" }""",
        ["updateUser"] = """{ "share": 2, "reason": "the plan with priority" }""",
        ["unfreezeUser"] = """{ "reason": "the card was found" }""",
    };

    /// <summary>A value that exists in Development; null for ids, which the visitor has from an answer.</summary>
    public static JsonNode? OfPath(string? parameter) => parameter switch
    {
        "tool" => "seedream4",
        "user" => "demo",
        "lane" => "image",
        _ => null,
    };

    /// <summary>The idempotency key of a first try, which is the one header that an operation requires.</summary>
    public static JsonNode OfHeader(string operation) => $"{operation}-1";

    public static JsonNode? Of(string? operation) => operation is not null && Bodies.TryGetValue(operation, out var body) ? JsonNode.Parse(body)
        : null;
}
