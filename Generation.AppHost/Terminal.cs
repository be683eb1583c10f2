using System.Text.RegularExpressions;

namespace Generation.AppHost;

/// <summary>
/// The one writer of the terminal. Colours on a terminal, plain text where the output is redirected or NO_COLOR is set.
/// </summary>
internal static partial class Terminal
{
    private const int NameWidth = 12; // provider-sim

    private static readonly Lock Gate = new();

    private static readonly bool UseColors =
        !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb"
            && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    public static void Say(string text) => Write(text);

    /// <summary>What happened to a resource: started, stopped.</summary>
    public static void Progress(string name, string what) => Write($"{Paint(name.PadRight(NameWidth), 36)}  {what}");

    /// <summary>What should not have happened to a resource, and was dealt with.</summary>
    public static void Warn(string name, string what) => Write($"{Paint(name.PadRight(NameWidth), 33)}  {what}");

    /// <summary>A line of a resource's log, which may contain colour codes.</summary>
    public static void Log(string name, string line) => Write($"{Paint(name.PadRight(NameWidth), 36)}| {(UseColors ? line : WithoutColors(line))}");

    /// <summary>A line as it would be without colours.</summary>
    public static string WithoutColors(string line) => AnsiColors().Replace(line, "");

    public static void Fail(string text) => Write(Paint(text, 31));

    public static string Bold(string text) => Paint(text, 1);

    public static string Dim(string text) => Paint(text, 2);

    [GeneratedRegex(@"\e\[[0-9;]*m", RegexOptions.NonBacktracking)]
    private static partial Regex AnsiColors();

    private static string Paint(string text, int color) => UseColors ? $"\e[{color}m{text}\e[0m" : text;

    private static void Write(string line)
    {
        lock (Gate)
        {
            try
            {
                Console.Out.WriteLine(line);
                Console.Out.Flush();
            }
            catch (IOException)
            {
                // The terminal is gone (its window was closed); what runs still wants to be stopped in order.
            }
        }
    }
}
