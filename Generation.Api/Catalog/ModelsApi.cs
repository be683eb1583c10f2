using System.Text.Json.Nodes;
using Generation.Core.Catalog;

namespace Generation.Api.Catalog;

public static class ModelsApi
{
    public static void MapModels(this IEndpointRouteBuilder routes) => routes.MapGet("/api/models", ListAsync).RequireAuthorization();

    private static async Task<IResult> ListAsync(ModelRegistry registry, PriceList prices, CancellationToken ct)
    {
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
                model.Successor,
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
