namespace Generation.Core.Localization;

/// <summary>
/// What a user reads about how a generation ended, in the languages we speak. The code behind a message is stable and is what programs
/// branch on; the words may change. A failure's words say what happened and what to do next; what it cost is said by the receipt.
/// </summary>
public static class UserMessages
{
    /// <summary>The one that is spoken when nothing better is asked for.</summary>
    public const string DefaultLanguage = "en";

    private static readonly Dictionary<string, (string English, string Turkish)> Failures = new(StringComparer.Ordinal)
    {
        ["invalid_request"] = (
            "The model did not accept these settings. Change them and try again.",
            "Model bu ayarları kabul etmedi. Ayarları değiştirip yeniden deneyin."),
        ["moderation_input"] = (
            "The prompt was refused by the model's content policy. Rephrase it and try again.",
            "İstem, modelin içerik politikası tarafından reddedildi. Farklı bir ifadeyle yeniden deneyin."),
        ["moderation_output"] = (
            "The model made something that its content policy does not let out. Trying again may give another result.",
            "Modelin ürettiği sonuç, kendi içerik politikasına takıldı. Yeniden denemek başka bir sonuç verebilir."),
        ["provider_unauthorized"] = (
            "The model cannot be used at the moment; we have been told. Try another model, or later.",
            "Model şu anda kullanılamıyor; bize bildirildi. Başka bir model deneyin ya da daha sonra yeniden gelin."),
        ["provider_quota_exhausted"] = (
            "The model cannot be used at the moment; we have been told. Try another model, or later.",
            "Model şu anda kullanılamıyor; bize bildirildi. Başka bir model deneyin ya da daha sonra yeniden gelin."),
        ["provider_rate_limited"] = (
            "The model is overloaded or unavailable. Try again in a few minutes.",
            "Model aşırı yoğun ya da erişilemiyor. Birkaç dakika sonra yeniden deneyin."),
        ["provider_unavailable"] = (
            "The model is overloaded or unavailable. Try again in a few minutes.",
            "Model aşırı yoğun ya da erişilemiyor. Birkaç dakika sonra yeniden deneyin."),
        ["outcome_unknown"] = (
            "The connection to the model broke before its answer came. Try again.",
            "Modelin yanıtı gelmeden bağlantı koptu. Yeniden deneyin."),
        ["output_unusable"] = (
            "The model delivered a file that cannot be used. Try again.",
            "Modelin gönderdiği dosya kullanılamıyor. Yeniden deneyin."),
        ["expired"] = (
            "The generation took longer than it may. Try again.",
            "Üretim izin verilenden uzun sürdü. Yeniden deneyin."),
        ["worker_lost"] = (
            "Something in this request brought our workers down. Change it before you try again.",
            "Bu istekteki bir şey çalışanlarımızı durdurdu. Yeniden denemeden önce isteği değiştirin."),
        ["internal_error"] = (
            "Something went wrong on our side; we have been told. Try again.",
            "Bizim tarafımızda bir sorun oldu; bize bildirildi. Yeniden deneyin."),
    };

    /// <summary>The codes that a failed session or output may carry.</summary>
    public static IReadOnlyCollection<string> FailureCodes => Failures.Keys;

    /// <summary>The language to speak to somebody who prefers these, best first (<c>tr</c>, <c>tr-TR</c>, <c>*</c>).</summary>
    public static string Choose(IEnumerable<string> preferred)
    {
        foreach (var tag in preferred)
        {
            switch (tag.Split('-')[0].ToLowerInvariant())
            {
                case "en" or "*":
                    return "en";
                case "tr":
                    return "tr";
            }
        }

        return DefaultLanguage;
    }

    /// <summary>The words for a failure; null for a code that is not ours.</summary>
    public static string? ForFailure(string code, string language) =>
        Failures.TryGetValue(code, out var words) ? language == "tr" ? words.Turkish : words.English : null;

    /// <summary>What it cost, in a sentence.</summary>
    /// <param name="held">Credits of the hold.</param>
    /// <param name="paid">Credits captured, the extra included.</param>
    /// <param name="extra">Credits captured beyond the hold.</param>
    /// <param name="stored">Outputs that came.</param>
    /// <param name="requested">Outputs that were asked for.</param>
    /// <param name="language">Of the sentence.</param>
    /// <param name="chosen">Outputs that the model chose to make, where it chose fewer.</param>
    public static string ForReceipt(long held, long paid, long extra, int stored, int requested, string language, int? chosen = null)
    {
        if (language == "tr")
        {
            return paid == 0 ? "Sizden ücret alınmadı."
                : extra > 0 ? $"{paid} kredi ödediniz: ayrılan {held} kredi ve iş beklenenden fazla sürdüğü için {extra} kredi daha."
                : chosen is { } made ? $"Model en çok {requested} çıktı yapabilirdi, {made} tane yapmayı seçti; {stored} tanesi için {paid} kredi "
                    + $"ödediniz{(held > paid ? $"; {held - paid} kredi iade edildi" : "")}."
                : stored < requested ? $"{requested} çıktının {stored} tanesi için {paid} kredi "
                    + $"ödediniz{(held > paid ? $"; {held - paid} kredi iade edildi" : "")}."
                : paid < held ? $"{paid} kredi ödediniz; ayrılan {held} kredinin {held - paid} tanesi, iş beklenenden az tuttuğu için iade edildi."
                : $"{paid} kredi ödediniz.";
        }

        static string Credits(long n) => n == 1 ? "1 credit" : $"{n} credits";
        return paid == 0 ? "You were not charged."
            : extra > 0 ? $"You paid {Credits(paid)}: the {held} that were held, and {extra} more because the work took more than expected."
            : chosen is { } few ? $"The model chose to make {few} of up to {requested} outputs. You paid {Credits(paid)} for "
                + $"{stored}{(held > paid ? $"; {held - paid} were given back" : "")}."
            : stored < requested ? $"You paid {Credits(paid)} for {stored} of {requested} "
                + $"outputs{(held > paid ? $"; {held - paid} were given back" : "")}."
            : paid < held ? $"You paid {Credits(paid)}; {held - paid} of the {held} held were given back because the work took less than expected."
            : $"You paid {Credits(paid)}.";
    }
}
