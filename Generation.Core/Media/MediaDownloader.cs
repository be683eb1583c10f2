using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace Generation.Core.Media;

/// <summary>An answer whose body has not been read yet. Disposing it ends the transfer.</summary>
public sealed class MediaDownload : IAsyncDisposable
{
    private readonly HttpResponseMessage response;

    internal MediaDownload(HttpResponseMessage response, Stream body, Uri url)
    {
        this.response = response;
        Body = body;
        Address = MediaDownloader.WithoutSecrets(url);
    }

    /// <summary>The body as it comes from the wire, decoded, neither capped nor timed: <see cref="MediaTransfer"/> does both.</summary>
    public Stream Body { get; }

    /// <summary>The Content-Length in bytes; null when the source did not say, or said it of an encoded body.</summary>
    public long? DeclaredBytes => ContentCoding.IsEncoded(response.Content) ? null : response.Content.Headers.ContentLength;

    /// <summary>Where it came from after redirects, without query: fit for a log.</summary>
    public string Address { get; }

    public async ValueTask DisposeAsync()
    {
        await Body.DisposeAsync();
        response.Dispose();
    }
}

/// <summary>
/// Fetches results from provider URLs without becoming a way into the internal network.
/// </summary>
/// <remarks>
/// A URL is data that a provider (or someone who can influence it) wrote. So each hop is checked twice: its host
/// against the caller's list before anything is sent, and the address it resolves to at the moment of connecting. The
/// socket is opened to the very address that was checked, so a name that resolves differently a moment later gains nothing.
/// Redirects are followed by hand, at most three, each through the same checks. No proxy (it would resolve the name out of
/// our sight), no cookies, no credentials but those that
/// the caller gives for one origin. No compression is asked for; what comes compressed all the same is decompressed before it is counted.
/// </remarks>
public sealed class MediaDownloader : IDisposable
{
    /// <summary>More redirects than this are refused.</summary>
    public const int MaxRedirects = 3;

    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(10);

    private readonly MediaOptions options;
    private readonly TimeProvider time;
    private readonly HttpClient client;

