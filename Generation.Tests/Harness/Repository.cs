namespace Generation.Tests.Harness;

/// <summary>Files of the repository that the tests run in, which is the product too: documents, descriptions, requests.</summary>
internal static class Repository
{
    private static readonly Lazy<string> Root = new(FindRoot);

    /// <summary>A path from the root: <c>PathOf("docs", "api.md")</c>.</summary>
    public static string PathOf(params string[] names) => Path.Combine([Root.Value, .. names]);

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Generation.sln")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException("The tests run outside the repository.");
        }

        return folder.FullName;
    }
}
