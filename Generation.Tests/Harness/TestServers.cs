using Generation.LocalServers;

[assembly: AssemblyFixture(typeof(Generation.Tests.Harness.TestServers))]

namespace Generation.Tests.Harness;

/// <summary>
/// The servers that tests share. Each is started by the first test that asks for it, and stopped after the last test; the folder
/// of the run goes with them. What a killed run has left (folders, servers) is removed by the next one.
/// </summary>
public sealed class TestServers : IAsyncDisposable
{
    private const string FolderPrefix = "generation-tests-";
    private static readonly Lock Gate = new();
    private static readonly List<Func<Task>> Stops = [];
    private static string? runFolder;

    /// <summary>A new folder for one server, which the server's own unprivileged user can enter.</summary>
    internal static string NewFolder(string name)
    {
        var folder = Path.Combine(RunFolder(), $"{name}-{Guid.NewGuid():N}");
        Directory.CreateDirectory(folder);
        return folder;
    }

    /// <summary>Where a server's process is recorded, so that the next run can stop it should this one be killed.</summary>
    internal static string NewRecordPath(string name) => Path.Combine(RunFolder(), "run", $"{name}-{Guid.NewGuid():N}.pid");

    /// <summary>Something to stop after the last test; last in, first out.</summary>
    internal static void StopAtTheEnd(Func<Task> stop)
    {
        lock (Gate) Stops.Add(stop);
    }

    public async ValueTask DisposeAsync()
    {
        Stops.Reverse();
        foreach (var stop in Stops) await stop();
        if (runFolder is not null) Directory.Delete(runFolder, recursive: true);
    }

    private static string RunFolder()
    {
        lock (Gate)
        {
            if (runFolder is not null) return runFolder;
            runFolder = Path.Combine(Path.GetTempPath(), $"{FolderPrefix}{Environment.ProcessId}-{Guid.NewGuid():N}");
            Directory.CreateDirectory(runFolder);
            ChildRecords.Write(Owner(runFolder), Environment.ProcessId, UnixSignal.Terminate);
            var cleaning = Task.Run(RemoveWhatKilledRunsLeftAsync);
            Stops.Add(() => cleaning);
            return runFolder;
        }
    }

    private static string Owner(string folder) => Path.Combine(folder, "owner.pid");

    private static async Task RemoveWhatKilledRunsLeftAsync()
    {
        foreach (var folder in Directory.GetDirectories(Path.GetTempPath(), FolderPrefix + "*")
            .Where(folder => File.Exists(Owner(folder)) && !ChildRecords.IsRunning(Owner(folder))))
        {
            try
            {
                await ChildRecords.StopOrphansAsync(Path.Combine(folder, "run"), TimeProvider.System, CancellationToken.None);
                Directory.Delete(folder, recursive: true);
            }
            catch (IOException)
            {
                // Another run is removing it at the same time.
            }
        }
    }
}
