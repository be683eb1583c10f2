using System.Net;
using Generation.Core.Localization;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Tests.Harness;

namespace Generation.Tests.Localization;

public sealed class LanguageTests
{
    [Fact]
    public void Every_failure_has_words_in_every_language()
    {
        var codes = Enum.GetValues<FailureKind>().Select(kind => new Failure(kind, "", "").Code).Append("expired").Append("worker_lost")
            .Append("internal_error").Distinct().ToList();
        Assert.Equal(codes.Order(StringComparer.Ordinal), UserMessages.FailureCodes.Order(StringComparer.Ordinal));
        Assert.All(codes, code =>
        {
            var (english, turkish) = (UserMessages.ForFailure(code, "en")!, UserMessages.ForFailure(code, "tr")!);
            Assert.NotEqual(english, turkish);
            Assert.All([english, turkish], words => Assert.Matches(@"^\p{Lu}.{20,}\.$", words));
        });
        Assert.Null(UserMessages.ForFailure("no_such_code", "en"));
    }

    [Theory]
    [InlineData(null, "en")]
    [InlineData("tr", "tr")]
    [InlineData("tr-TR,tr;q=0.9,en;q=0.8", "tr")]
    [InlineData("de-DE,tr;q=0.5,en;q=0.4", "tr")]
    [InlineData("en;q=0.4,tr;q=0.5", "tr")]
    [InlineData("tr;q=0,en", "en")]
    [InlineData("de", "en")]
    [InlineData("*", "en")]
    [InlineData("TR", "tr")]
    [InlineData(";;;,,=", "en")]
    public async Task A_failed_generation_speaks_the_language_that_is_asked_for(string? accept, string language)
    {
        var (user, path) = await ExpiredSession.Value;
        var reply = await user.GetAsync(path, accept is null ? [] : [("Accept-Language", accept)]);
        var session = reply.AssertStatus(HttpStatusCode.OK).Body;
        Assert.Equal("expired", (string?)session["error"]!["code"]);
        Assert.Equal(UserMessages.ForFailure("expired", language), (string?)session["error"]!["message"]);
        Assert.Equal(language == "tr" ? "Sizden ücret alınmadı." : "You were not charged.", (string?)session["receipt"]!["summary"]);
        Assert.Contains("Accept-Language", reply.Headers.Vary);
    }

    [Theory]
    [InlineData(8, 8, 0, 2, "8 kredi ödediniz.", "You paid 8 credits.")]
    [InlineData(8, 1, 0, 2, "1 kredi ödediniz; ayrılan 8 kredinin 7 tanesi, iş beklenenden az tuttuğu için iade edildi.",
        "You paid 1 credit; 7 of the 8 held were given back because the work took less than expected.")]
    [InlineData(8, 4, 0, 1, "2 çıktının 1 tanesi için 4 kredi ödediniz; 4 kredi iade edildi.",
        "You paid 4 credits for 1 of 2 outputs; 4 were given back.")]
    [InlineData(8, 10, 2, 2, "10 kredi ödediniz: ayrılan 8 kredi ve iş beklenenden fazla sürdüğü için 2 kredi daha.",
        "You paid 10 credits: the 8 that were held, and 2 more because the work took more than expected.")]
    [InlineData(8, 0, 0, 0, "Sizden ücret alınmadı.", "You were not charged.")]
    public void A_receipt_says_in_a_sentence_what_was_paid(long held, long captured, long extra, int stored, string turkish, string english)
    {
        var receipt = new Receipt(held, captured, extra, captured == 0 ? held : 0, captured == 0 ? 0 : held + extra - captured, 1, null, "");
        Assert.Equal((turkish, english), (UserMessages.ForReceipt(receipt.Held, receipt.Captured, receipt.Extra, stored, 2, "tr"),
            UserMessages.ForReceipt(receipt.Held, receipt.Captured, receipt.Extra, stored, 2, "en")));
    }

    [Theory]
    [InlineData(20, 12, 3, 3, "Model en çok 5 çıktı yapabilirdi, 3 tane yapmayı seçti; 3 tanesi için 12 kredi ödediniz; 8 kredi iade edildi.",
        "The model chose to make 3 of up to 5 outputs. You paid 12 credits for 3; 8 were given back.")]
    [InlineData(20, 4, 1, 2, "Model en çok 5 çıktı yapabilirdi, 2 tane yapmayı seçti; 1 tanesi için 4 kredi ödediniz; 16 kredi iade edildi.",
        "The model chose to make 2 of up to 5 outputs. You paid 4 credits for 1; 16 were given back.")]
    public void A_receipt_of_a_group_says_that_the_model_chose_how_many(
        long held, long captured, int stored, int chosen, string turkish, string english)
    {
        var receipt = new Receipt(held, captured, 0, 0, held - captured, 1, null, "");
        Assert.Equal((turkish, english), (UserMessages.ForReceipt(receipt.Held, receipt.Captured, receipt.Extra, stored, 5, "tr", chosen),
            UserMessages.ForReceipt(receipt.Held, receipt.Captured, receipt.Extra, stored, 5, "en", chosen)));
    }

    private static readonly Lazy<Task<(ApiUser User, string Path)>> ExpiredSession = new(async () =>
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        await system.ExecuteAsync($"UPDATE generation_sessions SET deadline = now() - interval '1 second' WHERE session_id = '{id}'");
        await system.EndOfAsync(id, user.Http);
        return (user, $"/api/generations/{id}");
    });
}
