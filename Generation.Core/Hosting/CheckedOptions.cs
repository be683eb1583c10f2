using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Generation.Core.Hosting;

/// <summary>Options that are validated at start.</summary>
public static class CheckedOptions
{
    /// <summary>
    /// Binds a section to a singleton of <typeparamref name="TOptions"/>. <paramref name="problem"/> says what is wrong, naming the
    /// setting; then the service does not start.
    /// </summary>
    public static void AddChecked<TOptions>(this IHostApplicationBuilder builder, string section, Func<TOptions, string?> problem)
        where TOptions : class
    {
        builder.Services.AddOptions<TOptions>().BindConfiguration(section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<TOptions>>(new Check<TOptions>(problem));
        builder.Services.AddSingleton(s => s.GetRequiredService<IOptions<TOptions>>().Value);
    }

    private sealed class Check<TOptions>(Func<TOptions, string?> problem) : IValidateOptions<TOptions>
        where TOptions : class
    {
        public ValidateOptionsResult Validate(string? name, TOptions options) =>
            problem(options) is { } wrong ? ValidateOptionsResult.Fail(wrong) : ValidateOptionsResult.Success;
    }
}
