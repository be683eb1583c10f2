using System.Net;
using System.Net.Sockets;
using Generation.Tests.Harness;

namespace Generation.Tests.ServiceDefaults;

/// <summary>A collector that is not there, or does not answer, holds up nobody's shutdown.</summary>
[Trait("tier", "process")]
public sealed class ShutdownTests
{
    [Theory]
    [InlineData(true, "grpc")] // accepts and never answers
    [InlineData(true, "http/protobuf")]
    [InlineData(false, "grpc")] // nobody listens
    [InlineData(false, "http/protobuf")]
    public async Task The_last_telemetry_is_waited_for_two_seconds(bool accepts, string protocol)
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var port = ((IPEndPoint)silent.LocalEndpoint).Port;
        if (!accepts)
        {
            silent.Stop();
        }

        await using var system = await TestSystem.StartAsync(o =>
        {
            (o.AsProcesses, o.Workers) = (true, 0);
            o.Settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = $"http://127.0.0.1:{port}";
            o.Settings["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol;
            o.Settings["OTEL_DOTNET_EXPERIMENTAL_OTLP_RETRY"] = "in_memory"; // as Aspire sets it
        });
        using (await system.Http.GetAsync(new Uri("/api/models", UriKind.Relative)))
        {
            // Something to export.
        }

        var started = TimeProvider.System.GetTimestamp();
        Assert.Equal(0, await ((ProcessService)system.Apis[0]).StopAsync(TimeSpan.FromSeconds(60)));
        // the two, and the rest on a busy machine
        Assert.InRange(TimeProvider.System.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(6));
    }
}
