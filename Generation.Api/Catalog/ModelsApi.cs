using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Core.Settings;

namespace Generation.Api.Catalog;

public static class ModelsApi
{
    public static void MapModels(this IEndpointRouteBuilder routes) => routes.MapGet("/api/models", ListAsync).RequireAuthorization();

    private static async Task<IResult> ListAsync(ModelRegistry registry, PriceList prices, AppSettings settings, CancellationToken ct)
    {
        var disabled = await settings.DisabledModelsAsync(ct);
        var models = new List<object>();
        foreach (var model in registry.Models)
        {
            models.Add(new
            {
                model.Id,
                model.Tool,
                model.Provider,
                model.Kind,
                model.Lane,
                Lifecycle = model.Lifecycle.ToString().ToLowerInvariant(),
                Available = model.Lifecycle != ModelLifecycle.Retired && !disabled.Contains(model.Id),
                model.Successor,
                model.DeprecatedSince,
                model.Sunset,
                Parameters = (JsonNode)model.ToSchema(),
                Prices = (await prices.OfAsync(model.Id, ct)).Select(p => new
                {
                    p.Variant,
                    p.Quality,
                    p.Credits,
                    p.Per,
                    CreditsPerOutput = p.Per == "output" ? p.Credits : (long?)null,
                    p.Metering,
                    PriceVersion = p.Version,
                }),
            });
        }

        return TypedResults.Ok(new { models });
    }
}
