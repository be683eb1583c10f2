using System.Text;
using Generation.Core.Media;
using Generation.Worker.Calls;

namespace Generation.Tests.Calls;

/// <summary>The shapes in which providers write the same thing, and what comes out of the one reader for them.</summary>
public sealed class ProviderJsonTests
{
    [Theory]
    [InlineData("""{"x":"text"}""", "text")]
    [InlineData("""{"x":173296}""", "173296")]
    [InlineData("""{"x":173296234567890123456789}""", "173296234567890123456789")]
    [InlineData("""{"x":"a\u0000b\u0007c"}""", "abc")]
    [InlineData("""{"x":"a\ud83d"}""", "a\uFFFD")]
    [InlineData("""{"x":"\udc00\ud83d\ude00 \"\\\n"}""", "\uFFFD\U0001F600 \"\\\n")]
    [InlineData("""{"\ud800":1,"x":"beside a name that is broken"}""", "beside a name that is broken")]
    [InlineData("""{"x":"first","x":"last"}""", "last")]
    [InlineData("""{"x":"a",}""", "a")]
    [InlineData("\uFEFF{\"x\":\"behind a byte order mark\"}", "behind a byte order mark")]
    [InlineData("""[{"x":"in a list"}]""", "in a list")]
    [InlineData("""{"x":true}""", null)]
    [InlineData("""{"x":null}""", null)]
    [InlineData("""{"x":["a"]}""", null)]
    [InlineData("""{"y":"a"}""", null)]
    [InlineData("""[]""", null)]
    [InlineData("""{"x":"a""", null)]
    [InlineData("<html>", null)]
    [InlineData("", null)]
    public void A_text_comes_out_such_that_every_store_takes_it(string json, string? text) =>
        Assert.Equal(text, ProviderJson.Text(ProviderJson.Parse(json), "x"));

    [Fact]
    public void A_text_is_cut_between_characters()
    {
        var text = ProviderJson.Text(ProviderJson.Parse($$"""{"x":"{{new string('a', ProviderJson.MaxTextChars - 1)}}😀"}"""), "x")!;
        Assert.Equal(new string('a', ProviderJson.MaxTextChars - 1), text);
    }

    [Theory]
    [InlineData("200", 200L)]
    [InlineData("\"200\"", 200L)]
    [InlineData("\" 200 \"", 200L)]
    [InlineData("200.0", 200L)]
    [InlineData("2e2", 200L)]
    [InlineData("-7", -7L)]
    [InlineData("1.5", null)]
    [InlineData("\"many\"", null)]
    [InlineData("1e400", null)]
    [InlineData("9223372036854775808", null)]
    [InlineData("true", null)]
    [InlineData("null", null)]
    public void A_whole_number_may_be_written_in_several_ways(string json, long? number) =>
        Assert.Equal(number, ProviderJson.Whole(ProviderJson.Parse($$"""{"x":{{json}}}"""), "x"));

    [Theory]
    [InlineData("true", true)]
    [InlineData("\"true\"", true)]
    [InlineData("1", true)]
    [InlineData("false", false)]
    [InlineData("\"False\"", false)]
    [InlineData("2", null)]
    [InlineData("\"done\"", null)]
    public void A_flag_may_be_written_in_several_ways(string json, bool? flag) =>
        Assert.Equal(flag, ProviderJson.Flag(ProviderJson.Parse($$"""{"x":{{json}}}"""), "x"));

    [Theory]
    [InlineData("\"https://a.example/1.png\"", "https://a.example/1.png")]
    [InlineData("\" https:\\/\\/a.example\\/1.png\\n\"", "https://a.example/1.png")]
    [InlineData("\"//a.example/1.png\"", "https://a.example/1.png")]
    [InlineData("{\"url\":\"https://a.example/1.png\"}", "https://a.example/1.png")]
    [InlineData("[{\"url\":\"https://a.example/1.png\"}]", "https://a.example/1.png")]
    [InlineData("[null,\"https://a.example/1.png\",\"https://a.example/2.png\"]", "https://a.example/1.png")]
    [InlineData("{\"uri\":\"https://a.example/1.png\"}", "https://a.example/1.png")]
    [InlineData("\"https://a.example/\\ud800.png\"", "https://a.example/%EF%BF%BD.png")]
    [InlineData("\"data:image/png;base64,aGk=\"", "data:image/png;base64,aGk=")]
    [InlineData("\"file:///etc/passwd\"", null)]
    [InlineData("\"1.png\"", null)]
    [InlineData("7", null)]
    public void An_address_may_stand_in_several_places(string json, string? address) =>
        Assert.Equal(address, ProviderJson.Address(ProviderJson.Parse($$"""{"x":{{json}}}"""), "x")?.AbsoluteUri);

