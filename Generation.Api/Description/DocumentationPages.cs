using System.Reflection;
using Generation.Core.Identity;
using Scalar.AspNetCore;

namespace Generation.Api.Description;

/// <summary>What answers where somebody looks first.</summary>
/// <param name="Name">Generation.</param>
/// <param name="Version">Of this build.</param>
/// <param name="Docs">The description to read and try.</param>
/// <param name="Openapi">The description for programs.</param>
/// <param name="Health">Whether it works.</param>
public sealed record ApiIndex(string Name, string Version, string Docs, string Openapi, string Health);

internal static class DocumentationPages
{
    private static readonly string Version =
        typeof(DocumentationPages).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0";

    /// <summary>
    /// <c>/openapi/{v1,admin}.json</c>, <c>/docs</c> (everything on it comes from here: no fonts, proxy or telemetry of others), and <c>/</c>.
    /// </summary>
    public static void MapDocumentation(this WebApplication app)
    {
        app.MapOpenApi("/openapi/{documentName}.json").ExcludeFromDescription();
        app.MapScalarApiReference("/docs", options =>
        {
            options.WithTitle("Generation API")
                .AddDocument(ApiDocuments.Customers, "Customers", isDefault: true).AddDocument(ApiDocuments.Operators, "Operators")
                .DisableDefaultFonts().DisableTelemetry().DisableAgent().HideDeveloperTools().HideModels()
                .HideClientButton() // a site of others
                .WithDynamicBaseServerUrl().AddServer("/"); // so that the commands to copy have the host that the browser knows
            if (!app.Environment.IsDevelopment()) return;

            options.AddHttpAuthentication(ApiDocuments.ApiKey, scheme => scheme.Token = DevelopmentAccounts.DemoKey)
                .AddHttpAuthentication(ApiDocuments.AdminKey, scheme => scheme.Token = DevelopmentAccounts.AdminKey);
        }).ExcludeFromDescription();
        app.MapGet("/", () => TypedResults.Ok(new ApiIndex("Generation", Version, "/docs", "/openapi/v1.json", "/readyz"))).AllowAnonymous()
            .ExcludeFromDescription();
    }
}
