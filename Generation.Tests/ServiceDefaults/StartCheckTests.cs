using Generation.Core.Hosting;
using Generation.Tests.Harness;
using Generation.Tests.Resilience;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Generation.Tests.ServiceDefaults;

/// <summary>What a service refuses outside Development, and what it complains of.</summary>
[Trait("tier", "process")]
public sealed class StartCheckTests
{
    private static readonly (string Key, string Value)[] Unreachable =
    [
        ("ConnectionStrings:generation", "Host=127.0.0.1;Port=1;Username=nobody;Database=none"),
        ("ConnectionStrings:redis", "127.0.0.1:1"),
        ("Shutdown:DrainDelay", "00:00:00"),
    ];

    [Theory]
    [InlineData("Generation.Api")]
    [InlineData("Generation.Relay")]
    [InlineData("Generation.Worker")]
    public async Task A_service_that_logs_in_as_the_owner_ends_with_1_and_names_the_settings(string service)
    {
        await using var database = await TestPostgres.CreateDatabaseAsync();
        var ended = await Ended.RunAsync(service, ["--urls", "http://127.0.0.1:0"], await AsOwnerAsync(database));
        Assert.True(ended.ExitCode == 1, $"{ended.ExitCode}: {ended.Errors}{ended.Output}");
        var refusal = Assert.Single(ended.Output.Split('\n'), line => line.Contains("start.refused", StringComparison.Ordinal));
        Assert.Contains("\"Critical\"", refusal, StringComparison.Ordinal);
        Assert.Contains("ConnectionStrings:generation logs in as postgres, which is a superuser", refusal, StringComparison.Ordinal);
        Assert.Contains("Security:AllowOwnerLogin", refusal, StringComparison.Ordinal);
    }

    /// <summary>As every deployment was before: one login, which migrates too.</summary>
    [Fact]
    public async Task With_AllowOwnerLogin_one_login_still_serves_for_everything()
    {
        await using var database = await TestPostgres.CreateDatabaseAsync("template0");
        var settings = (await AsOwnerAsync(database)).Append(("Security:AllowOwnerLogin", "true"))
            .ToDictionary(s => s.Item1, s => s.Item2, StringComparer.Ordinal);
        await using var relay = await ProcessService.StartAsync("Generation.Relay", settings);
        await using var api = await ProcessService.StartAsync("Generation.Api", settings);
        await relay.UntilLoggedAsync("Applied migration");
        using var http = new HttpClient { BaseAddress = api.Address };
        await api.UntilLoggedAsync("Readiness is now ready"); // it may ask before the last of the migrations
        Assert.True((await http.GetAsync(new Uri("/readyz", UriKind.Relative))).IsSuccessStatusCode);
        Assert.Equal(0, await api.StopAsync(TimeSpan.FromMinutes(1)));
        Assert.DoesNotContain(api.Log, line => line.Contains("start.refused", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("Providers:Kie:ApiKey", "a key", "Providers:Kie:WebhookHmacKey")]
    [InlineData("Worker:PublicBaseUrl", "http://generation.example.com", "Worker:PublicBaseUrl")]
    public async Task A_setting_that_must_not_be_stops_the_start_outside_Development(string key, string value, string named)
    {
        var refused = await Assert.ThrowsAsync<OptionsValidationException>(() => StartAsync("Production", (key, value)));
        Assert.Contains(named, refused.Message, StringComparison.Ordinal);
        await using var development = await StartAsync("Development", (key, value));
        Assert.DoesNotContain(development.Logs, log => log.Level == LogLevel.Critical);
    }

    [Theory]
    [InlineData("https://generation.example.com")]
    [InlineData("http://localhost:8080")]
    [InlineData("http://127.0.0.1:8080")]
    public async Task A_public_address_that_is_safe_starts(string address)
    {
        await using var service = await StartAsync("Production", ("Worker:PublicBaseUrl", address), ("Providers:Kie:ApiKey", "a key"), (
            "Providers:Kie:WebhookHmacKey", "its key"));
        Assert.NotEmpty(service.App.Urls);
    }

    [Fact]
    public async Task What_is_dangerous_and_may_be_meant_is_said_once_by_name()
    {
        (string, string)[] dangerous =
        [
            ("Mock:Enabled", "true"), ("Media:AllowPrivateAddresses", "true"), ("Media:Store", "folder"),
                ("ConnectionStrings:redis", "redis.invalid:6379,password=hunter2"),
        ];
        await using var service = await StartAsync("Production", dangerous);
        await UntilAsync(() => CriticalLines(service).Count >= 4);
        Assert.Equal(
            ["ConnectionStrings:redis", "Media:AllowPrivateAddresses", "Media:Store", "Mock:Enabled"],
            CriticalLines(service).Select(error => error.Split(' ')[0]).Order(StringComparer.Ordinal));
        Assert.DoesNotContain(service.Logs, log => log.Message.Contains("hunter2", StringComparison.Ordinal));

        await using var development = await StartAsync("Development", dangerous);
        Assert.Empty(CriticalLines(development));
    }

    [Fact]
    public async Task A_safe_service_has_nothing_to_report()
    {
        await using var service = await StartAsync(
            "Production", ("Media:Store", "s3"), ("Media:S3:Bucket", "results"), ("ConnectionStrings:redis", "redis.invalid:6380,ssl=true"),
                ("Logging:LogLevel:Generation", "Debug"));
        // it is past the warnings
        await UntilAsync(() => service.Logs.Any(log => log.Message.Contains("rights of this service's login", StringComparison.Ordinal)));
        Assert.Empty(CriticalLines(service));
    }

    [Fact]
    public async Task Mock_mode_that_was_switched_on_in_the_database_is_said_too()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Relays) = (0, 0));
        await system.ExecuteAsync("INSERT INTO app_settings (key, value) VALUES ('mock_mode', 'true')");
        var api = await system.AddApiAsync();
        await api.UntilLoggedAsync("app_settings.mock_mode is on");
        Assert.Contains(api.Log, line => line.StartsWith("Critical", StringComparison.Ordinal) && line.Contains("start.unsafe",
            StringComparison.Ordinal));
    }

    private static List<string> CriticalLines(ServiceUnderTest service) =>
        [.. service.Logs.Where(log => log.Level == LogLevel.Critical).Select(log => log.Message)];

    private static Task<ServiceUnderTest> StartAsync(string environment, params IEnumerable<(string, string)> settings) =>
        ServiceUnderTest.StartAsync([.. Unreachable, .. settings], builder => builder.AddInfrastructure().AddCore(), environment: environment);

    private static async Task<IReadOnlyList<(string, string)>> AsOwnerAsync(TestDatabase database) =>
    [
        ("ConnectionStrings:generation", database.ConnectionString),
        ("ConnectionStrings:redis", (await TestRedis.Shared).ConnectionString),
        ("Queue:Prefix", database.Name),
        ("Shutdown:DrainDelay", "00:00:00"),
    ];

    private static async Task UntilAsync(Func<bool> isThere)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!isThere())
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, timeout.Token);
        }
    }
}
