using System.Net;
using Generation.Core.Media;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Media;

public sealed class MediaDownloaderTests
{
    private static readonly string[] Loopback = ["127.0.0.1", "localhost"];

    [Theory]
    [InlineData("8.8.8.8", true)]
    [InlineData("100.128.0.1", true)]
    [InlineData("172.32.0.1", true)]
    [InlineData("2606:4700::1111", true)]
    [InlineData("::ffff:8.8.8.8", true)]
    [InlineData("0.0.0.0", false)]
    [InlineData("10.1.2.3", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("100.100.100.200", false)]
    [InlineData("127.0.0.1", false)]
    [InlineData("127.9.9.9", false)]
    [InlineData("169.254.169.254", false)]
    [InlineData("172.16.0.1", false)]
    [InlineData("172.31.255.255", false)]
    [InlineData("192.168.1.1", false)]
    [InlineData("198.18.0.1", false)]
    [InlineData("224.0.0.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("::", false)]
    [InlineData("::1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    [InlineData("::ffff:169.254.169.254", false)]
    [InlineData("::7f00:1", false)]
    [InlineData("64:ff9b::7f00:1", false)]
    [InlineData("64:ff9b::a9fe:a9fe", false)]
    [InlineData("64:ff9b::808:808", true)]
    [InlineData("64:ff9b:1::1", false)]
    [InlineData("168.63.129.16", false)] // Azure's wire server
    [InlineData("168.63.129.17", true)]
    [InlineData("2001::1", false)]
    [InlineData("2001:db8::1", false)]
    [InlineData("2002:7f00:1::", false)]
    [InlineData("fc00::1", false)]
    [InlineData("fd00:ec2::254", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fec0::1", false)]
    [InlineData("ff02::1", false)]
    public void An_address_is_public_or_not(string address, bool isPublic) =>
        Assert.Equal(isPublic, PublicAddress.IsPublic(IPAddress.Parse(address)));

    [Theory]
    [InlineData("https://ark.volces.com/a", true)]
    [InlineData("https://a.b.volces.com/a", true)]
    [InlineData("https://ARK.VOLCES.COM./a", true)]
    [InlineData("https://volces.com/a", false)]
    [InlineData("https://evilvolces.com/a", false)]
    [InlineData("https://volces.com.evil.example/a", false)]
    [InlineData("https://cdn.example/a", true)]
    [InlineData("https://a.cdn.example/a", false)]
    [InlineData("https://cdn.example:8443/a", true)]
    [InlineData("https://[2606:4700::1111]/a", true)]
    public void Hosts_match_by_name_or_wildcard(string url, bool matches) =>
        Assert.Equal(matches, HostPattern.MatchesAny(["*.volces.com", "cdn.example", "2606:4700::1111"], new Uri(url)));

    [Theory]
    [InlineData("https", "127.0.0.1")]
    [InlineData("https", "localhost")] // a name that resolves to a private address
    [InlineData("https", "[::1]")]
    [InlineData("https", "[::ffff:127.0.0.1]")]
    [InlineData("https", "2130706433")] // 127.0.0.1 as one number
    [InlineData("https", "0x7f.1")]
    [InlineData("http", "127.0.0.1")]
    [InlineData("http", "localhost")]
    public async Task The_internal_network_is_out_of_reach(string scheme, string host)
    {
        await using var origin = await MediaOrigin.StartAsync(SampleFiles.Png(1, 1));

        var error = await FailAsync(new MediaOptions(), origin.Url(scheme: scheme, host: host), [.. Loopback, "::1", "::ffff:127.0.0.1"]);

        Assert.Equal(MediaFailure.SourceRefused, error.Failure);
        Assert.Equal(0, origin.Requests);
    }

    [Fact]
    public async Task A_public_host_may_not_redirect_inwards()
    {
        await using var inner = await MediaOrigin.StartAsync(SampleFiles.Png(1, 1));
        await using var outer = await MediaOrigin.StartAsync(Redirect(_ => inner.Url(scheme: "https", host: "localhost")));

        // 127.0.0.1 plays the public host: it is the one that may be reached. localhost is the same machine by another name.
        var error = await FailAsync(new MediaOptions { PrivateHosts = ["127.0.0.1"] }, outer.Url(), Loopback);

        Assert.Equal(MediaFailure.SourceRefused, error.Failure);
        Assert.Equal((1, 0), (outer.Requests, inner.Requests));
    }

    [Theory]
    [InlineData("http://other.example/a")]
    [InlineData("file:///etc/passwd")]
    [InlineData("ftp://127.0.0.1/a")]
    [InlineData("http://user:secret@127.0.0.1/a")]
    public async Task A_redirect_passes_the_same_checks_as_the_first_url(string target)
    {
        await using var origin = await MediaOrigin.StartAsync(Redirect(_ => new Uri(target)));

        var error = await FailAsync(new MediaOptions { AllowPrivateAddresses = true }, origin.Url(), Loopback);

        Assert.Equal(MediaFailure.SourceRefused, error.Failure);
        Assert.DoesNotContain("secret", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3, true)]
    [InlineData(4, false)]
    public async Task Redirects_are_followed_three_times(int redirects, bool arrives)
    {
        await using var origin = await MediaOrigin.StartAsync(context =>
        {
            var left = int.Parse(context.Request.Path.Value![1..]);
            return left == 0
                ? context.Response.Body.WriteAsync(new byte[] { 7 }).AsTask()
                : Redirect(_ => new Uri($"/{left - 1}", UriKind.Relative))(context);
        });
        using var downloader = Downloader(new MediaOptions { AllowPrivateAddresses = true });

        if (arrives)
        {
            await using var download = await downloader.OpenAsync(origin.Url($"/{redirects}"), Loopback, default);
            Assert.Equal(7, download.Body.ReadByte());
            Assert.Equal(redirects + 1, origin.Requests);
        }
        else
        {
            var error = await Assert.ThrowsAsync<MediaException>(() => downloader.OpenAsync(origin.Url($"/{redirects}"), Loopback, default));
            Assert.Equal(MediaFailure.SourceRefused, error.Failure);
        }
    }

    [Fact]
    public async Task A_host_that_is_not_listed_is_not_asked()
    {
        await using var origin = await MediaOrigin.StartAsync(SampleFiles.Png(1, 1));

        var error = await FailAsync(new MediaOptions { AllowPrivateAddresses = true }, origin.Url(), ["*.volces.com"]);

        Assert.Equal(MediaFailure.SourceRefused, error.Failure);
        Assert.Equal(0, origin.Requests);
    }

    [Theory]
    [InlineData(202, MediaFailure.SourceNotReady)]
    [InlineData(204, MediaFailure.SourceNotReady)]
    [InlineData(400, MediaFailure.SourceNotReady)]
    [InlineData(403, MediaFailure.SourceNotReady)]
    [InlineData(404, MediaFailure.SourceNotReady)]
    [InlineData(409, MediaFailure.SourceNotReady)]
    [InlineData(423, MediaFailure.SourceNotReady)]
    [InlineData(410, MediaFailure.SourceGone)]
    [InlineData(302, MediaFailure.SourceGone)] // without a Location
    [InlineData(408, MediaFailure.SourceUnavailable)]
    [InlineData(429, MediaFailure.SourceUnavailable)]
    [InlineData(500, MediaFailure.SourceUnavailable)]
    [InlineData(503, MediaFailure.SourceUnavailable)]
    public async Task An_answer_that_is_no_file_says_whether_to_try_again(int status, MediaFailure failure)
    {
        await using var origin = await MediaOrigin.StartAsync(context =>
        {
            context.Response.StatusCode = status;
            return Task.CompletedTask;
        });

        var error = await FailAsync(new MediaOptions { AllowPrivateAddresses = true }, origin.Url("/file?X-Signature=secret"), Loopback);

        Assert.Equal(failure, error.Failure);
        Assert.Contains(status.ToString(), error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_source_that_is_not_there_is_unavailable()
    {
        var error = await FailAsync(new MediaOptions { AllowPrivateAddresses = true }, new Uri("http://127.0.0.1:9/a"), Loopback);

        Assert.Equal(MediaFailure.SourceUnavailable, error.Failure);
    }

    [Fact]
    public async Task A_source_that_never_answers_is_unavailable_and_its_connection_closed()
    {
        var wasClosed = new TaskCompletionSource();
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
            wasClosed.SetResult();
        });

        var options = new MediaOptions { AllowPrivateAddresses = true, IdleTimeout = TimeSpan.FromMilliseconds(200) };
        var error = await FailAsync(options, origin.Url(), Loopback);

        Assert.Equal(MediaFailure.SourceUnavailable, error.Failure);
        Assert.Contains("Media:IdleTimeout", error.Message, StringComparison.Ordinal);
        await wasClosed.Task.WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task A_canceled_request_is_canceled_not_failed()
    {
        var arrived = new TaskCompletionSource();
        await using var origin = await MediaOrigin.StartAsync(async context =>
        {
            arrived.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted);
        });
        using var downloader = Downloader(new MediaOptions { AllowPrivateAddresses = true });
        using var cancel = new CancellationTokenSource();

        var opening = downloader.OpenAsync(origin.Url(), Loopback, cancel.Token);
        await arrived.Task.WaitAsync(TimeSpan.FromSeconds(20));
        await cancel.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening);
    }

    [Fact]
    public async Task Requests_carry_neither_cookies_nor_a_wish_for_compression()
    {
        var seen = new List<(string Cookie, string AcceptEncoding)>();
        await using var origin = await MediaOrigin.StartAsync(context =>
        {
            seen.Add((context.Request.Headers.Cookie.ToString(), context.Request.Headers.AcceptEncoding.ToString()));
            context.Response.Cookies.Append("session", "1");
            return Task.CompletedTask;
        });
        using var downloader = Downloader(new MediaOptions { AllowPrivateAddresses = true });

        for (var i = 0; i < 2; i++)
        {
            await using var download = await downloader.OpenAsync(origin.Url(), Loopback, default);
        }

        Assert.Equal([("", "identity"), ("", "identity")], seen);
    }

    private static Func<HttpContext, Task> Redirect(Func<HttpContext, Uri> target) => context =>
    {
        context.Response.StatusCode = 302;
        context.Response.Headers.Location = target(context).ToString();
        return Task.CompletedTask;
    };

    private static MediaDownloader Downloader(MediaOptions options) => new(Options.Create(options), TimeProvider.System);

    private static async Task<MediaException> FailAsync(MediaOptions options, Uri url, IReadOnlyList<string> allowedHosts)
    {
        using var downloader = Downloader(options);
        return await Assert.ThrowsAsync<MediaException>(() => downloader.OpenAsync(url, allowedHosts, default));
    }
}
