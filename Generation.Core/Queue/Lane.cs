namespace Generation.Core.Queue;

/// <summary>A queue for one kind of work, with separate worker slots. Every model belongs to one lane.</summary>
public enum Lane
{
    Image,
    Video,

    /// <summary>Self-hosted GPUs.</summary>
    Gpu,
}
