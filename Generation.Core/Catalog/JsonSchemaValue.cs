using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Generation.Core.Catalog;

/// <summary>Values as JSON Schema means them, which is what <c>GET /api/models</c> promises.</summary>
public static class JsonSchemaValue
{
    /// <summary>An integer is a number without a fraction, however it is written: 2, 2.0, 0.2e1.</summary>
    public static bool TryReadInteger(JsonElement value, out long number)
    {
        number = 0;
        if (value.ValueKind != JsonValueKind.Number)
        {
            return false;
        }

        if (value.TryGetInt64(out number))
        {
            return true;
        }

        // decimal rounds what is too small or too long for it; such a number has more digits than any that is meant
        var text = value.GetRawText();
        var isRoundedToZero = text.Split('e', 'E')[0].AsSpan().ContainsAnyInRange('1', '9');
        if (text.Length > 28 || !value.TryGetDecimal(out var exact) || exact != decimal.Truncate(exact)
            || exact < long.MinValue || exact > long.MaxValue || (exact == 0 && isRoundedToZero))
        {
            return false;
        }

        number = (long)exact;
        return true;
    }

    /// <inheritdoc cref="TryReadInteger"/>
    public static bool TryReadInt32(JsonElement value, out int number)
    {
        var isInteger = TryReadInteger(value, out var wide) && wide is >= int.MinValue and <= int.MaxValue;
        number = isInteger ? (int)wide : 0;
        return isInteger;
    }

    /// <summary>The length of a text (RFC 8259 §7): an emoji is one character or a few, not twice as many.</summary>
    public static int CountCodePoints(ReadOnlySpan<char> text)
    {
        var count = 0;
        foreach (var _ in text.EnumerateRunes())
        {
            count++;
        }

        return count;
    }

    /// <summary>Whether there is anything in it that a reader would see: no space, control, format or filler character.</summary>
    public static bool IsVisible(ReadOnlySpan<char> text)
    {
        foreach (var rune in text.EnumerateRunes())
        {
            if (!Rune.IsWhiteSpace(rune) && !IsFiller(rune.Value) && Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control
                or UnicodeCategory.Format or UnicodeCategory.OtherNotAssigned or UnicodeCategory.NonSpacingMark))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Letters and symbols that are drawn as nothing: Hangul fillers, and the Braille pattern without dots.</summary>
    private static bool IsFiller(int codePoint) => codePoint is 0x115F or 0x1160 or 0x3164 or 0xFFA0 or 0x2800;
}
