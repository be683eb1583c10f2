using Generation.Core.Settings;
using Microsoft.Extensions.Options;

namespace Generation.ServiceDefaults;

/// <summary>
/// A setting that is wrong stops the start with a sentence on stderr that names it and exit code 2, wherever it was found: as the services are
/// registered, as the host is built, or in the check of all options before it starts. A stack trace would hide the sentence.
/// </summary>
internal static class SettingsErrors
{
    public const int ExitCode = 2;

    private static int isWatching;

    /// <summary>From now on; the second call in a process changes nothing.</summary>
    public static void ExitWithSentence()
    {
        if (Interlocked.Exchange(ref isWatching, 1) == 1)
        {
            return;
        }

        AppDomain.CurrentDomain.UnhandledException += (_, unhandled) =>
        {
            if (unhandled.ExceptionObject is Exception error && Sentences(error) is { Count: > 0 } sentences)
            {
                foreach (var sentence in sentences)
                {
                    Console.Error.WriteLine($"The configuration is wrong: {sentence}");
                }

                Environment.Exit(ExitCode);
            }
        };
    }

    /// <summary>What is wrong with which setting; empty where the exception is about something else.</summary>
    public static IReadOnlyList<string> Sentences(Exception error) => error switch
    {
        OptionsValidationException invalid => [.. invalid.Failures],
        AggregateException { InnerExceptions: var all } => all.Select(Sentences).ToList() is var each && each.TrueForAll(some => some.Count > 0)
            ? [.. each.SelectMany(some => some)] : [],
        SettingException => [error.Message],
        InvalidOperationException { Source: "Microsoft.Extensions.Configuration.Binder" } unreadable => [unreadable.Message],
        _ => [],
    };
}
