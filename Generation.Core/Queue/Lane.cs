namespace Generation.Core.Queue;

/// <summary>A queue, with worker slots of its own, for one kind of work. A model says which one it uses.</summary>
public enum Lane
{
    Image,
    Video,

    /// <summary>GPUs of our own.</summary>
    Gpu,
}
