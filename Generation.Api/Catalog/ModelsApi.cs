using System.ComponentModel.DataAnnotations;
using System.Text.Json.Nodes;
using Generation.Api.Description;
using Generation.Core;
using Generation.Core.Catalog;
using Generation.Core.Settings;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Catalog;

/// <param name="Models">All, retired ones too.</param>
public sealed record ModelList(IReadOnlyList<ModelView> Models);

/// <param name="Id">What a submit names.</param>
/// <param name="Tool">Its family, a part of the alias routes.</param>
/// <param name="Provider">Who runs it.</param>
/// <param name="Kind"><c>image</c>, <c>video</c> or <c>audio</c>.</param>
/// <param name="Lane">The queue: <c>image</c>, <c>video</c> or <c>gpu</c>.</param>
/// <param name="Lifecycle"><c>active</c>, <c>deprecated</c> or <c>retired</c>.</param>
/// <param name="Available">Neither retired nor switched off.</param>
/// <param name="Successor">What to use instead.</param>
/// <param name="DeprecatedSince">Since when it is not recommended.</param>
/// <param name="Sunset">Its last day.</param>
/// <param name="Parameters">JSON Schema of <c>params</c>, enough to draw a form from.</param>
/// <param name="Prices">One, or one a variant and quality.</param>
public sealed record ModelView(
    string Id, string Tool, string Provider, [property: AllowedValues("image", "video", "audio")] string Kind,
        [property: AllowedValues("image", "video", "gpu")] string Lane,
    [property: AllowedValues("active", "deprecated", "retired")] string Lifecycle, bool Available, string? Successor, DateOnly? DeprecatedSince,
        DateOnly? Sunset,
    JsonObject Parameters, IReadOnlyList<PriceView> Prices);

/// <param name="Variant">A resolution, where it has a price of its own.</param>
/// <param name="Quality">A quality, where it has a price of its own.</param>
/// <param name="Credits">Whole credits.</param>
/// <param name="Per"><c>output</c> or <c>second</c>.</param>
/// <param name="CreditsPerOutput">The same, for a price per output.</param>
/// <param name="Metering">What the provider counts, where that decides what is captured.</param>
/// <param name="PriceVersion">The price row.</param>
public sealed record PriceView(
    string? Variant, string? Quality, long Credits, [property: AllowedValues("output", "second")] string Per, long? CreditsPerOutput,
        Metering? Metering, long PriceVersion);

public static class ModelsApi
{
    public static void MapModels(this IEndpointRouteBuilder routes) => routes.MapGet("/api/models", ListAsync).RequireAuthorization()
        .Describe("listModels", ApiTags.Models, "What can be made, with the JSON Schema of every parameter, and prices");

    private static async Task<Ok<ModelList>> ListAsync(ModelRegistry registry, PriceList prices, AppSettings settings, CancellationToken ct)
    {
        var disabled = await settings.DisabledModelsAsync(ct);
        var models = new List<ModelView>();
        foreach (var model in registry.Models)
        {
            models.Add(new ModelView(
                model.Id, model.Tool, model.Provider, model.Kind, model.Lane, model.Lifecycle.Name(),
                model.Lifecycle != ModelLifecycle.Retired && !disabled.Contains(model.Id), model.Successor, model.DeprecatedSince, model.Sunset,
                    model.ToSchema(),
                [.. (await prices.OfAsync(model.Id, ct)).Select(p => new PriceView(
                    p.Variant, p.Quality, p.Credits, p.Per, p.Per == "output" ? p.Credits : null, p.Metering, p.Version))]));
        }

        return TypedResults.Ok(new ModelList(models));
    }
}
