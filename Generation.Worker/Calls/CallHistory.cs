namespace Generation.Worker.Calls;

/// <summary>The calls to one provider in the last five minutes, at most 512 of them: for the operators' page. Metrics have the rest.</summary>
public sealed class CallHistory(TimeProvider time)
{
    private const int MaxCalls = 512;
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(5);

    private readonly Queue<Call> calls = new();
    private readonly Lock gate = new();

    public void Add(TimeSpan duration, string? error)
    {
        lock (gate)
        {
            calls.Enqueue(new Call(time.GetTimestamp(), duration.TotalMilliseconds, error));
            if (calls.Count > MaxCalls)
            {
                calls.Dequeue();
            }
        }
    }

    /// <summary>How many, how many failed, the middle and the 95th of 100 durations in milliseconds, and the last failure's code.</summary>
    public (int Calls, int Errors, double? P50Ms, double? P95Ms, string? LastError) Sum()
    {
        lock (gate)
        {
            while (calls.TryPeek(out var oldest) && time.GetElapsedTime(oldest.At) > Window)
            {
                calls.Dequeue();
            }

            var durations = calls.Select(c => c.Ms).Order().ToArray();
            double? At(double share) => durations.Length == 0 ? null : Math.Round(durations[(int)(share * (durations.Length - 1))], 1);
            return (calls.Count, calls.Count(c => c.Error is not null), At(0.5), At(0.95), calls.LastOrDefault(c => c.Error is not null).Error);
        }
    }

    private readonly record struct Call(long At, double Ms, string? Error);
}
