using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Database;

/// <summary>What the database refuses by itself, whatever a service does: other users' rows, changes of the ledger, impossible states.</summary>
public sealed class RightsTests
{
    private static readonly string[] OwnedTables = ["generation_sessions", "media", "images", "credit_accounts", "credit_lots", "credit_reservations",
        "credit_transactions"];

    [Fact]
    public async Task A_reader_sees_the_rows_of_its_user_and_no_others()
    {
        var system = await ApiSystem.Mocked;
        var (one, other) = (await system.NewUserAsync(), await system.NewUserAsync());
        await system.EndOfAsync(await one.AcceptedAsync(), one.Http);
        await system.EndOfAsync(await other.AcceptedAsync(), other.Http);
        foreach (var table in OwnedTables)
        {
            foreach (var user in new[] { one, other })
            {
                var sees = await InRoleAsync(system, "generation_reader", user.UserId.ToString(),
                    $"SELECT format('%s own, %s others', count(*) FILTER (WHERE user_id = '{user.UserId}') > 0, count(*) FILTER (WHERE user_id <> "
                        + $"'{user.UserId}')) FROM {table}");
                Assert.Equal((table, "t own, 0 others"), (table, sees));
            }

            Assert.Equal((table, 0L), (table, await InRoleAsync(system, "generation_reader", "", $"SELECT count(*) FROM {table}")));
        }
    }

    [Theory]
    [InlineData("UPDATE generation_sessions SET status = 'canceled'")]
    [InlineData("DELETE FROM generation_sessions")]
    [InlineData("UPDATE credit_accounts SET available = 1000000")]
    [InlineData("UPDATE credit_lots SET available = 1000000")]
    [InlineData("INSERT INTO media SELECT * FROM media")]
    [InlineData("INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after) VALUES "
        + "(gen_random_uuid(), 'bonus', 'external', 'available', 1, 1, 0)")]
    [InlineData("TRUNCATE credit_transactions")]
    [InlineData("SELECT * FROM users")]
    [InlineData("SELECT * FROM api_keys")]
    [InlineData("SELECT * FROM outbox")]
    [InlineData("SELECT * FROM app_settings")]
    [InlineData("SELECT * FROM provider_tasks")]
    [InlineData("SELECT * FROM error_events")]
    [InlineData("SELECT * FROM credit_reservation_draws")]
    [InlineData("CREATE TABLE mine (id int)")]
    [InlineData("ALTER TABLE media DISABLE ROW LEVEL SECURITY")]
    [InlineData("SET LOCAL ROLE generation_service")]
    public async Task A_reader_can_write_nothing_and_read_nothing_else(string sql)
    {
        var system = await ApiSystem.Queued;
        // As the services log in: SET ROLE is judged by the login, so the last row needs one that is no superuser.
        var refused = await Assert.ThrowsAsync<PostgresException>(() => InRoleAsync(
            system, "generation_reader", system.UserId.ToString(), sql, login: sql.StartsWith("SET", StringComparison.Ordinal) ? "generation_reader"
                : null));
        Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
    }

    [Theory]
    [InlineData("generation_service", "UPDATE credit_transactions SET amount = amount + 1", "permission denied")]
    [InlineData("generation_service", "DELETE FROM credit_transactions", "permission denied")]
    [InlineData("generation_service", "TRUNCATE credit_transactions", "permission denied")]
    [InlineData("generation_service", "TRUNCATE credit_transactions CASCADE", "permission denied")]
    [InlineData("generation_service", "ALTER TABLE credit_transactions DISABLE TRIGGER ALL", "must be owner")]
    [InlineData("generation_service", "DROP TRIGGER credit_transactions_append_only ON credit_transactions", "must be owner")]
    [InlineData("generation_service", "DROP TABLE credit_transactions", "must be owner")]
    [InlineData("generation_service", "DELETE FROM generation_sessions", "permission denied")]
    [InlineData("generation_service", "DELETE FROM media", "permission denied")]
    [InlineData("generation_service", "DELETE FROM credit_reservations", "permission denied")]
    [InlineData("generation_service", "CREATE TABLE mine (id int)", "permission denied")]
    [InlineData(null, "UPDATE credit_transactions SET amount = amount + 1", "append-only")]
    [InlineData(null, "UPDATE credit_transactions SET amount = 1 WHERE false", "append-only")]
    [InlineData(null, "DELETE FROM credit_transactions", "append-only")]
    [InlineData(null, "TRUNCATE credit_transactions", "append-only")]
    [InlineData(null, "UPDATE admin_actions SET reason = 'another'", "append-only")]
    [InlineData(null, "DELETE FROM admin_actions", "append-only")]
    public async Task The_ledger_only_grows(string? role, string sql, string reason)
    {
        var system = await ApiSystem.Queued;
        var rows = await system.ScalarAsync<long>($"SELECT count(*) FROM credit_transactions WHERE user_id = '{system.UserId}'");
        var refused = await Assert.ThrowsAsync<PostgresException>(() => InRoleAsync(system, role, null, sql));
        Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        Assert.Contains(reason, refused.MessageText, StringComparison.Ordinal);
        Assert.Equal(rows, await system.ScalarAsync<long>($"SELECT count(*) FROM credit_transactions WHERE user_id = '{system.UserId}'"));
    }

