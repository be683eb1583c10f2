using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Providers.OpenAi;

/// <summary>Options as a worker would read them.</summary>
internal static class OptionsUnderTest
{
    /// <summary>The message that stops the start; empty: it starts.</summary>
    public static string ProblemOf<TOptions>(Action<IServiceCollection, IConfiguration> register, string setting, string value)
        where TOptions : class
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection([new(setting, value)]).Build();
        var services = new ServiceCollection();
        register(services, configuration);
        using var provider = services.BuildServiceProvider();
        try
        {
            _ = provider.GetRequiredService<IOptions<TOptions>>().Value;
            return "";
        }
        catch (OptionsValidationException e)
        {
            return e.Message;
        }
    }
}
