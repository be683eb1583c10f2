using System.Diagnostics;
using System.Globalization;

namespace Generation.LocalServers;

/// <summary>
/// One file a child, "pid signal identity", while it runs. A run that was killed leaves its files behind, and maybe its children:
/// the next run stops exactly those, told from strangers that have inherited the number by when they were started.
/// </summary>
internal static class ChildRecords
{
    private static readonly TimeSpan OrphanGrace = TimeSpan.FromSeconds(10);

    public static void Write(string path, int processId, UnixSignal stopSignal)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, $"{processId} {(int)stopSignal} {Identity(processId)}");
    }

    /// <summary>Stops what an earlier, killed run has left running. Call it only when no other run can own the folder.</summary>
    /// <returns>The names (of the record files) of what was still running.</returns>
    public static async Task<IReadOnlyList<string>> StopOrphansAsync(string folder, TimeProvider time, CancellationToken ct)
    {
        if (!Directory.Exists(folder))
        {
            return [];
        }

        var stopped = await Task.WhenAll(Directory.GetFiles(folder, "*.pid").Select(async path =>
        {
            var fields = (await File.ReadAllTextAsync(path, ct)).Split(' ', 3);
            var wasRunning = fields.Length == 3 && int.TryParse(fields[0], out var processId) && int.TryParse(fields[1], out var signal)
                && await StopAsync(processId, (UnixSignal)signal, fields[2], time, ct);
            File.Delete(path);
            return wasRunning ? Path.GetFileNameWithoutExtension(path) : null;
        }));
        return [.. stopped.OfType<string>()];
    }

    /// <summary>True when the process that is recorded at <paramref name="path"/> still runs.</summary>
    public static bool IsRunning(string path)
    {
        if (!File.Exists(path))
        {
            return false;
        }

        var fields = File.ReadAllText(path).Split(' ', 3);
        return fields.Length == 3 && int.TryParse(fields[0], out var processId) && Identity(processId) == fields[2];
    }

    private static async Task<bool> StopAsync(int processId, UnixSignal signal, string identity, TimeProvider time,
        CancellationToken ct)
    {
        if (Identity(processId) != identity)
        {
            return false;
        }

        _ = Native.Kill(processId, (int)signal);
        var deadline = time.GetTimestamp();
        while (Identity(processId) == identity)
        {
            if (time.GetElapsedTime(deadline) > OrphanGrace)
            {
                _ = Native.Kill(-processId, (int)UnixSignal.Kill);
                _ = Native.Kill(processId, (int)UnixSignal.Kill);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), time, ct); // not our child, so there is nothing to wait on
        }

        return true;
    }

    /// <summary>What tells this process from a later one with the same number; empty when it is not running.</summary>
    private static string Identity(int processId)
    {
        try
        {
            if (!OperatingSystem.IsLinux())
            {
                using var process = Process.GetProcessById(processId);
                return process.HasExited ? "" : process.StartTime.ToUniversalTime().ToString("O", CultureInfo.InvariantCulture);
            }

            // Fields 3 (state) and 22 (start, in ticks since boot); field 2 is the name in brackets and may hold blanks.
            var stat = File.ReadAllText($"/proc/{processId}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? "" : $"{File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim()}/{fields[19]}";
        }
        catch (Exception e) when (e is IOException or ArgumentException or InvalidOperationException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
