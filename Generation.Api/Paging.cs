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
    public static Guid? Cursor(string? cursor, Dictionary<string, string[]> errors)
    {
        if (string.IsNullOrEmpty(cursor))
        {
            return null;
        }

        if (Guid.TryParse(cursor, out var id))
        {
            return id;
        }

        errors["cursor"] = [Refusals.Say($"must be the nextCursor of the page before")];
        return null;
    }
}
