using System.Globalization;
using Generation.Core.Localization;

namespace Generation.Api;

/// <summary>How lists are read: <c>limit</c> rows a page, and the <c>cursor</c> that the page before ended with.</summary>
internal static class Paging
{
    /// <summary>Rows of a page; what is wrong goes into <paramref name="errors"/>.</summary>
    public static int Limit(string? limit, int max, int fallback, Dictionary<string, string[]> errors)
    {
        if (limit is null)
        {
            return fallback;
        }

        if (int.TryParse(limit, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count >= 1 && count <= max)
        {
            return count;
        }

        errors["limit"] = [Refusals.Say($"must be a whole number from 1 to {max}")];
        return fallback;
    }

    /// <summary>The id that the page before ended with; null for the first page, for which an empty one is sent too.</summary>
    public static Guid? Cursor(string? cursor, Dictionary<string, string[]> errors) =>
        Cursor<Guid>(cursor, text => Guid.TryParse(text, out var id) ? id : null, errors);

    /// <summary>
    /// Where the page before ended, as <paramref name="parse"/> reads it (null for what is none of ours); null for the first page, for which an
    /// empty one is sent too.
    /// </summary>
    public static T? Cursor<T>(string? cursor, Func<string, T?> parse, Dictionary<string, string[]> errors)
        where T : struct
    {
        if (string.IsNullOrEmpty(cursor))
        {
            return null;
        }

        if (parse(cursor) is { } place)
        {
            return place;
        }

        errors["cursor"] = [Refusals.Say($"must be the nextCursor of the page before")];
        return null;
    }
}
