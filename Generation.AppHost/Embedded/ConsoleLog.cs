namespace Generation.AppHost.Embedded;

/// <summary>
/// The one writer of the terminal: a line of a child with its name in front, or a line of our own. Colours where somebody looks,
/// plain text where the output is redirected or NO_COLOR is set.
/// </summary>
internal sealed class ConsoleLog(TextWriter output, bool useColors)
{
    private static readonly int[] Colors = [36, 35, 34, 32, 33, 96, 95, 94];

    private readonly Lock gate = new();
    private readonly Dictionary<string, int> colorOf = new(StringComparer.Ordinal);
    private int nameWidth;

    public bool UseColors => useColors;

    public static ConsoleLog ForTerminal()
    {
        var isLookedAt = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb";
        return new ConsoleLog(Console.Out, isLookedAt && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")));
    }

    /// <summary>Gives a name its colour and makes the column wide enough; before the first line is written.</summary>
    public void Introduce(string name)
    {
        colorOf[name] = Colors[colorOf.Count % Colors.Length];
        nameWidth = Math.Max(nameWidth, name.Length);
    }

    /// <summary>A line that a child wrote.</summary>
    public void Child(string name, string line) => Write($"{Paint(name.PadRight(nameWidth), colorOf[name])} | {line}");

    /// <summary>What happened to a child: ready, restarted, stopped.</summary>
    public void Progress(string name, string what) => Write($"{Paint(name.PadRight(nameWidth), colorOf[name])}  {what}");

    public void Say(string text) => Write(text);

    public void Fail(string text) => Write(Paint(text, 31));

    public string Bold(string text) => Paint(text, 1);

    private string Paint(string text, int color) => useColors ? $"\u001b[{color}m{text}\u001b[0m" : text;

    private void Write(string line)
    {
        lock (gate)
        {
            try
            {
                output.WriteLine(line);
                output.Flush();
            }
            catch (IOException)
            {
                // The terminal is gone (its window was closed); the children still want to be stopped in order.
            }
        }
    }
}