    [Fact]
    public async Task The_services_roles_own_nothing_and_cannot_log_in() => Assert.Equal(
        "0 tables owned, 0 can log in, 0 superusers, 0 bypass row-level security",
        await (await ApiSystem.Queued).ScalarAsync<string>(
            """
            SELECT format('%s tables owned, %s can log in, %s superusers, %s bypass row-level security',
                (SELECT count(*) FROM pg_class AS c JOIN pg_roles AS o ON o.oid = c.relowner WHERE o.rolname LIKE 'generation\_%'),
                count(*) FILTER (WHERE rolcanlogin), count(*) FILTER (WHERE rolsuper), count(*) FILTER (WHERE rolbypassrls))
            FROM pg_roles WHERE rolname IN ('generation_service', 'generation_reader')
            """));

    // Each on a queued session of its own, as superuser: {s} is the session, {u} the user.
    [Theory]
    [InlineData("UPDATE generation_sessions SET status = 'done' WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'completed' WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET completed_at = now() WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'completed', completed_at = now(), progress = 100 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'completed', completed_at = now(), progress = 100, captured_credits = 0 WHERE session_id = "
        + "{s}")]
    [InlineData("UPDATE generation_sessions SET status = 'completed', completed_at = now(), progress = 99, captured_credits = 4 WHERE session_id = "
        + "{s}")]
    [InlineData("UPDATE generation_sessions SET status = 'failed', completed_at = now(), captured_credits = 4, error_code = 'x' WHERE session_id = "
        + "{s}")]
    [InlineData("UPDATE generation_sessions SET status = 'failed', completed_at = now(), captured_credits = 0 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'canceled', completed_at = now(), captured_credits = 5 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'processing', started_at = now() WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'processing', lease_owner = 'w', lease_until = now() WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET lease_owner = 'w', lease_until = now() WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'processing', started_at = now(), lease_until = now() WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET status = 'processing', started_at = now(), phase = 'awaiting_provider' WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET progress = 101 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET held_credits = 5 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET requested_outputs = 2 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET unit_price = 0, held_credits = 0 WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET client_key = '' WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET lane = 'fast' WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET amount = 0 WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET status = 'captured' WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET status = 'captured', captured = 0, released = amount, closed_at = now() WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET status = 'released', captured = amount, closed_at = now() WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET status = 'captured', captured = amount - 1, closed_at = now() WHERE session_id = {s}")]
    [InlineData("UPDATE credit_reservations SET captured = amount WHERE session_id = {s}")]
    [InlineData("UPDATE credit_accounts SET available = -1 WHERE user_id = {u}")]
    [InlineData("UPDATE credit_accounts SET reserved = -1 WHERE user_id = {u}")]
    [InlineData("UPDATE credit_lots SET available = available + 1 WHERE user_id = {u}")]
    [InlineData("UPDATE credit_lots SET available = available + 8, held = held - 8 WHERE user_id = {u}")]
    [InlineData("UPDATE credit_reservation_draws AS d SET captured = d.amount + 1 FROM credit_reservations AS r WHERE r.reservation_id = "
        + "d.reservation_id AND r.session_id = {s}")]
    [InlineData("INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id) SELECT "
        + "{u}, 'bonus', 'external', 'available', 0, 1, 0, lot_id FROM credit_lots LIMIT 1")]
    [InlineData("INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id) SELECT "
        + "{u}, 'bonus', 'available', 'available', 1, 1, 0, lot_id FROM credit_lots LIMIT 1")]
    [InlineData("INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id) SELECT "
        + "{u}, 'gift', 'external', 'available', 1, 1, 0, lot_id FROM credit_lots LIMIT 1")]
    [InlineData("UPDATE outbox SET dispatched_at = now(), message_id = NULL WHERE session_id = {s}")]
    public async Task An_impossible_row_is_refused(string sql)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        var refused = await Assert.ThrowsAsync<PostgresException>(
            () => InRoleAsync(system, null, null, sql.Replace("{s}", $"'{id}'").Replace("{u}", $"'{user.UserId}'")));
        Assert.Equal(PostgresErrorCodes.CheckViolation, refused.SqlState);
    }

    [Theory]
    [InlineData("INSERT INTO credit_reservations (reservation_id, session_id, user_id, amount, expires_at) SELECT gen_random_uuid(), session_id, "
        + "user_id, amount, now() FROM credit_reservations WHERE session_id = {s}")]
    [InlineData("INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, reservation_id) "
        + "SELECT user_id, 'reservation', 'available', 'reserved', 4, 0, 0, reservation_id FROM credit_reservations WHERE session_id = {s}")]
    [InlineData("UPDATE generation_sessions SET client_key = 'twice' WHERE user_id = {u}")]
    public async Task A_second_row_of_what_there_is_once_is_refused(string sql)
    {
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var id = await user.AcceptedAsync();
        await user.AcceptedAsync();
        var refused = await Assert.ThrowsAsync<PostgresException>(
            () => InRoleAsync(system, null, null, sql.Replace("{s}", $"'{id}'").Replace("{u}", $"'{user.UserId}'")));
        Assert.Equal(PostgresErrorCodes.UniqueViolation, refused.SqlState);
    }

    /// <summary>Runs the statement in a transaction that is rolled back, acting as a role for a user; null is the superuser.</summary>
    private static async Task<object?> InRoleAsync(TestSystem system, string? role, string? userId, string sql, string? login = null)
    {
        await using var connection = await system.Db.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        foreach (var step in new[]
        {
            login is null ? null : $"SET LOCAL SESSION AUTHORIZATION {login}",
            role is null ? null : $"SET LOCAL ROLE {role}",
            userId is null ? null : $"SET LOCAL app.user_id = '{userId}'",
        }.OfType<string>())
        {
            await using var set = new NpgsqlCommand(step, connection, transaction);
            await set.ExecuteNonQueryAsync();
        }

        await using var command = new NpgsqlCommand(sql, connection, transaction);
        return await command.ExecuteScalarAsync();
    }
}
