using System.Text.Json.Nodes;
using Generation.Core.Database;
using Generation.Core.Providers;
using Npgsql;
using NpgsqlTypes;

namespace Generation.Core.Sessions;

/// <summary>
/// A task that a provider works on although its session has ended: by its deadline, by a cancel, by too many lost workers.
/// </summary>
/// <param name="ProviderTaskId">Ours.</param>
/// <param name="SessionId">Of the session that has ended.</param>
/// <param name="Provider">Where it runs.</param>
/// <param name="TaskId">The provider's.</param>
/// <param name="JobType">Whose handler asks for it.</param>
/// <param name="Settings">The session's.</param>
/// <param name="IsFirst">Nobody has asked for it since its session ended: the provider may not know that nobody wants it any more.</param>
/// <param name="IsOverdue">It has been followed for as long as any is.</param>
/// <param name="TakenAt">By the database's clock.</param>
public sealed record EndedTask(
    Guid ProviderTaskId, Guid SessionId, string Provider, string TaskId, string JobType, JsonObject Settings, bool IsFirst, bool IsOverdue,
    DateTimeOffset TakenAt)
{
    /// <summary>The session's trace.</summary>
    public string? TraceParent { get; init; }
}

/// <summary>Follows tasks of ended sessions, so that what they cost is known.</summary>
public sealed class EndedTasks(NpgsqlDataSource database)
{
    public const int Batch = 32;

    /// <summary>The longest pause between two questions about a task.</summary>
    private static readonly TimeSpan MaxPause = TimeSpan.FromMinutes(10);

    /// <summary>Takes those that are due; no other worker gets them for as long as the pause.</summary>
    public async Task<IReadOnlyList<EndedTask>> TakeAsync(TimeSpan pause, TimeSpan limit, CancellationToken ct)
    {
        await using var batch = database.CreateBatch();
        batch.BatchCommands.Add(PlannerSettings.Command(GroupCommit.LockTimeout));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(Sql.Text("Sessions/take_ended_tasks.sql"))
        {
            Parameters =
            {
                new() { Value = pause },
                new() { Value = pause > MaxPause ? pause : MaxPause },
                new() { Value = limit },
                new() { Value = Batch },
            },
        });
        var taken = new List<EndedTask>();
        await using var reader = await batch.ExecuteReaderAsync(ct);
        await reader.SkipResultsAsync(1, ct);
        while (await reader.ReadAsync(ct))
        {
            taken.Add(new EndedTask(
                reader.Get<Guid>("provider_task_id"), reader.Get<Guid>("session_id"), reader.Get<string>("provider"), reader.Get<string>("task_id"),
                reader.Get<string>("job_type"), JsonNode.Parse(reader.Get<string>("input_settings")) as JsonObject ?? [],
                reader.Get<bool>("is_first"), reader.Get<bool>("is_overdue"), reader.Get<DateTimeOffset>("taken_at"))
            {
                TraceParent = reader.GetText("traceparent"),
            });
        }

        return taken;
    }

    /// <summary>Records what became of a task, with a record for the operator when it cost something or that is not known.</summary>
    public Task RecordAsync(EndedTask task, ProviderTaskState state, string? result, Failure? failure, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(task);
        return DataErrors.ExecuteAsync(database, async connection =>
        {
            await using var command = new NpgsqlCommand(Sql.Text("Sessions/record_ended_task.sql"), connection);
            command.Parameters.AddWithValue(task.ProviderTaskId);
            command.Parameters.AddWithValue(state.Name());
            Add(NpgsqlDbType.Jsonb, result);
            Add(NpgsqlDbType.Text, failure?.Kind.ToString());
            Add(NpgsqlDbType.Text, failure?.ProviderCode);
            Add(NpgsqlDbType.Text, failure?.Detail);
            Add(NpgsqlDbType.Text, failure?.Answer);
            return await command.ExecuteNonQueryAsync(ct);

            void Add(NpgsqlDbType type, object? value) =>
                command.Parameters.Add(new NpgsqlParameter { NpgsqlDbType = type, Value = value ?? DBNull.Value });
        }, ct);
    }
}
