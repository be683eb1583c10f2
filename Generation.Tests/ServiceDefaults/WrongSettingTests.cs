using Generation.LocalServers;

namespace Generation.Tests.ServiceDefaults;

/// <summary>A mistyped setting is named, without a stack trace.</summary>
[Trait("tier", "process")]
public sealed class WrongSettingTests
{
    private static readonly Dictionary<string, string?> Servers = new(StringComparer.Ordinal)
    {
        ["ConnectionStrings__generation"] = "Host=127.0.0.1;Port=1;Username=nobody;Database=none",
        ["ConnectionStrings__redis"] = "127.0.0.1:1",
    };

    [Theory]
    [InlineData("Generation.Api", "Submit__StandingWait", "soon", "Submit:StandingWait")] // not a TimeSpan
    [InlineData("Generation.Api", "Submit__QueueLength", "-1", "Submit:QueueLength")] // out of range
    [InlineData("Generation.Worker", "Providers__Ark__BaseUrl", "nowhere", "Providers:Ark:BaseUrl")]
    [InlineData("Generation.Worker", "Worker__Concurrency", "many", "Worker:Concurrency")]
    [InlineData("Generation.Relay", "OUTBOX_BATCH", "0", "Relay:OutboxBatch")] // by its flat name
    [InlineData("Generation.Relay", "OUTBOX_BATCH", "lots", "OUTBOX_BATCH")]
    [InlineData("Generation.Relay", "ConnectionStrings__generation", "Host=", "ConnectionStrings:generation")]
    [InlineData("Generation.Api", "ConnectionStrings__redis", "redis,color=blue", "ConnectionStrings:redis")]
    [InlineData("Generation.Worker", "Tools__Assemblies__0", "/nowhere.dll", "Tools:Assemblies")]
    public async Task A_service_that_cannot_read_a_setting_names_it_and_ends_with_2(string service, string variable, string value, string setting)
    {
        var command = new ChildCommand("dotnet", Path.Combine(AppContext.BaseDirectory, $"{service}.dll"), "--urls", "http://127.0.0.1:0")
        {
            Environment = new Dictionary<string, string?>(Servers, StringComparer.Ordinal)
            {
                ["ASPNETCORE_ENVIRONMENT"] = "Development",
                ["Providers__Ark__ApiKey"] = "a key",
                [variable] = value,
            },
        };
        var (exitCode, output) = await ChildProcess.RunAsync(command, TestContext.Current.CancellationToken);

        Assert.Contains(output.Split('\n'), line => line.StartsWith("The configuration is wrong: ", StringComparison.Ordinal)
            && line.Contains(setting, StringComparison.Ordinal));
        Assert.DoesNotContain("Unhandled exception", output, StringComparison.Ordinal);
        Assert.DoesNotContain("OptionsValidationException", output, StringComparison.Ordinal);
        Assert.Equal(2, exitCode);
    }
}
