using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Generation.Tests.Tidy;

/// <summary>
/// The rules of the house that no compiler knows. Each failure lists where, and says why the rule is there; whoever has
/// a better reason changes the rule here.
/// </summary>
public sealed partial class TidyTests
{
    internal static readonly string Root = FindRoot();

    // What git would commit: tracked files and new ones that are not ignored.
    internal static readonly IReadOnlyList<string> Files = ListFiles();

    internal static readonly IReadOnlyList<string> Sources = [.. Files.Where(file => file.EndsWith(".cs", StringComparison.Ordinal))];

    [Fact]
    public void Time_and_chance_are_injected() => Empty(
        Lines(Sources.Where(file => !IsTidy(file)), BannedClock()),
        "Time comes from TimeProvider and randomness from a seeded Random, so that a test can stop the one and repeat the other.");

    [Fact]
    public void Nothing_is_called_by_what_it_is_made_of() => Empty(
        [
            .. Files.Where(file => file.Split('/')[..^1].Any(folder => EmptyWord().IsMatch(folder))),
            .. Lines(Sources.Where(file => !IsTidy(file)), EmptyTypeName()),
        ],
        "A folder or type named Utils, Helpers, Services, Common, Constants or Manager says nothing about what is in it, so everything ends up "
            + "there. Name the concept.");

    [Fact]
    public void Project_references_point_inward()
    {
        var allowed = new Dictionary<string, string[]>
        {
            ["Generation.Core"] = [],
            ["Generation.ProviderSim"] = [],
            ["Generation.ServiceDefaults"] = ["Generation.Core"],
            ["Generation.Api"] = ["Generation.Core", "Generation.ServiceDefaults"],
            ["Generation.Relay"] = ["Generation.Core", "Generation.ServiceDefaults"],
            ["Generation.Worker"] = ["Generation.Core", "Generation.ServiceDefaults"],
            ["Generation.LocalServers"] = [],
            // as resources: compiles against LocalServers alone
            ["Generation.AppHost"] = ["Generation.Api", "Generation.Relay", "Generation.Worker", "Generation.ProviderSim", "Generation.LocalServers"],
            ["Generation.Cli"] = [], // a client: knows the HTTP interface, as everybody's client does
        };
        var outward =
            from project in Projects()
            where allowed.ContainsKey(project.Name)
            from reference in ProjectReferences(project.Path)
            where !allowed[project.Name].Contains(reference)
            select $"{project.Path} → {reference}";
        Empty(outward, "Core knows nobody, the services know Core and ServiceDefaults, and never each other: they meet in Postgres and the queue.");
    }

    /// <summary>On two cores threads that spin for work take the processor from those that have some: docs/benchmarks/overload.md.</summary>
    [Theory]
    [InlineData("Generation.Api")]
    [InlineData("Generation.Relay")]
    [InlineData("Generation.Worker")]
    public void Idle_threads_of_a_service_sleep_at_once(string service)
    {
        var settings = JsonNode.Parse(File.ReadAllText(
            Path.Combine(AppContext.BaseDirectory, $"{service}.runtimeconfig.json")))!["runtimeOptions"]!["configProperties"]!;
        Assert.Equal(0, (int?)settings["System.Threading.ThreadPool.UnfairSemaphoreSpinLimit"]);
    }

    [Fact]
    public void Usings_are_sorted() => Empty(
        Sources.Where(file =>
        {
            var usings = Read(file).Split('\n').SkipWhile(line => !line.StartsWith("using ", StringComparison.Ordinal))
                .TakeWhile(line => line.StartsWith("using ", StringComparison.Ordinal))
                    .Where(line => !line.Contains('=') && !line.Contains('(') && !line.StartsWith("using static", StringComparison.Ordinal))
                .Select(line => line["using ".Length..].TrimEnd(';')).ToList();
            return !usings.SequenceEqual(usings.OrderBy(name => !(name == "System" || name.StartsWith("System.", StringComparison.Ordinal))).ThenBy(
                name => name, StringComparer.OrdinalIgnoreCase));
        }),
        "System first, then by the alphabet: two changes that add the same using then meet in the same line.");

    [Fact]
    public void No_source_file_passes_500_lines() => Empty(
        Sources.Where(file => Read(file).Count(character => character == '\n') > 500),
        "Past 500 lines a file holds more than one concept: split it by concept.");

