using System.ComponentModel.DataAnnotations;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core;
using Generation.Core.Catalog;
using Generation.Core.Providers;
using Generation.Core.Settings;
using Microsoft.AspNetCore.Http.HttpResults;
using StackExchange.Redis;

namespace Generation.Api.Admin;

/// <param name="Providers">By name.</param>
/// <param name="Workers">Those that reported within 15 s.</param>
public sealed record ProviderOverview(IReadOnlyList<ProviderView> Providers, IReadOnlyList<WorkerSign> Workers);

/// <param name="Worker">Host and process.</param>
/// <param name="At">Its last report.</param>
public sealed record WorkerSign(string Worker, DateTimeOffset At);

/// <param name="Provider">Its name.</param>
/// <param name="State">The worst breaker of any worker; <c>unused</c> when none has called it.</param>
/// <param name="Calls">In the last five minutes.</param>
/// <param name="ErrorRate">0 to 1.</param>
/// <param name="P50Ms">Of the slowest worker.</param>
/// <param name="P95Ms">Of the slowest worker.</param>
/// <param name="Models">What it runs.</param>
/// <param name="Workers">Each worker's own view.</param>
public sealed record ProviderView(
    string Provider, [property: AllowedValues("unused", "closed", "half_open", "open")] string State, int Calls, double ErrorRate, double? P50Ms,
        double? P95Ms, IReadOnlyList<ProviderModelView> Models, IReadOnlyList<ProviderWorkerView> Workers);

/// <param name="Id">The model.</param>
/// <param name="Lifecycle"><c>active</c>, <c>deprecated</c> or <c>retired</c>.</param>
/// <param name="Disabled">Switched off in <c>app_settings</c>.</param>
public sealed record ProviderModelView(string Id, [property: AllowedValues("active", "deprecated", "retired")] string Lifecycle, bool Disabled);

/// <param name="Worker">Host and process.</param>
/// <param name="Target">The provider, or one GPU of it.</param>
/// <param name="State">Its breaker.</param>
/// <param name="OpenForSeconds">Until the breaker tries again.</param>
/// <param name="Calls">In the last five minutes.</param>
/// <param name="Errors">Of these.</param>
/// <param name="P50Ms">Median.</param>
/// <param name="P95Ms">95th percentile.</param>
/// <param name="LastError">In a sentence.</param>
public sealed record ProviderWorkerView(
    string Worker, string Target, [property: AllowedValues("closed", "half_open", "open")] string State, double? OpenForSeconds, int Calls,
        int Errors, double? P50Ms, double? P95Ms, string? LastError);

/// <summary><c>GET /api/admin/providers</c>: how the workers find their providers, and which models each of them runs.</summary>
public static class ProvidersApi
{
    private static readonly string[] States = ["closed", "half_open", "open"];

    public static void MapProviders(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/api/admin/providers", ListAsync).RequireAuthorization(ApiKeyAuthentication.AdminPolicy)
            .Describe("listProviders", ApiTags.Admin, "Breakers, latency, errors and models, as the workers find them",
                ProblemCodes.RedisUnavailable);

    private static async Task<Results<Ok<ProviderOverview>, ProblemHttpResult>> ListAsync(HttpContext context, ProviderHealth health,
        ModelRegistry registry, AppSettings settings, CancellationToken ct)
    {
        IReadOnlyList<WorkerReport> workers;
        try
        {
            workers = await health.ReadAsync();
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            return Problems.RetryLater(context, ProblemCodes.RedisUnavailable,
                $"Workers tell how their providers are by Redis, which does not answer. Sessions go on.", 5);
        }

        var disabled = await settings.DisabledModelsAsync(ct);
        // a GPU's breaker is called "forge host:port"
        var reports = workers.SelectMany(w => w.Providers.Select(p => (w.Worker, Report: p)))
            .ToLookup(r => r.Report.Provider.Split(' ')[0], StringComparer.Ordinal);
        var models = registry.Models.ToLookup(m => m.Provider, StringComparer.Ordinal);
        return TypedResults.Ok(new ProviderOverview(
            [.. reports.Select(r => r.Key).Union(models.Select(m => m.Key), StringComparer.Ordinal).Order(StringComparer.Ordinal)
                .Select(name => Present(name, [.. reports[name]], models[name], disabled))],
            [.. workers.OrderBy(w => w.Worker, StringComparer.Ordinal).Select(w => new WorkerSign(w.Worker, w.At))]));
    }

    /// <summary>The worst state of any worker, and each worker's own.</summary>
    private static ProviderView Present(string name, IReadOnlyList<(string Worker, ProviderReport Report)> reports, IEnumerable<Model> models,
        IReadOnlySet<string> disabled)
    {
        var calls = reports.Sum(r => r.Report.Calls);
        return new ProviderView(
            name,
            reports.Count == 0 ? "unused" : States[reports.Max(r => Array.IndexOf(States, r.Report.State))],
            calls,
            calls == 0 ? 0 : Math.Round((double)reports.Sum(r => r.Report.Errors) / calls, 3),
            reports.Max(r => r.Report.P50Ms),
            reports.Max(r => r.Report.P95Ms),
            [.. models.Select(m => new ProviderModelView(m.Id, m.Lifecycle.Name(), disabled.Contains(m.Id)))],
            [.. reports.Select(r => new ProviderWorkerView(r.Worker, r.Report.Provider, r.Report.State, r.Report.OpenForSeconds, r.Report.Calls,
                r.Report.Errors, r.Report.P50Ms, r.Report.P95Ms, r.Report.LastError))]);
    }
}
