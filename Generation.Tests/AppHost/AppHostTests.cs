using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Aspire.Hosting.Testing;
using Generation.LocalServers;
using Generation.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.AppHost;

/// <summary>The real AppHost: its orchestrator, its dashboard, its local servers and every service as processes.</summary>
[Trait("tier", "process")]
public sealed class AppHostTests
{
    private static readonly HttpClient Http = new() { Timeout = TimeSpan.FromSeconds(90) };

    [Fact]
    public async Task The_AppHost_makes_a_picture_and_shows_it_live()
    {
        var cancellation = TestContext.Current.CancellationToken;
        var port = Ports.Free();
        var dataFolder = TestServers.NewFolder("apphost");
        await using var builder = await DistributedApplicationTestingBuilder.CreateAsync<Projects.Generation_AppHost>(
            [$"--PORT={port}", $"--DATA_DIR={dataFolder}", "--SERVERS=local"], cancellation);
        builder.Services.AddLogging(logging => logging.ClearProviders()); // its output is the test run's
        await using var app = await builder.BuildAsync(cancellation);
        await app.StartAsync(cancellation);
        await app.ResourceNotifications.WaitForResourceHealthyAsync("worker", cancellation);
        await app.ResourceNotifications.WaitForResourceHealthyAsync("api", cancellation);

        using var api = app.CreateHttpClient("api", "http");
        Assert.Equal(port, api.BaseAddress!.Port);
        api.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "gk_dev_demo");
        using var accepted = await api.PostAsJsonAsync("/api/generations",
            new { model = "seedream-4", @params = new { prompt = "a lighthouse at dusk" } }, cancellation);
        Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);
        var links = (await accepted.Content.ReadFromJsonAsync<JsonElement>(cancellation)).GetProperty("links");

        var events = await api.GetStringAsync(links.GetProperty("events").GetString(), cancellation); // ends with the session
        Assert.Contains("event: snapshot", events, StringComparison.Ordinal);
        Assert.Contains("event: done", events, StringComparison.Ordinal);
        var session = await api.GetFromJsonAsync<JsonElement>(links.GetProperty("self").GetString(), cancellation);
        Assert.Equal("completed", session.GetProperty("status").GetString());
        var picture = await Http.GetByteArrayAsync(new Uri(api.BaseAddress, session.GetProperty("media")[0].GetProperty("url").GetString()),
            cancellation);
        Assert.True(picture.Length > 10_000);

        var docs = await Http.GetStringAsync(new Uri(api.BaseAddress, "/docs/"), cancellation); // its requests can be sent as they stand
        Assert.Contains("\"apiKey\":{\"token\":\"gk_dev_demo\"}", docs, StringComparison.Ordinal);
        Assert.Contains("\"adminKey\":{\"token\":\"gk_dev_admin\"}", docs, StringComparison.Ordinal);

        await app.StopAsync(cancellation);
        Assert.False(Ports.IsTaken(port));
        Assert.Empty(Directory.GetFiles(Path.Combine(dataFolder, "run"))); // no server has its record any more
    }

    [Fact]
    public async Task Two_runs_stand_side_by_side_a_crashed_service_comes_back_and_each_stops_in_order()
    {
        await using var first = await AppHostProcess.StartAsync();
        await first.WaitForAsync("Dashboard (traces"); // everything runs: the usual ports of the dashboard are taken now
        await using var second = await AppHostProcess.StartAsync();
        await second.WaitForAsync("Dashboard (traces");
        Assert.NotEqual(DashboardOf(first), DashboardOf(second));
        foreach (var run in new[] { first, second })
        {
            using var dashboard = await Http.GetAsync(DashboardOf(run));
            Assert.Equal(HttpStatusCode.OK, dashboard.StatusCode);
            using var ready = await Http.GetAsync(new Uri($"http://localhost:{run.Port}/readyz"));
            Assert.Equal(HttpStatusCode.OK, ready.StatusCode);
        }

        var api = first.Living().Single(process => process.Value.Contains("Generation.Api.dll", StringComparison.Ordinal) && !process.Value.Contains(
            "monitor-process", StringComparison.Ordinal)).Key;
        _ = Native.Kill(api, (int)UnixSignal.Kill);
        await first.WaitForAsync("; it is started again in 1 s");
        await UntilReadyAsync(first.Port);

        // One that is stopped, as the dashboard does it, stays so: somebody wants to run it in a debugger.
        var worker = first.Living().Single(process => process.Value.Contains("Generation.Worker.dll", StringComparison.Ordinal)
            && !process.Value.Contains("monitor-process", StringComparison.Ordinal)).Key;
        _ = Native.Kill(worker, (int)UnixSignal.Terminate);
        await first.WaitForAsync("worker        was stopped");

        // A database that dies is back by itself, and what the services say of it at Warning reaches the terminal under their names.
        var postgres = second.Living().Single(process => process.Value.Contains("postgres -D", StringComparison.Ordinal)).Key;
        _ = Native.Kill(postgres, (int)UnixSignal.Kill);
        await second.WaitForAsync("postgres      exited with code 137; it is started again in 1 s");
        await second.WaitForAsync("DispatchService failed"); // it asks several times a second
        await UntilReadyAsync(second.Port);
        Assert.Matches(@"(?m)^(api|worker|relay) +\| \d\d:\d\d:\d\d\.\d{3} (WRN|ERR)", second.Output);

        first.Signal(UnixSignal.Terminate);
        second.Signal(UnixSignal.Interrupt);
        foreach (var run in new[] { first, second })
        {
            Assert.Equal(0, await run.ExitCodeAsync());
            await run.AssertNothingIsLeftAsync(TimeSpan.FromSeconds(20)); // the orchestrator's own processes end after the AppHost
            string[][] order = [["api", "worker"], ["relay", "provider-sim"], ["redis"], ["postgres"]];
            var stops = order.Select(names => names.Where(name => run != first || name != "worker")
                .Select(name => run.Output.IndexOf($"{name,-12}  stopped", StringComparison.Ordinal)).ToList()).ToList();
            Assert.All(stops, group => Assert.All(group, at => Assert.True(at >= 0, run.Output)));
            for (var i = 1; i < stops.Count; i++) Assert.True(stops[i - 1].Max() < stops[i].Min(), run.Output);
        }
    }

    [Fact]
    public async Task A_killed_AppHost_leaves_nothing_behind_and_the_next_run_has_its_data()
    {
        var dataFolder = TestServers.NewFolder("killed");
        await using (var killed = await AppHostProcess.StartAsync(dataFolder))
        {
            await killed.WaitForAsync("Everything runs");
            // AppHost, orchestrator, dashboard, two servers, four services
            Assert.True(killed.Living().Count >= 8, string.Join('\n', killed.Living().Values));
            using var accepted = await Http.SendAsync(Submit(killed.Port, "kept"));
            Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);
            killed.Signal(UnixSignal.Kill);
            Assert.Equal(137, await killed.ExitCodeAsync());
            await killed.AssertNothingIsLeftAsync(TimeSpan.FromSeconds(40)); // 20 s on a quiet machine
        }

        await using var next = await AppHostProcess.StartAsync(dataFolder);
        await next.WaitForAsync("Everything runs");
        using var replayed = await Http.SendAsync(Submit(next.Port, "kept"));
        Assert.Equal("true", replayed.Headers.GetValues("Idempotent-Replayed").Single());
    }

    [Fact]
    public async Task What_stands_in_the_way_of_a_run_is_said_in_a_sentence()
    {
        using var squatter = new TcpListener(IPAddress.Loopback, 0);
        squatter.Start();
        var taken = ((IPEndPoint)squatter.LocalEndpoint).Port;
        await using var blocked = await AppHostProcess.StartAsync(port: taken);
        Assert.Equal(1, await blocked.ExitCodeAsync());
        Assert.Equal($"Port {taken} is taken by another program, and the Api is to listen on it. Choose another one: PORT={taken + 1} eng/run",
            blocked.Output.Trim());

        var folder = TestServers.NewFolder("owned");
        using var owned = DataFolderLock.Take(folder);
        await using var second = await AppHostProcess.StartAsync(folder);
        Assert.Equal(1, await second.ExitCodeAsync());
        Assert.StartsWith($"Another run (process {Environment.ProcessId}) uses {folder}", second.Output, StringComparison.Ordinal);

        await using var absurd = await AppHostProcess.StartAsync(port: 70_000);
        Assert.Equal(1, await absurd.ExitCodeAsync());
        Assert.Equal("PORT must be a number from 1 to 65535, not '70000'.", absurd.Output.Trim());
    }

    /// <summary><c>dotnet run</c> takes the first profile; with https it ends where there is no developer certificate.</summary>
    [Fact]
    public void The_first_launch_profile_needs_no_certificate()
    {
        var path = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../..", "Generation.AppHost", "Properties", "launchSettings.json"));
        var first = JsonDocument.Parse(File.ReadAllText(path)).RootElement.GetProperty("profiles").EnumerateObject().First().Value;
        Assert.DoesNotContain("https:", first.GetProperty("applicationUrl").GetString(), StringComparison.Ordinal);
        Assert.Equal("true", first.GetProperty("environmentVariables").GetProperty("ASPIRE_ALLOW_UNSECURED_TRANSPORT").GetString());
    }

    private static HttpRequestMessage Submit(int port, string key) => new(HttpMethod.Post, $"http://localhost:{port}/api/generations")
    {
        Headers = { { "Authorization", "Bearer gk_dev_demo" }, { "Idempotency-Key", key } },
        Content = JsonContent.Create(new { model = "seedream-4", @params = new { prompt = "a harbour" } }),
    };

    private static Uri DashboardOf(AppHostProcess run) =>
        new(run.Output.Split('\n').Single(line => line.StartsWith("Dashboard", StringComparison.Ordinal)).Split(": ")[1].Trim());

    private static async Task UntilReadyAsync(int port)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            try
            {
                using var ready = await Http.GetAsync(new Uri($"http://localhost:{port}/readyz"), limit.Token);
                if (ready.StatusCode == HttpStatusCode.OK) return;
            }
            catch (HttpRequestException)
            {
                // Not listening yet.
            }

            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, limit.Token);
        }
    }
}