    [Fact]
    public void Tests_of_processes_and_crashes_say_so() => Empty(
        Sources.Where(file => TestFile().IsMatch(file) && (OfProcesses().IsMatch(file) || OfProcesses().IsMatch(Read(file)))
            && !Read(file).Contains("[Trait(\"tier\", \"process\")]", StringComparison.Ordinal)),
        "Whoever starts our services as processes, or is in Resilience, carries [Trait(\"tier\", \"process\")]: eng/test --quick goes without them, "
            + "and would not be quick.");

    [Fact]
    public void A_program_is_a_table_of_contents() => Empty(
        Sources.Where(file => file.EndsWith("/Program.cs", StringComparison.Ordinal) && Read(file).Count(character => character == '\n') >= 60),
        "Program.cs registers, maps and runs, in under 60 lines; what it needs to know more stands with its concept.");

    [Fact]
    public void Sql_lives_in_core() => Empty(
        Lines(Sources.Where(file => InFolders(file, "Generation.Api", "Generation.Relay", "Generation.Worker", "Generation.ServiceDefaults",
            "Generation.ProviderSim")), SqlStatement()),
        "SQL has one home a table, under Generation.Core: that is where locks and states can be seen together.");

    [Fact]
    public void Nothing_changes_the_state_of_a_pooled_session() => Empty(
        Lines(Files.Where(file => file.StartsWith("Generation.Core/", StringComparison.Ordinal)
            && (file.EndsWith(".cs", StringComparison.Ordinal) || file.EndsWith(".sql", StringComparison.Ordinal))), SessionState()),
        "Pooled connections are not reset between uses (ServiceDefaults/DatabaseConnections.cs says what that is worth), so what is set must end "
            + "with its transaction: SET LOCAL, set_config(…, true), pg_advisory_xact_lock, ON COMMIT DROP.");

    [Fact]
    public void No_machine_is_named_in_what_is_committed() => Empty(
        Lines(Files.Where(file => IsText(file) && !IsTidy(file)), MachinePath()),
        "A path or registry of one machine works on no other.");

    [Fact]
    public void A_package_lock_names_no_registry() => Empty(
        Lines(Files.Where(file => file.EndsWith("package-lock.json", StringComparison.Ordinal)), ResolvedAddress()),
        "\"resolved\" pins a download host; .npmrc (omit-lockfile-registry-resolved) leaves it out, so that every registry serves the same lock.");

    [Fact]
    public void The_solution_is_classic_and_holds_every_project()
    {
        var solution = Read("Generation.sln");
        Assert.Contains("Microsoft Visual Studio Solution File, Format Version 12.00", solution, StringComparison.Ordinal);
        Empty(Files.Where(file => file.EndsWith(".slnx", StringComparison.Ordinal)),
            "Generation.sln is the one solution; tools older than .slnx open it.");
        Empty(
            Projects().Where(project => !solution.Contains($"\"{project.Path.Replace('/', '\\')}\"", StringComparison.Ordinal))
                .Select(project => project.Path),
            "A project outside the solution is built by nobody: dotnet sln add.");
    }

    [Fact]
    public void Packages_are_locked() => Empty(
        Projects().Where(project => project.Name is not ("Generation.AppHost" or "Generation.Tests") && !Files.Contains(
            $"{project.Name}/packages.lock.json")).Select(project => project.Path),
        "A lock file says what was restored when it was tested: dotnet restore writes it, and CI restores exactly that.");

    [Fact]
    public void Decisions_are_numbered_and_titled()
    {
        var decisions = Files.Where(file => file.StartsWith("docs/decisions/", StringComparison.Ordinal))
            .Select(file => file["docs/decisions/".Length..]).ToList();
        Empty(decisions.Where(name => name != "README.md" && !DecisionName().IsMatch(name)),
            "Decisions are cited by number: docs/decisions/NNNN-title-in-words.md.");
        Empty(decisions.GroupBy(name => name[..Math.Min(4, name.Length)]).Where(same => same.Count() > 1).Select(same => string.Join(", ", same)),
            "Two decisions with one number cannot be told apart.");
    }

