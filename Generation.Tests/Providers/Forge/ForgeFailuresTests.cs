using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Generation.Core.Providers;
using Generation.Worker.Providers.Forge;

namespace Generation.Tests.Providers.Forge;

/// <summary>Every error that a WebUI documents, in both of its dialects, and what follows from it.</summary>
public sealed class ForgeFailuresTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 22, 7, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(400, """{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}""", FailureKind.InvalidRequest,
        "forge.sampler_not_found")]
    [InlineData(400, """{"detail":"Sampler not found"}""", FailureKind.InvalidRequest, "forge.sampler_not_found")]
    [InlineData(404, """{"error":"HTTPException","detail":"Sampler not found","body":"","errors":""}""", FailureKind.InvalidRequest,
        "forge.sampler_not_found")]
    [InlineData(401, """{"error":"HTTPException","detail":"Incorrect username or password","body":"","errors":""}""", FailureKind.Unauthorized,
        "forge.unauthorized")]
    [InlineData(401, """{"detail":"Not authenticated"}""", FailureKind.Unauthorized, "forge.unauthorized")]
    [InlineData(404, """{"error":"HTTPException","detail":"Init image not found","body":"","errors":""}""", FailureKind.InvalidRequest,
        "forge.init_image_not_found")]
    [InlineData(404, """{"error":"HTTPException","detail":"Model not found","body":"","errors":""}""", FailureKind.Unauthorized,
        "forge.model_not_found")]
    [InlineData(404, """{"detail":"Not Found"}""", FailureKind.Unauthorized, "forge.no_route")]
    [InlineData(405, """{"detail":"Method Not Allowed"}""", FailureKind.Unauthorized, "forge.no_route")]
    [InlineData(422, """{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}""",
        FailureKind.InvalidRequest, "forge.validation")]
    [InlineData(422, """{"error":"HTTPException","detail":"Script 'xyz' not found","body":"","errors":""}""", FailureKind.InvalidRequest,
        "forge.script_not_found")]
    [InlineData(500, """{"error":"OutOfMemoryError","detail":"","body":"","errors":"CUDA out of memory. Tried to allocate 2.25 GiB."}""",
        FailureKind.RateLimited, "forge.out_of_memory")]
    [InlineData(500, """{"error":"RuntimeError","detail":"","body":"","errors":"CUDA out of memory. Tried to allocate 20.00 MiB"}""",
        FailureKind.RateLimited, "forge.out_of_memory")]
    [InlineData(500, """{"error":"RuntimeError","detail":"","body":"","errors":"model 'gone' not found"}""", FailureKind.Unauthorized,
        "forge.model_not_found")]
    [InlineData(500, """{"error":"RuntimeError","detail":"","body":"","errors":"CUDA error: an illegal memory access was encountered"}""",
        FailureKind.Unavailable, "forge.exception")]
    [InlineData(500, """{"error":"NansException","detail":"","body":"","errors":"A tensor with all NaNs was produced in Unet."}""",
        FailureKind.Unavailable, "forge.exception")]
    [InlineData(500, "Internal Server Error", FailureKind.Unavailable, "forge.exception")]
    [InlineData(302, "", FailureKind.Unauthorized, "http.302")]
    [InlineData(403, "<html>", FailureKind.Unauthorized, "forge.forbidden")]
    [InlineData(408, "", FailureKind.Unavailable, "forge.gateway")]
    [InlineData(413, "<html>", FailureKind.InvalidRequest, "forge.too_large")]
    [InlineData(418, "", FailureKind.InvalidRequest, "http.418")]
    [InlineData(429, "", FailureKind.RateLimited, "forge.gateway_busy")]
    [InlineData(502, "<html>", FailureKind.Unavailable, "forge.gateway")]
    [InlineData(503, "no healthy upstream", FailureKind.Unavailable, "forge.gateway")]
    [InlineData(504, "", FailureKind.Unavailable, "forge.gateway")]
    [InlineData(507, "", FailureKind.Unavailable, "http.507")]
    public void Every_documented_error_is_sorted_by_its_status_and_words(int status, string body, FailureKind kind, string code)
    {
        var failure = Sort(status, body);

        Assert.Equal((kind, code), (failure.Kind, failure.ProviderCode));
    }

    [Fact]
    public void Nothing_that_a_WebUI_says_is_of_unknown_outcome()
    {
        for (var status = 300; status < 600; status++)
        {
            Assert.NotEqual(FailureKind.OutcomeUnknown, Sort(status, "").Kind);
        }
    }

    [Theory]
    [InlineData(401, """{"detail":"Not authenticated"}""", "Providers:Forge:ApiAuth")]
    [InlineData(404, """{"detail":"Not Found"}""", "--api")]
    [InlineData(500, """{"error":"RuntimeError","detail":"","body":"","errors":"model 'gone' not found"}""", "Providers:Forge:Models")]
    [InlineData(422, """{"detail":[{"loc":["body","steps"],"msg":"value is not a valid integer","type":"type_error.integer"}]}""",
        "body.steps: value is not a valid integer")]
    [InlineData(502, "<html><body>a page</body></html>", "502 without words of a WebUI (text/html).")]
    public void The_detail_says_what_was_said_and_where_to_look(int status, string body, string part) =>
        Assert.Contains(part, Sort(status, body).Detail, StringComparison.Ordinal);

    [Fact]
    public void A_text_of_any_length_leaves_a_short_detail() =>
        Assert.InRange(Sort(500, $$"""{"error":"RuntimeError","errors":"{{new string('x', 100_000)}}"}""").Detail.Length, 400, 700);

    [Theory]
    [InlineData("7", 7)]
    [InlineData("86400", 600)]
    [InlineData("soon", null)]
    public void A_gateways_Retry_After_is_honoured_up_to_ten_minutes(string header, int? seconds)
    {
        Assert.Equal(seconds, (int?)Sort(503, "", header).RetryAfter?.TotalSeconds);
        Assert.Null(Sort(401, "", header).RetryAfter);
    }

    [Theory]
    [InlineData("")]
    [InlineData(null)]
    [InlineData("Internal Server Error")]
    [InlineData("<html></html>")]
    [InlineData("""{"detail":"Sampler not""")]
    [InlineData("""["detail"]""")]
    [InlineData("""{"message":"no route"}""")]
    public void A_body_in_other_words_holds_no_error_of_a_WebUI(string? body) => Assert.Null(ForgeError.In(body));

    [Theory]
    [InlineData("""{"detail":7,"error":null}""", "", "7", "")]
    [InlineData("""{"detail":[]}""", "", "", "")]
    [InlineData("""{"error":"E","errors":"\ud800"}""", "E", "", "\uFFFD")]
    [InlineData("""{"error":"E","detail":"d","errors":"t"}""", "E", "d", "t")]
    public void An_error_is_read_from_whatever_part_of_it_came(string body, string exception, string detail, string text) =>
        Assert.Equal(new ForgeError(exception, detail, text), ForgeError.In(body));

    private static Failure Sort(int status, string body, string? retryAfter = null)
    {
        using var response = new HttpResponseMessage((HttpStatusCode)status)
        {
            Content = new StringContent(
            body, Encoding.UTF8, new MediaTypeHeaderValue(body.StartsWith('<') ? "text/html" : "text/plain"))
        };
        if (retryAfter is not null)
        {
            response.Headers.TryAddWithoutValidation("Retry-After", retryAfter);
        }

        return ForgeFailures.Of(response, body, Now);
    }
}
