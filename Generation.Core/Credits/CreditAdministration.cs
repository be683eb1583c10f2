using System.ComponentModel.DataAnnotations;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Credits;

/// <summary>An administrator's change. The same idempotency key with the same hash is the same admin action.</summary>
/// <param name="Key">The idempotency key, unique over all administrators.</param>
/// <param name="RequestHash">SHA-256 of what is asked for.</param>
/// <param name="ActorId">The administrator.</param>
/// <param name="UserId">Whom it is about; the user must exist, an account is made when there is none.</param>
/// <param name="Reason">Recorded with the action.</param>
public sealed record AdminAction(string Key, byte[] RequestHash, Guid ActorId, Guid UserId, string Reason);

public enum AdminActionOutcome
{
    /// <summary>Done, with its audit row.</summary>
    Done,

    /// <summary>It was done before, by an equal request with this key; the result is what that one got.</summary>
    Replayed,

    /// <summary>The key belongs to another request.</summary>
    KeyReused,

    /// <summary>More is to be taken than is available. Nothing was written.</summary>
    NotEnough,

    /// <summary>The session that is to be moved does not wait. Nothing was written.</summary>
    NotWaiting,
}

/// <param name="Outcome">What became of it.</param>
/// <param name="Result">The answer, as JSON, for <c>Done</c> and <c>Replayed</c>.</param>
/// <param name="Available">Credits available before, for <c>NotEnough</c>.</param>
/// <param name="Reserved">Credits held.</param>
public sealed record AdminActionResult(AdminActionOutcome Outcome, JsonElement Result, long Available = 0, long Reserved = 0);

/// <summary>A user as administrators see them.</summary>
/// <param name="UserId">Their id.</param>
/// <param name="Handle">Their name for people.</param>
/// <param name="Role"><c>user</c> or <c>admin</c>.</param>
/// <param name="Share">The weight of their work in the order, 0.01 to 100; 1 is the usual, 2 is twice the work of others while all wait.</param>
/// <param name="Available">Credits that can be spent.</param>
/// <param name="Reserved">Credits that open generations hold.</param>
/// <param name="Frozen">Whether they may read and not spend.</param>
public sealed record UserView(
    Guid UserId, string Handle, [property: AllowedValues("user", "admin")] string Role, double Share, long Available, long Reserved, bool Frozen);

/// <summary>An audit row.</summary>
public sealed record AdminActionView(
    Guid ActionId, string Action, Guid UserId, string User, Guid ActorId, string Actor, string Reason, string IdempotencyKey, JsonElement Result,
        DateTimeOffset CreatedAt);

/// <summary>
/// Changes of credits by administrators. Each admin action is one transaction and one round trip: lock the account, look up the idempotency
/// key, change the credits, write the ledger and action rows. A double click, a retry after a lost reply and two administrators with the same
/// key result in one admin action.
/// </summary>
public sealed class CreditAdministration(NpgsqlDataSource database, TimeProvider time)
{
    /// <summary>An upper bound against typing errors.</summary>
    public const long MaxAmount = 1_000_000_000;

    /// <summary>The least weight of a user in the order, as the table's check has it.</summary>
    public const double MinShare = 0.01;

    /// <summary>The greatest.</summary>
    public const double MaxShare = 100;

    /// <summary>The user of an id or a handle; null when there is none.</summary>
    public async Task<Guid?> FindUserAsync(string idOrHandle, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(idOrHandle);
        if (idOrHandle.Contains('\0')) // which Postgres cannot hold, and nobody is called
        {
            return null;
        }

        await using var command = database.CreateCommand("SELECT user_id FROM users WHERE user_id = $1 OR handle = $2");
        command.Parameters.AddWithValue(Guid.TryParse(idOrHandle, out var id) ? id : Guid.Empty);
        command.Parameters.AddWithValue(idOrHandle);
        return await command.ExecuteScalarAsync(ct) as Guid?;
    }