    [Fact]
    public void Links_in_documents_lead_somewhere()
    {
        var dead =
            from document in Files
            where document.EndsWith(".md", StringComparison.Ordinal)
            from Match link in MarkdownLink().Matches(CodeBlock().Replace(Read(document), ""))
            let target = Uri.UnescapeDataString(link.Groups["target"].Value.Split('#')[0])
            where target.Length > 0 && !target.Contains("://", StringComparison.Ordinal) && !target.StartsWith("mailto:", StringComparison.Ordinal)
            let path = Path.GetFullPath(Path.Combine(Root, Path.GetDirectoryName(document)!, target))
            where !File.Exists(path) && !Directory.Exists(path)
            select $"{document}: {target}";
        Empty(dead, "A link that leads nowhere costs its reader more than no link.");
    }

    [Theory]
    [InlineData("clock", "var now = DateTimeOffset.UtcNow;", true)]
    [InlineData("clock", "await Task.Delay(delay);", true)]
    [InlineData("clock", "await Task.Delay(TimeSpan.FromSeconds(1), time, cancellation);", false)]
    [InlineData("clock", "var now = time.GetUtcNow();", false)]
    [InlineData("type", "internal static class StringHelpers", true)]
    [InlineData("type", "public static class GenerationServiceDefaults", false)]
    [InlineData("sql", "var sql = \"SELECT id FROM users\";", true)]
    [InlineData("sql", "    INSERT INTO outbox (id)", true)]
    [InlineData("sql", "UPDATE generation_sessions SET status = 'failed'", true)]
    [InlineData("sql", "// SELECT happens in Core", false)]
    [InlineData("sql", "var probe = \"SELECT 1\";", false)]
    [InlineData("session", "SET ROLE generation_reader", true)]
    [InlineData("session", "SELECT set_config('app.user_id', $1, false)", true)]
    [InlineData("session", "SELECT pg_advisory_lock(1)", true)]
    [InlineData("session", "SET LOCAL ROLE generation_reader; SET LOCAL app.user_id = 'x'", false)]
    [InlineData("session", "SELECT set_config('app.user_id', $1, true), pg_advisory_xact_lock(1)", false)]
    [InlineData("machine", "source: /home/somebody/generation", true)]
    [InlineData("machine", "https://artifactory.example.com/npm", true)]
    [InlineData("machine", "http://localhost:8080/api/generations", false)]
    [InlineData("machine", "COPY --from=build /app/work/out .", false)]
    [InlineData("lock", "      \"resolved\": \"https://registry.example/x.tgz\",", true)]
    [InlineData("decision", "0001-redis-client-1-2-6.md", true)]
    [InlineData("decision", "1-Redis.md", false)]
    public void A_rule_sees_what_it_is_about_and_nothing_else(string rule, string text, bool matches)
    {
        var pattern = rule switch
        {
            "clock" => BannedClock(),
            "type" => EmptyTypeName(),
            "sql" => SqlStatement(),
            "session" => SessionState(),
            "machine" => MachinePath(),
            "lock" => ResolvedAddress(),
            _ => DecisionName(),
        };
        Assert.Equal(matches, pattern.IsMatch(text));
    }

    [Fact]
    public void Nothing_refers_to_a_section_of_a_document_that_is_not_here() => Empty(
        Lines([.. Files.Where(file => !IsTidy(file))], OutsideSection()), "A reader of this repository cannot open it: link a page, or say it here.");

    internal static void Empty(IEnumerable<string> offenders, string reason)
    {
        var found = offenders.ToList();
        Assert.True(found.Count == 0, $"{reason}\n  {string.Join("\n  ", found)}");
    }

    private static IEnumerable<string> Lines(IEnumerable<string> files, Regex pattern) =>
        from file in files
        from line in Read(file).Split('\n').Select((text, index) => (text, number: index + 1))
        where pattern.IsMatch(line.text)
        select $"{file}:{line.number}: {line.text.Trim()}";

    private static IEnumerable<(string Name, string Path)> Projects() =>
        Files.Where(file => file.EndsWith(".csproj", StringComparison.Ordinal)).Select(file => (Path.GetFileNameWithoutExtension(file), file));

    private static IEnumerable<string> ProjectReferences(string project) =>
        XDocument.Parse(Read(project)).Descendants("ProjectReference")
            .Where(reference => reference.Attribute("ReferenceOutputAssembly")?.Value != "false") // built with it, unknown to it
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/')));

    private static bool InFolders(string file, params string[] folders) => folders.Contains(file.Split('/')[0]);

    // This file quotes what it forbids.
    private static bool IsTidy(string file) => file.StartsWith("Generation.Tests/Tidy/", StringComparison.Ordinal) || file == "eng/BannedSymbols.txt";

