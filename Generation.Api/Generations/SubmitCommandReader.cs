using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Api.Errors;
using Generation.Core.Catalog;
using Generation.Core.Localization;
using Generation.Core.Submit;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>
/// Reads the body of a submit. What is wrong with its fields is kept in <see cref="SubmitCommand.Errors"/>, to be answered together with what is
/// wrong with the parameters; a refusal is what makes the rest unreadable.
/// </summary>
public sealed class SubmitCommandReader(ModelRegistry registry, ApiOptions options)
{
    private static readonly JsonElement NoParams = JsonSerializer.SerializeToElement(new { });

    /// <summary>Reads <c>{ model, params, clientKey }</c>.</summary>
    public async Task<(SubmitCommand? Command, ProblemHttpResult? Refusal)> ReadAsync(HttpContext context, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, options.MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var model = "";
        if (!body.TryGetProperty("model", out var named) || named.ValueKind != JsonValueKind.String
            || named.GetString() is not { Length: > 0 and <= 100 } name)
        {
            errors["model"] = [Refusals.Say($"is required: the id of a model, see GET /api/models")];
        }
        else
        {
            model = name;
        }

        var given = NoParams;
        if (!body.TryGetProperty("params", out var sent) || sent.ValueKind != JsonValueKind.Object)
        {
            errors["params"] = [Refusals.Say($"is required: an object with the model's parameters")];
        }
        else
        {
            given = sent;
        }

        var priority = Priority.Interactive;
        if (body.TryGetProperty("priority", out var wanted) && wanted.ValueKind != JsonValueKind.Null)
        {
            switch (wanted.ValueKind == JsonValueKind.String ? wanted.GetString() : null)
            {
                case "interactive": break;
                case "batch": priority = Priority.Batch; break;
                default: errors["priority"] = [Refusals.Say($"must be interactive or batch")]; break;
            }
        }

        foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "params" or "clientKey" or "priority")))
        {
            errors[field.Name] = [Refusals.Say($"is not a field of this request, which has model, params, clientKey and priority")];
        }

        var (command, problem) = Frame(context, body, model, given, errors);
        return (command is null ? null : command with { Priority = priority }, problem);
    }

    /// <summary>Reads the flat form of the aliases: the parameters beside an optional <c>model</c> and <c>clientKey</c>.</summary>
    public async Task<(SubmitCommand? Command, ProblemHttpResult? Refusal)> ReadFlatAsync(HttpContext context, string? tool, CancellationToken ct)
    {
        var (body, refusal) = await JsonBody.ReadAsync(context, options.MaxBodyBytes, ct);
        if (refusal is not null)
        {
            return (null, refusal);
        }

        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        if (registry.DefaultOf(tool ?? "seedream4") is not { } byDefault)
        {
            return (null, Problems.Of(ProblemCodes.ToolNotFound, $"There is no tool '{tool}'. GET /api/models lists the models with their tools."));
        }

        var model = byDefault.Id;
        if (body.TryGetProperty("model", out var named))
        {
            if (named.ValueKind != JsonValueKind.String)
            {
                errors["model"] = [Refusals.Say($"must be the id of a model, see GET /api/models; without it the tool's first model is meant")];
            }
            else
            {
                model = named.GetString()!;
                if (tool is not null && registry.Find(model) is { } other && other.Tool != byDefault.Tool)
                {
                    errors["model"] = [Refusals.Say($"is not a model of the tool '{byDefault.Tool}'")];
                }
            }
        }

        if (body.TryGetProperty("params", out var nested))
        {
            foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "params" or "clientKey")))
            {
                errors[field.Name] = [Refusals.Say($"must stand in params, or the others beside it: not some here and some there")];
            }

            if (nested.ValueKind != JsonValueKind.Object)
            {
                errors["params"] = [Refusals.Say($"must be an object with the model's parameters")];
            }

            return Frame(context, body, model, nested.ValueKind == JsonValueKind.Object ? nested : NoParams, errors);
        }

        var flat = new JsonObject();
        foreach (var field in body.EnumerateObject().Where(f => f.Name is not ("model" or "clientKey")))
        {
            flat[field.Name] = JsonNode.Parse(field.Value.GetRawText());
        }

        return Frame(context, body, model, JsonSerializer.SerializeToElement(flat), errors);
    }

    /// <summary>The key from the header or the body; both may be sent if they agree.</summary>
    private static (SubmitCommand? Command, ProblemHttpResult? Refusal) Frame(
        HttpContext context, JsonElement body, string model, JsonElement given, Dictionary<string, string[]> errors)
    {
        var header = IdempotencyKey.Read(context, errors) ?? "";
        var field = "";
        if (body.TryGetProperty("clientKey", out var sent))
        {
            field = sent.ValueKind == JsonValueKind.String ? sent.GetString()! : "";
            if (!IdempotencyKey.IsValid(field))
            {
                errors["clientKey"] = [IdempotencyKey.Problem];
            }
        }

        if (header.Length > 0 && field.Length > 0 && header != field)
        {
            return (null, Problems.Of(ProblemCodes.IdempotencyKeyMismatch,
                $"The header Idempotency-Key and the field clientKey differ. Send one of them.",
                ("errors", new Dictionary<string, string[]>(StringComparer.Ordinal)
                {
                    ["clientKey"] = [Refusals.Say($"differs from the header Idempotency-Key")],
                })));
        }

        var chosen = header.Length > 0 ? header : field.Length > 0 ? field : Guid.CreateVersion7().ToString();
        return (new SubmitCommand(chosen, model, given, errors), null);
    }
}