    /// <summary>The user of an id or a handle; null when there is none.</summary>
    public async Task<UserView?> UserAsync(string idOrHandle, CancellationToken ct)
    {
        if (await FindUserAsync(idOrHandle, ct) is not { } userId)
        {
            return null;
        }

        await using var command = database.CreateCommand(
            """
            SELECT u.user_id, u.handle, u.role, coalesce(a.share, 1), coalesce(a.available, 0), coalesce(a.reserved, 0), a.frozen_at IS NOT NULL
            FROM users AS u
            LEFT JOIN credit_accounts AS a ON a.user_id = u.user_id
            WHERE u.user_id = $1
            """);
        command.Parameters.AddWithValue(userId);
        await using var reader = await command.ExecuteReaderAsync(ct);
        return await reader.ReadAsync(ct)
            ? new UserView(reader.GetGuid(0), reader.GetString(1), reader.GetString(2), reader.GetDouble(3), reader.GetInt64(4), reader.GetInt64(5),
                reader.GetBoolean(6))
            : null;
    }

    /// <summary>A new lot. Kind <c>purchase</c> is booked as such, the others as <c>bonus</c>.</summary>
    /// <param name="adminAction">Actor, user and reason.</param>
    /// <param name="amount">From 1 to <see cref="MaxAmount"/>.</param>
    /// <param name="kind"><c>purchase</c>, <c>bonus</c>, <c>grant</c> or <c>plan</c>.</param>
    /// <param name="priority">Lower is drawn first; 100 is the usual.</param>
    /// <param name="expiresAt">Null for never.</param>
    /// <param name="ct">Stops waiting; the admin action may be committed all the same, and repeating it with the same key returns its result.</param>
    public Task<AdminActionResult> GrantAsync(AdminAction adminAction, long amount, string kind, int priority, DateTimeOffset? expiresAt,
        CancellationToken ct) =>
        DoAsync(adminAction, () => Grant(adminAction, amount, kind, priority, expiresAt, kind == "purchase" ? "purchase" : "bonus", "grant"), ct);

    /// <summary>A correction: more becomes a lot of kind <c>grant</c>, less is taken from what is available, all of it or nothing.</summary>
    public Task<AdminActionResult> AdjustAsync(AdminAction adminAction, long amount, CancellationToken ct) => DoAsync(
        adminAction,
        () => amount > 0
            ? Grant(adminAction, amount, "grant", priority: 100, expiresAt: null, "adjustment", "adjustment")
            : Statement("Credits/withdraw.sql", adminAction, new NpgsqlParameter { Value = -amount }),
        ct);

    /// <summary>A frozen account submits nothing; what runs goes on to its end.</summary>
    public Task<AdminActionResult> FreezeAsync(AdminAction adminAction, bool frozen, CancellationToken ct) =>
        DoAsync(adminAction, () => Statement("Credits/freeze.sql", adminAction, new NpgsqlParameter { Value = frozen }), ct);

    /// <summary>The weight of a user's later requests in the order, <see cref="MinShare"/> to <see cref="MaxShare"/>.</summary>
    public Task<AdminActionResult> SetShareAsync(AdminAction adminAction, double share, CancellationToken ct) =>
        DoAsync(adminAction, () => Statement("Credits/set_share.sql", adminAction, new NpgsqlParameter { Value = share }), ct);

    /// <summary>
    /// The audit row of what an administrator did that is not about one user's credits; the administrator is its user. Written before it is
    /// done: what is done is recorded, if perhaps what is recorded was not done.
    /// </summary>
    /// <param name="actorId">The administrator.</param>
    /// <param name="action">As the table's check names it.</param>
    /// <param name="reason">In a sentence.</param>
    /// <param name="result">What was asked for; no secrets.</param>
    /// <param name="ct">Stops waiting.</param>
    public async Task RecordAsync(Guid actorId, string action, string reason, JsonElement result, CancellationToken ct)
    {
        var id = Guid.CreateVersion7(time.GetUtcNow());
        await using var command = database.CreateCommand(
            """
            INSERT INTO admin_actions (admin_action_id, idempotency_key, request_hash, actor_id, user_id, action, reason, result)
            VALUES ($1, $2, $3, $4, $4, $5, $6, $7)
            """);
        command.Parameters.AddWithValue(id);
        command.Parameters.AddWithValue($"{action}-{id}"); // each is an action of its own
        command.Parameters.AddWithValue(SHA256.HashData(Encoding.UTF8.GetBytes($"{action} {id}")));
        command.Parameters.AddWithValue(actorId);
        command.Parameters.AddWithValue(action);
        command.Parameters.AddWithValue(reason);
        command.Parameters.Add(new() { Value = result.GetRawText(), NpgsqlDbType = NpgsqlDbType.Jsonb });
        await command.ExecuteNonQueryAsync(ct);
    }