    private static bool IsText(string file) =>
        Path.GetExtension(file).ToLowerInvariant() is not (".png" or ".jpg" or ".jpeg" or ".gif" or ".webp" or ".ico" or ".mp4" or ".webm" or ".woff"
            or ".woff2");

    internal static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Generation.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException($"Generation.sln is in no folder above {AppContext.BaseDirectory}");
    }

    private static IReadOnlyList<string> ListFiles()
    {
        using var git = Process.Start(new ProcessStartInfo("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        {
            WorkingDirectory = Root,
            RedirectStandardOutput = true,
            UseShellExecute = false,
        })!;
        var listed = git.StandardOutput.ReadToEnd();
        git.WaitForExit();
        if (git.ExitCode != 0)
            throw new InvalidOperationException($"git ls-files ended with {git.ExitCode}");
        return [.. listed.Split('\0', StringSplitOptions.RemoveEmptyEntries).Where(file => File.Exists(Path.Combine(Root, file)))
            .Order(StringComparer.Ordinal)];
    }

    [GeneratedRegex(@"\bDateTime(Offset)?\.(Utc)?(Now|Today)\b|\bThread\.Sleep\b|\bRandom\.Shared\b|\bnew Random\(\)|Task\.Delay\([^,()]*\)",
        RegexOptions.ExplicitCapture)]
    private static partial Regex BannedClock();

    [GeneratedRegex("provider-apis|\\bdesign §", RegexOptions.None, 10_000)]
    private static partial Regex OutsideSection();

    [GeneratedRegex(@"^(Utils?|Utilities|Helpers?|Services?|Common|Constants?|Misc|Managers?)$", RegexOptions.IgnoreCase
        | RegexOptions.ExplicitCapture)]
    private static partial Regex EmptyWord();

    [GeneratedRegex(@"\b(class|record|struct|interface)\s+\w*(Utils?|Utilities|Helpers?|Services|Common|Constants?|Manager)\b",
        RegexOptions.ExplicitCapture)]
    private static partial Regex EmptyTypeName();

    [GeneratedRegex(@"""[^""]*\b(SELECT\s+[^""]*\bFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM)\b|^\s*(SELECT\s+\S+|INSERT\s+INTO\s|UPDATE\s+\w+\s*(SET\b|$)|DELETE\s+FROM\s)", RegexOptions.ExplicitCapture)]
    private static partial Regex SqlStatement();

    [GeneratedRegex(@"\bSET\s+(SESSION|ROLE)\b|\bSET\s+app\.|set_config\([^)]*,\s*false\s*\)|\bpg_(try_)?advisory_lock(_shared)?\(|\bCREATE\s+TEMP(ORARY)?\s+TABLE\b(?!.*ON\s+COMMIT\s+DROP)", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture)]
    private static partial Regex SessionState();

    [GeneratedRegex(@"(?<![\w.])/(work|root|home/\w+|Users/\w+)/|[A-Z]:\\Users\\|https?://[^\s""'/]*\b(artifactory|nexus|jfrog|verdaccio|registry\.npmjs\.org|proxy\.golang\.org)\b", RegexOptions.ExplicitCapture)]
    private static partial Regex MachinePath();

    [GeneratedRegex(@"""resolved""\s*:\s*""https?:")]
    private static partial Regex ResolvedAddress();

    // eng/test --quick leaves out AppHost by its name
    [GeneratedRegex(@"^Generation\.Tests/(?!AppHost/|Tidy/|Harness/).*Tests\.cs$", RegexOptions.ExplicitCapture)]
    private static partial Regex TestFile();

    [GeneratedRegex(@"^Generation\.Tests/Resilience/|\bAsProcess(es|Async)\b|ProcessService\.StartAsync|ProcessStartInfo\(""dotnet""", RegexOptions.ExplicitCapture)]
    private static partial Regex OfProcesses();

    [GeneratedRegex(@"^\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md$", RegexOptions.ExplicitCapture)]
    private static partial Regex DecisionName();

    [GeneratedRegex(@"\[[^\]]*\]\((?<target>[^)\s]+)\)")]
    private static partial Regex MarkdownLink();

    [GeneratedRegex(@"```.*?```|`[^`\n]*`", RegexOptions.Singleline)]
    private static partial Regex CodeBlock();
}
