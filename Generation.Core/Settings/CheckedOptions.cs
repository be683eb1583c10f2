using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.Core.Settings;

/// <summary>Options that are validated at start: a wrong value stops the service with a message that names its setting.</summary>
public static class CheckedOptions
{
    /// <summary>Binds a section to a singleton of <typeparamref name="TOptions"/> and validates it at start.</summary>
    /// <param name="builder">Of the service.</param>
    /// <param name="section">Its name, such as <c>Relay</c>.</param>
    /// <param name="check">Adds an error for every wrong value; null when every value is possible.</param>
    public static OptionsBuilder<TOptions> AddChecked<TOptions>(
        this IHostApplicationBuilder builder, string section, Action<TOptions, SettingsCheck>? check = null)
        where TOptions : class => builder.Services.AddChecked(builder.Configuration, section, check);

    /// <inheritdoc cref="AddChecked{TOptions}(IHostApplicationBuilder, string, Action{TOptions, SettingsCheck})"/>
    public static OptionsBuilder<TOptions> AddChecked<TOptions>(
        this IServiceCollection services, IConfiguration configuration, string section, Action<TOptions, SettingsCheck>? check = null)
        where TOptions : class
    {
        services.AddSingleton<IValidateOptions<TOptions>>(new Validation<TOptions>(section, check));
        services.AddSingleton(s => s.GetRequiredService<IOptions<TOptions>>().Value);
        return services.AddOptions<TOptions>().Bind(configuration.GetSection(section)).ValidateOnStart();
    }

    private sealed class Validation<TOptions>(string section, Action<TOptions, SettingsCheck>? check) : IValidateOptions<TOptions>
        where TOptions : class
    {
        public ValidateOptionsResult Validate(string? name, TOptions options)
        {
            var settings = new SettingsCheck(section);
            check?.Invoke(options, settings);
            return settings.Errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(settings.Errors);
        }
    }
}
