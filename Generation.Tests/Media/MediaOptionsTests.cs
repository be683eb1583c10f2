using Generation.Core.Media;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Generation.Tests.Media;

public sealed class MediaOptionsTests
{
    [Fact]
    public void Nothing_configured_means_a_local_folder_and_one_hour()
    {
        using var services = Services([]);
        var options = services.GetRequiredService<IOptions<MediaOptions>>().Value;

        Assert.IsType<FolderMediaStore>(services.GetRequiredService<IMediaStore>());
        Assert.Same(services.GetRequiredService<IMediaStore>(), services.GetRequiredService<FolderMediaStore>());
        Assert.NotNull(services.GetRequiredService<MediaTransfer>());
        Assert.Equal((52_428_800L, 2_147_483_648L), (options.MaxBytes(MediaKind.Image), options.MaxBytes(MediaKind.Video)));
        Assert.Equal(TimeSpan.FromHours(1), options.SignedUrlLifetime);
        Assert.False(options.AllowPrivateAddresses);
    }

    [Fact]
    public void A_bucket_at_backblaze_is_four_settings_and_a_word()
    {
        using var services = Services(new()
        {
            ["Media:Store"] = "s3",
            ["Media:S3:Endpoint"] = "https://s3.us-west-004.backblazeb2.com",
            ["Media:S3:Region"] = "us-west-004",
            ["Media:S3:Bucket"] = "results",
            ["Media:S3:AccessKey"] = "key",
            ["Media:S3:SecretKey"] = "secret",
        });

        var url = new Uri(services.GetRequiredService<IMediaStore>().SignedUrl(MediaKey.Sample("a.png"), TimeSpan.FromHours(1)));

        Assert.Equal("https://results.s3.us-west-004.backblazeb2.com/samples/a.png", url.GetLeftPart(UriPartial.Path));
        Assert.Contains("us-west-004", url.Query, StringComparison.Ordinal);
        Assert.Matches("X-Amz-Expires=(3600|3599)&", url.Query + "&"); // a second may pass between two looks at the clock
    }

    [Theory]
    [InlineData("Media:MaxImageDownloadBytes", "0")]
    [InlineData("Media:MaxRemoteDownloadBytes", "-1")]
    [InlineData("Media:MaxRemoteDownloadBytes", "99999999999999")]
    [InlineData("Media:SignedUrlLifetime", "8.00:00:00")]
    [InlineData("Media:SignedUrlLifetime", "00:00:00")]
    [InlineData("Media:IdleTimeout", "00:00:00")]
    [InlineData("Media:DownloadTimeout", "00:00:10")]
    [InlineData("Media:Folder:Root", "")]
    [InlineData("Media:Folder:SigningKey", "short")]
    [InlineData("Media:PrivateHosts", "http://gpu-1.lan", "Media:PrivateHosts:0")]
    [InlineData("Media:S3:Bucket", "s3", "Media:Store")]
    [InlineData("Media:S3:SecretKey", "only-half", "Media:S3:AccessKey", "Media:Store", "s3")]
    [InlineData("Media:S3:Endpoint", "backblazeb2.com", "Media:S3:Endpoint", "Media:Store", "s3")]
    public void A_wrong_value_names_its_setting(string named, string value, string? set = null, string? otherKey = null, string? otherValue = null)
    {
        var settings = new Dictionary<string, string?> { [set ?? named] = value };
        if (otherKey is not null)
        {
            settings[otherKey] = otherValue;
        }

        using var services = Services(settings);

        var error = Assert.Throws<OptionsValidationException>(() => services.GetRequiredService<IMediaStore>());
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
    }

    private static ServiceProvider Services(Dictionary<string, string?> settings) => new ServiceCollection()
        .AddLogging()
        .AddMedia(new ConfigurationBuilder().AddInMemoryCollection(settings).Build())
        .BuildServiceProvider();
}
