using System.Diagnostics;
using System.Globalization;
using System.Xml.Linq;

namespace Generation.Tests.Tidy;

/// <summary>What eng/test says and how it ends, by the reports that xunit leaves behind: eng/test-report.mjs.</summary>
[Trait("tier", "slow")]
public sealed class TestReportTests : IDisposable
{
    private const string TestsFailed = "build\t80\tok\ntests\t9\treported\nfailed tests once more, alone\t2\tok\n";

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("generation-report-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public async Task A_run_in_which_all_is_well_says_how_many_passed_and_what_took_how_long()
    {
        var (code, lines) = await CloseAsync("build\t80\tok\ntests\t9\tok\nchaos\t75\tpassed\n", Report(
            Pass("A.quick", 0.1), Pass("A.slow", 12.34), Skip("A.skipped")));
        Assert.Equal(("3 passed, 0 failed, 1 skipped", 0), (lines[^1], code));
        Assert.Equal(["── Slowest tests", "     12.3 s  A.slow", "      0.1 s  A.quick", "── Steps", "       80 s  build", "        9 s  tests",
            "       75 s  chaos"], lines[..^1]);
    }

    [Fact]
    public async Task The_twenty_slowest_tests_are_listed()
    {
        var (_, lines) = await CloseAsync("tests\t9\tok\n", Report([.. Enumerable.Range(1, 30).Select(i => Pass($"A.takes_{i}", i))]));
        Assert.Equal([.. Enumerable.Range(11, 20).Reverse().Select(i => $"A.takes_{i}")],
            lines.Where(line => line.Contains("A.takes_", StringComparison.Ordinal)).Select(line => line.Split(' ')[^1]));
    }

    [Fact]
    public async Task Who_fails_and_passes_alone_counts_as_passed_and_is_listed_with_its_first_message()
    {
        var (code, lines) = await CloseAsync(TestsFailed, Report(Pass("A.one"), Fail("A.two", "Expected: 1\nActual:   <test result=\"Fail\">")),
            Report(Pass("A.two")));
        Assert.Equal(("2 passed, 0 failed", 0), (lines[^1], code));
        Assert.Equal(["── Flaky: failed, and passed alone", "   A.two", "      Expected: 1", "      Actual:   <test result=\"Fail\">"],
            lines[^5..^1]);
    }

    [Theory]
    [InlineData(3, "3 passed, 0 failed", 0)]
    [InlineData(4, "4 passed, 1 failed", 1)]
    public async Task More_than_three_flaky_tests_fail_the_run(int flaky, string closing, int exitCode)
    {
        var names = Enumerable.Range(1, flaky).Select(i => $"A.flaky_{i}").ToArray();
        var (code, lines) = await CloseAsync(TestsFailed, Report([.. names.Select(name => Fail(name, "now and then"))]), Report(
            [.. names.Select(name => Pass(name))]));
        Assert.Equal((closing, exitCode), (lines[^1], code));
        Assert.All(names, name => Assert.Contains($"   {name}", lines));
        Assert.Equal(exitCode == 1, lines.Contains("   4 flaky tests; at most 3 are borne"));
    }

    [Fact]
    public async Task Who_fails_twice_has_failed()
    {
        var (code, lines) = await CloseAsync(TestsFailed, Report(Pass("A.one"), Fail("A.two", "first"), Fail("A.three", "first")), Report(
            Fail("A.two", "second"), Skip("A.three")));
        Assert.Equal(("1 passed, 2 failed", 1), (lines[^1], code));
        Assert.Equal(["── What failed", "   A.two", "   A.three"], lines[^4..^1]);
    }

    [Fact]
    public async Task A_row_of_a_theory_is_judged_by_itself()
    {
        string[] rows = ["A.rows(say: \"it's <b> & \\\"quoted\\\"\")", "A.rows(say: \"two\\nlines\")", "A.rows(say: \"good at first\")",
            "A.rows(say: \"never\")", "A.rows(say: \"always\")"];
        var (code, lines) = await CloseAsync(
            TestsFailed,
            Report([Fail(rows[0], "m0"), Fail(rows[1], "m1"), Pass(rows[2]), Fail(rows[3], "m3"), Pass(rows[4])]),
            Report([Pass(rows[0]), Pass(rows[1]), Fail(rows[2], "m2"), Fail(rows[3], "m3 again"), Pass(rows[4])]));
        Assert.Equal(("4 passed, 1 failed", 1), (lines[^1], code));
        Assert.Equal(
            ["── Flaky: failed, and passed alone", $"   {rows[0]}", "      m0", $"   {rows[1]}", "      m1", $"   {rows[2]}", "      m2",
                "── What failed", $"   {rows[3]}"],
            lines[^10..^1]);
    }

    [Fact]
    public async Task Rows_that_share_a_name_have_to_pass_all_of_them()
    {
        const string Row = "A.rows(say: \"a long text that xunit cuts\"···)";
        var (code, lines) = await CloseAsync(TestsFailed, Report([Pass(Row), Fail(Row, "first")]), Report([Pass(Row), Fail(Row, "second")]));
        Assert.Equal(("1 passed, 1 failed", 1), (lines[^1], code));
        (code, lines) = await CloseAsync(TestsFailed, Report([Pass(Row), Fail(Row, "first")]), Report([Pass(Row), Pass(Row)]));
        Assert.Equal(("2 passed, 0 failed", 0), (lines[^1], code));
    }

    [Fact]
    public async Task A_test_program_that_ends_without_a_report_fails_the_run_also_when_it_does_so_the_second_time()
    {
        var (code, lines) = await CloseAsync("build\t80\tok\ntests\t9\tfailed\nchaos\t75\tpassed\n", first: null);
        Assert.Equal(("1 passed, 1 failed", 1), (lines[^1], code));
        Assert.Equal(["── What failed", "   tests"], lines[^3..^1]);

        (code, lines) = await CloseAsync("tests\t9\treported\nonce more\t2\tfailed\n", Report(Pass("A.one"), Fail("A.two", "m")));
        Assert.Equal(("1 passed, 2 failed", 1), (lines[^1], code));
        Assert.Equal(["── What failed", "   once more", "   A.two"], lines[^4..^1]);
    }

    [Fact]
    public async Task What_fails_outside_of_a_test_and_a_run_without_tests_fail_the_run()
    {
        var report = Report(Pass("A.one"));
        report.Root!.Element("assembly")!.Add(new XElement(
            "errors", new XElement("error", new XAttribute("type", "assembly-cleanup"), new XAttribute("name", "Generation.Tests"),
            Failure("still running"))));
        var (code, lines) = await CloseAsync("tests\t9\treported\n", report);
        Assert.Equal(("1 passed, 1 failed", 1), (lines[^1], code));
        Assert.Equal("   assembly-cleanup Generation.Tests: still running", lines[^2]);

        (code, lines) = await CloseAsync("tests\t9\tok\n", Report());
        Assert.Equal(("No test was run.", "0 passed, 0 failed", 1), (lines[^2], lines[^1], code));
    }

    [Fact]
    public async Task Run_again_is_each_method_once_and_nothing_when_too_much_failed()
    {
        Assert.Equal(["N.A.rows", "N.A.two"], await MethodsAsync(
            Report(Fail("A.rows(n: 1)", "m"), Pass("A.one"), Fail("A.rows(n: 2)", "m"), Fail("A.two", "m"), Skip("A.three"))));
        Assert.Empty(await MethodsAsync(Report([.. Enumerable.Range(1, 21).Select(i => Fail($"A.fails_{i}", "m"))])));
    }

    private static XElement Pass(string name, double seconds = 0) => Result(name, "Pass", seconds);

    private static XElement Skip(string name) => Result(name, "Skip", 0);

    private static XElement Fail(string name, string message)
    {
        var test = Result(name, "Fail", 0);
        test.Add(Failure(message));
        return test;
    }

    private static XElement Result(string name, string result, double seconds)
    {
        var method = name.Split('(')[0].Split('.');
        return new XElement(
            "test", new XAttribute("id", "1"), new XAttribute("name", name), new XAttribute("type", $"N.{method[0]}"),
                new XAttribute("method", method[1]),
            new XAttribute("time", seconds.ToString("0.0000000", CultureInfo.InvariantCulture)), new XAttribute("result", result));
    }

    private static XElement Failure(string message) =>
        new("failure", new XAttribute("exception-type", "Xunit.Sdk.EqualException"), new XElement("message", new XCData(message)),
            new XElement("stack-trace", new XCData("at N.A")));

    private static XDocument Report(params XElement[] tests) =>
        new(new XElement("assemblies", new XAttribute("schema-version", "3"),
            new XElement("assembly", new XAttribute("name", "Generation.Tests.dll"), new XElement("collection", tests))));

    private async Task<(int Code, string[] Lines)> CloseAsync(string steps, XDocument? first, XDocument? again = null)
    {
        await File.WriteAllTextAsync(Path.Combine(folder.FullName, "steps"), steps);
        return await RunAsync("close", Path.Combine(folder.FullName, "steps"), Save(first, "first.xml"), Save(again, "again.xml"));
    }

    private async Task<string[]> MethodsAsync(XDocument first) => (await RunAsync("methods", Save(first, "first.xml"))).Lines;

    private string Save(XDocument? report, string name)
    {
        var file = Path.Combine(folder.FullName, name);
        File.Delete(file);
        report?.Save(file);
        return file;
    }

    private static async Task<(int Code, string[] Lines)> RunAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("node", [Path.Combine(TidyTests.Root, "eng", "test-report.mjs"), .. arguments])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // eng/test, which has started us, may have colours
            Environment = { ["bold"] = "", ["red"] = "", ["green"] = "", ["dim"] = "", ["plain"] = "" },
        })!;
        var (said, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        Assert.Empty(await errors);
        return (process.ExitCode, (await said).Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
