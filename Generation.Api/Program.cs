using System.Text.Json.Serialization;
using Generation.Api;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Api.Generations;
using Generation.Api.Identity;
using Generation.Api.Overload;
using Generation.Core.Hosting;
using Microsoft.AspNetCore.Authentication;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddInfrastructure();
builder.AddCore();
builder.AddApi();

builder.Services.AddAuthentication(ApiKeyAuthentication.SchemeName)
    .AddScheme<AuthenticationSchemeOptions, ApiKeyAuthentication>(ApiKeyAuthentication.SchemeName, null);
builder.Services.AddAuthorizationBuilder().AddPolicy(ApiKeyAuthentication.AdminPolicy, policy => policy.RequireRole("admin"));
builder.Services.AddExceptionHandler<UnexpectedFailures>();
builder.Services.AddProblemDetails();
builder.Services.AddApiDocuments();
// numbers are numbers, also in the description
builder.Services.ConfigureHttpJsonOptions(json => json.SerializerOptions.NumberHandling = JsonNumberHandling.Strict);
builder.Services.AddTransient<IStartupFilter, HeadRequests>();

var app = builder.Build();
app.MapServiceDefaults();
app.Use(RequestLanguage.SetAsync);
app.UseExceptionHandler();
app.UseStatusCodePages(Problems.BareStatusAsync);
app.Use(Problems.RefuseUnstorableQueryAsync);
app.Use(SessionTag.SetAsync);
app.Use(DatabaseCircuit.RefuseWhileOpenAsync); // before authentication, which reads the key's owner
app.Use(DatabaseCircuit.RepeatReadAsync);
app.Use(LoadShedding.ShedAsync);
app.UseAuthentication();
app.UseAuthorization();

app.MapDocumentation();
app.MapApi();
return await app.RunToEndAsync();