    public MediaDownloader(IOptions<MediaOptions> options, TimeProvider time)
    {
        this.options = options.Value;
        this.time = time;
        client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            Credentials = null,
            ConnectTimeout = ConnectTimeout,
            ConnectCallback = ConnectAsync,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5), // addresses are checked anew now and then
            MaxResponseHeadersLength = 64,
            MaxResponseDrainSize = 0, // when reading stops, the connection is closed
        })
        {
            Timeout = Timeout.InfiniteTimeSpan, // the waits below are shorter and say what they waited for
        };
    }

    /// <summary>Requests the URL and reads the headers.</summary>
    /// <param name="url">Absolute. https, or http to a host that may be private.</param>
    /// <param name="allowedHosts">Patterns (<see cref="HostPattern"/>) that the URL and every redirect must match.</param>
    /// <exception cref="MediaException">SourceRefused, SourceGone, SourceNotReady or SourceUnavailable.</exception>
    public Task<MediaDownload> OpenAsync(Uri url, IReadOnlyList<string> allowedHosts, CancellationToken ct) =>
        OpenAsync(url, allowedHosts, credential: null, ct);

    /// <inheritdoc cref="OpenAsync(Uri, IReadOnlyList{string}, CancellationToken)"/>
    /// <param name="credential">Sent on the hops to its own origin.</param>
    public async Task<MediaDownload> OpenAsync(Uri url, IReadOnlyList<string> allowedHosts, SourceCredential? credential,
        CancellationToken ct)
    {
        for (var hop = 0; hop <= MaxRedirects; hop++)
        {
            RefuseUnlessAllowed(url, allowedHosts);
            var response = await SendAsync(url, credential, ct);
            try
            {
                if (response.StatusCode is HttpStatusCode.OK)
                {
                    var opened = new MediaDownload(response, await ContentCoding.OpenAsync(response.Content, ct), url);
                    response = null;
                    return opened;
                }

                url = RedirectOf(url, response) ?? throw AnswerOf(url, response.StatusCode);
            }
            finally
            {
                response?.Dispose();
            }
        }

        throw new MediaException(MediaFailure.SourceRefused, $"More than {MaxRedirects} redirects, the last to {WithoutSecrets(url)}.");
    }

    public void Dispose() => client.Dispose();

    /// <summary>The URL without query, fragment and user: the parts that carry signatures and passwords.</summary>
    internal static string WithoutSecrets(Uri url) => url.IsAbsoluteUri
        ? url.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped)
        : "a relative URL";

    private void RefuseUnlessAllowed(Uri url, IReadOnlyList<string> allowedHosts)
    {
        var isWebAddress = url.IsAbsoluteUri && (url.Scheme == Uri.UriSchemeHttps || url.Scheme == Uri.UriSchemeHttp) && url.UserInfo.Length == 0;
        if (!isWebAddress)
        {
            throw new MediaException(MediaFailure.SourceRefused, $"{WithoutSecrets(url)} is not a plain web address.");
        }

        if (!HostPattern.MatchesAny(allowedHosts, url))
        {
            throw new MediaException(MediaFailure.SourceRefused, $"The host of {WithoutSecrets(url)} is not on the provider's list.");
        }

        if (url.Scheme == Uri.UriSchemeHttp && !MayBePrivate(url))
        {
            throw new MediaException(
                MediaFailure.SourceRefused, $"{WithoutSecrets(url)} is not https (Media:PrivateHosts or Media:AllowPrivateAddresses allow it).");
        }
    }

    private bool MayBePrivate(Uri url) => options.AllowPrivateAddresses || HostPattern.MatchesAny(options.PrivateHosts, url);

    private async Task<HttpResponseMessage> SendAsync(Uri url, SourceCredential? credential, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, url);
        if (credential?.IsFor(url) == true)
        {
            request.Headers.TryAddWithoutValidation(credential.Header, credential.Value);
        }

        request.Headers.AcceptEncoding.ParseAdd("identity");
        request.Headers.UserAgent.ParseAdd("Generation/1.0");
        using var wait = new CancellationTokenSource(options.IdleTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(wait.Token, ct);
        try
        {
            return await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token);
        }
        catch (HttpRequestException e) when (e.InnerException is MediaException refused)
        {
            throw new MediaException(refused.Failure, refused.Message, e);
        }
        catch (HttpRequestException e)
        {
            throw new MediaException(MediaFailure.SourceUnavailable, $"No answer from {WithoutSecrets(url)}: {e.Message}", e);
        }
        catch (OperationCanceledException e) when (!ct.IsCancellationRequested)
        {
            throw new MediaException(
                MediaFailure.SourceUnavailable, $"No answer from {WithoutSecrets(url)} within {options.IdleTimeout} (Media:IdleTimeout).", e);
        }
    }

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken ct)
    {
        var url = context.InitialRequestMessage.RequestUri!;
        var isPrivateAllowed = MayBePrivate(url);
        var isPlain = url.Scheme == Uri.UriSchemeHttp;
        var addresses = IPAddress.TryParse(context.DnsEndPoint.Host, out var literal)
            ? [literal]
            : await Dns.GetHostAddressesAsync(context.DnsEndPoint.Host, ct);

        // Plain http is for private networks only: to a public address it would send the URL's signature in the clear.
        var allowed = Array.FindAll(addresses, address => PublicAddress.IsPublic(address) ? !isPlain : isPrivateAllowed);
        if (allowed.Length == 0)
        {
            throw new MediaException(
                MediaFailure.SourceRefused,
                $"{context.DnsEndPoint.Host} has no address that may be fetched from over {url.Scheme} "
                + "(private ones need Media:PrivateHosts or Media:AllowPrivateAddresses).");
        }

        for (var i = 0; ; i++)
        {
            var socket = new Socket(allowed[i].AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(allowed[i], context.DnsEndPoint.Port), ct);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException) when (i + 1 < allowed.Length)
            {
                socket.Dispose();
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }

    private static Uri? RedirectOf(Uri url, HttpResponseMessage response) =>
        response.StatusCode is HttpStatusCode.MovedPermanently or HttpStatusCode.Found or HttpStatusCode.SeeOther
            or HttpStatusCode.TemporaryRedirect or HttpStatusCode.PermanentRedirect && response.Headers.Location is { } location
            ? new Uri(url, location)
            : null;

    private static MediaException AnswerOf(Uri url, HttpStatusCode status)
    {
        var failure = status switch
        {
            >= HttpStatusCode.InternalServerError or HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests =>
                MediaFailure.SourceUnavailable,
            HttpStatusCode.Gone or (>= HttpStatusCode.MultipleChoices and < HttpStatusCode.BadRequest) => MediaFailure.SourceGone,
            _ => MediaFailure.SourceNotReady,
        };
        return new MediaException(failure, $"{WithoutSecrets(url)} answered {(int)status}.");
    }
}
