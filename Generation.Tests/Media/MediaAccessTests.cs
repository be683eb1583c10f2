using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Generation.Core.Media;
using Generation.Tests.Harness;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Generation.Tests.Media;

/// <summary>Outputs are opened by URLs signed for an hour, after an ownership check, and by nothing else.</summary>
public sealed class MediaAccessTests
{
    [Fact]
    public async Task A_signed_URL_opens_the_output_for_an_hour_for_whoever_has_it()
    {
        var (system, user, media) = await StoredAsync();
        var before = TimeProvider.System.GetUtcNow();
        var session = await user.GetAsync(
            $"/api/generations/{await system.ScalarAsync<Guid>($"SELECT session_id FROM media WHERE media_id = '{media}'")}");
        var shown = session.Body["media"]![0]!;
        Assert.InRange(shown["urlExpiresAt"]!.GetValue<DateTimeOffset>() - before, TimeSpan.FromMinutes(59), TimeSpan.FromMinutes(61));

        using var anybody = new HttpClient();
        using var answer = await anybody.GetAsync((string?)shown["url"]);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("image/jpeg", answer.Content.Headers.ContentType?.MediaType);
        Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.True(answer.Headers.CacheControl?.Private);
        Assert.InRange(answer.Headers.CacheControl!.MaxAge!.Value, TimeSpan.FromMinutes(50), TimeSpan.FromHours(1));
        Assert.Equal("default-src 'none'; sandbox", answer.Headers.GetValues("Content-Security-Policy").Single());
        Assert.Equal("cross-origin", answer.Headers.GetValues("Cross-Origin-Resource-Policy").Single());
        Assert.Equal(("completed", true), ((string?)session.Body["status"], ((string?)session.Body["resolution"])?.Contains('x')));
        Assert.Matches(@"^\d+:\d+$", (string?)session.Body["aspectRatio"]);
        var bytes = await answer.Content.ReadAsByteArrayAsync();
        Assert.Equal((long)shown["bytes"]!, bytes.LongLength);
        Assert.Equal((string?)shown["sha256"], Convert.ToHexStringLower(SHA256.HashData(bytes)));

        using var part = new HttpRequestMessage(HttpMethod.Get, (string?)shown["url"]) { Headers = { Range = new RangeHeaderValue(100, 199) } };
        using var range = await anybody.SendAsync(part);
        Assert.Equal(HttpStatusCode.PartialContent, range.StatusCode);
        Assert.Equal(bytes[100..200], await range.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task The_media_route_redirects_its_owner_and_nobody_else()
    {
        var (system, owner, media) = await StoredAsync();
        using var direct = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false })
        {
            BaseAddress = system.Apis[0].Address,
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", owner.Key) },
        };
        using var redirect = await direct.GetAsync($"/api/media/{media}");
        Assert.Equal(HttpStatusCode.Redirect, redirect.StatusCode);
        using var anybody = new HttpClient();
        Assert.Equal(HttpStatusCode.OK, (await anybody.GetAsync(redirect.Headers.Location)).StatusCode);

        foreach (var role in new[] { "user", "admin" })
        {
            (await (await system.NewUserAsync(role: role)).GetAsync($"/api/media/{media}")).AssertProblem(HttpStatusCode.NotFound, "not_found");
        }
    }

    [Fact]
    public async Task A_URL_that_was_changed_or_is_over_opens_nothing()
    {
        var (system, owner, media) = await StoredAsync();
        var (_, _, otherMedia) = await StoredAsync();
        var session = await system.ScalarAsync<Guid>($"SELECT session_id FROM media WHERE media_id = '{media}'");
        var url = new Uri((string)(await owner.GetAsync($"/api/generations/{session}")).Body["media"]![0]!["url"]!);
        var key = url.AbsolutePath["/media/".Length..];
        var otherKey = await system.ScalarAsync<string>($"SELECT object_key FROM media WHERE media_id = '{otherMedia}'");
        var query = url.Query.TrimStart('?').Split('&').Select(p => p.Split('=')).ToDictionary(p => p[0], p => p[1]);
        var (expires, signature) = (query["expires"], query["signature"]);
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        foreach (var forged in new[]
        {
            $"/media/{key}",
            $"/media/{key}?expires={expires}",
            $"/media/{key}?signature={signature}",
            $"/media/{key}?expires={long.Parse(expires) + 1}&signature={signature}",
            $"/media/{key}?expires=0{expires}&signature={signature}",
            $"/media/{key}?expires={expires}&signature={signature}A",
            $"/media/{key}?expires={expires}&signature={(signature[0] == 'A' ? 'B' : 'A')}{signature[1..]}",
            $"/media/{key}?expires={expires}&signature=",
            $"/media/{key}?expires={expires}&signature={signature}&name=evil.html",
            $"/media/{key}?expires={expires}&expires=99999999999&signature={signature}",
            $"/media/{otherKey}?expires={expires}&signature={signature}",
            $"/media/.signing-key?expires={expires}&signature={signature}",
            $"/media/?expires={expires}&signature={signature}",
        })
        {
            (await Reply.ReadAsync(await anybody.GetAsync(forged))).AssertProblem(HttpStatusCode.Forbidden, "url_not_signed");
        }

        var yesterday = new FolderMediaStore(Options.Create(new MediaOptions { Folder = { Root = system.MediaFolder } }), new FakeTimeProvider(
            TimeProvider.System.GetUtcNow() - TimeSpan.FromDays(1)));
        (await Reply.ReadAsync(await anybody.GetAsync(yesterday.SignedUrl(MediaKey.Parse(key), TimeSpan.FromHours(1)))))
            .AssertProblem(HttpStatusCode.Forbidden, "url_expired");

        File.Delete(Path.Combine(system.MediaFolder, otherKey!)); // as a lifecycle rule would
        await system.ExecuteAsync($"UPDATE media SET object_key = '{key}' WHERE media_id = '{otherMedia}'");
        var gone = yesterday.SignedUrl(MediaKey.Parse(otherKey!), TimeSpan.FromHours(48));
        (await Reply.ReadAsync(await anybody.GetAsync(gone))).AssertProblem(HttpStatusCode.NotFound, "not_found");
    }

