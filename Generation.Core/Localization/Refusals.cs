namespace Generation.Core.Localization;

/// <summary>
/// Why a request is refused, in the languages we speak beside English: English composite format → the same sentence. The English one stands where
/// it is said (<see cref="Sentence"/>); a test compares the two, so that none is missing and none is left over. What follows a field's name
/// (<c>must be …</c>) does so in Turkish, too. Codes, field names and parameter values are the same in every language.
/// </summary>
public static class Refusals
{
    internal static readonly Dictionary<string, string> Turkish = new(StringComparer.Ordinal)
    {
        ["1 field is not valid: {0}."] =
            "1 alan geçerli değil: {0}.",
        ["A callback has at most {0} bytes."] =
            "Bir geri çağrı en çok {0} bayt olabilir.",
        ["A picture has at most {0} MiB."] =
            "Bir resim en çok {0} MiB olabilir.",
        ["An audit is running already. It may take a minute; ask again then."] =
            "Bir denetim zaten sürüyor. Bir dakika sürebilir; sonra yeniden sorun.",
        ["It has ended already: {0}."] =
            "Zaten bitti: {0}.",
        ["No account at ElevenLabs is configured, so its voices cannot be listed."] =
            "ElevenLabs hesabı ayarlanmamış; bu yüzden sesleri listelenemiyor.",
        ["Only what failed or was canceled can be retried; it is {0}."] =
            "Yalnızca başarısız ya da iptal edilmiş üretimler yeniden denenebilir; bunun durumu: {0}.",
        ["Only {0} credits are available. Nothing was changed."] =
            "Yalnızca {0} kredi kullanılabilir. Hiçbir şey değişmedi.",
        ["Only {0} credits are available; {1} more are held by running jobs and cannot be taken. Nothing was changed."] =
            "Yalnızca {0} kredi kullanılabilir; {1} kredi daha süren işler için ayrılmış durumda ve alınamaz. Hiçbir şey "
                + "değişmedi.",
        ["Send JSON, with Content-Type: application/json."] =
            "JSON gönderin; Content-Type: application/json ile.",
        ["Send a form with one file: Content-Type: multipart/form-data; boundary=…."] =
            "Tek dosyalı bir form gönderin: Content-Type: multipart/form-data; boundary=….",
        ["Send your API key: Authorization: Bearer gk_…"] =
            "API anahtarınızı gönderin: Authorization: Bearer gk_…",
        ["Set Mock:OverrideKey to the same secret of at least {0} characters on every Api."] =
            "Her Api'de Mock:OverrideKey ayarına en az {0} karakterlik aynı gizli değeri verin.",
        ["Something is wrong on our side. Support finds it by {0}."] =
            "Bizim tarafımızda bir sorun var. Destek ekibi onu {0} ile bulur.",
        ["The audit took longer than it may. Ask again when less is going on."] =
            "Denetim izin verilenden uzun sürdü. Sistem daha az yoğunken yeniden deneyin.",
        ["The body came too slowly. Send it again."] =
            "Gövde çok yavaş geldi. Yeniden gönderin.",
        ["The body has a string with U+0000 or half a surrogate pair in it."] =
            "Gövdede U+0000 ya da yarım bir vekil çift içeren bir metin var.",
        ["The body is larger than this route takes."] =
            "Gövde bu yolun kabul ettiğinden büyük.",
        ["The body is not valid JSON, or has a name twice."] =
            "Gövde geçerli JSON değil ya da bir adı iki kez içeriyor.",
        ["The body is not valid JSON: line {0}, byte {1}."] =
            "Gövde geçerli JSON değil: satır {0}, bayt {1}.",
        ["The body must be a JSON object."] =
            "Gövde bir JSON nesnesi olmalı.",
        ["The callback could not be kept now. Send it again."] =
            "Geri çağrı şu anda saklanamadı. Yeniden gönderin.",
        ["The callback is not signed: {0}"] =
            "Geri çağrı imzalı değil: {0}",
        ["The database does not answer at the moment. Nothing was lost; try again."] =
            "Veritabanı şu anda yanıt vermiyor. Hiçbir şey kaybolmadı; yeniden deneyin.",
        ["The database does not answer at the moment. Try again with the same key: it cannot be charged twice."] =
            "Veritabanı şu anda yanıt vermiyor. Aynı anahtarla yeniden deneyin: iki kez ücret alınamaz.",
        ["The generation does not wait in line: it was dispatched, has ended, or goes on with work that was begun. Nothing was changed."] =
            "Üretim sırada beklemiyor: işe gönderildi, bitti ya da başlamış bir işi sürdürüyor. Hiçbir şey değişmedi.",
        ["The generation is in the lane '{0}'. Move it there."] =
            "Üretim '{0}' şeridinde. Onu orada taşıyın.",
        ["The header Idempotency-Key and the field clientKey differ. Send one of them."] =
            "Idempotency-Key başlığı ile clientKey alanı farklı. Yalnızca birini gönderin.",
        ["The picture could not be recorded now. Send it again."] =
            "Resim şu anda kaydedilemedi. Yeniden gönderin.",
        ["The picture could not be stored now. Send it again."] =
            "Resim şu anda saklanamadı. Yeniden gönderin.",
        ["The query has the character U+0000 in it."] =
            "Sorgu U+0000 karakterini içeriyor.",
        ["The request could not be read: it is incomplete, or a value in it is of another type."] =
            "İstek okunamadı: eksik ya da içindeki bir değer başka türden.",
        ["The request was refused with {0}."] =
            "İstek {0} ile reddedildi.",
        ["The service takes {0} submits a minute. Nothing was stored; try again in {1} s."] =
            "Hizmet dakikada {0} istek kabul eder. Hiçbir şey kaydedilmedi; {1} sn sonra yeniden deneyin.",
        ["The time of this URL is over. Get the generation again for a new one."] =
            "Bu adresin süresi doldu. Yenisi için üretimi yeniden isteyin.",
        ["The token in {0} is not ours, or is over."] =
            "{0} başlığındaki belirteç bize ait değil ya da süresi dolmuş.",
        ["The voices cannot be read at the moment."] =
            "Sesler şu anda okunamıyor.",
        ["The voices could not be read again; this is the last list that was."] =
            "Sesler yeniden okunamadı; bu, okunabilen son liste.",
        ["There is no generation {0}."] =
            "{0} kimlikli bir üretim yok.",
        ["There is no lane '{0}'. GET /api/admin/queues lists them."] =
            "'{0}' adlı bir şerit yok. GET /api/admin/queues şeritleri listeler.",
        ["There is no model '{0}'. GET /api/models lists them."] =
            "'{0}' adlı bir model yok. GET /api/models modelleri listeler.",
        ["There is no such callback address."] =
            "Böyle bir geri çağrı adresi yok.",
        ["There is no such file, or it is not yours."] =
            "Böyle bir dosya yok ya da size ait değil.",
        ["There is no such generation, or it is not yours."] =
            "Böyle bir üretim yok ya da size ait değil.",
        ["There is no such user."] =
            "Böyle bir kullanıcı yok.",
        ["There is no tool '{0}'. GET /api/models lists the models with their tools."] =
            "'{0}' adlı bir araç yok. GET /api/models modelleri araçlarıyla listeler.",
        ["There is no user '{0}'. Name one by id or by handle."] =
            "'{0}' adlı bir kullanıcı yok. Kimliğiyle ya da adıyla belirtin.",
        ["There is nothing at {0}."] =
            "{0} adresinde bir şey yok.",
        ["This API key is not known, or was revoked."] =
            "Bu API anahtarı bilinmiyor ya da iptal edilmiş.",
        ["This URL is not signed by us. Get it from the generation."] =
            "Bu adres bizim tarafımızdan imzalanmamış. Adresi üretimden alın.",
        ["This account is frozen. Write to support."] =
            "Bu hesap dondurulmuş. Destek ekibine yazın.",
        ["This idempotency key was used for a request with another body. Use a new key for a new request."] =
            "Bu yineleme anahtarı başka gövdeli bir istek için kullanıldı. Yeni istek için yeni anahtar kullanın.",
        ["This idempotency key was used for another request. Use a new key for a new request."] =
            "Bu yineleme anahtarı başka bir istek için kullanıldı. Yeni istek için yeni anahtar kullanın.",
        ["This key takes {0} submits a minute. Nothing was stored; try again in {1} s."] =
            "Bu anahtar dakikada {0} istek kabul eder. Hiçbir şey kaydedilmedi; {1} sn sonra yeniden deneyin.",
        ["This needs the role admin."] =
            "Bunun için admin rolü gerekli.",
        ["This needs {0} credits; you have {1}, and even with the {2} that running jobs hold it is not enough. Buy more, or ask "
            + "for less."] =
            "Bunun için {0} kredi gerekli; {1} krediniz var ve süren işlerin ayırdığı {2} krediyle bile yetmiyor. Kredi alın ya "
                + "da daha azını isteyin.",
        ["This needs {0} credits; you have {1}, and {2} more are held by 1 running job. What it does not use comes back when it "
            + "ends; wait, cancel it, or buy more."] =
            "Bunun için {0} kredi gerekli; {1} krediniz var ve {2} kredi daha süren 1 iş için ayrılmış. Kullanılmayanı iş "
                + "bitince geri gelir; bekleyin, işi iptal edin ya da kredi alın.",
        ["This needs {0} credits; you have {1}, and {2} more are held by {3} running jobs. What they do not use comes back when "
            + "they end; wait, cancel one, or buy more."] =
            "Bunun için {0} kredi gerekli; {1} krediniz var ve {2} kredi daha süren {3} iş için ayrılmış. Kullanılmayanı işler "
                + "bitince geri gelir; bekleyin, birini iptal edin ya da kredi alın.",
        ["This needs {0} credits; you have {1}. Buy more, or ask for less."] =
            "Bunun için {0} kredi gerekli; {1} krediniz var. Kredi alın ya da daha azını isteyin.",
        ["Too many requests are waiting already. Nothing was stored; try again."] =
            "Zaten çok fazla istek bekliyor. Hiçbir şey kaydedilmedi; yeniden deneyin.",
        ["Workers tell how their providers are by Redis, which does not answer. Sessions go on."] =
            "İşçiler sağlayıcılarının durumunu yanıt vermeyen Redis üzerinden bildirir. Üretimler sürüyor.",
        ["X-Webhook-Signature is not the signature of this task id and timestamp."] =
            "X-Webhook-Signature bu görev kimliğinin ve zamanın imzası değil.",
        ["X-Webhook-Timestamp is more than {0} minutes from now."] =
            "X-Webhook-Timestamp şimdiden {0} dakikadan daha uzak.",
        ["X-Webhook-Timestamp must be seconds since 1970."] =
            "X-Webhook-Timestamp 1970'ten bu yana geçen saniye olmalı.",
        ["You have {0} generations that have not ended, which is as many as one may have. Nothing was stored; try again when some "
            + "have ended."] =
            "Bitmemiş {0} üretiminiz var; bu, izin verilen en yüksek sayı. Hiçbir şey kaydedilmedi; bazıları bitince yeniden "
                + "deneyin.",
        ["You have {0} uploads. They go {1} days after they came."] =
            "{0} yüklemeniz var. Yüklemeler geldikten {1} gün sonra silinir.",
        ["Your account is busy with another change. Nothing was stored; try again with the same key: it cannot be charged twice."] =
            "Hesabınızda şu anda başka bir değişiklik sürüyor. Hiçbir şey kaydedilmedi; aynı anahtarla yeniden deneyin: iki kez "
                + "ücret alınamaz.",
        ["cannot be used together with {0}"] =
            "{0} ile birlikte kullanılamaz",
        ["could not be read: it is empty or incomplete"] =
            "okunamadı: boş ya da eksik",
        ["differs from the header Idempotency-Key"] =
            "Idempotency-Key başlığından farklı",
        ["give one of sessionIds (a list), filter (an object) and all (true)"] =
            "sessionIds (liste), filter (nesne) ve all (true) alanlarından birini verin",
        ["is not a field of the filter (code, model, provider, before), or not of its type"] =
            "filtrenin bir alanı değil (code, model, provider, before) ya da türü yanlış",
        ["is not a field of this request, which has model, params, clientKey and priority"] =
            "bu isteğin bir alanı değil; alanları model, params, clientKey ve priority",
        ["is not a field of this request, which has {0}"] =
            "bu isteğin bir alanı değil; alanları: {0}",
        ["is not a model of the tool '{0}'"] =
            "'{0}' aracının bir modeli değil",
        ["is not a parameter of {0}, which takes {1}"] =
            "{0} modelinin bir parametresi değil; aldığı parametreler: {1}",
        ["is required, a header of 1 to {0} printable ASCII characters: with it a request that is sent twice is done once"] =
            "zorunludur; 1 ile {0} arasında yazdırılabilir ASCII karakterden oluşan bir başlıktır: onunla iki kez gönderilen "
                + "istek bir kez yapılır",
        ["is required: a number from {0} to {1}"] =
            "zorunludur: {0} ile {1} arasında bir sayı",
        ["is required: a picture as a file of the form"] =
            "zorunludur: formun bir dosyası olarak bir resim",
        ["is required: a text of 1 to {0} characters"] =
            "zorunludur: 1 ile {0} karakter arasında bir metin",
        ["is required: a whole number from {0} to {1}"] =
            "zorunludur: {0} ile {1} arasında bir tam sayı",
        ["is required: an object with the model's parameters"] =
            "zorunludur: modelin parametrelerini içeren bir nesne",
        ["is required: the id of a model, see GET /api/models"] =
            "zorunludur: bir modelin kimliği, bkz. GET /api/models",
        ["is required"] =
            "zorunludur",
        ["must be WIDTHxHEIGHT in pixels, such as 1024x1024"] =
            "piksel olarak GENİŞLİKxYÜKSEKLİK olmalı, örneğin 1024x1024",
        ["must be a list of 1 to {0} session ids"] =
            "1 ile {0} arasında üretim kimliğinden oluşan bir liste olmalı",
        ["must be a list of 1 to {0}, each an https address of a picture, or upload:<id> of one that was sent to POST /api/uploads"] =
            "1 ile {0} arasında öğeden oluşan bir liste olmalı; her öğe bir resmin https adresi ya da POST /api/uploads ile "
                + "gönderilmiş bir resmin upload:<id> değeri",
        ["must be a number from {0} to {1}"] =
            "{0} ile {1} arasında bir sayı olmalı",
        ["must be a picture: JPEG, PNG, WebP, GIF or AVIF"] =
            "bir resim olmalı: JPEG, PNG, WebP, GIF ya da AVIF",
        ["must be a string of 1 to {0} printable ASCII characters"] =
            "1 ile {0} arasında yazdırılabilir ASCII karakterden oluşan bir metin olmalı",
        ["must be a string"] =
            "bir metin olmalı",
        ["must be a time in the future, such as 2030-01-31T00:00:00Z"] =
            "2030-01-31T00:00:00Z gibi gelecekte bir zaman olmalı",
        ["must be a time, such as 2026-01-31T00:00:00Z"] =
            "2026-01-31T00:00:00Z gibi bir zaman olmalı",
        ["must be a time, such as 2030-01-31T00:00:00Z: the failedAt of the last one of the page before"] =
            "2030-01-31T00:00:00Z gibi bir zaman olmalı: önceki sayfanın sonuncusunun failedAt değeri",
        ["must be a whole number from 1 to {0}"] =
            "1 ile {0} arasında bir tam sayı olmalı",
        ["must be a whole number from {0} to {1}"] =
            "{0} ile {1} arasında bir tam sayı olmalı",
        ["must be an https address of a picture, or upload:<id> of one that was sent to POST /api/uploads"] =
            "bir resmin https adresi ya da POST /api/uploads ile gönderilmiş bir resmin upload:<id> değeri olmalı",
        ["must be an object with code, model, provider or before; to mean all say \"all\": true"] =
            "code, model, provider ya da before içeren bir nesne olmalı; hepsi için \"all\": true deyin",
        ["must be an object with the model's parameters"] =
            "modelin parametrelerini içeren bir nesne olmalı",
        ["must be at least {0} pixels on each side; it is {1}x{2}"] =
            "her kenarı en az {0} piksel olmalı; boyutu {1}x{2}",
        ["must be at most {0} beside {1} {2} when {3} is true"] =
            "{3} true iken {1} {2} yanında en çok {0} olmalı",
        ["must be interactive or batch"] =
            "interactive ya da batch olmalı",
        ["must be one of {0}"] =
            "şunlardan biri olmalı: {0}",
        ["must be queued, processing, completed, failed or canceled"] =
            "queued, processing, completed, failed ya da canceled olmalı",
        ["must be the id of a generation"] =
            "bir üretimin kimliği olmalı",
        ["must be the id of a model, see GET /api/models; without it the tool's first model is meant"] =
            "bir modelin kimliği olmalı, bkz. GET /api/models; verilmezse aracın ilk modeli kullanılır",
        ["must be the nextCursor of the page before"] =
            "önceki sayfanın nextCursor değeri olmalı",
        ["must be true or false"] =
            "true ya da false olmalı",
        ["must be true"] =
            "true olmalı",
        ["must be {0} or WIDTHxHEIGHT in pixels, such as 2048x2048"] =
            "{0} ya da piksel olarak GENİŞLİKxYÜKSEKLİK olmalı, örneğin 2048x2048",
        ["must be {0} when {1} is {2}"] =
            "{1} değeri {2} iken {0} olmalı",
        ["must have at least one character that can be seen"] =
            "görünen en az bir karakter içermeli",
        ["must have at least {0} characters"] =
            "en az {0} karakter olmalı",
        ["must have at most {0} characters, has {1}"] =
            "en çok {0} karakter olmalı; {1} karakter içeriyor",
        ["must have at most {0} pixels; it is {1}x{2}"] =
            "en çok {0} piksel olmalı; boyutu {1}x{2}",
        ["must have from {0} to {1} pixels, {2} has {3}"] =
            "{0} ile {1} arasında piksel içermeli; {2} boyutunda {3} piksel var",
        ["must have sides of at most {0}:1; it is {1}x{2}"] =
            "kenar oranı en çok {0}:1 olmalı; boyutu {1}x{2}",
        ["must have sides of at most {0}:1"] =
            "kenar oranı en çok {0}:1 olmalı",
        ["must have sides of {0} to {1} pixels"] =
            "kenarları {0} ile {1} piksel arasında olmalı",
        ["must not be 0: positive gives, negative takes"] =
            "0 olamaz: artı değer verir, eksi değer alır",
        ["must not contain the character U+0000"] =
            "U+0000 karakterini içermemeli",
        ["must say its width and height"] =
            "genişliğini ve yüksekliğini belirtmeli",
        ["must stand in params, or the others beside it: not some here and some there"] =
            "params içinde olmalı ya da diğerleri onun yanında: bir kısmı orada bir kısmı burada olamaz",
        ["names {0}{1}, which is not there, or not yours"] =
            "{0}{1} değerini belirtiyor; o yok ya da size ait değil",
        ["needs {0} beside it"] =
            "yanında {0} gerektirir",
        ["was sent {0} times: send it once"] =
            "{0} kez gönderildi: bir kez gönderin",
        ["{0} does not take {1}; it takes {2}."] =
            "{0}, {1} yöntemini kabul etmez; kabul ettiği: {2}.",
        ["{0} fields are not valid: {1}."] =
            "{0} alan geçerli değil: {1}.",
        ["{0} has no price and cannot be sold."] =
            "{0} için fiyat yok; satılamaz.",
        ["{0} is no longer offered. Use {1}."] =
            "{0} artık sunulmuyor. {1} kullanın.",
        ["{0} is switched off at the moment. Try another model, or later."] =
            "{0} şu anda kapalı. Başka bir model deneyin ya da daha sonra yeniden gelin.",
    };

    /// <summary>The English formats that have been translated.</summary>
    public static IReadOnlyDictionary<string, string> InTurkish => Turkish;

    /// <summary>The sentence, in the language of the request.</summary>
    public static string Say(Sentence sentence)
    {
        ArgumentNullException.ThrowIfNull(sentence);
        return sentence.ToString();
    }
}