    [Theory]
    [InlineData("""{"x":{"y":"in"}}""")]
    [InlineData("""{"x":"{\"y\":\"in\"}"}""")]
    public void An_object_may_be_written_as_a_string(string json) =>
        Assert.Equal("in", ProviderJson.Text(ProviderJson.Child(ProviderJson.Parse(json), "x"), "y"));

    [Theory]
    [InlineData("[\"a\",\"b\"]", 2)]
    [InlineData("\"a\"", 1)]
    [InlineData("{}", 1)]
    [InlineData("null", 0)]
    [InlineData("7", 0)]
    public void A_single_item_counts_as_a_list(string json, int count) =>
        Assert.Equal(count, ProviderJson.Items(ProviderJson.Parse($$"""{"x":{{json}}}"""), "x").Count());

    [Theory]
    [InlineData("""{"a":1,"b":2}""", """{"a":1,"b":2}""")]
    [InlineData("""{"a":"1","b":2.0}""", """{"a":1,"b":2}""")]
    [InlineData("""{"a":-5,"b":2}""", """{"b":2,"ignored":{"a":"-5"}}""")]
    [InlineData("""{"a":9e18,"b":9000000000000000000}""", """{"ignored":{"a":"9e18","b":"9000000000000000000"}}""")]
    [InlineData("""{"a":1.5,"b":1e400}""", """{"ignored":{"a":"1.5","b":"1e400"}}""")]
    [InlineData("""{"a":null}""", null)]
    [InlineData("{}", null)]
    [InlineData("[]", null)]
    public void Usage_that_cannot_be_is_ignored_and_stays_on_record(string usage, string? counted) =>
        Assert.Equal(counted, ProviderJson.Usage(ProviderJson.Parse($$"""{"usage":{{usage}}}"""), "a", "b")?.ToJsonString());

    [Theory]
    [InlineData("12", """{"x":12}""")]
    [InlineData("0.5", """{"x":0.5}""")]
    [InlineData("\"12.5\"", """{"x":12.5}""")]
    [InlineData("1732962345678", """{"ignored":{"x":"1732962345678"}}""")] // a time, seen where credits should be
    [InlineData("-0.2", """{"ignored":{"x":"-0.2"}}""")]
    [InlineData("null", null)]
    public void An_amount_that_cannot_be_is_ignored_and_stays_on_record(string json, string? counted) =>
        Assert.Equal(counted, ProviderJson.UsageOfAmount(ProviderJson.Parse($$"""{"x":{{json}}}"""), "x")?.ToJsonString());

    [Theory]
    [InlineData("data:image/png;base64,aGVsbG8=", "hello")]
    [InlineData("data:image/png;base64,aGVsbG8", "hello")]
    [InlineData("data:image/png;base64,aGVs%0AbG8%3D", "hello")]
    [InlineData("data:,hel%6Co", "hello")]
    [InlineData("data:image/png;base64,&&&&", "")]
    [InlineData("data:nothing", "")]
    public void A_data_url_is_a_source_of_its_bytes(string url, string text)
    {
        var direct = Assert.IsType<MediaSource.Direct>(new ResultSource([]).Of(new Uri(url)));
        using var reader = new StreamReader(direct.Body);
        Assert.Equal(text, reader.ReadToEnd());
    }

    [Theory]
    [InlineData("", "aGVsbG8gd29ybGQ=")]
    [InlineData("data:image/png;base64,", "aGVsbG8gd29ybGQ=")]
    [InlineData("", "aGVsbG8gd29ybGQ")] // no padding
    [InlineData("", "aGVsbG8gd29ybGQ=\\n")]
    [InlineData("", "aGVsbG8g\\r\\nd29y\\u000abGQ=")]
    [InlineData("\\n", "aGVsbG8g d29y\tbGQ=")]
    [InlineData("", "aGVsbG8g\nd29ybGQ=")] // which JSON does not allow
    public async Task Base64_may_be_written_in_several_ways(string prefix, string text) =>
        Assert.Equal("hello world"u8.ToArray(), await MediaAsync($$"""{"x":"{{prefix}}{{text}}"}"""));

