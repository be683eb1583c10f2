using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Core.Settings;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Credits;

public sealed class QuoteTests
{
    private static readonly Model Video = new()
    {
        Id = "video-1",
        Tool = "video",
        JobType = "gen.video",
        Provider = "p",
        ProviderModel = "p-1",
        Kind = "video",
        Lane = "video",
        Parameters = [],
    };

    [Theory]
    [InlineData("""{"resolution":"1080p","quality":"high","duration":8}""", 9, 8, 1, 72)]
    [InlineData("""{"resolution":"1080p","quality":"low","duration":8}""", 5, 8, 1, 40)]
    [InlineData("""{"resolution":"1080p","duration":8,"n":2}""", 5, 8, 2, 80)]
    [InlineData("""{"resolution":"720p","duration":8}""", 30, 1, 1, 30)]
    [InlineData("{}", 30, 1, 1, 30)]
    public async Task The_nearest_price_counts_variant_and_quality_first_then_variant_then_model(
        string input, long unit, int multiplier, int outputs, long total)
    {
        await using var prices = await PricesAsync(
            """
            INSERT INTO model_pricing (model, credits) VALUES ('video-1', 30);
            INSERT INTO image_variant_pricing (model, resolution, quality, credits, per)
                VALUES ('video-1', '1080p', '', 5, 'second'), ('video-1', '1080p', 'high', 9, 'second');
            INSERT INTO image_variant_pricing (model, resolution, credits, created_at, retired_at)
                VALUES ('video-1', '720p', 1, now() - interval '2 days', now() - interval '1 day')
            """);
        var quote = (await prices.List.QuoteAsync(Video, JsonNode.Parse(input)!.AsObject(), CancellationToken.None))!;
        Assert.Equal((unit, multiplier, outputs, total), (quote.Price.Credits, quote.Multiplier, quote.Outputs, quote.Total));
        Assert.Equal((unit * multiplier, quote.Price.Version), (quote.PerOutput.Credits, quote.PerOutput.Version));
    }

    [Fact]
    public async Task What_has_no_price_has_no_quote()
    {
        await using var prices = await PricesAsync(
            "INSERT INTO model_pricing (model, credits, created_at, retired_at) VALUES ('video-1', 30, now() - interval '1 day', now())");
        Assert.Null(await prices.List.QuoteAsync(Video, [], CancellationToken.None));
    }

    [Fact]
    public async Task A_price_per_second_needs_a_duration()
    {
        await using var prices = await PricesAsync("INSERT INTO model_pricing (model, credits, per) VALUES ('video-1', 30, 'second')");
        Assert.Null(await prices.List.QuoteAsync(Video, [], CancellationToken.None));
        Assert.Equal(150, (await prices.List.QuoteAsync(Video, new JsonObject { ["duration"] = 5 }, CancellationToken.None))!.Total);
    }

    [Fact]
    public async Task A_metered_price_says_by_what_it_is_metered()
    {
        await using var prices = await PricesAsync(
            "INSERT INTO model_pricing (model, credits, usage_field, credits_per_unit) VALUES ('video-1', 30, 'total_tokens', 0.0005)");
        var quote = (await prices.List.QuoteAsync(Video, [], CancellationToken.None))!;
        Assert.Equal(new Metering("total_tokens", 0.0005m), quote.Price.Metering);
        Assert.Equal(30, quote.Total);
    }

    [Theory]
    [InlineData("UPDATE model_pricing SET credits = 1")]
    [InlineData("UPDATE image_variant_pricing SET credits_per_unit = 1, usage_field = 'x'")]
    [InlineData("DELETE FROM model_pricing")]
    public async Task The_services_cannot_change_a_price(string sql)
    {
        await using var prices = await PricesAsync("SELECT 1");
        var refused = await Assert.ThrowsAsync<PostgresException>(() => prices.AsServiceAsync(sql));
        Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        await prices.AsServiceAsync("UPDATE model_pricing SET retired_at = now() WHERE model = 'seedream-3'");
    }

    private static async Task<Prices> PricesAsync(string sql)
    {
        TestPostgres.Migrate = connectionString => Core.Database.DatabaseMigrator.MigrateAsync(connectionString, CancellationToken.None);
        var database = await TestPostgres.CreateDatabaseAsync();
        var prices = new Prices(database);
        await using var command = prices.Db.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
        return prices;
    }

    private sealed class Prices(TestDatabase database) : IAsyncDisposable
    {
        public NpgsqlDataSource Db { get; } = NpgsqlDataSource.Create(database.ConnectionString + ";Pooling=false");

        public PriceList List => new(Db, new SettingsOptions(), TimeProvider.System);

        public async Task AsServiceAsync(string sql)
        {
            await using var command = Db.CreateCommand($"SET LOCAL ROLE generation_service; {sql}");
            await command.ExecuteNonQueryAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await Db.DisposeAsync();
            await database.DisposeAsync();
        }
    }
}
