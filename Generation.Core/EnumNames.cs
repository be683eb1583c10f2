namespace Generation.Core;

/// <summary>The names of enum values in the database, on the wire and in metrics: lower case, one word.</summary>
public static class EnumNames
{
    /// <summary>The name of a value, such as <c>video</c> of <c>MediaKind.Video</c>.</summary>
    public static string Name<T>(this T value)
        where T : struct, Enum => Names<T>.ByValue[value];

    /// <summary>The value of a name that <see cref="Name"/> wrote.</summary>
    /// <exception cref="ArgumentException">No value has this name.</exception>
    public static T Parse<T>(string name)
        where T : struct, Enum => Enum.Parse<T>(name, ignoreCase: true);

    private static class Names<T>
        where T : struct, Enum
    {
        public static readonly Dictionary<T, string> ByValue =
            Enum.GetValues<T>().ToDictionary(value => value, value => value.ToString().ToLowerInvariant());
    }
}
