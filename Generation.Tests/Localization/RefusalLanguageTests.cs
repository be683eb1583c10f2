using System.Net;
using System.Text.RegularExpressions;
using Generation.Core.Localization;
using Generation.Tests.Harness;
using Generation.Tests.Tidy;

namespace Generation.Tests.Localization;

/// <summary>A refusal comes in the language that is asked for, as a failure does; its code and its fields are the same in all of them.</summary>
public sealed partial class RefusalLanguageTests
{
    private const string Turkish = "tr-TR,tr;q=0.9,en;q=0.5";

    /// <summary>Texts that no user reads: for logs, headers, the audit, and exceptions.</summary>
    private static readonly HashSet<string> NotForUsers = new(StringComparer.Ordinal)
    {
        "{0} {1}", "A token that runs requests {0} was issued.", "ElevenLabs did not answer within {0}.", "ElevenLabs could not be read: {0}",
        "{0}event: {1}\\ndata: {2}\\n\\n", "</api/models#{0}>; rel=\"successor-version\"", "Redrive of {0} dead letters.",
        "private, max-age={0}, immutable", "'{0}' is not a media key.", "{0} names {1}, which cannot be loaded: {2}",
    };

    [Fact]
    public void Every_sentence_of_a_refusal_has_its_Turkish_and_none_is_left_over()
    {
        var said = SourcesThatRefuse().SelectMany(file => Formats(TidyTests.Read(file)))
            .Where(format => format.Contains(' ', StringComparison.Ordinal)).Except(NotForUsers, StringComparer.Ordinal)
            .Order(StringComparer.Ordinal).ToList();
        Assert.Equal(said, Refusals.InTurkish.Keys.Order(StringComparer.Ordinal));
        Assert.All(Refusals.InTurkish, words =>
        {
            Assert.NotEqual(words.Key, words.Value);
            Assert.Equal(Holes(words.Key), Holes(words.Value));
            Assert.Equal(words.Key.EndsWith('.'), words.Value.EndsWith('.'));
        });
    }

    [Fact]
    public void No_field_error_passes_by_the_table() => TidyTests.Empty(
        from file in SourcesThatRefuse()
        from match in UntranslatedError().Matches(TidyTests.Read(file))
        select $"{file}: {match.Value}", "Say it with Refusals.Say($\"…\"), so that it is translated.");

    [Fact]
    public void A_sentence_is_said_in_the_language_of_the_request()
    {
        var sentence = Sentence($"must be a whole number from {1} to {2_000:N0}");
        Assert.Equal("must be a whole number from {0} to {1}", sentence.Format);
        Assert.Equal("must be a whole number from 1 to 2,000", sentence.In("en"));
        Assert.Equal("1 ile 2,000 arasında bir tam sayı olmalı", sentence.In("tr"));
        Assert.Equal("{0} 7", Sentence($"{{0}} {7}").In("tr"));
    }

    public static TheoryData<string, string, string?, int, string, string> Requests => new()
    {
        { "POST", "/api/generations", """{"model":"seedream-4","params":{"size":"8K","n":99}}""", 400, "validation_failed", "3 alan geçerli değil:" },
        { "POST", "/api/generations", "{", 400, "malformed_json", "Gövde geçerli JSON değil" },
        { "POST", "/api/generations", """{"model":"nobody","params":{}}""", 404, "model_not_found", "'nobody' adlı bir model yok." },
        { "POST", "/api/generations", """{"model":"seedream-3","params":{"prompt":"x"}}""", 410, "model_retired", "seedream-3 artık sunulmuyor." },
        { "POST", "/api/generations", """{"model":"seedream-4","params":{"prompt":"x","n":15}}""", 402, "insufficient_credits", "60 kredi gerekli" },
        { "GET", "/api/generations/00000000-0000-0000-0000-000000000000", null, 404, "not_found", "Böyle bir üretim yok" },
        { "GET", "/api/nothing", null, 404, "not_found", "/api/nothing adresinde bir şey yok." },
        { "DELETE", "/api/generations", null, 405, "method_not_allowed", "yöntemini kabul etmez" },
        { "GET", "/api/admin/actions", null, 403, "forbidden", "admin rolü gerekli" },
        { "GET", "/api/voices?refresh=x", null, 400, "refused", "İstek 400 ile reddedildi." },
    };

