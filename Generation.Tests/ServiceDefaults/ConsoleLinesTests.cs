using System.Diagnostics;
using System.Text.Json.Nodes;
using Generation.Core;
using Generation.ServiceDefaults;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.ServiceDefaults;

public sealed class ConsoleLinesTests
{
    private static readonly DateTimeOffset Morning = new(2026, 1, 31, 10, 0, 0, 123, TimeSpan.Zero);

    [Fact]
    public void A_json_line_names_the_event_and_keeps_values_typed()
    {
        using var activity = new Activity("test").Start();
        var failure = new InvalidOperationException("first line\nsecond line");
        var line = Write(new JsonLines(new FakeTimeProvider(Morning)), logger => logger.LogError(
            LogEvents.JobStart, failure, "Session {SessionId} attempt {Attempt} mock {Mock} of {Model}", "0199", 2, true, "äöü <\"quoted\">"));

        Assert.Equal(line.IndexOf('\n', StringComparison.Ordinal), line.Length - 1); // one line, whatever the exception says
        var entry = JsonNode.Parse(line)!;
        Assert.Equal("2026-01-31T10:00:00.123Z", (string?)entry["timestamp"]);
        Assert.Equal("Error", (string?)entry["level"]);
        Assert.Equal("job.start", (string?)entry["event"]);
        Assert.Equal("Some.Category", (string?)entry["category"]);
        Assert.Equal("Session 0199 attempt 2 mock True of äöü <\"quoted\">", (string?)entry["message"]);
        Assert.Equal(activity.TraceId.ToHexString(), (string?)entry["traceId"]);
        Assert.Equal("0199", (string?)entry["SessionId"]);
        Assert.Equal(2, (int?)entry["Attempt"]);
        Assert.True((bool?)entry["Mock"]);
        Assert.Equal("äöü <\"quoted\">", (string?)entry["Model"]);
        Assert.Contains("second line", (string?)entry["exception"], StringComparison.Ordinal);
        Assert.Null(entry["{OriginalFormat}"]);
    }

    [Fact]
    public void A_value_named_as_one_of_our_fields_does_not_displace_it()
    {
        KeyValuePair<string, object?>[] state = [new("level", "of a library"), new("traceId", null)];
        var line = Write(new JsonLines(new FakeTimeProvider(Morning)), logger =>
            logger.Log(LogLevel.Debug, default, state, exception: null, (_, _) => "text"));
        Assert.Equal("""{"timestamp":"2026-01-31T10:00:00.123Z","level":"Debug","category":"Some.Category","message":"text","_level":"of a library","_traceId":null}""" + "\n", line);
    }

    [Fact]
    public void A_readable_line_is_one_line_with_the_event_and_the_short_category()
    {
        var line = Write(new ReadableLines(new FakeTimeProvider(Morning)), logger =>
            logger.LogWarning(LogEvents.CreditsRelease, "Released {Credits} credits\nof a hold", 8));
        Assert.Contains("WRN", line, StringComparison.Ordinal);
        Assert.Contains("credits.release", line, StringComparison.Ordinal);
        Assert.Contains("Released 8 credits of a hold", line, StringComparison.Ordinal);
        Assert.Contains("(Category)", line, StringComparison.Ordinal);
        Assert.Equal(1, line.Count(character => character == '\n'));
    }

    [Theory]
    [InlineData("Development", ReadableLines.FormatterName)]
    [InlineData("Production", JsonLines.FormatterName)]
    public void Our_lines_stay_though_aspire_asks_for_the_frameworks(string environment, string formatter)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { EnvironmentName = environment });
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>(
            StringComparer.Ordinal)
        { ["Logging:Console:FormatterName"] = "simple" });
        builder.Logging.AddConfiguration(builder.Configuration.GetSection("Logging")).AddConsole(); // as a builder with its defaults has done by then
        builder.AddServiceDefaults();
        using var host = builder.Build();
        Assert.Equal(formatter, host.Services.GetRequiredService<IOptionsMonitor<ConsoleLoggerOptions>>().CurrentValue.FormatterName);
    }

    private static string Write(ConsoleFormatter formatter, Action<ILogger> log)
    {
        using var output = new StringWriter { NewLine = "\n" };
        log(new FormattingLogger(formatter, output));
        return output.ToString();
    }

    private sealed class FormattingLogger(ConsoleFormatter formatter, TextWriter output) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> write) =>
            formatter.Write(new LogEntry<TState>(logLevel, "Some.Category", eventId, state, exception, write), scopeProvider: null, output);
    }
}
