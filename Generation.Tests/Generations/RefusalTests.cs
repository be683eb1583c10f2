using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>Every kind of bad input gets its status, a problem with a stable code, and leaves nothing behind.</summary>
public sealed class RefusalTests
{
    private const string Validation = "validation_failed";
    private const string Malformed = "malformed_json";

    // Body → status, code, the wrong fields.
    private static readonly Dictionary<string, (string Body, int Status, string Code, string Fields)> Bodies = new(StringComparer.Ordinal)
    {
        ["no body"] = ("", 400, Malformed, ""),
        ["half a body"] = ("""{"model":"seedream-4","params":{""", 400, Malformed, ""),
        ["two bodies"] = ("""{"model":"seedream-4","params":{"prompt":"x"}} {}""", 400, Malformed, ""),
        ["a comment"] = ("""{"model":"seedream-4",/* no */"params":{"prompt":"x"}}""", 400, Malformed, ""),
        ["an array"] = ("""[{"model":"seedream-4","params":{"prompt":"x"}}]""", 400, Malformed, ""),
        ["a string"] = ("\"seedream-4\"", 400, Malformed, ""),
        ["null"] = ("null", 400, Malformed, ""),
        ["deep nesting"] = ($$$"""{"model":"seedream-4","params":{"prompt":{{{new string('[', 5_000)}}}{{{new string(']', 5_000)}}}}}""", 400,
            Malformed, ""),
        ["U+0000 in a value"] = ("""{"model":"seedream-4","params":{"prompt":"a\u0000b"}}""", 400, Malformed, ""),
        ["U+0000 in a name"] = ("""{"model":"seedream-4","params":{"prompt":"a","b\u0000":1}}""", 400, Malformed, ""),
        ["half a surrogate pair in a value"] = ("""{"model":"seedream-4","params":{"prompt":"a\ud83d"}}""", 400, Malformed, ""),
        ["half a surrogate pair in a name"] = ("""{"model":"seedream-4","params":{"prompt":"a","\ude00":1}}""", 400, Malformed, ""),
        ["half a surrogate pair in the key"] = ("""{"model":"seedream-4","clientKey":"\ud83d","params":{"prompt":"a"}}""", 400, Malformed, ""),
        ["an empty object"] = ("{}", 400, Validation, "model params"),
        ["no model"] = ("""{"params":{"prompt":"x"}}""", 400, Validation, "model"),
        ["a number as model"] = ("""{"model":4,"params":{"prompt":"x"}}""", 400, Validation, "model"),
        ["an empty model"] = ("""{"model":"","params":{"prompt":"x"}}""", 400, Validation, "model"),
        ["an unknown model"] = ("""{"model":"seedream-5","params":{"prompt":"x"}}""", 404, "model_not_found", ""),
        ["a model in capitals"] = ("""{"model":"SEEDREAM-4","params":{"prompt":"x"}}""", 404, "model_not_found", ""),
        ["a retired model"] = ("""{"model":"seedream-3","params":{"prompt":"x"}}""", 410, "model_retired", ""),
        ["no params"] = ("""{"model":"seedream-4"}""", 400, Validation, "params"),
        ["params in an array"] = ("""{"model":"seedream-4","params":[{"prompt":"x"}]}""", 400, Validation, "params"),
        ["params as text"] = ("""{"model":"seedream-4","params":"prompt=x"}""", 400, Validation, "params"),
        ["a field outside of params"] = ("""{"model":"seedream-4","params":{"prompt":"x"},"n":2}""", 400, Validation, "n"),
        ["no prompt"] = ("""{"model":"seedream-4","params":{}}""", 400, Validation, "params.prompt"),
        ["a null prompt"] = ("""{"model":"seedream-4","params":{"prompt":null}}""", 400, Validation, "params.prompt"),
        ["an empty prompt"] = ("""{"model":"seedream-4","params":{"prompt":""}}""", 400, Validation, "params.prompt"),
        ["a blank prompt"] = ("""{"model":"seedream-4","params":{"prompt":" \n\t "}}""", 400, Validation, "params.prompt"),
        ["a number as prompt"] = ("""{"model":"seedream-4","params":{"prompt":7}}""", 400, Validation, "params.prompt"),
        ["a list of prompts"] = ("""{"model":"seedream-4","params":{"prompt":["x"]}}""", 400, Validation, "params.prompt"),
        ["too long a prompt"] = ($$$"""{"model":"seedream-4","params":{"prompt":"{{{new string('x', 4_001)}}}"}}""", 400, Validation,
            "params.prompt"),
        ["an unknown parameter"] = ("""{"model":"seedream-4","params":{"prompt":"x","steps":50}}""", 400, Validation, "params.steps"),
        ["another model's parameter"] = ("""{"model":"seedream-4.5","params":{"prompt":"x","optimize_prompt":"fast"}}""", 400, Validation,
            "params.optimize_prompt"),
        ["n of 0"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":0}}""", 400, Validation, "params.n"),
        ["n below 0"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":-1}}""", 400, Validation, "params.n"),
        ["n of 16"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":16}}""", 400, Validation, "params.n"),
        ["half an n"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":1.5}}""", 400, Validation, "params.n"),
        ["n as text"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":"2"}}""", 400, Validation, "params.n"),
        ["n beyond all numbers"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":1e999999}}""", 400, Validation, "params.n"),
        ["n beyond 64 bits"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":18446744073709551617}}""", 400, Validation, "params.n"),
        ["an unknown size"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"8K"}}""", 400, Validation, "params.size"),
        ["another model's size"] = ("""{"model":"seedream-4.5","params":{"prompt":"x","size":"1K"}}""", 400, Validation, "params.size"),
        ["too few pixels"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"959x960"}}""", 400, Validation, "params.size"),
        ["too many pixels"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"4097x4096"}}""", 400, Validation, "params.size"),
        ["too long a side"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"16384x1000"}}""", 400, Validation, "params.size"),
        ["a size that overflows"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"65536x65537"}}""", 400, Validation, "params.size"),
        ["a size with a sign"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"-2048x-2048"}}""", 400, Validation, "params.size"),
        ["a size with spaces"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":"2048 x 2048"}}""", 400, Validation, "params.size"),
        ["a size as number"] = ("""{"model":"seedream-4","params":{"prompt":"x","size":2048}}""", 400, Validation, "params.size"),
        ["watermark as text"] = ("""{"model":"seedream-4","params":{"prompt":"x","watermark":"yes"}}""", 400, Validation, "params.watermark"),
        ["an unknown choice"] = ("""{"model":"seedream-4","params":{"prompt":"x","optimize_prompt":"slow"}}""", 400, Validation,
            "params.optimize_prompt"),
        ["all of it"] = (
            """{"model":"seedream-4","extra":1,"clientKey":7,"params":{"size":"8K","n":99,"watermark":1,"optimize_prompt":[],"steps":2}}""", 400,
                Validation,
            "clientKey extra params.n params.optimize_prompt params.prompt params.size params.steps params.watermark"),
        ["a number as key"] = ("""{"model":"seedream-4","clientKey":5,"params":{"prompt":"x"}}""", 400, Validation, "clientKey"),
        ["an empty key"] = ("""{"model":"seedream-4","clientKey":"","params":{"prompt":"x"}}""", 400, Validation, "clientKey"),
        ["a key with a line break"] = ("""{"model":"seedream-4","clientKey":"a\nb","params":{"prompt":"x"}}""", 400, Validation, "clientKey"),
        ["a key beyond ASCII"] = ("""{"model":"seedream-4","clientKey":"schlüssel","params":{"prompt":"x"}}""", 400, Validation, "clientKey"),
        ["too long a key"] = ($$$"""{"model":"seedream-4","clientKey":"{{{new string('k', 201)}}}","params":{"prompt":"x"}}""", 400, Validation,
            "clientKey"),
        ["a name twice"] = ("""{"model":"seedream-4","params":{"prompt":"x","n":1,"n":15}}""", 400, Malformed, ""),
        ["a body of more than 256 KiB"] = ($$$"""{"model":"seedream-4","params":{"prompt":"{{{new string('x', 256 << 10)}}}"}}""", 413,
            "body_too_large", ""),
    };

    private static readonly Dictionary<string, (string Path, string Body, int Status, string Code, string Fields)> AliasBodies = new(
        StringComparer.Ordinal)
    {
        ["an unknown tool"] = ("/api/images/midjourney/generate", """{"prompt":"x"}""", 404, "tool_not_found", ""),
        ["a retired tool"] = ("/api/images/seedream3/generate", """{"prompt":"x"}""", 410, "model_retired", ""),
        ["a model of another tool"] = ("/api/images/seedream4/generate", """{"model":"seedream-3","prompt":"x"}""", 400, Validation, "model"),
        ["an unknown model"] = ("/api/image/generate", """{"model":"dall-e","prompt":"x"}""", 404, "model_not_found", ""),
        ["a number as model"] = ("/api/image/generate", """{"model":5,"prompt":"x"}""", 400, Validation, "model"),
        ["no prompt"] = ("/api/image/generate", "{}", 400, Validation, "params.prompt"),
        ["wrong flat parameters"] = ("/api/images/seedream4/generate", """{"size":"8K","n":99}""", 400, Validation,
            "params.n params.prompt params.size"),
        ["wrong nested parameters"] = ("/api/images/seedream4/generate", """{"params":{"size":"8K","n":99}}""", 400, Validation,
            "params.n params.prompt params.size"),
        ["nested and flat at once"] = ("/api/image/generate", """{"params":{"prompt":"x"},"n":4}""", 400, Validation, "n"),
        ["params in an array"] = ("/api/image/generate", """{"params":["x"]}""", 400, Validation, "params"),
        ["no JSON"] = ("/api/image/generate", "prompt=x", 400, Malformed, ""),
    };

    public static TheoryData<string> BodyNames => [.. Bodies.Keys];

    public static TheoryData<string> AliasBodyNames => [.. AliasBodies.Keys];

    [Theory]
    [MemberData(nameof(BodyNames))]
    public async Task A_bad_body_is_a_problem(string name)
    {
        var (body, status, code, fields) = Bodies[name];
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync(body);
        reply.AssertProblem((HttpStatusCode)status, code);
        Assert.Equal(fields, Fields(reply));
        await user.AssertNothingHappenedAsync();
    }

    [Theory]
    [MemberData(nameof(AliasBodyNames))]
    public async Task A_bad_body_of_an_alias_is_a_problem(string name)
    {
        var (path, body, status, code, fields) = AliasBodies[name];
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SendAsync(HttpMethod.Post, path, body);
        reply.AssertProblem((HttpStatusCode)status, code);
        Assert.Equal(fields, Fields(reply));
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task A_retired_model_names_its_replacement()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync("""{"model":"seedream-3","params":{"prompt":"x"}}""");
        Assert.Equal("seedream-4", (string?)reply.AssertProblem(HttpStatusCode.Gone, "model_retired").Body["successor"]);
    }

    [Fact]
    public async Task A_body_of_unknown_length_is_cut_at_256_KiB_too()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/api/generations") { Headers = { TransferEncodingChunked = true } };
        request.Content = new StringContent(Bodies["a body of more than 256 KiB"].Body, Encoding.UTF8, "application/json");
        var reply = await Reply.ReadAsync(await user.Http.SendAsync(request));
        reply.AssertProblem(HttpStatusCode.RequestEntityTooLarge, "body_too_large");
        await user.AssertNothingHappenedAsync();
    }

    [Theory]
    [InlineData("text/plain")]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("application/jsonp")]
    [InlineData(null)]
    public async Task What_is_not_JSON_is_415(string? contentType)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes("""{"model":"seedream-4","params":{"prompt":"x"}}"""));
        content.Headers.ContentType = contentType is null ? null : MediaTypeHeaderValue.Parse(contentType);
        var reply = await Reply.ReadAsync(await user.Http.PostAsync("/api/generations", content));
        reply.AssertProblem(HttpStatusCode.UnsupportedMediaType, "unsupported_media_type");
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task Bytes_that_are_not_UTF_8_are_malformed()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        byte[] body = [.. """{"model":"seedream-4","params":{"prompt":"caf"""u8, 0xE9, .. "\"}}"u8];
        using var content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };
        var reply = await Reply.ReadAsync(await user.Http.PostAsync("/api/generations", content));
        reply.AssertProblem(HttpStatusCode.BadRequest, Malformed);
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task A_header_key_and_a_client_key_that_differ_are_a_400()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync("""{"model":"seedream-4","clientKey":"one","params":{"prompt":"x"}}""", ("Idempotency-Key", "two"));
        reply.AssertProblem(HttpStatusCode.BadRequest, "idempotency_key_mismatch");
        await user.AssertNothingHappenedAsync();
    }

    [Theory]
    [InlineData(201)]
    [InlineData(0)]
    public async Task A_header_key_that_is_too_long_or_empty_is_a_400(int length)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x"}}""", ("Idempotency-Key", new string('k', length)));
        reply.AssertProblem(HttpStatusCode.BadRequest, Validation);
        Assert.Equal("Idempotency-Key", Fields(reply));
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task Two_keys_in_the_header_are_a_400_and_not_a_third_key()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        const string Body = """{"model":"seedream-4","params":{"prompt":"x"}}""";
        var api = user.Http.BaseAddress!;
        using var socket = new TcpClient(); // HttpClient would make one header of the two
        await socket.ConnectAsync(api.Host, api.Port);
        await socket.GetStream().WriteAsync(Encoding.ASCII.GetBytes(
            $"POST /api/generations HTTP/1.1\r\nHost: {api.Authority}\r\nAuthorization: Bearer {user.Key}\r\nContent-Type: application/json\r\n"
            + $"Idempotency-Key: one\r\nIdempotency-Key: two\r\nContent-Length: {Body.Length}\r\nConnection: close\r\n\r\n{Body}"));
        using var reader = new StreamReader(socket.GetStream());
        var answer = await reader.ReadToEndAsync();
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains("was sent 2 times: send it once", answer, StringComparison.Ordinal);
        await user.AssertNothingHappenedAsync();
    }

    [Theory]
    [InlineData("/api/admin/actions?user=%00")]
    [InlineData("/api/admin/dead-letters?code=a%00b")]
    [InlineData("/api/generations?status=%00")]
    public async Task A_query_that_the_database_cannot_hold_is_a_400(string path)
    {
        var admin = await (await ApiSystem.Queued).NewUserAsync(role: "admin");
        (await admin.GetAsync(path)).AssertProblem(HttpStatusCode.BadRequest, "malformed_request");
    }

    [Theory]
    [InlineData(null)]
    [InlineData("Bearer")]
    [InlineData("Bearer ")]
    [InlineData("Bearer gk_nobody")]
    [InlineData("Bearer {key}x")]
    [InlineData("Bearer x{key}")]
    [InlineData("Bearer {KEY}")]
    [InlineData("Basic {key}")]
    [InlineData("Basic dXNlcjpwYXNz")]
    [InlineData("{key}")]
    [InlineData("Bearer\t{key}")]
    [InlineData("Bearer {key}, Bearer {key}")]
    [InlineData("Bearer {long}")]
    public async Task Who_has_no_valid_key_gets_401(string? authorization)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        using var stranger = new HttpClient { BaseAddress = system.Apis[0].Address };
        foreach (var (method, path) in new[]
        {
            (HttpMethod.Post, "/api/generations"), (HttpMethod.Get, "/api/generations"), (HttpMethod.Get, $"/api/generations/{Guid.NewGuid()}"),
            (HttpMethod.Get, $"/api/generations/{Guid.NewGuid()}/events"), (HttpMethod.Post, $"/api/generations/{Guid.NewGuid()}/cancel"),
            (HttpMethod.Post, "/api/images/seedream4/generate"), (HttpMethod.Post, "/api/image/generate"),
                (HttpMethod.Get, $"/api/media/{Guid.NewGuid()}"),
            (HttpMethod.Get, "/api/models"), (HttpMethod.Get, "/api/credits"), (HttpMethod.Post, "/api/admin/mock-overrides"),
        })
        {
            using var request = new HttpRequestMessage(method, path);
            var value = authorization?.Replace("{key}", user.Key).Replace("{KEY}", user.Key.ToUpperInvariant())
                .Replace("{long}", new string('k', 5_000));
            if (value is not null)
            {
                request.Headers.TryAddWithoutValidation("Authorization", value);
            }

            var reply = await Reply.ReadAsync(await stranger.SendAsync(request));
            reply.AssertProblem(HttpStatusCode.Unauthorized, "unauthorized");
            Assert.Equal("Bearer", reply.Headers.WwwAuthenticate.ToString());
        }
    }

    [Fact]
    public async Task A_revoked_key_is_refused()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        (await user.GetAsync("/api/credits")).AssertStatus(HttpStatusCode.OK);
        await system.ExecuteAsync($"UPDATE api_keys SET revoked_at = now() WHERE user_id = '{user.UserId}'");
        (await user.GetAsync("/api/credits")).AssertProblem(HttpStatusCode.Unauthorized, "unauthorized");
        (await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x"}}""")).AssertProblem(HttpStatusCode.Unauthorized, "unauthorized");
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task The_scheme_of_a_key_may_be_written_as_one_likes()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        using var http = new HttpClient { BaseAddress = system.Apis[0].Address };
        using var request = new HttpRequestMessage(HttpMethod.Get, "/api/credits");
        request.Headers.TryAddWithoutValidation("Authorization", $"bEARER {user.Key}");
        (await Reply.ReadAsync(await http.SendAsync(request))).AssertStatus(HttpStatusCode.OK);
    }

    [Fact]
    public async Task A_frozen_account_is_refused()
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        await system.ExecuteAsync($"UPDATE credit_accounts SET frozen_at = now() WHERE user_id = '{user.UserId}'");
        (await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x"}}""")).AssertProblem(HttpStatusCode.Forbidden, "account_frozen");
        await user.AssertNothingHappenedAsync();
    }

    [Theory]
    [InlineData("GET", "/api/generations/not-an-id", 404, "not_found")]
    [InlineData("GET", "/api/generations/not-an-id/events", 404, "not_found")]
    [InlineData("POST", "/api/generations/not-an-id/cancel", 404, "not_found")]
    [InlineData("GET", "/api/generations/00000000-0000-0000-0000-000000000000", 404, "not_found")]
    [InlineData("GET", "/api/generations/00000000-0000-0000-0000-000000000000/events", 404, "not_found")]
    [InlineData("POST", "/api/generations/00000000-0000-0000-0000-000000000000/cancel", 404, "not_found")]
    [InlineData("GET", "/api/media/00000000-0000-0000-0000-000000000000", 404, "not_found")]
    [InlineData("GET", "/api/media/not-an-id", 404, "not_found")]
    [InlineData("GET", "/api/nothing", 404, "not_found")]
    [InlineData("DELETE", "/api/generations", 405, "method_not_allowed")]
    [InlineData("PUT", "/api/credits", 405, "method_not_allowed")]
    [InlineData("GET", "/api/generations?limit=0", 400, Validation)]
    [InlineData("GET", "/api/generations?limit=101", 400, Validation)]
    [InlineData("GET", "/api/generations?limit=ten", 400, Validation)]
    [InlineData("GET", "/api/generations?limit=", 400, Validation)]
    [InlineData("GET", "/api/generations?cursor=garbage", 400, Validation)]
    [InlineData("GET", "/api/generations?cursor=';DROP%20TABLE%20users;--", 400, Validation)]
    [InlineData("GET", "/api/generations?status=running", 400, Validation)]
    [InlineData("GET", "/api/generations?status=running&limit=0&cursor=x", 400, Validation)]
    public async Task A_bad_address_is_a_problem(string method, string path, int status, string code)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SendAsync(new HttpMethod(method), path, null, (
            "Accept", path.EndsWith("/events", StringComparison.Ordinal) ? "text/event-stream" : "*/*"));
        reply.AssertProblem((HttpStatusCode)status, code);
        if (status == 400)
        {
            Assert.Equal(string.Join(' ', path.Split('?')[1].Split('&').Select(p => p.Split('=')[0]).Order()), Fields(reply));
        }
    }

    [Fact]
    public async Task Only_an_admin_gets_mock_overrides()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        (await user.SendAsync(HttpMethod.Post, "/api/admin/mock-overrides")).AssertProblem(HttpStatusCode.Forbidden, "forbidden");
    }

    private static string Fields(Reply reply) => string.Join(' ', (reply.Body["errors"]?.AsObject() ?? []).Select(e => e.Key)
        .Order(StringComparer.Ordinal));
}