    /// <summary>The audit rows, newest first, of one user or of all; <paramref name="before"/> is the last action of the page before.</summary>
    public async Task<IReadOnlyList<AdminActionView>> ActionsAsync(Guid? userId, Guid? before, int limit, CancellationToken ct)
    {
        await using var command = database.CreateCommand(
            """
            SELECT a.admin_action_id, a.action, a.user_id, u.handle, a.actor_id, w.handle, a.reason, a.idempotency_key, a.result::text, a.created_at
            FROM admin_actions AS a
            JOIN users AS u ON u.user_id = a.user_id
            JOIN users AS w ON w.user_id = a.actor_id
            WHERE ($1::uuid IS NULL OR a.user_id = $1)
              AND ($2::uuid IS NULL OR (a.created_at, a.admin_action_id) < (SELECT b.created_at, b.admin_action_id FROM admin_actions AS b
                  WHERE b.admin_action_id = $2))
            ORDER BY a.created_at DESC, a.admin_action_id DESC
            LIMIT $3
            """);
        command.Parameters.Add(new() { Value = (object?)userId ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Uuid });
        command.Parameters.Add(new() { Value = (object?)before ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Uuid });
        command.Parameters.AddWithValue(limit);
        var actions = new List<AdminActionView>();
        await using var reader = await command.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            actions.Add(new AdminActionView(
                reader.GetGuid(0), reader.GetString(1), reader.GetGuid(2), reader.GetString(3), reader.GetGuid(4), reader.GetString(5),
                    reader.GetString(6),
                reader.GetString(7), JsonSerializer.Deserialize<JsonElement>(reader.GetString(8)), reader.GetFieldValue<DateTimeOffset>(9)));
        }

        return actions;
    }

    private NpgsqlBatchCommand Grant(
        AdminAction adminAction, long amount, string kind, int priority, DateTimeOffset? expiresAt, string ledgerType, string action) => Statement(
        "Credits/grant.sql", adminAction,
        new NpgsqlParameter { Value = amount },
        new() { Value = kind },
        new() { Value = priority },
        new() { Value = (object?)expiresAt?.ToUniversalTime() ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.TimestampTz },
        new() { Value = Guid.CreateVersion7(time.GetUtcNow()) },
        new() { Value = ledgerType },
        new() { Value = action });

    private NpgsqlBatchCommand Statement(string file, AdminAction adminAction, params NpgsqlParameter[] more) =>
        AdminActionBatch.Command(file, Guid.CreateVersion7(time.GetUtcNow()), adminAction, more);

    private Task<AdminActionResult> DoAsync(AdminAction adminAction, Func<NpgsqlBatchCommand> statement, CancellationToken ct) =>
        AdminActionBatch.DoAsync(() => TryAsync(adminAction, statement, ct));

    private async Task<AdminActionResult> TryAsync(AdminAction adminAction, Func<NpgsqlBatchCommand> statement, CancellationToken ct)
    {
        var act = statement();
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(new NpgsqlBatchCommand("INSERT INTO credit_accounts (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
        {
            Parameters =
            { new() { Value = adminAction.UserId } }
        });
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            "SELECT set_config('generation.locked', user_id::text, true), available, reserved FROM credit_accounts WHERE user_id = $1 FOR NO KEY "
                + "UPDATE")
        { Parameters = { new() { Value = adminAction.UserId } } });
        batch.BatchCommands.Add(LotExpiry.Command());
        batch.BatchCommands.Add(act);
        batch.BatchCommands.Add(new NpgsqlBatchCommand(
            """
            SELECT k.admin_action_id, k.request_hash, k.result::text, a.available, a.reserved
            FROM credit_accounts AS a
            LEFT JOIN admin_actions AS k ON k.idempotency_key = $1
            WHERE a.user_id = $2
            """)
        { Parameters = { new() { Value = adminAction.Key }, new() { Value = adminAction.UserId } } });

        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.NextResultAsync(ct); // the account; the statements in between have no rows
        await reader.ReadAsync(ct);
        var (available, reserved) = (reader.GetInt64(3), reader.GetInt64(4));
        return await reader.IsDBNullAsync(0, ct)
            ? new AdminActionResult(AdminActionOutcome.NotEnough, default, available, reserved)
            : AdminActionBatch.Read(reader, act, adminAction, available, reserved);
    }
}