    [Fact]
    public async Task Base64_may_be_of_the_alphabet_for_addresses_and_in_lines()
    {
        var bytes = Enumerable.Range(0, 3_001).Select(i => (byte)(i * 251 >> 2)).ToArray();
        var plain = Convert.ToBase64String(bytes);
        var urls = plain.Replace('+', '-').Replace('/', '_').TrimEnd('=');
        var lines = string.Join("\\r\\n", plain.Chunk(76).Select(line => new string(line)));
        foreach (var text in new[] { plain, urls, lines, urls[..1000] + "\\n" + urls[1000..] })
        {
            Assert.Equal(bytes, await MediaAsync($$"""{"x":"{{text}}"}"""));
        }
    }

    [Theory]
    [InlineData("https://a.example/1.png")]
    [InlineData("HTTPS:\\/\\/a.example\\/1.png")]
    [InlineData("file:///etc/passwd")]
    [InlineData("/1.jpeg")]
    public async Task An_address_where_media_was_asked_for_stays_in_the_document(string address)
    {
        var rest = await MediaInJson.ReadAsync(
            Utf8($$"""{"x":"{{address}}"}"""), path => path == "x", (_, _) => throw new InvalidOperationException(), 1000, default);
        Assert.Equal(address.Replace("\\", "", StringComparison.Ordinal), ProviderJson.Text(rest, "x"));
    }

    [Fact]
    public async Task A_document_may_begin_with_a_byte_order_mark_and_hold_what_is_no_utf8()
    {
        byte[] json = [0xEF, 0xBB, 0xBF, .. "{\"x\":\"aGk=\",\"y\":\"a"u8, 0xFF, .. "\"}"u8];
        var media = Array.Empty<byte>();
        var rest = await MediaInJson.ReadAsync(
            new MemoryStream(json), path => path == "x", async (_, bytes) => media = await AllOf(bytes), 1000, default);
        Assert.Equal(("hi", "a\uFFFD"), (Encoding.UTF8.GetString(media), ProviderJson.Text(rest, "y")));
    }

    [Theory]
    [InlineData("data: one\n\ndata: two\n\n", "message:one|message:two")]
    [InlineData("\uFEFFdata: one\n\n", "message:one")]
    [InlineData("data:one\rdata:two\r\r", "message:one\ntwo")]
    [InlineData("event: a\r\ndata: one\r\n\r\ndata: two\r\n\r\n", "a:one|message:two")]
    [InlineData("event: a\ndata: one\ndata\ndata:  two\n\n", "a:one\n\n two")]
    [InlineData(": comment\nid: 7\nretry: 10\nevent: a\nx-a-field-with-a-long-name: 1\nnothing\ndata: one\nid: 8\n\n", "a:one")]
    [InlineData("event: a\n\ndata: one\n\n", "message:one")] // an event without data is none
    [InlineData("data: one", "message:one")] // the stream ends without the empty line
    [InlineData("data: one\n\ndata: [DONE]\n\ndata: two\n\n", "message:one")]
    [InlineData("", "")]
    public async Task Events_are_read_as_their_specification_says(string stream, string events)
    {
        foreach (var pieceBytes in new[] { 1, 1000 })
        {
            var seen = new List<string>();
            await ServerEvents.ReadAsync(
                new InPieces(Encoding.UTF8.GetBytes(stream), pieceBytes),
                async (name, data) =>
                {
                    seen.Add($"{name}:{Encoding.UTF8.GetString(await AllOf(data))}");
                    return true;
                },
                default);
            Assert.Equal(events, string.Join('|', seen));
        }
    }

    private static async Task<byte[]> MediaAsync(string json)
    {
        var media = Array.Empty<byte>();
        foreach (var pieceBytes in new[] { 1, 7, 1 << 20 })
        {
            await MediaInJson.ReadAsync(
                new InPieces(Encoding.UTF8.GetBytes(json), pieceBytes), path => path == "x", async (_, bytes) => media = await AllOf(bytes), 1000,
                default);
        }

        return media;
    }

    private static MemoryStream Utf8(string text) => new(Encoding.UTF8.GetBytes(text));

    private static async Task<byte[]> AllOf(Stream bytes)
    {
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all, 5);
        return all.ToArray();
    }

    private sealed class InPieces(byte[] bytes, int pieceBytes) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, pieceBytes)], cancellationToken);
    }
}
