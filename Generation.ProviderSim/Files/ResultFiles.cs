using System.IO.Compression;
using Generation.ProviderSim.Faults;
using Generation.ProviderSim.Films;
using Generation.ProviderSim.Pictures;
using Generation.ProviderSim.Sounds;
using Microsoft.Extensions.Options;

namespace Generation.ProviderSim.Files;

/// <summary>Result URLs and what is behind them: the picture, or the download fault that the prompt asked for.</summary>
public sealed class ResultFiles(
    SignedUrls urls, Studio studio, FaultDesk faults, Gates gates, IOptions<SimOptions> options, TimeProvider time, IHostApplicationLifetime lifetime)
{
    private const int DripBytes = 512;
    private static readonly TimeSpan DripInterval = TimeSpan.FromMilliseconds(100);
    private const string OtherHost = "other-host";
    internal const string Page = "<!doctype html><title>Sign in</title><h1>Please sign in to the hotel's network</h1>";

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapMethods("/files/{model}/{file}", [HttpMethods.Get, HttpMethods.Head],
            (string file, HttpContext http, ResultFiles files) => files.SendAsync(file, http));
        // The same scene at thumbnail size, for the home page: a recipe scales.
        routes.MapGet("/sim/thumbnails/{file}", async (string file, Studio studio) => ResultTicket.FromFileName(file) is not { } ticket
            ? Results.NotFound()
            : Results.Bytes(await studio.DrawAsync(Thumbnail(ticket.Recipe)), "image/jpeg"));
    }

    /// <summary>The absolute, signed address of a result.</summary>
    public string UrlFor(HttpRequest request, string model, string fileName) => UrlFor(HostFor(request), model, fileName);

    /// <param name="host">As <see cref="HostFor"/> gives it.</param>
    /// <param name="model">A part of the path, for readability.</param>
    /// <param name="fileName">From a <see cref="ResultTicket"/>.</param>
    /// <param name="lifetimeSeconds">Null: <see cref="SimOptions.UrlLifetimeSeconds"/>.</param>
    public string UrlFor(string host, string model, string fileName, int? lifetimeSeconds = null) =>
        urls.Sign(host, $"/files/{Uri.EscapeDataString(model)}/{fileName}", lifetimeSeconds);

    /// <summary>Scheme and host that result URLs start with for this caller.</summary>
    public string HostFor(HttpRequest request) => options.Value.PublicUrl?.TrimEnd('/') ?? $"{request.Scheme}://{request.Host}";

    private async Task SendAsync(string fileName, HttpContext http)
    {
        var verdict = urls.Check(http.Request);
        if (verdict == SignedUrls.Verdict.Forged || ResultTicket.FromFileName(fileName) is not { } ticket)
        {
            await RefuseAsync(http, 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.");
        }
        else if (http.Request.Query["hop"] == OtherHost && (http.Request.Headers.Authorization.Count > 0
            || http.Request.Headers.ContainsKey("x-goog-api-key")))
        {
            // A key that has followed a redirect to another host has been given away.
            await RefuseAsync(http, 400, "InvalidArgument", "Only one auth mechanism allowed: a signature or a key.");
        }
        else
        {
            await SendAsync(http, ticket, verdict == SignedUrls.Verdict.Expired);
        }
    }

    /// <summary>Answers a download that may be answered, or spoils it as the ticket's words say.</summary>
    public async Task SendAsync(HttpContext http, ResultTicket ticket, bool isExpired = false)
    {
        var words = PromptWords.Parse(ticket.Words);
        var fault = isExpired ? Fault.Find("expired-url") : faults.ForDownload(ticket.PromptKey, words);
        var gone = http.RequestAborted;
        switch (fault?.Word)
        {
            case null: await SendPictureAsync(http, ticket, words, drip: false, gone); break;
            case "slow-body": await SendPictureAsync(http, ticket, words, drip: true, gone); break;
            case "cut-body": await SendHalfAsync(http, ticket, words, gone); break;
            case "half-file": await SendHalfAsync(http, ticket, words, gone, endsProperly: true); break;
            case "zipped-file": await SendZippedAsync(http, ticket, words, gone); break;
            case "oversized": await SendPiecesAsync(http, ticket, Endless(ticket), null, gone); break;
            case "wrong-type": await Results.Content(Page, "text/html; charset=utf-8").ExecuteAsync(http); break;
            case "html-as-png": await Results.Content(Page, "image/png").ExecuteAsync(http); break;
            case "zip-as-png": await Results.Bytes(Archive(), "image/png").ExecuteAsync(http); break;
            case "dead-url": await RefuseAsync(http, 404, "NoSuchKey", "The specified key does not exist."); break;
            case "locked-url": await RefuseAsync(http, 423, "Locked", "The object is being written."); break;
            case "not-ready": await Results.Content("""{"status":"processing"}""", "application/json").ExecuteAsync(http); break;
            case "expired-url": await RefuseAsync(http, 403, "AccessDenied", "Request has expired"); break;
            case "redirect-private": http.Response.Redirect("http://169.254.169.254/latest/meta-data/"); break;
            case "redirect" when !http.Request.Query.ContainsKey("hop"):
                http.Response.Redirect($"{http.Request.PathBase}{http.Request.Path.ToUriComponent()}{http.Request.QueryString.Add("hop", "1")}");
                break;
            case "redirect-host" when !http.Request.Query.ContainsKey("hop"):
                var otherName = http.Request.Host.Host == "localhost" ? "127.0.0.1" : "localhost";
                var file = $"/files/moved/{ticket.ToId(time.GetUtcNow())}_0.{ticket.Extension}";
                http.Response.Redirect($"{urls.Sign($"{http.Request.Scheme}://{otherName}:{http.Request.Host.Port}", file)}&hop={OtherHost}");
                break;
            default: await SendPictureAsync(http, ticket, words, drip: false, gone); break;
        }
    }

    private async Task SendPictureAsync(HttpContext http, ResultTicket ticket, PromptWords words, bool drip, CancellationToken gone)
    {
        var (pieces, length) = await FileAsync(ticket, words);
        if (drip)
        {
            pieces = pieces.SelectMany(piece => Enumerable.Range(0, (piece.Length + DripBytes - 1) / DripBytes)
            .Select(n => piece.Slice(n * DripBytes, Math.Min(DripBytes, piece.Length - n * DripBytes))));
        }

        await SendPiecesAsync(http, ticket, pieces, length, gone, drip ? DripInterval : default, words.DownloadGate);
    }

    private async Task<(IEnumerable<ReadOnlyMemory<byte>> Pieces, long Length)> FileAsync(ResultTicket ticket, PromptWords words)
    {
        var (width, height) = (ticket.Recipe.Width, ticket.Recipe.Height);
        if (ticket.IsSound)
        {
            var sound = Melody.Play(ticket.Recipe.Seed, ticket.Seconds);
            return (Melody.Pieces(sound, words.Bytes ?? 0), Math.Max(sound.Length, words.Bytes ?? 0));
        }

        if (ticket.IsFilm)
        {
            var film = words.Bytes is null ? await studio.FilmAsync(ticket.Recipe, ticket.Seconds) : Film.Grey(width, height, ticket.Seconds);
            return (film.Pieces(words.Bytes ?? 0), film.Length(words.Bytes ?? 0));
        }

        if (words.Bytes is not null && ticket.Recipe.Format == PictureFormat.Png)
        {
            var grey = GreyPicture.File(PictureFormat.Png, width, height);
            return ([grey], grey.Length);
        }

        if (words.Bytes is { } bytes)
        {
            return (GreyPicture.Pieces(ticket.Recipe.Format, width, height, bytes), GreyPicture.Length(
            ticket.Recipe.Format, width, height, bytes));
        }

        ReadOnlyMemory<byte> drawn = ticket.IsLastFrame ? await studio.LastFrameAsync(ticket.Recipe, ticket.Seconds)
            : await studio.DrawAsync(ticket.Recipe);
        return ([drawn], drawn.Length);
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Endless(ResultTicket ticket) =>
        ticket.IsSound ? Melody.Endless(Melody.Play(ticket.Recipe.Seed, ticket.Seconds))
        : ticket.IsFilm
        ? Film.Grey(ticket.Recipe.Width, ticket.Recipe.Height, ticket.Seconds).Endless()
        : GreyPicture.Endless(ticket.Recipe.Format, ticket.Recipe.Width, ticket.Recipe.Height);

    private async Task SendZippedAsync(HttpContext http, ResultTicket ticket, PromptWords words, CancellationToken gone)
    {
        http.Response.ContentType = ticket.ContentType;
        http.Response.Headers.ContentEncoding = "gzip";
        await using var zip = new GZipStream(http.Response.Body, CompressionLevel.Fastest, leaveOpen: true);
        foreach (var piece in (await FileAsync(ticket, words)).Pieces)
        {
            await zip.WriteAsync(piece, gone);
        }
    }

    private async Task SendHalfAsync(HttpContext http, ResultTicket ticket, PromptWords words, CancellationToken gone, bool endsProperly = false)
    {
        var (pieces, length) = await FileAsync(ticket, words);
        var left = length / 2;
        http.Response.ContentType = ticket.ContentType;
        http.Response.ContentLength = endsProperly ? null : length;
        foreach (var piece in pieces)
        {
            await http.Response.Body.WriteAsync(piece.Length <= left ? piece : piece[..(int)left], gone);
            left -= Math.Min(left, piece.Length);
            if (left == 0)
            {
                break;
            }
        }

        await http.Response.Body.FlushAsync(gone);
        if (!endsProperly)
        {
            http.Abort();
        }
    }

    private async Task SendPiecesAsync(
        HttpContext http, ResultTicket ticket, IEnumerable<ReadOnlyMemory<byte>> pieces, long? length, CancellationToken gone,
        TimeSpan interval = default, string? gateInTheMiddle = null)
    {
        http.Response.ContentType = ticket.ContentType;
        http.Response.ContentLength = length;
        http.Response.Headers.ETag = $"\"{ticket.Recipe.Seed:x16}\"";
        if (HttpMethods.IsHead(http.Request.Method))
        {
            return;
        }

        var sent = 0L;
        foreach (var whole in pieces)
        {
            var piece = whole;
            if (gateInTheMiddle is not null && length is { } all && sent + piece.Length > all / 2)
            {
                var half = (int)((all / 2) - sent); // a film may be one piece
                await http.Response.Body.WriteAsync(piece[..half], gone);
                await http.Response.Body.FlushAsync(gone);
                await gates.PassAsync(gateInTheMiddle, gone);
                (gateInTheMiddle, piece, sent) = (null, piece[half..], sent + half);
            }

            await http.Response.Body.WriteAsync(piece, gone);
            sent += piece.Length;
            if (interval == default)
            {
                continue;
            }

            await http.Response.Body.FlushAsync(gone);
            await Task.Delay(interval, time, gone);
            lifetime.ApplicationStopping.ThrowIfCancellationRequested();
        }
    }

    private static async Task RefuseAsync(HttpContext http, int status, string code, string message)
    {
        http.Response.StatusCode = status;
        http.Response.Headers["x-tos-request-id"] = http.TraceIdentifier;
        await http.Response.WriteAsJsonAsync(new { Code = code, RequestId = http.TraceIdentifier, HostId = "sim", Message = message },
            new System.Text.Json.JsonSerializerOptions());
    }

    private static Recipe Thumbnail(Recipe recipe)
    {
        var scale = Math.Min(1, 480.0 / Math.Max(recipe.Width, recipe.Height));
        return recipe with
        {
            Width = Math.Max(16, (int)(recipe.Width * scale)),
            Height = Math.Max(16, (int)(recipe.Height * scale)),
            Format = PictureFormat.Jpeg,
        };
    }

    internal static byte[] Archive()
    {
        using var bytes = new MemoryStream();
        using (var archive = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            using var entry = archive.CreateEntry("payload.txt").Open();
            entry.Write("this is not a picture"u8);
        }

        return bytes.ToArray();
    }
}
