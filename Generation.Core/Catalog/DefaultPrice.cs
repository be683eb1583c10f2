using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Catalog;

/// <summary>
/// What a model costs until an operator says otherwise. The migration step writes it for a model that is sold and has never had a price: one
/// that was retired stays retired.
/// </summary>
/// <param name="Credits">For an output, or a second of one: <see cref="Per"/>.</param>
public sealed record DefaultPrice(long Credits)
{
    /// <summary><c>output</c> or <c>second</c>.</summary>
    public string Per { get; init; } = "output";

    /// <summary>How the cost follows from what the provider counts; null when the listed price is the cost.</summary>
    public Metering? Metering { get; init; }

    /// <summary>What the provider takes from us for an output; null when that is not known.</summary>
    public decimal? UsdPerOutput { get; init; }

    /// <summary>What the provider takes from us for a unit of <see cref="Metering"/>.</summary>
    public decimal? UsdPerUnit { get; init; }

    /// <summary>Writes the prices that are missing, as the database's owner. Any number of processes may do it at once.</summary>
    /// <returns>The models that got their price.</returns>
    public static async Task<IReadOnlyList<string>> InsertMissingAsync(
        string ownerConnectionString, IEnumerable<Model> models, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(models);
        var inserted = new List<string>();
        await using var owner = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(ownerConnectionString) { Pooling = false }.ConnectionString);
        await owner.OpenAsync(ct);
        foreach (var model in models.Where(model => model is { DefaultPrice: not null, Lifecycle: not ModelLifecycle.Retired }))
        {
            if (await InsertAsync(owner, model.Id, model.DefaultPrice!, ct))
            {
                inserted.Add(model.Id);
            }
        }

        return inserted;
    }

    private static async Task<bool> InsertAsync(NpgsqlConnection owner, string model, DefaultPrice price, CancellationToken ct)
    {
        await using var insert = new NpgsqlCommand(
            """
            INSERT INTO model_pricing (model, credits, per, usage_field, credits_per_unit, usd_per_output, usd_per_unit)
            SELECT $1, $2, $3, $4, $5, $6, $7
            WHERE NOT EXISTS (SELECT FROM price_rows WHERE model = $1)
            ON CONFLICT DO NOTHING
            """,
            owner)
        {
            Parameters =
            {
                new() { Value = model },
                new() { Value = price.Credits },
                new() { Value = price.Per },
                new() { Value = (object?)price.Metering?.Field ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Text },
                new() { Value = (object?)price.Metering?.CreditsPerUnit ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Numeric },
                new() { Value = (object?)price.UsdPerOutput ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Numeric },
                new() { Value = (object?)price.UsdPerUnit ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Numeric },
            },
        };
        return await insert.ExecuteNonQueryAsync(ct) > 0;
    }
}
