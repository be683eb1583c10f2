namespace Generation.Worker.Jobs;

/// <summary>The GPUs that jobs of the lane <c>gpu</c> run on, as this worker finds them.</summary>
public interface IGpuEndpoints
{
    /// <summary>All of them; the names are the same in every worker.</summary>
    IReadOnlyList<string> All { get; }

    /// <summary>Those that may be called now, the best first: the others failed too often and are left alone for a while.</summary>
    IReadOnlyList<string> Usable { get; }
}
