namespace Generation.Tests.Harness;

public sealed class TestSim : IAsyncDisposable
{
    public Uri Address { get; } = new("http://127.0.0.1:9/");

    public static Task<TestSim> StartAsync() => Task.FromResult(new TestSim());

    public ValueTask DisposeAsync() => default;
}
