using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace Generation.Core.Localization;

/// <summary>
/// A sentence for a user, written in English where it is said: an interpolated string whose text is the key under which
/// <see cref="Refusals"/> has it in other languages. A method that takes one cannot be given a plain string by mistake.
/// </summary>
[InterpolatedStringHandler]
public sealed class Sentence
{
    private static readonly AsyncLocal<string?> Spoken = new();

    private readonly StringBuilder format;
    private readonly object?[] values;
    private int count;

    public Sentence(int literalLength, int formattedCount)
    {
        format = new StringBuilder(literalLength + (3 * formattedCount));
        values = new object?[formattedCount];
    }

    /// <summary>The language of the request that is being answered; English where none was set.</summary>
    public static string Language
    {
        get => Spoken.Value ?? UserMessages.DefaultLanguage;
        set => Spoken.Value = value;
    }

    /// <summary>Its English text with <c>{0}</c>, <c>{1}</c>, … for its values: a composite format.</summary>
    public string Format => format.ToString();

    public void AppendLiteral(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        format.Append(text.Replace("{", "{{", StringComparison.Ordinal).Replace("}", "}}", StringComparison.Ordinal));
    }

    public void AppendFormatted<T>(T value)
    {
        format.Append(CultureInfo.InvariantCulture, $"{{{count}}}");
        values[count++] = value;
    }

    /// <summary>How a value is written is the same in every language, and no part of the key.</summary>
    public void AppendFormatted<T>(T value, string format)
        where T : IFormattable =>
        AppendFormatted(value?.ToString(format, CultureInfo.InvariantCulture));

    /// <summary>In the language of the request.</summary>
    public override string ToString() => In(Language);

    /// <summary>In a language; in English where it has not been translated, which a test does not let happen.</summary>
    public string In(string language)
    {
        var english = Format;
        return string.Format(CultureInfo.InvariantCulture, language == "tr" ? Refusals.Turkish.GetValueOrDefault(english, english) : english, values);
    }
}
