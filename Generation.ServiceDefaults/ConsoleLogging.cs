using System.Buffers;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Generation.ServiceDefaults;

internal static class ConsoleLogging
{
    /// <summary>
    /// One line an entry: for eyes in Development, JSON elsewhere. The framework's formatters print an event's number but
    /// not its name, and without scopes no trace id; both are what our logs are searched by.
    /// </summary>
    public static void AddConsoleLines(this IHostApplicationBuilder builder)
    {
        builder.Logging.ClearProviders();
        builder.Logging.AddConsoleFormatter<ReadableLines, ConsoleFormatterOptions>();
        builder.Logging.AddConsoleFormatter<JsonLines, ConsoleFormatterOptions>();
        builder.Logging.AddConsole(console =>
        {
            console.FormatterName = builder.Environment.IsDevelopment() ? ReadableLines.FormatterName : JsonLines.FormatterName;

            // A stalled reader of our output must not stall requests; the console reports how many lines it dropped.
            console.MaxQueueLength = 10_000;
            console.QueueFullMode = ConsoleLoggerQueueFullMode.DropWrite;
        });
    }
}

/// <summary>
/// <c>{"timestamp":"2026-01-31T09:30:00.123Z","level":"Information","event":"job.start","category":"…","message":"…","traceId":"…","spanId":"…","SessionId":"…","exception":"…"}</c>:
/// the message's named values stand as fields of their own, numbers and flags as such. A field named as one of ours gets a leading underscore.
/// </summary>
public sealed class JsonLines(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "generation-json";

    private static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly HashSet<string> OwnFields = ["timestamp", "level", "event", "category", "message", "traceId", "spanId", "exception"];

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer, WriterOptions))
        {
            json.WriteStartObject();
            json.WriteString("timestamp", time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'")); // fixed width: sorts as text
            json.WriteString("level", logEntry.LogLevel.ToString());
            if (logEntry.EventId.Name is { } eventName)
            {
                json.WriteString("event", eventName);
            }

            json.WriteString("category", logEntry.Category);
            json.WriteString("message", logEntry.Formatter(logEntry.State, logEntry.Exception));
            if (Activity.Current is { } activity)
            {
                json.WriteString("traceId", activity.TraceId.ToHexString());
                json.WriteString("spanId", activity.SpanId.ToHexString());
            }

            if (logEntry.State is IReadOnlyList<KeyValuePair<string, object?>> fields)
            {
                WriteFields(json, fields);
            }

            if (logEntry.Exception is { } exception)
            {
                json.WriteString("exception", exception.ToString());
            }

            json.WriteEndObject();
        }

        textWriter.WriteLine(Encoding.UTF8.GetString(buffer.WrittenSpan));
    }

    private static void WriteFields(Utf8JsonWriter json, IReadOnlyList<KeyValuePair<string, object?>> fields)
    {
        foreach (var (name, value) in fields)
        {
            if (name == "{OriginalFormat}")
            {
                continue;
            }

            json.WritePropertyName(OwnFields.Contains(name) ? "_" + name : name);
            switch (value)
            {
                case null: json.WriteNullValue(); break;
                case bool flag: json.WriteBooleanValue(flag); break;
                case int number: json.WriteNumberValue(number); break;
                case long number: json.WriteNumberValue(number); break;
                case decimal number: json.WriteNumberValue(number); break;
                case double number when double.IsFinite(number): json.WriteNumberValue(number); break;
                case DateTimeOffset moment: json.WriteStringValue(moment); break;
                default: json.WriteStringValue(Convert.ToString(value, CultureInfo.InvariantCulture)); break;
            }
        }
    }
}

/// <summary><c>09:30:00.123 INF job.start        Session 0199… on attempt 1  (Sessions.Claim)</c>; local time, for a person at a terminal.</summary>
public sealed class ReadableLines(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "generation-readable";

    // The console is redirected under Aspire, which understands colours and says so.
    private static readonly bool Colored =
        string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
        && (!Console.IsOutputRedirected || Environment.GetEnvironmentVariable("DOTNET_SYSTEM_CONSOLE_ALLOW_ANSI_COLOR_REDIRECTION") is "true" or "1");

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var (label, color) = logEntry.LogLevel switch
        {
            LogLevel.Trace => ("TRC", 90),
            LogLevel.Debug => ("DBG", 90),
            LogLevel.Information => ("INF", 32),
            LogLevel.Warning => ("WRN", 33),
            LogLevel.Error => ("ERR", 31),
            _ => ("CRT", 35),
        };
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception).ReplaceLineEndings(" ");
        var category = logEntry.Category[(logEntry.Category.LastIndexOf('.') + 1)..];
        textWriter.Write(Paint($"{time.GetLocalNow():HH:mm:ss.fff} ", 90));
        textWriter.Write(Paint(label, color));
        textWriter.Write($" {logEntry.EventId.Name ?? "",-18} {message}");
        textWriter.WriteLine(Paint($"  ({category})", 90));
        if (logEntry.Exception is { } exception && SettingsErrors.Sentences(exception).Count == 0) // they are told at the end
        {
            textWriter.WriteLine(exception);
        }
    }

    private static string Paint(string text, int color) => Colored ? $"\e[{color}m{text}\e[0m" : text;
}
