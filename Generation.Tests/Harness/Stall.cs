using Npgsql;

namespace Generation.Tests.Harness;

/// <summary>
/// A point in the database at which a statement stands still until the test lets it go: a trigger that waits while the test holds an advisory lock.
/// It sleeps and asks again, because a wait for a lock would end with the statement's <c>lock_timeout</c>.
/// </summary>
internal static class Stall
{
    /// <summary>Of those who stand there, in <c>pg_stat_activity</c>.</summary>
    public const string Waiting = "datname = current_database() AND wait_event_type = 'Timeout' AND wait_event = 'PgSleep'";

    /// <param name="holder">Holds the lock until it is closed, or calls <c>pg_advisory_unlock_all()</c>.</param>
    /// <param name="triggers">Without name and function: <c>BEFORE UPDATE ON outbox FOR EACH ROW WHEN (…)</c>.</param>
    public static async Task AtAsync(NpgsqlConnection holder, params string[] triggers)
    {
        var created = triggers.Select((trigger, i) =>
            $"CREATE {(trigger.Contains("DEFERRABLE", StringComparison.Ordinal) ? "CONSTRAINT" : "OR REPLACE")} TRIGGER stand_still_{i} {trigger} "
            + "EXECUTE FUNCTION stand_still();");
        await using var command = new NpgsqlCommand(
            $"""
            SELECT pg_advisory_lock(4711);
            CREATE OR REPLACE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    WHILE NOT pg_try_advisory_xact_lock_shared(4711) LOOP PERFORM pg_sleep(0.01); END LOOP;
                    RETURN NEW;
                END $$;
            {string.Concat(created)}
            """,
            holder);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Closing a pooled connection would not release it.</summary>
    public static async Task LetGoAsync(NpgsqlConnection holder)
    {
        await using var command = new NpgsqlCommand("SELECT pg_advisory_unlock_all()", holder);
        await command.ExecuteNonQueryAsync();
    }
}
