using System.Text.RegularExpressions;

namespace Generation.Tests.Tidy;

/// <summary>Where things are: which folder may know which, what a file is called, and that every statement has one home.</summary>
public sealed partial class LayoutTests
{
    /// <summary>The layers of the worker, from the top.</summary>
    private static readonly string[] Floors = ["Hosting", "Providers", "Jobs", "Calls"];

    [Fact]
    public void A_floor_of_the_worker_imports_only_those_below() => TidyTests.Empty(
        from file in TidyTests.Sources
        let here = Floor(file)
        where here >= 0
        from name in Imported(file, "Generation.Worker")
        let there = Array.IndexOf(Floors, name.Split('.')[0])
        where there >= 0 && there < here || name.StartsWith("Providers.", StringComparison.Ordinal) && here == 1
            && !file.StartsWith(FolderOf(name), StringComparison.Ordinal)
        select $"{file} imports {name}",
        "Hosting runs jobs, Providers know the wire of one provider each, Jobs know what a handler may do, Calls send: each knows only the layers "
            + "below it, and no provider another.");

    [Fact]
    public void The_worker_has_nothing_beside_its_layers_but_its_options() => TidyTests.Empty(
        TidyTests.Sources.Where(file => file.StartsWith("Generation.Worker/", StringComparison.Ordinal) && Floor(file) < 0 && file is not (
            "Generation.Worker/Program.cs" or "Generation.Worker/WorkerOptions.cs")),
        "What stands in the root is seen by every layer.");

    [Theory]
    [InlineData("Generation.Core")]
    [InlineData("Generation.Worker")]
    public void Folders_do_not_import_each_other(string project)
    {
        var imports = TidyTests.Sources.Where(file => file.StartsWith(project + "/", StringComparison.Ordinal) && NamespaceOf(file).Length > 0)
            .SelectMany(file => Imported(file, project).Select(name => (From: NamespaceOf(file)[project.Length..].TrimStart('.'), To: name)))
            .Where(import => import.From != import.To && import.From.Length > 0)
            .Distinct().ToLookup(import => import.From, import => import.To, StringComparer.Ordinal);
        TidyTests.Empty(
            imports.SelectMany(from => from.Where(to => Reaches(imports, to, from.Key)).Select(to =>
                $"{project}.{from.Key} → {to} → … → {from.Key}")),
            "Two folders that need each other are one folder, or lack a third below both.");
    }

    /// <summary>Telemetry, health, shutdown and connections are the same for any service.</summary>
    [Fact]
    public void The_service_defaults_know_nothing_of_credits_or_sessions() => TidyTests.Empty(
        from file in TidyTests.Sources
        where file.StartsWith("Generation.ServiceDefaults/", StringComparison.Ordinal)
        from name in Imported(file, "Generation.Core")
        where name is not ("" or "Database" or "Media" or "Queue" or "Settings")
        select $"{file} imports Generation.Core.{name}",
        "Core is composed in Generation.Core/Hosting, and the service defaults serve any service.");

    [Fact]
    public void Namespaces_are_folders() => TidyTests.Empty(
        from file in TidyTests.Sources
        let name = NamespaceOf(file)
        where name.StartsWith("Generation.", StringComparison.Ordinal) && name != Path.GetDirectoryName(file)!.Replace('/', '.')
        select $"{file}: {name}",
        "A type is looked for where its namespace says.");

    [Fact]
    public void A_file_is_named_for_a_type_in_it() => TidyTests.Empty(
        TidyTests.Sources.Where(file => Path.GetFileName(file) is not ("Program.cs" or "AppHost.cs") && !file.EndsWith("Wire.cs",
            StringComparison.Ordinal)
            && !TypeName().Matches(TidyTests.Read(file)).Any(type => type.Groups["name"].Value == Path.GetFileName(file).Split('.')[0])),
        "A type is looked for in the file of its name; the records of a provider's wire format may stand together in a file named Wire.");

    [Fact]
    public void Every_statement_of_Core_is_used_in_one_place()
    {
        var code = TidyTests.Sources.Where(file => file.StartsWith("Generation.Core/", StringComparison.Ordinal))
            .Select(file => TidyTests.Read(file)).ToList();
        TidyTests.Empty(
            from file in TidyTests.Files
            where file.StartsWith("Generation.Core/", StringComparison.Ordinal) && file.EndsWith(".sql", StringComparison.Ordinal)
                && !file.StartsWith("Generation.Core/Database/Migrations/", StringComparison.Ordinal) && file != "Generation.Core/Database/schema.sql"
            let name = file["Generation.Core/".Length..]
            let uses = code.Sum(text => Uses(text, name) + (name.StartsWith("Credits/Audit/", StringComparison.Ordinal)
                ? Uses(text, Path.GetFileName(name)) : 0))
            where uses != 1
            select $"{file}: {uses} uses",
            "A statement that nobody uses misleads its reader; two users of one statement share the method that calls it.");
    }

