using Generation.Api;
using Generation.Api.Catalog;
using Generation.Api.Credits;
using Generation.Api.Identity;
using Generation.Api.Media;
using Generation.Api.Realtime;
using Generation.Api.Sessions;
using Generation.Api.Settings;
using Generation.Api.Webhooks;
using Generation.Core.Credits;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Authentication;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
builder.AddPipeline();
builder.AddChecked<ApiOptions>(ApiOptions.Section, o => o.Problem());
builder.AddChecked<SubmitOptions>(SubmitOptions.Section, o => o.Problem());

builder.Services.AddAuthentication(ApiKeyAuthentication.SchemeName)
    .AddScheme<AuthenticationSchemeOptions, ApiKeyAuthentication>(ApiKeyAuthentication.SchemeName, null);
builder.Services.AddAuthorizationBuilder().AddPolicy(ApiKeyAuthentication.AdminPolicy, policy => policy.RequireRole("admin"));
builder.Services.AddExceptionHandler<UnexpectedFailures>();
builder.Services.AddProblemDetails();
builder.Services.AddOpenApi();

builder.Services.AddSingleton<SubmitWriter>();
builder.Services.AddHostedService(services => services.GetRequiredService<SubmitWriter>());
builder.Services.AddSingleton<SessionFeed>();
builder.Services.AddHostedService(services => services.GetRequiredService<SessionFeed>());
builder.Services.AddSingleton<Submitting>();
builder.Services.AddSingleton<Answers>();
builder.Services.AddSingleton<MockOverrides>();
builder.Services.AddSingleton<MediaLinks>();
builder.Services.AddSingleton<WebhookSignatures>();
builder.Services.AddSingleton<DeadLetters>();
builder.Services.AddSingleton<CreditReader>();
builder.Services.AddSingleton<CreditAdministration>();

var app = builder.Build();
app.MapServiceDefaults();
app.UseExceptionHandler();
app.UseStatusCodePages(Problems.BareStatusAsync);
app.UseAuthentication();
app.UseAuthorization();

app.MapOpenApi("/openapi/v1.json");
app.MapGenerations();
app.MapRetries();
app.MapMedia();
app.MapUploads();
app.MapModels();
app.MapCredits();
app.MapCreditAdministration();
app.MapLedgerAudit();
app.MapWebhooks();
app.MapProviders();
MockOverrides.Map(app);
await app.RunAsync();
