using Generation.Api.Errors;
using Generation.Api.Identity;
using Generation.Core.Catalog;
using Generation.Core.Providers;
using Generation.Core.Settings;
using StackExchange.Redis;

namespace Generation.Api.Admin;

/// <summary><c>GET /api/admin/providers</c>: how the workers find their providers, and which models each of them runs.</summary>
public static class ProvidersApi
{
    private static readonly string[] States = ["closed", "half_open", "open"];

    public static void MapProviders(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/api/admin/providers", ListAsync).RequireAuthorization(ApiKeyAuthentication.AdminPolicy);

    private static async Task<IResult> ListAsync(HttpContext context, ProviderHealth health, ModelRegistry registry, AppSettings settings, CancellationToken ct)
    {
        IReadOnlyList<WorkerReport> workers;
        try
        {
            workers = await health.ReadAsync();
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            return Problems.RetryLater(context, "redis_unavailable", "Workers tell how their providers are by Redis, which does not answer. Sessions go on.", 5);
        }

        var disabled = await settings.DisabledModelsAsync(ct);
        var reports = workers.SelectMany(w => w.Providers.Select(p => (w.Worker, Report: p))).ToLookup(r => r.Report.Provider.Split(' ')[0], StringComparer.Ordinal); // a GPU's breaker is called "forge host:port"
        var models = registry.Models.ToLookup(m => m.Provider, StringComparer.Ordinal);
        return TypedResults.Ok(new
        {
            Providers = reports.Select(r => r.Key).Union(models.Select(m => m.Key), StringComparer.Ordinal).Order(StringComparer.Ordinal)
                .Select(name => Present(name, [.. reports[name]], models[name], disabled)).ToList(),
            Workers = workers.OrderBy(w => w.Worker, StringComparer.Ordinal).Select(w => new { w.Worker, w.At }).ToList(),
        });
    }

    /// <summary>The worst state of any worker, and each worker's own.</summary>
    private static object Present(string name, IReadOnlyList<(string Worker, ProviderReport Report)> reports, IEnumerable<Model> models, IReadOnlySet<string> disabled)
    {
        var calls = reports.Sum(r => r.Report.Calls);
        return new
        {
            Provider = name,
            State = reports.Count == 0 ? "unused" : States[reports.Max(r => Array.IndexOf(States, r.Report.State))],
            Calls = calls,
            ErrorRate = calls == 0 ? 0 : Math.Round((double)reports.Sum(r => r.Report.Errors) / calls, 3),
            P50Ms = reports.Max(r => r.Report.P50Ms),
            P95Ms = reports.Max(r => r.Report.P95Ms),
            Models = models.Select(m => new { m.Id, Lifecycle = m.Lifecycle.ToString().ToLowerInvariant(), Disabled = disabled.Contains(m.Id) }).ToList(),
            Workers = reports.Select(r => new { r.Worker, Target = r.Report.Provider, r.Report.State, r.Report.OpenForSeconds, r.Report.Calls, r.Report.Errors, r.Report.P50Ms, r.Report.P95Ms, r.Report.LastError }).ToList(),
        };
    }
}