    /// <summary>A line that holds one literal of more than 90 characters, or is a part of a raw one, stays as long as that is.</summary>
    [Fact]
    public void Lines_have_at_most_150_characters() => TidyTests.Empty(
        from file in TidyTests.Files
        where Path.GetExtension(file) is ".cs" or ".sql" or ".sh" or ".mjs" || file is "eng/run" or "eng/test"
        where file != "Generation.Core/Database/schema.sql" && !AppliedMigration().IsMatch(file)
        from line in CodeOf(TidyTests.Read(file)).Split('\n').Select((text, index) => (text, number: index + 1))
        where line.text.Length > 150 && !LongLiteral().IsMatch(line.text)
        select $"{file}:{line.number}: {line.text.Length} characters",
        "A line that is cut off at the edge of a review hides its end.");

    /// <summary>Raw literals of several lines are left out; the lines keep their numbers.</summary>
    private static string CodeOf(string text) =>
        RawLiteral().Replace(text, literal => new string('\n', literal.Value.Count(character => character == '\n')));

    private static int Uses(string text, string path) => Regex.Count(text, $"\"{Regex.Escape(path)}\"", RegexOptions.None, TimeSpan.FromSeconds(1));

    private static int Floor(string file) => file.StartsWith("Generation.Worker/", StringComparison.Ordinal) && file.Split('/') is [_, var layer, _,
        ..] ? Array.IndexOf(Floors, layer) : -1;

    private static string FolderOf(string name) => $"Generation.Worker/{name.Replace('.', '/')}/";

    private static string NamespaceOf(string file) => Namespace().Match(TidyTests.Read(file)).Groups["name"].Value;

    /// <summary>The namespaces of a project that a file names, below the project's: by a using, or before a type.</summary>
    private static IEnumerable<string> Imported(string file, string project)
    {
        var text = TidyTests.Read(file);
        var usings = Using().Matches(text).Select(match => match.Groups["name"].Value)
            .Where(name => name == project || name.StartsWith(project + ".", StringComparison.Ordinal))
                .Select(name => name[project.Length..].TrimStart('.'));
        var last = project[(project.LastIndexOf('.') + 1)..];
        var qualified = Regex.Matches(text, @$"(?<![\w.""/])(?:Generation\.)?{last}\.(?<name>[A-Z]\w+)\.[A-Z]", RegexOptions.ExplicitCapture,
            TimeSpan.FromSeconds(1))
            .Where(match => !text[..match.Index].EndsWith("using ", StringComparison.Ordinal)
                && !text[..match.Index].EndsWith("namespace ", StringComparison.Ordinal))
            .Select(match => match.Groups["name"].Value);
        return usings.Concat(qualified).Distinct(StringComparer.Ordinal);
    }

    private static bool Reaches(ILookup<string, string> imports, string from, string to, HashSet<string>? seen = null)
    {
        seen ??= new(StringComparer.Ordinal);
        return from == to || (seen.Add(from) && imports[from].Any(next => Reaches(imports, next, to, seen)));
    }

    [GeneratedRegex(@"^namespace (?<name>[\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^using (?<name>Generation[\w.]*);", RegexOptions.Multiline)]
    private static partial Regex Using();

    [GeneratedRegex(@"\b(class|record struct|record|struct|interface|enum|delegate [\w<>?\[\], .]+?) (?<name>\w+)", RegexOptions.ExplicitCapture)]
    private static partial Regex TypeName();

    [GeneratedRegex(@"^Generation\.Core/Database/Migrations/000[1-7]")]
    private static partial Regex AppliedMigration();

    [GeneratedRegex("\"\"\"(?s:.*?)\"\"\"")]
    private static partial Regex RawLiteral();

    [GeneratedRegex(@"""(\\.|[^""\\]|""""){91,}""|'[^']{91,}'|`[^`]{91,}`|<c>.{91,}</c>", RegexOptions.ExplicitCapture)]
    private static partial Regex LongLiteral();
}
