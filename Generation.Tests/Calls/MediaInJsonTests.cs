using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Worker.Calls;

namespace Generation.Tests.Calls;

public sealed class MediaInJsonTests
{
    private const int MaxRest = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(1 << 20)]
    public async Task Media_comes_out_as_it_went_in_however_the_answer_is_cut_into_pieces(int pieceBytes)
    {
        var pictures = new[] { 0, 1, 2, 3, 100, 20_000 }.Select(RandomNumberGenerator.GetBytes).ToArray();
        var answer = new JsonObject
        {
            ["created"] = 7,
            ["data"] = new JsonArray([.. pictures.Select(p => (
                JsonNode)new JsonObject { ["b64_json"] = Convert.ToBase64String(p), ["size"] = "a \"quoted\" \\ one" })]),
            ["usage"] = new JsonObject { ["total_tokens"] = 3, ["empty"] = new JsonArray(), ["none"] = null },
        };
        var read = new Dictionary<string, byte[]>();
        var rest = await MediaInJson.ReadAsync(
            new InPieces(Encoding.UTF8.GetBytes(answer.ToJsonString()), pieceBytes), IsMedia, async (path, bytes) =>
                read[path] = await AllOf(bytes), MaxRest, Token);

        for (var i = 0; i < pictures.Length; i++)
        {
            Assert.Equal(pictures[i], read[$"data[{i}].b64_json"]);
            answer["data"]![i]!["b64_json"] = "";
        }

        Assert.True(JsonElement.DeepEquals(JsonElement.Parse(answer.ToJsonString()), rest), rest.ToString());
    }

    [Fact]
    public async Task Escaped_letters_and_a_data_uri_are_understood()
    {
        var rest = "";
        var bytes = new byte[] { 0xFB, 0xFF, 0xBF, 0xFE };
        var text = Convert.ToBase64String(bytes).Replace("+", @"\u002B", StringComparison.Ordinal).Replace("/", @"\/", StringComparison.Ordinal);
        await MediaInJson.ReadAsync(
            Utf8($$"""{"live_preview":"data:image/png;base64,{{text}}"}"""), path => path == "live_preview",
            async (_, media) => rest = Convert.ToHexString(await AllOf(media)), MaxRest, Token);
        Assert.Equal("FBFFBFFE", rest);
    }

    [Fact]
    public async Task What_is_not_read_is_skipped()
    {
        var rest = await MediaInJson.ReadAsync(
            Utf8($$"""{"images":["{{new string('A', 100_000)}}","AAAA"],"info":"x"}"""), path => path.StartsWith("images[", StringComparison.Ordinal),
            (_, _) => Task.CompletedTask, MaxRest, Token);
        Assert.Equal("""{"images":["",""],"info":"x"}""", rest.GetRawText());
    }

    [Theory]
    [InlineData("""{"a":1""", typeof(EndOfStreamException))]
    [InlineData("""{"data":[{"b64_json":"AAAA""", typeof(EndOfStreamException))]
    [InlineData("""{"data":[{"b64_json":"A*AA"}]}""", typeof(FormatException))]
    [InlineData("""{"data":[{"b64_json":"AA==AAAA"}]}""", typeof(FormatException))]
    [InlineData("""{"data":[{"b64_json":"AAAAA"}]}""", typeof(FormatException))]
    [InlineData("""[1,2]""", typeof(FormatException))]
    [InlineData("""{"a":nothing}""", typeof(FormatException))]
    [InlineData("""{"a" 1}""", typeof(FormatException))]
    [InlineData("""<html>""", typeof(FormatException))]
    [InlineData("", typeof(EndOfStreamException))]
    public async Task A_broken_answer_is_an_error_of_its_kind(string answer, Type error)
    {
        var thrown = await Record.ExceptionAsync(() => MediaInJson.ReadAsync(
            Utf8(answer), IsMedia, async (_, media) => await AllOf(media), MaxRest, Token));
        Assert.IsType(error, thrown);
    }

    [Fact]
    public async Task An_answer_that_is_long_or_deep_beside_its_media_is_refused()
    {
        await Assert.ThrowsAsync<FormatException>(() => MediaInJson.ReadAsync(
            Utf8($$"""{"a":"{{new string('x', MaxRest)}}"}"""), IsMedia, (_, _) => Task.CompletedTask, MaxRest, Token));
        await Assert.ThrowsAsync<FormatException>(() => MediaInJson.ReadAsync(
            Utf8("{\"a\":" + new string('[', 100)), IsMedia, (_, _) => Task.CompletedTask, MaxRest, Token));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1 << 20)]
    public async Task Events_come_with_their_names_until_the_stream_says_that_it_is_done(int pieceBytes)
    {
        var picture = RandomNumberGenerator.GetBytes(30_000);
        var events = $": a comment\r\nevent: one\r\ndata: {{\"b\":\"{Convert.ToBase64String(picture)}\"}}\r\n\r\ndata:{{\"b\":\"\"}}\n\nevent: "
            + "two\ndata: {}\n\ndata: [DONE]\n\ndata: {}\n\n";
        var seen = new List<(string, byte[])>();
        await ServerEvents.ReadAsync(
            new InPieces(Encoding.UTF8.GetBytes(events), pieceBytes),
            async (name, data) =>
            {
                byte[] media = [];
                await MediaInJson.ReadAsync(data, path => path == "b", async (_, bytes) => media = await AllOf(bytes), MaxRest, Token);
                seen.Add((name, media));
                return true;
            }, Token);
        Assert.Equal(["one", "message", "two"], seen.Select(s => s.Item1));
        Assert.Equal(picture, seen[0].Item2);
    }

    [Fact]
    public async Task A_reader_that_has_seen_enough_stops()
    {
        var seen = 0;
        await ServerEvents.ReadAsync(Utf8("data: {}\n\ndata: {}\n\n"), (_, _) => Task.FromResult(++seen < 1), Token);
        Assert.Equal(1, seen);
    }

    private static bool IsMedia(string path) => path.EndsWith(".b64_json", StringComparison.Ordinal);

    private static MemoryStream Utf8(string text) => new(Encoding.UTF8.GetBytes(text));

    private static async Task<byte[]> AllOf(Stream bytes)
    {
        using var all = new MemoryStream();
        await bytes.CopyToAsync(all, 5, Token);
        return all.ToArray();
    }

    private sealed class InPieces(byte[] bytes, int pieceBytes) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, pieceBytes)], cancellationToken);
    }
}
