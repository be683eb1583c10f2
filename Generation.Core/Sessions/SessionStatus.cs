namespace Generation.Core.Sessions;

/// <summary>The states of a session (docs/state-machine.md).</summary>
public enum SessionStatus
{
    /// <summary>Waits for a worker.</summary>
    Queued,

    /// <summary>A worker holds it, or it waits for a provider.</summary>
    Processing,

    /// <summary>Ended with at least one output.</summary>
    Completed,

    /// <summary>Ended without an output.</summary>
    Failed,

    /// <summary>Ended at the user's request.</summary>
    Canceled,
}
