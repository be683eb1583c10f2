using Generation.LocalServers;

namespace Generation.Bench.Harness;

/// <summary>A folder for everything that one run writes, gone when disposed. What killed runs have left (folders, servers) goes first.</summary>
internal sealed class RunFolder : IDisposable
{
    private const string Prefix = "generation-bench-";

    private RunFolder(string path) => Path = path;

    public string Path { get; }

    public static async Task<RunFolder> CreateAsync(CancellationToken ct)
    {
        foreach (var left in Directory.GetDirectories(System.IO.Path.GetTempPath(), Prefix + "*")
            .Where(folder => File.Exists(Owner(folder)) && !ChildRecords.IsRunning(Owner(folder))))
        {
            await ChildRecords.StopOrphansAsync(System.IO.Path.Combine(left, "run"), TimeProvider.System, ct);
            Directory.Delete(left, recursive: true);
        }

        var folder = new RunFolder(System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"{Prefix}{Environment.ProcessId}-{Guid.NewGuid():N}"));
        Directory.CreateDirectory(folder.Path);
        ChildRecords.Write(Owner(folder.Path), Environment.ProcessId, UnixSignal.Terminate);
        return folder;
    }

    /// <summary>The path of a file or folder of this name in here.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Where a server's process is recorded, so that the next run can stop it should this one be killed.</summary>
    public string RecordPath(string name) => System.IO.Path.Combine(Path, "run", $"{name}-{Guid.NewGuid():N}.pid");

    public void Dispose() => Directory.Delete(Path, recursive: true);

    private static string Owner(string folder) => System.IO.Path.Combine(folder, "owner.pid");
}
