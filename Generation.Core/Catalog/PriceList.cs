using Generation.Core.Settings;
using Npgsql;

namespace Generation.Core.Catalog;

/// <param name="Credits">Per output.</param>
/// <param name="Version">The price row it was sold at; the session keeps it.</param>
/// <param name="Variant">The resolution that has a price of its own, or null for the model's price.</param>
public sealed record Price(long Credits, long Version, string? Variant);

/// <summary>The current prices, read together and kept for a few seconds; a session keeps the price it was sold at.</summary>
public sealed class PriceList(NpgsqlDataSource database, SettingsOptions options, TimeProvider time)
{
    private readonly Cached<Dictionary<(string Model, string? Resolution), Price>> prices =
        new(ct => ReadAsync(database, ct), options.CacheDuration, time);

    /// <summary>The price of one output: the variant's, else the model's; null when the model has none and so cannot be sold.</summary>
    public async ValueTask<Price?> FindAsync(string model, string? resolution, CancellationToken ct)
    {
        var list = await prices.GetAsync(ct);
        return (resolution is not null ? list.GetValueOrDefault((model, resolution)) : null) ?? list.GetValueOrDefault((model, null));
    }

    public async ValueTask<IReadOnlyList<Price>> OfAsync(string model, CancellationToken ct) =>
        [.. (await prices.GetAsync(ct)).Where(p => p.Key.Model == model).Select(p => p.Value).OrderBy(p => p.Variant, StringComparer.Ordinal)];

    private static async Task<Dictionary<(string, string?), Price>> ReadAsync(NpgsqlDataSource database, CancellationToken ct)
    {
        var list = new Dictionary<(string, string?), Price>();
        await using var command = database.CreateCommand(
            """
            SELECT model, NULL, credits, price_version FROM model_pricing WHERE retired_at IS NULL
            UNION ALL
            SELECT model, resolution, credits, price_version FROM image_variant_pricing WHERE retired_at IS NULL AND quality = ''
            """);
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            var variant = await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1);
            list.Add((reader.GetString(0), variant), new Price(reader.GetInt64(2), reader.GetInt64(3), variant));
        }

        return list;
    }
}