    [Theory]
    [MemberData(nameof(Requests))]
    public async Task A_refusal_speaks_Turkish_to_who_asks_for_it(string method, string path, string? body, int status, string code, string words)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 10);
        var reply = await user.SendAsync(new HttpMethod(method), path, body, ("Accept-Language", Turkish));
        Assert.Contains(words, (string?)reply.AssertProblem((HttpStatusCode)status, code).Body["detail"], StringComparison.Ordinal);
        Assert.Contains("Accept-Language", reply.Headers.Vary);
        var english = (await user.SendAsync(new HttpMethod(method), path, body)).AssertProblem((HttpStatusCode)status, code);
        Assert.DoesNotContain(words, (string?)english.Body["detail"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Each_field_error_is_translated_too()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync("""{"model":"seedream-4","params":{"size":"8K","n":99}}""", ("Accept-Language", "tr"));
        var errors = reply.AssertProblem(HttpStatusCode.BadRequest, "validation_failed").Body["errors"]!;
        Assert.Equal("zorunludur", (string?)errors["params.prompt"]![0]);
        Assert.Equal("1 ile 15 arasında bir tam sayı olmalı", (string?)errors["params.n"]![0]);
        Assert.StartsWith("1K, 2K, 4K ya da piksel olarak", (string?)errors["params.size"]![0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_402_for_what_running_jobs_hold_is_translated_too()
    {
        var user = await (await ApiSystem.Queued).NewUserAsync(credits: 12);
        await user.AcceptedAsync();
        await user.AcceptedAsync();
        var reply = await user.SubmitAsync("""{"model":"seedream-4","params":{"prompt":"x","n":2}}""", ("Accept-Language", "tr"));
        var held = reply.AssertProblem(HttpStatusCode.PaymentRequired, "insufficient_credits").Body;
        Assert.Equal("held", (string?)held["reason"]);
        Assert.Contains("8 kredi daha süren 2 iş için ayrılmış", (string?)held["detail"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_has_no_key_is_told_so_in_Turkish()
    {
        using var nobody = new HttpClient { BaseAddress = (await ApiSystem.Queued).Apis[0].Address };
        nobody.DefaultRequestHeaders.Add("Accept-Language", "tr");
        using var response = await nobody.GetAsync("/api/credits");
        Assert.Equal(["tr"], response.Content.Headers.ContentLanguage);
        Assert.False(response.Headers.Contains("Server"));
        var reply = await Reply.ReadAsync(response);
        Assert.StartsWith("API anahtarınızı gönderin", (string?)reply.AssertProblem(HttpStatusCode.Unauthorized, "unauthorized").Body["detail"],
            StringComparison.Ordinal);
    }

    private static Sentence Sentence(Sentence sentence) => sentence;

    private static IEnumerable<string> SourcesThatRefuse() => TidyTests.Sources.Where(file =>
        file.StartsWith("Generation.Api/", StringComparison.Ordinal) || file.StartsWith("Generation.Core/Catalog/", StringComparison.Ordinal));

    private static List<string> Holes(string format) => [.. Hole().Matches(format).Select(hole => hole.Value).Order(StringComparer.Ordinal)];

    /// <summary>The composite formats of a file's interpolated strings; those that are joined by a plus are one.</summary>
    private static IEnumerable<string> Formats(string source)
    {
        for (var at = source.IndexOf("$\"", StringComparison.Ordinal); at >= 0; at = source.IndexOf("$\"", at, StringComparison.Ordinal))
        {
            if (source.AsSpan(at).StartsWith("$\"\"\""))
            {
                at += 4;
                continue;
            }

            var (format, holes) = ("", 0);
            while (true)
            {
                (var part, at) = ReadOne(source, at + 2, ref holes);
                format += part;
                if (Plus().Match(source, at) is not { Success: true } plus)
                {
                    break;
                }

                at = plus.Index + plus.Length - 2;
            }

            yield return format;
        }
    }

    private static (string Format, int End) ReadOne(string source, int at, ref int holes)
    {
        var format = "";
        for (; source[at] != '"'; at++)
        {
            if (source[at] == '\\' && source[at + 1] == '"')
            {
                format += source[++at];
            }
            else if (source[at] == '{' && source[at + 1] != '{')
            {
                format += $"{{{holes++}}}";
                at = EndOfHole(source, at);
            }
            else
            {
                format += source[at];
            }
        }

        return (format, at + 1);
    }

    private static int EndOfHole(string source, int at)
    {
        for (var depth = 0; ; at++)
        {
            depth += source[at] switch { '{' => 1, '}' => -1, _ => 0 };
            if (depth == 0)
            {
                return at;
            }

            if (source[at] == '"')
            {
                at = source.IndexOf('"', at + 1);
            }
        }
    }

    [GeneratedRegex(@"\G\s*\+\s*\$""", RegexOptions.None, 10_000)]
    private static partial Regex Plus();

    [GeneratedRegex(@"\{\d+\}", RegexOptions.None, 10_000)]
    private static partial Regex Hole();

    [GeneratedRegex(@"(?:errors|Errors)\[[^\n]*\] = \[\$?""[^\n]*", RegexOptions.None, 10_000)]
    private static partial Regex UntranslatedError();
}
