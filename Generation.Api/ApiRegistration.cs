using Generation.Api.Admin;
using Generation.Api.Catalog;
using Generation.Api.Credits;
using Generation.Api.Events;
using Generation.Api.Generations;
using Generation.Api.Media;
using Generation.Api.Overload;
using Generation.Api.Webhooks;
using Generation.Core.Credits;
using Generation.Core.Ordering;
using Generation.Core.Sessions;
using Generation.Core.Settings;
using Generation.Core.Submit;
using Generation.ServiceDefaults;

namespace Generation.Api;

/// <summary>What the Api is made of, by what it is for.</summary>
internal static class ApiRegistration
{
    /// <summary>Somebody waits for every statement here: what takes longer than this, even a reader of large pages, will not come any more.</summary>
    private const int RequestStatementSeconds = 5;

    public static void AddApi(this WebApplicationBuilder builder)
    {
        builder.AddChecked<ApiOptions>(ApiOptions.Section, (options, check) => options.Check(check));
        builder.AddChecked<SubmitOptions>(SubmitOptions.Section, (options, check) => options.Check(check));
        builder.AddChecked<RateLimitOptions>(RateLimitOptions.Section, (options, check) => options.Check(check));
        builder.AddVoices();
        builder.Services.PostConfigure<DatabaseOptions>(o => o.CommandTimeoutSeconds ??= RequestStatementSeconds);
        builder.Services
            .AddSingleton<DatabaseCircuit>().AddHostedService(s => s.GetRequiredService<DatabaseCircuit>())
            .AddSingleton<SubmitWriter>().AddHostedService(s => s.GetRequiredService<SubmitWriter>())
            .AddSingleton<SessionFeed>().AddHostedService(s => s.GetRequiredService<SessionFeed>())
            .AddHostedService<QueueFeed>()
            .AddSingleton<RateLimits>().AddHostedService(s => s.GetRequiredService<RateLimits>())
            .AddSingleton<SubmitCommandReader>()
            .AddSingleton<Quotes>()
            .AddSingleton<SubmitHandler>()
            .AddSingleton<SubmitResponder>()
            .AddSingleton<MockOverrides>()
            .AddSingleton<MediaLinks>()
            .AddSingleton<WebhookSignatures>()
            .AddSingleton<DeadLetters>()
            .AddSingleton<CreditReader>()
            .AddSingleton<CreditAdministration>()
            .AddSingleton<QueueReader>()
            .AddSingleton<QueueAdministration>();
    }

    /// <summary>What users call, what providers call, and what operators call.</summary>
    public static void MapApi(this WebApplication app)
    {
        app.MapGenerations();
        app.MapRetries();
        app.MapMedia();
        app.MapUploads();
        app.MapModels();
        app.MapVoices();
        app.MapCredits();

        app.MapWebhooks();

        app.MapCreditAdministration();
        app.MapLedgerAudit();
        app.MapQueues();
        app.MapProviders();
        MockOverrides.Map(app);
    }
}
