using Generation.LocalServers;

namespace Generation.Bench.Harness;

/// <summary>The resident memory of another process, as Linux counts it (<c>/proc</c>), in bytes. Its share of the page cache is not in it.</summary>
internal sealed class ResidentMemory
{
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);
    private const string ResetPeak = "5"; // proc(5): VmHWM begins again at what is resident now

    private readonly string folder;

    /// <param name="mustRun">A part of its command line: a wrapper's memory would be beautifully flat.</param>
    public ResidentMemory(int processId, string mustRun)
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new StartFailure("Memory is measured through /proc, which only Linux has.");
        }

        folder = $"/proc/{processId}";
        var command = File.ReadAllText(Path.Combine(folder, "cmdline"));
        if (!command.Contains(mustRun, StringComparison.Ordinal))
        {
            throw new InvalidOperationException(
            $"Process {processId} does not run {mustRun} but {command.Replace('\0', ' ')}");
        }
    }

    /// <summary>The least it had while it had nothing to do.</summary>
    public async Task<long> LowestAsync(TimeSpan duration, CancellationToken ct)
    {
        var lowest = long.MaxValue;
        for (var started = TimeProvider.System.GetTimestamp(); TimeProvider.System.GetElapsedTime(started) < duration;)
        {
            lowest = Math.Min(lowest, Read("VmRSS:"));
            await Task.Delay(SampleInterval, TimeProvider.System, ct);
        }

        return lowest;
    }

    /// <summary>The most it had until the work was done, sampled and by the kernel's own mark: a spike between two samples counts too.</summary>
    public async Task<long> PeakWhileAsync(Task work, CancellationToken ct)
    {
        await File.WriteAllTextAsync(Path.Combine(folder, "clear_refs"), ResetPeak, ct);
        var sampled = 0L;
        while (!work.IsCompleted)
        {
            sampled = Math.Max(sampled, Read("VmRSS:"));
            await Task.WhenAny(work, Task.Delay(SampleInterval, TimeProvider.System, ct));
        }

        await work;
        return Math.Max(sampled, Read("VmHWM:"));
    }

    /// <summary>The most it had since it started, or since <see cref="PeakWhileAsync"/>.</summary>
    public long Peak() => Read("VmHWM:");

    /// <summary>What it has now.</summary>
    public long Resident() => Read("VmRSS:");

    private long Read(string field)
    {
        var line = File.ReadLines(Path.Combine(folder, "status")).First(line => line.StartsWith(field, StringComparison.Ordinal));
        return long.Parse(line.AsSpan(field.Length).Trim().TrimEnd("kB ")) * 1024;
    }
}