    [Theory]
    [InlineData("/media/../../../../etc/passwd")]
    [InlineData("/media/%2e%2e/%2e%2e/%2e%2e/etc/passwd")]
    [InlineData("/media/..%2f..%2f..%2fetc%2fpasswd")]
    [InlineData("/media/%2e%2e%2f%2e%2e%2fetc/passwd")]
    [InlineData("/media//etc/passwd")]
    [InlineData("/media/%2fetc%2fpasswd")]
    [InlineData("/media/..\\..\\etc\\passwd")]
    [InlineData("/media/.signing-key")]
    [InlineData("/media/.%73igning-key")]
    [InlineData("/media/.unfinished/")]
    [InlineData("/media/{key}%00.jpg")]
    [InlineData("/media/{key}/../../../../../etc/passwd")]
    [InlineData("/samples/../appsettings.json")]
    [InlineData("/samples/..%2f..%2fetc%2fpasswd")]
    [InlineData("/samples/%2e%2e/appsettings.json")]
    public async Task No_path_leads_out_of_the_folder(string path)
    {
        var (system, _, media) = await StoredAsync();
        var key = await system.ScalarAsync<string>($"SELECT object_key FROM media WHERE media_id = '{media}'");
        foreach (var query in new[] { "", "?expires=99999999999&signature=AAAA" })
        {
            var status = await StatusOfAsync(system.Apis[0].Address, path.Replace("{key}", key) + query);
            Assert.True(status is 400 or 403 or 404, $"{path}{query} answered {status}");
        }
    }

    [Fact]
    public async Task A_copy_is_kept_no_longer_than_its_URL_is_valid_and_a_tilde_may_be_written_as_one_likes()
    {
        var (system, _, media) = await StoredAsync();
        var key = MediaKey.Parse((await system.ScalarAsync<string>($"SELECT object_key FROM media WHERE media_id = '{media}'"))!);
        var store = new FolderMediaStore(Options.Create(new MediaOptions { Folder = { Root = system.MediaFolder } }), TimeProvider.System);
        var url = store.SignedUrl(key, TimeSpan.FromMinutes(2), "a~b.jpg");
        Assert.Contains("a~b.jpg", url, StringComparison.Ordinal);
        using var anybody = new HttpClient { BaseAddress = system.Apis[0].Address };
        foreach (var spelled in new[] { url, url.Replace("~", "%7E", StringComparison.Ordinal), url.Replace("~", "%7e", StringComparison.Ordinal) })
        {
            using var answer = await anybody.GetAsync(new Uri(anybody.BaseAddress, spelled));
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.InRange(answer.Headers.CacheControl!.MaxAge!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(2));
            Assert.Equal("a~b.jpg", answer.Content.Headers.ContentDisposition?.FileNameStar);
        }
    }

    [Fact]
    public async Task Files_are_for_the_owner_of_the_service_alone()
    {
        var (system, _, media) = await StoredAsync();
        var path = Path.Combine(system.MediaFolder, (await system.ScalarAsync<string>($"SELECT object_key FROM media WHERE media_id = '{media}'"))!);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
                File.GetUnixFileMode(Path.GetDirectoryName(path)!));
        }
    }

    [Fact]
    public async Task Samples_are_shown_when_mocks_are_not_uploaded()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Mock:UploadOutputs"] = "false";
        });
        var end = await system.EndOfAsync(await system.SubmitAsync("x"));
        using var anybody = new HttpClient();
        using var answer = await anybody.GetAsync((string?)end["media"]![0]!["url"]);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("image/jpeg", answer.Content.Headers.ContentType?.MediaType);
        Assert.Equal((string?)end["media"]![0]!["sha256"], Convert.ToHexStringLower(SHA256.HashData(await answer.Content.ReadAsByteArrayAsync())));
        Assert.False(Directory.Exists(system.MediaFolder) && Directory.EnumerateFiles(system.MediaFolder, "*.jpg", SearchOption.AllDirectories)
            .Any());
    }

    private static async Task<(TestSystem System, ApiUser User, Guid Media)> StoredAsync()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var end = await system.EndOfAsync(await user.AcceptedAsync(), user.Http);
        return (system, user, end["media"]![0]!["mediaId"]!.GetValue<Guid>());
    }

    /// <summary>Sends the path as it stands; HttpClient would tidy it first.</summary>
    private static async Task<int> StatusOfAsync(Uri api, string path)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(api.Host, api.Port);
        await using var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"GET {path} HTTP/1.1\r\nHost: {api.Authority}\r\nConnection: close\r\n\r\n"));
        using var reader = new StreamReader(stream);
        var first = await reader.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(10));
        Assert.DoesNotContain("root:", await reader.ReadToEndAsync(), StringComparison.Ordinal);
        return int.Parse(first!.Split(' ')[1]);
    }
}
