using Generation.ServiceDefaults;
using Generation.Worker.Hosting;
using Generation.Worker.Providers.Ark;
using Generation.Worker.Providers.Forge;
using Generation.Worker.Providers.Google;
using Generation.Worker.Providers.Kie;
using Generation.Worker.Providers.OpenAi;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Jobs;

/// <summary>A deploy cut off paid calls of more than 40 s, which ended as outcome_unknown.</summary>
public sealed class GracePeriodTests
{
    [Theory]
    [InlineData("Production", "", "00:00:45")]
    [InlineData("Production", "Providers:OpenAi:ApiKey=key", "00:05:30")]
    [InlineData("Production", "Providers:OpenAi:ApiKey=key Providers:Ark:ApiKey=key", "00:15:30")]
    [InlineData("Production", "Providers:Forge:Endpoints=http://gpu:7860", "00:03:30")]
    [InlineData("Production", "Providers:Google:ApiKey=key", "00:01:30")] // an operation is begun with a call that is waited for
    [InlineData("Production", "Providers:Kie:ApiKey=key", "00:01:00")]
    [InlineData("Production", "Providers:OpenAi:ApiKey=key Shutdown:GracePeriod=00:01:00", "00:01:00")]
    [InlineData("Development", "Providers:OpenAi:ApiKey=key", "00:00:45")]
    public void A_worker_stays_as_long_as_the_longest_call_of_its_providers(string environment, string settings, string expected)
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(
            settings.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(setting => setting.Split('='))
                .Select(parts => KeyValuePair.Create(parts[0], (string?)parts[1]))).Build();
        var shutdown = new ShutdownOptions();
        configuration.GetSection("Shutdown").Bind(shutdown);
        new GracePeriod(configuration, new HostingEnvironment { EnvironmentName = environment },
            Options.Create(new ArkOptions { ApiKey = configuration["Providers:Ark:ApiKey"] ?? "" }),
            Options.Create(new OpenAiOptions { ApiKey = configuration["Providers:OpenAi:ApiKey"] ?? "" }),
            Options.Create(new GoogleOptions { ApiKey = configuration["Providers:Google:ApiKey"] ?? "" }),
            Options.Create(new KieOptions { ApiKey = configuration["Providers:Kie:ApiKey"] ?? "" }),
            Options.Create(new ForgeOptions())).PostConfigure(null, shutdown);
        Assert.Equal(TimeSpan.Parse(expected), shutdown.GracePeriod);
    }
}
