using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Generation.Tests.Harness;

/// <summary>A span as a collector gets it.</summary>
/// <param name="Service">The resource's name.</param>
/// <param name="Name">Of the span.</param>
/// <param name="Kind">1 internal, 2 server, 3 client, 4 producer, 5 consumer.</param>
/// <param name="TraceId">Hex.</param>
/// <param name="SpanId">Hex.</param>
/// <param name="ParentId">Hex; empty for a root.</param>
/// <param name="IsError">Its status.</param>
/// <param name="Tags">Values as text.</param>
/// <param name="Links">Trace and span.</param>
/// <param name="Events">Their names.</param>
public sealed record CollectedSpan(
    string Service, string Name, int Kind, string TraceId, string SpanId, string ParentId, bool IsError,
    IReadOnlyDictionary<string, string> Tags, IReadOnlyList<(string TraceId, string SpanId)> Links, IReadOnlyList<string> Events)
{
    public string? this[string tag] => Tags.GetValueOrDefault(tag);

    public string? Session => this["generation.session.id"];
}

/// <summary>A collector of OTLP over HTTP: what services of their own processes export, read from the wire.</summary>
public sealed class TestCollector : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly ConcurrentQueue<CollectedSpan> spans = new();

    private TestCollector(WebApplication app) => this.app = app;

    public Uri Address => new(app.Urls.Single());

    public IReadOnlyList<CollectedSpan> Spans => [.. spans];

    public static async Task<TestCollector> StartAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        var collector = new TestCollector(builder.Build());
        collector.app.Run(collector.ReceiveAsync);
        await collector.app.StartAsync();
        return collector;
    }

    /// <summary>What a service needs to know to export to it, often and in the sampling that Aspire asks for.</summary>
    public void Configure(IDictionary<string, string> settings)
    {
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = Address.ToString();
        settings["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf";
        settings["OTEL_BSP_SCHEDULE_DELAY"] = "200";
        settings["OTEL_TRACES_SAMPLER"] = "always_on";
    }

    /// <summary>Waits until what has come satisfies a condition, and returns all of it.</summary>
    public async Task<IReadOnlyList<CollectedSpan>> UntilAsync(
        Func<IReadOnlyList<CollectedSpan>, bool> condition, Func<CollectedSpan, bool>? shown = null)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var all = Spans;
            if (condition(all))
            {
                return all;
            }

            Assert.True(
                TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(60),
                "It did not come. There is:\n" + string.Join('\n', all.Where(shown ?? (_ => true))
                    .Select(s => $"{s.Service} {s.TraceId} {s.Name} {string.Join(", ", s.Tags.Select(t => $"{t.Key}={t.Value}"))}")));
            await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync();
        await app.DisposeAsync();
    }

    private async Task ReceiveAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        if (context.Request.Path == "/v1/traces")
        {
            foreach (var span in Read(body.ToArray()))
            {
                spans.Enqueue(span);
            }
        }

        context.Response.ContentType = "application/x-protobuf";
    }

    /// <summary>ExportTraceServiceRequest of opentelemetry-proto, by its field numbers.</summary>
    private static IEnumerable<CollectedSpan> Read(ReadOnlyMemory<byte> request)
    {
        foreach (var resource in All(Fields(request), 1))
        {
            var service = All(Fields(resource), 1).SelectMany(r => All(Fields(r), 1)).Select(Tag).FirstOrDefault(t => t.Key == "service.name").Value
                ?? "";
            foreach (var span in All(Fields(resource), 2).SelectMany(scope => All(Fields(scope), 2)).Select(Fields))
            {
                yield return new CollectedSpan(
                    service, Text(span, 5), (int)span.FirstOrDefault(f => f.Number == 6).Value, Hex(span, 1), Hex(span, 2), Hex(span, 4),
                    All(span, 15).Any(status => Fields(status).Any(f => f is { Number: 3, Value: 2 })),
                    All(span, 9).Select(Tag).DistinctBy(t => t.Key, StringComparer.Ordinal)
                        .ToDictionary(t => t.Key, t => t.Value, StringComparer.Ordinal),
                    [.. All(span, 13).Select(Fields).Select(link => (Hex(link, 1), Hex(link, 2)))],
                    [.. All(span, 11).Select(e => Text(Fields(e), 2))]);
            }
        }
    }

    private static (string Key, string Value) Tag(ReadOnlyMemory<byte> pair)
    {
        var fields = Fields(pair);
        var value = All(fields, 2).SelectMany(Fields).FirstOrDefault();
        return (Text(fields, 1), value.Number switch
        {
            1 => Encoding.UTF8.GetString(value.Bytes.Span),
            2 => value.Value == 1 ? "true" : "false",
            3 => ((long)value.Value).ToString(),
            4 => BitConverter.UInt64BitsToDouble(value.Value).ToString(),
            _ => "",
        });
    }

    private static IEnumerable<ReadOnlyMemory<byte>> All(IEnumerable<Field> fields, int number) =>
        fields.Where(f => f.Number == number).Select(f => f.Bytes);

    private static string Text(IEnumerable<Field> fields, int number) => Encoding.UTF8.GetString(All(fields, number).FirstOrDefault().Span);

    private static string Hex(IEnumerable<Field> fields, int number) => Convert.ToHexStringLower(All(fields, number).FirstOrDefault().Span);

    private static List<Field> Fields(ReadOnlyMemory<byte> message)
    {
        var fields = new List<Field>();
        var at = 0;
        while (at < message.Length)
        {
            var key = Varint(message.Span, ref at);
            var number = (int)(key >> 3);
            switch (key & 7)
            {
                case 0:
                    fields.Add(new Field(number, Varint(message.Span, ref at), default));
                    break;
                case 1:
                    fields.Add(new Field(number, BinaryPrimitives.ReadUInt64LittleEndian(message.Span[at..]), default));
                    at += 8;
                    break;
                case 2:
                    var length = (int)Varint(message.Span, ref at);
                    fields.Add(new Field(number, 0, message.Slice(at, length)));
                    at += length;
                    break;
                case 5:
                    fields.Add(new Field(number, BinaryPrimitives.ReadUInt32LittleEndian(message.Span[at..]), default));
                    at += 4;
                    break;
                default:
                    throw new FormatException($"Wire type {key & 7}.");
            }
        }

        return fields;
    }

    private static ulong Varint(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (var shift = 0; ; shift += 7)
        {
            var next = bytes[at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }
    }

    private readonly record struct Field(int Number, ulong Value, ReadOnlyMemory<byte> Bytes);
}
