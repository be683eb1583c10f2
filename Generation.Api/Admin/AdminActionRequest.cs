using System.Text.Json;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Credits;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Admin;

/// <summary>What every admin action is sent with: a JSON body with a reason in it, and an idempotency key.</summary>
internal sealed class AdminActionRequest
{
    private const int MaxBodyBytes = 16 << 10;
    private const int MaxReasonLength = 1000;

    private readonly JsonElement sent;
    private readonly string idempotencyKey;
    private readonly string why;
    private readonly Guid actorId;

    private AdminActionRequest(JsonElement body, string key, string reason, Guid actor) =>
        (sent, idempotencyKey, why, actorId) = (body, key, reason, actor);

    /// <summary>What every admin action may be refused for.</summary>
    public static IReadOnlyList<ProblemCode> Refusals { get; } = [ProblemCodes.ValidationFailed, ProblemCodes.IdempotencyKeyReused];

    /// <summary>
    /// Reads the request; <paramref name="read"/> reads the fields beside the reason. A refusal names every wrong field at once, the header among
    /// them, and everything else is then of no use.
    /// </summary>
    public static async Task<(AdminActionRequest? Request, T Fields, ProblemHttpResult? Refusal)> ReadAsync<T>(
        HttpContext context, Func<Fields, T> read, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return (null, default!, refusal);
        }

        var fields = new Fields(body);
        var asked = read(fields);
        var reason = fields.Text("reason", MaxReasonLength);
        fields.RefuseOthers();
        var key = IdempotencyKey.Read(context, fields.Errors);
        if (key is null && !fields.Errors.ContainsKey(IdempotencyKey.Header))
        {
            fields.Wrong(IdempotencyKey.Header, $"is required, a header of 1 to {IdempotencyKey.MaxLength} printable ASCII characters: "
                + $"with it a request that is sent twice is done once", "");
        }

        return fields.Errors.Count > 0
            ? (null, asked, Problems.Invalid(fields.Errors))
            : (new AdminActionRequest(body, key!, reason, context.Caller().UserId), asked, null);
    }

    /// <summary>The admin action that it asks for.</summary>
    /// <param name="action">Its name and what it is done to, without what stands in the body: told apart under one key.</param>
    /// <param name="userId">Whom it is about; the administrator where it is about no user.</param>
    public AdminAction Of(string action, Guid? userId = null) => new(idempotencyKey, Fingerprint.Of(action, sent), actorId, userId ?? actorId, why);

    /// <summary>The answer to an action that was done, now or before, and to a key that belongs to another.</summary>
    public static Results<Ok<JsonElement>, ProblemHttpResult> Answer(HttpContext context, AdminActionResult result)
    {
        if (result.Outcome == AdminActionOutcome.KeyReused)
        {
            return Problems.Of(ProblemCodes.IdempotencyKeyReused,
                $"This idempotency key was used for another request. Use a new key for a new request.");
        }

        if (result.Outcome == AdminActionOutcome.Replayed)
        {
            context.Response.Headers["Idempotent-Replayed"] = "true";
        }

        return TypedResults.Ok(result.Result);
    }
}
