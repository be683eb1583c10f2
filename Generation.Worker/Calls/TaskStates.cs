namespace Generation.Worker.Calls;

/// <summary>What a provider's task is doing.</summary>
public enum TaskState
{
    /// <summary>A word that nobody knows.</summary>
    Unknown,
    Queued,
    Running,
    Succeeded,
    Failed,

    /// <summary>Taken back, by us or by somebody at the provider.</summary>
    Canceled,

    /// <summary>Waited too long at the provider.</summary>
    Expired,
}

/// <summary>
/// The words that providers have for the states of a task, in one table for all: a provider that changes its spelling, or that takes another's,
/// is understood. What follows from a state is the provider's own.
/// </summary>
public static class TaskStates
{
    private static readonly Dictionary<string, TaskState> Words = new(StringComparer.OrdinalIgnoreCase)
    {
        ["queued"] = TaskState.Queued,
        ["queuing"] = TaskState.Queued,
        ["queueing"] = TaskState.Queued,
        ["in_queue"] = TaskState.Queued,
        ["waiting"] = TaskState.Queued,
        ["pending"] = TaskState.Queued,
        ["submitted"] = TaskState.Queued,
        ["running"] = TaskState.Running,
        ["generating"] = TaskState.Running,
        ["in_progress"] = TaskState.Running,
        ["processing"] = TaskState.Running,
        ["success"] = TaskState.Succeeded,
        ["succeeded"] = TaskState.Succeeded,
        ["successful"] = TaskState.Succeeded,
        ["complete"] = TaskState.Succeeded,
        ["completed"] = TaskState.Succeeded,
        ["done"] = TaskState.Succeeded,
        ["fail"] = TaskState.Failed,
        ["failed"] = TaskState.Failed,
        ["failure"] = TaskState.Failed,
        ["error"] = TaskState.Failed,
        ["cancel"] = TaskState.Canceled,
        ["canceled"] = TaskState.Canceled,
        ["cancelled"] = TaskState.Canceled,
        ["aborted"] = TaskState.Canceled,
        ["expired"] = TaskState.Expired,
    };

    public static TaskState Read(string? word) =>
        word is null ? TaskState.Unknown : Words.GetValueOrDefault(word.Trim().Replace('-', '_').Replace(' ', '_'), TaskState.Unknown);
}
