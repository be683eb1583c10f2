using System.Net;
using System.Text.Json;

namespace Generation.Tests.ProviderSim;

public class DownloadTests(SimApp sim) : IClassFixture<SimApp>
{
    [Fact]
    public async Task A_url_survives_a_restart_and_yields_the_same_bytes()
    {
        var url = await sim.UrlOfAsync("a river");
        await using var restarted = new SimApp();
        await restarted.InitializeAsync();
        Assert.Equal(await sim.Http.GetByteArrayAsync(url), await restarted.Http.GetByteArrayAsync(url.PathAndQuery));
    }

    [Fact]
    public async Task A_url_expires_after_a_day()
    {
        await using var later = new SimApp();
        await later.InitializeAsync();
        var url = await later.UrlOfAsync("a day [bytes=5000]");
        later.Time.Advance(TimeSpan.FromHours(23.9));
        using var still = await later.Http.GetAsync(url);
        later.Time.Advance(TimeSpan.FromHours(0.2));
        using var over = await later.Http.GetAsync(url);
        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.Forbidden), (still.StatusCode, over.StatusCode));
        Assert.Contains("Request has expired", await over.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("X-Tos-Expires=86400", "X-Tos-Expires=86401")]
    [InlineData("_0.jpeg", "_1.jpeg")]
    [InlineData("X-Tos-Signature=", "X-Tos-Signature=0")]
    public async Task A_changed_url_is_refused(string original, string changed)
    {
        var url = (await sim.UrlOfAsync("a forgery")).ToString();
        using var response = await sim.Http.GetAsync(url.Replace(original, changed, StringComparison.Ordinal));
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Contains("SignatureDoesNotMatch", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dead-url", HttpStatusCode.NotFound)]
    [InlineData("expired-url", HttpStatusCode.Forbidden)]
    public async Task A_dead_url_answers_with_an_error(string word, HttpStatusCode status)
    {
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync($"x [fault={word}]"));
        Assert.Equal(status, response.StatusCode);
    }

    [Theory]
    [InlineData("wrong-type", "text/html", "<!do")]
    [InlineData("html-as-png", "image/png", "<!do")]
    [InlineData("zip-as-png", "image/png", "PK\u0003\u0004")]
    public async Task A_wrong_file_is_what_its_fault_says(string word, string type, string start)
    {
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync($"x [fault={word}]"));
        Assert.Equal(type, response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(start, (await response.Content.ReadAsStringAsync())[..4]);
    }

    [Fact]
    public async Task A_cut_body_ends_before_its_length()
    {
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync("x [fault=cut-body] [bytes=300000]"),
            HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(300_000, response.Content.Headers.ContentLength);
        await Assert.ThrowsAnyAsync<IOException>(async () =>
        {
            await using var body = await response.Content.ReadAsStreamAsync();
            await body.CopyToAsync(Stream.Null);
        });
    }

    [Fact]
    public async Task An_oversized_body_has_no_length_and_does_not_end()
    {
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync("x [fault=oversized]"), HttpCompletionOption.ResponseHeadersRead);
        Assert.Null(response.Content.Headers.ContentLength);
        await using var body = await response.Content.ReadAsStreamAsync();
        await body.ReadExactlyAsync(new byte[8_000_000]);
    }

    [Fact]
    public async Task A_slow_body_drips()
    {
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync("x [fault=slow-body] [bytes=1500]"),
            HttpCompletionOption.ResponseHeadersRead);
        await using var body = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[1500];
        Assert.InRange(await body.ReadAsync(buffer), 1, 512);
        using var rest = new MemoryStream();
        await body.CopyToAsync(rest);
        Assert.InRange(rest.Length, 900, 1499);
    }

    [Fact]
    public async Task Redirects_lead_to_the_file_or_to_a_private_address()
    {
        using var harmless = await sim.Http.GetAsync(await sim.UrlOfAsync("x [fault=redirect] [bytes=2000]"));
        Assert.Equal(HttpStatusCode.Redirect, harmless.StatusCode);
        Assert.Equal(2000, (await sim.Http.GetByteArrayAsync(harmless.Headers.Location)).Length);
        using var harmful = await sim.Http.GetAsync(await sim.UrlOfAsync("x [fault=redirect-private]"));
        Assert.Equal("169.254.169.254", harmful.Headers.Location?.Host);
    }

    [Fact]
    public async Task A_limited_download_fault_lets_a_later_download_succeed()
    {
        var url = await sim.UrlOfAsync("x [fault=dead-url:times=2] [bytes=2000]");
        var seen = new List<int>();
        for (var n = 0; n < 3; n++)
        {
            using var response = await sim.Http.GetAsync(url);
            seen.Add((int)response.StatusCode);
        }

        Assert.Equal([404, 404, 200], seen);
    }

    [Fact]
    public async Task A_download_gate_holds_the_second_half()
    {
        var url = await sim.UrlOfAsync("a gate in a wall [download-gate=wall]");
        using var response = await sim.Http.GetAsync(url, HttpCompletionOption.ResponseHeadersRead);
        var length = response.Content.Headers.ContentLength!.Value;
        await using var body = await response.Content.ReadAsStreamAsync();
        var first = new byte[length / 2];
        await body.ReadExactlyAsync(first);
        using (var json = JsonDocument.Parse(await sim.Http.GetStringAsync("/sim/gates/wall/waiting")))
            Assert.Equal(1, json.RootElement.GetProperty("waiting").GetInt32());
        var second = body.ReadExactlyAsync(new byte[length - first.Length]).AsTask();
        Assert.False(second.IsCompleted);
        await sim.Http.PostAsync("/sim/gates/wall", null);
        await second;
    }

    [Fact]
    public async Task Half_a_gigabyte_costs_a_fixed_buffer()
    {
        var before = GC.GetTotalAllocatedBytes();
        using var response = await sim.Http.GetAsync(await sim.UrlOfAsync("x [bytes=500000000]"), HttpCompletionOption.ResponseHeadersRead);
        await using var body = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[1 << 16];
        var total = 0L;
        for (int read; (read = await body.ReadAsync(buffer)) > 0;) total += read;
        Assert.Equal(500_000_000, total);
        // Other tests allocate at the same time; a body in memory would be several times this.
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 250_000_000);
    }

    [Fact]
    public async Task The_home_page_shows_the_last_pictures_and_every_fault()
    {
        using var response = await sim.PromptAsync("<script>home</script>");
        var page = await sim.Http.GetStringAsync("/");
        Assert.Contains("&lt;script&gt;home", page, StringComparison.Ordinal);
        Assert.Contains("[fault=redirect-private]", page, StringComparison.Ordinal);
        var thumbnail = page.Split("src=\"")[1].Split('"')[0];
        Assert.Equal((480, 270), PictureFiles.JpegSize(await sim.Http.GetByteArrayAsync(thumbnail)));
        Assert.Equal("Healthy", await sim.Http.GetStringAsync("/healthz"));
    }
}
