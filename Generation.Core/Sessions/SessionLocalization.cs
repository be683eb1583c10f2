using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Localization;

namespace Generation.Core.Sessions;

/// <summary>Puts the messages of a session into the language of its reader.</summary>
public static class SessionLocalization
{
    /// <summary>The session with its messages in a language.</summary>
    public static SessionView Localize(this SessionView session, string language) => language == UserMessages.DefaultLanguage ? session : session with
    {
        Error = session.Error is { } error ? error with { Message = UserMessages.ForFailure(error.Code, language) ?? error.Message } : null,
        FailedOutputs = session.FailedOutputs is { ValueKind: JsonValueKind.Array } failed ? Localize(failed, language) : session.FailedOutputs,
        Receipt = session.Receipt is { } receipt ? receipt with { Summary = SummaryOf(session, receipt, language) } : null,
    };

    /// <summary>
    /// How many outputs the model chose to make, of a group of which it made fewer than it might: those that are missing have not failed.
    /// Null when the session is of another kind.
    /// </summary>
    internal static int? Chosen(string status, int stored, JsonElement? failedOutputs, int requested)
    {
        var made = stored + (failedOutputs is { ValueKind: JsonValueKind.Array } failed ? failed.GetArrayLength() : 0);
        return status == "completed" && made < requested ? made : null;
    }

    private static string SummaryOf(SessionView session, Receipt receipt, string language)
    {
        var (stored, requested) = (session.Media.Count, session.RequestedOutputs);
        return UserMessages.ForReceipt(receipt.Held, receipt.Captured, receipt.Extra, stored, requested, language, Chosen(
            session.Status, stored, session.FailedOutputs, requested));
    }

    private static JsonElement Localize(JsonElement failedOutputs, string language)
    {
        var said = JsonNode.Parse(failedOutputs.GetRawText())!.AsArray();
        foreach (var output in said.OfType<JsonObject>())
        {
            if (UserMessages.ForFailure((string?)output["code"] ?? "", language) is { } words)
            {
                output["message"] = words;
            }
        }

        return JsonSerializer.SerializeToElement(said);
    }
}
