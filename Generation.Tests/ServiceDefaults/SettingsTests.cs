using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.Tests.ServiceDefaults;

public sealed class SettingsTests
{
    [Theory]
    [InlineData("ConnectionStrings:generation", "", "ConnectionStrings:generation is not set")]
    [InlineData("ConnectionStrings:generation", "Host=a;Password=hunter2;Port=many", "ConnectionStrings:generation is not a valid")]
    [InlineData("ConnectionStrings:redis", "", "ConnectionStrings:redis is not set")]
    [InlineData("Database:PoolSize", "1", "Database:PoolSize must be from 2 to 500")]
    [InlineData("Shutdown:GracePeriod", "00:00:00", "Shutdown:GracePeriod must be from")]
    [InlineData("Shutdown:DrainDelay", "00:01:00", "Shutdown:DrainDelay must be")]
    public async Task A_wrong_setting_stops_the_start_and_names_itself(string key, string value, string message)
    {
        var refused = await Assert.ThrowsAsync<OptionsValidationException>(() => ServiceUnderTest.StartAsync(
            [("ConnectionStrings:generation", "Host=127.0.0.1"), ("ConnectionStrings:redis", "127.0.0.1:1"), (key, value)], builder =>
                builder.AddGenerationData()));
        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", refused.ToString(), StringComparison.Ordinal);
    }
}
