using System.Text.Json.Nodes;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Catalog;
using Generation.Core.Credits;
using Generation.Core.Media;
using Generation.Core.Settings;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>A request that may be made, with its price.</summary>
/// <param name="Model">Which model makes it.</param>
/// <param name="Input">The parameters as the handler gets them.</param>
/// <param name="Quote">What it costs.</param>
public sealed record QuotedRequest(Model Model, JsonObject Input, Quote Quote);

/// <summary>Checks a request against its model and prices it; for submits and estimates alike.</summary>
public sealed class Quotes(ModelRegistry registry, PriceList prices, CreditReader credits, AppSettings settings, Uploads uploads)
{
    /// <summary>What a request is refused for before it has a price.</summary>
    public static readonly ProblemCode[] Refusals =
    [
        ProblemCodes.ValidationFailed, ProblemCodes.IdempotencyKeyMismatch, ProblemCodes.ModelNotFound, ProblemCodes.ModelWithoutPrice,
            ProblemCodes.ModelRetired, ProblemCodes.ModelDisabled,
    ];

    private const int DisabledRetrySeconds = 60;

    /// <summary>The price of a request, after the same checks as a submit; nothing is held.</summary>
    public async Task<Results<Ok<EstimateView>, ProblemHttpResult>> EstimateAsync(HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        var (quoted, refusal) = await QuoteAsync(context, command, ct);
        if (refusal is not null)
        {
            return refusal;
        }

        var (model, quote) = (quoted!.Model, quoted.Quote);
        var balance = await credits.BalanceAsync(context.Caller().UserId, ct);
        return TypedResults.Ok(new EstimateView(
            model.Id, quote.Total,
            [new EstimateItem(model.Kind, quote.Price.Variant, quote.Price.Quality, quote.Price.Credits, quote.Price.Per, quote.Multiplier,
                quote.Outputs, quote.Total)],
            quote.Price.Version, quote.Price.Metering, balance.Available, balance.Available >= quote.Total));
    }

    /// <summary>Model, parameters and price, or everything that is wrong with them.</summary>
    public async Task<(QuotedRequest? Quoted, ProblemHttpResult? Refusal)> QuoteAsync(
        HttpContext context, SubmitCommand command, CancellationToken ct)
    {
        if (command.Errors.ContainsKey("model"))
        {
            return (null, Problems.Invalid(command.Errors)); // without a model there is nothing to hold the parameters against
        }

        if (registry.Find(command.Model) is not { } model)
        {
            return (null, Problems.Of(ProblemCodes.ModelNotFound, $"There is no model '{command.Model}'. GET /api/models lists them."));
        }

        if (model.Lifecycle == ModelLifecycle.Retired)
        {
            return (null, Problems.Of(ProblemCodes.ModelRetired, $"{model.Id} is no longer offered. Use {model.Successor}.", (
                "successor", model.Successor)));
        }

        if ((await settings.DisabledModelsAsync(ct)).Contains(model.Id))
        {
            return (null, Problems.RetryLater(context, ProblemCodes.ModelDisabled,
                $"{model.Id} is switched off at the moment. Try another model, or later.", DisabledRetrySeconds));
        }

        var errors = command.Errors;
        var input = errors.ContainsKey("params") ? [] : model.Validate(command.Params, errors);
        await CheckUploadsAsync(command.UserId ?? context.Caller().UserId, input, errors, ct);
        if (errors.Count > 0)
        {
            return (null, Problems.Invalid(errors));
        }

        if (model.Lifecycle == ModelLifecycle.Deprecated)
        {
            Announce(context.Response.Headers, model);
        }

        return await prices.QuoteAsync(model, input, ct) is { } quote
            ? (new QuotedRequest(model, input, quote), null)
            : (null, Problems.Of(ProblemCodes.ModelWithoutPrice, $"{model.Id} has no price and cannot be sold."));
    }

    /// <summary>Only the user's own uploads are visible.</summary>
    private async Task CheckUploadsAsync(Guid user, JsonObject input, Dictionary<string, string[]> errors, CancellationToken ct)
    {
        var named = Uploads.In(input).ToList();
        if (named.Count == 0)
        {
            return;
        }

        var found = await uploads.FindAsync(user, named.Select(n => n.UploadId), ct);
        foreach (var (parameter, id) in named.Where(n => !found.ContainsKey(n.UploadId)))
        {
            errors[$"params.{parameter}"] = [Core.Localization.Refusals.Say($"names {Uploads.Scheme}{id}, which is not there, or not yours")];
        }
    }

    /// <summary>
    /// The end of a model, where programs look for it: Deprecation (RFC 9745), Sunset (RFC 8594), and a link to the model's successor.
    /// </summary>
    private static void Announce(IHeaderDictionary headers, Model model)
    {
        static DateTimeOffset Midnight(DateOnly day) => new(day.ToDateTime(TimeOnly.MinValue), TimeSpan.Zero);
        if (model.DeprecatedSince is { } since)
        {
            headers["Deprecation"] = $"@{Midnight(since).ToUnixTimeSeconds()}";
        }

        if (model.Sunset is { } lastDay)
        {
            headers["Sunset"] = Midnight(lastDay.AddDays(1)).ToString("R");
        }

        if (model.Successor is { } successor)
        {
            headers.Append("Link", $"</api/models#{Uri.EscapeDataString(successor)}>; rel=\"successor-version\"");
        }
    }
}
