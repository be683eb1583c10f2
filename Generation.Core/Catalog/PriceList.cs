using System.Text.Json.Nodes;
using Generation.Core.Settings;
using Npgsql;

namespace Generation.Core.Catalog;

/// <summary>A price row.</summary>
/// <param name="Credits">Per output, or per second of one: <see cref="Per"/>.</param>
/// <param name="Version">The row it was sold at; the session keeps it.</param>
/// <param name="Variant">The resolution that has a price of its own, or null for the model's price.</param>
public sealed record Price(long Credits, long Version, string? Variant)
{
    /// <summary>The quality that has a price of its own, or null.</summary>
    public string? Quality { get; init; }

    /// <summary><c>output</c> or <c>second</c>.</summary>
    public string Per { get; init; } = "output";

    /// <summary>How the cost follows from what the provider counts; null when the listed price is the cost.</summary>
    public Metering? Metering { get; init; }
}

/// <param name="Field">Of the provider's usage, such as <c>total_tokens</c>.</param>
/// <param name="CreditsPerUnit">The cost of an output is this times the field, rounded up.</param>
public sealed record Metering(string Field, decimal CreditsPerUnit);

/// <summary>What a request costs by the listed price: what is held for it.</summary>
/// <param name="Price">The row that applies.</param>
/// <param name="Multiplier">Seconds for a price per second, else 1.</param>
/// <param name="Outputs">How many.</param>
public sealed record Quote(Price Price, int Multiplier, int Outputs)
{
    /// <summary>The price of one output.</summary>
    public Price PerOutput => Price with { Credits = checked(Price.Credits * Multiplier) };

    public long Total => checked(PerOutput.Credits * Outputs);
}

/// <summary>The current prices, read together and kept for a few seconds; a session keeps the price it was sold at.</summary>
public sealed class PriceList(NpgsqlDataSource database, SettingsOptions options, TimeProvider time)
{
    private readonly Cached<Dictionary<(string Model, string? Resolution, string Quality), Price>> prices =
        new(ct => ReadAsync(database, ct), options.CacheDuration, time);

    /// <summary>
    /// The price of a valid request: of its resolution and quality, else of its resolution, else of the model. Null when the model has
    /// none and so cannot be sold.
    /// </summary>
    public async ValueTask<Quote?> QuoteAsync(Model model, JsonObject input, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(input);
        string? Text(string name) => input[name] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;
        var resolution = Text("resolution") ?? (Text("size") is { } size ? SizeParameter.Resolution(size) : null);
        var list = await prices.GetAsync(ct);
        var price = (Text("quality") is { } quality ? list.GetValueOrDefault((model.Id, resolution, quality)) : null)
            ?? list.GetValueOrDefault((model.Id, resolution, "")) ?? list.GetValueOrDefault((model.Id, null, ""));
        return price switch
        {
            null => null,
            // of unknown length
            { Per: "second" } => input["duration"] is { } seconds ? new Quote(price, seconds.GetValue<int>(), Model.Outputs(input)) : null,
            _ => new Quote(price, 1, Model.Outputs(input)),
        };
    }

    public async ValueTask<IReadOnlyList<Price>> OfAsync(string model, CancellationToken ct) =>
        [.. (await prices.GetAsync(ct)).Where(p => p.Key.Model == model).Select(p => p.Value)
            .OrderBy(p => p.Variant, StringComparer.Ordinal).ThenBy(p => p.Quality, StringComparer.Ordinal)];

    private static async Task<Dictionary<(string, string?, string), Price>> ReadAsync(NpgsqlDataSource database, CancellationToken ct)
    {
        var list = new Dictionary<(string, string?, string), Price>();
        await using var command = database.CreateCommand(
            """
            SELECT model, resolution, quality, credits, price_version, per, usage_field, credits_per_unit
            FROM price_rows
            WHERE retired_at IS NULL
            """);
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            var resolution = await reader.IsDBNullAsync(1, ct) ? null : reader.GetString(1);
            var quality = reader.GetString(2);
            list.Add((reader.GetString(0), resolution, quality), new Price(reader.GetInt64(3), reader.GetInt64(4), resolution)
            {
                Quality = quality.Length > 0 ? quality : null,
                Per = reader.GetString(5),
                Metering = await reader.IsDBNullAsync(6, ct) ? null : new Metering(reader.GetString(6), reader.GetDecimal(7)),
            });
        }

        return list;
    }
}
