using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using Generation.AppHost.Embedded;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.AppHost;

public sealed class EmbeddedHostTests
{
    private static readonly HttpClient Http = new();

    [Fact]
    public async Task A_service_gets_aspires_environment_and_is_started_again_when_it_crashes()
    {
        await using var run = await SampleRun.StartAsync();
        await run.WaitForAsync("Everything runs");

        var front = (await Http.GetFromJsonAsync<Dictionary<string, string>>($"http://localhost:{run.Port}/environment"))!;
        Assert.Equal($"http://localhost:{run.Port}", front["ASPNETCORE_URLS"]);
        Assert.Equal("front", front["OTEL_SERVICE_NAME"]);
        Assert.Equal(front["BACK_HTTP"], front["services__back__http__0"]);
        Assert.Equal($"{front["BACK_HTTP"]}/path", front["BACK_URL"]);
        Assert.DoesNotContain("DATA_DIR", front.Keys);
        Assert.DoesNotContain("ConnectionStrings__sample", front.Keys); // it has no reference

        var back = (await Http.GetFromJsonAsync<Dictionary<string, string>>($"{front["BACK_HTTP"]}/environment"))!;
        Assert.Equal($"Host={back["SAMPLE_HOST"]};Port={back["SAMPLE_PORT"]};Username={back["SAMPLE_USERNAME"]};Password={back["SAMPLE_PASSWORD"]};Database=sample", back["ConnectionStrings__sample"]);
        Assert.Equal($"{back["REDIS_HOST"]}:{back["REDIS_PORT"]},password={back["REDIS_PASSWORD"]}", back["ConnectionStrings__redis"]);
        Assert.Equal("20", await ScalarAsync(back["ConnectionStrings__sample"], "SHOW max_connections"));

        var first = run.ChildIds()["front"];
        await Assert.ThrowsAsync<HttpRequestException>(() => Http.GetAsync($"http://localhost:{run.Port}/crash"));
        await run.WaitForAsync("front     exited with code 3; it is started again in 1 s");
        await run.WaitForAsync("front     ready on", times: 2);
        Assert.NotEqual(first, run.ChildIds()["front"]);
        using var again = await Http.GetAsync($"http://localhost:{run.Port}/readyz");
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
    }

    [Fact]
    public async Task Sigterm_stops_every_child_and_the_servers_last()
    {
        await using var run = await SampleRun.StartAsync();
        await run.WaitForAsync("Everything runs");
        Assert.Equal(["back", "front", "postgres", "redis"], run.ChildIds().Keys.Order());

        run.Signal(UnixSignal.Terminate);
        Assert.Equal(0, await run.ExitCodeAsync());

        Assert.Empty(run.Living());
        Assert.Empty(Directory.GetFiles(Path.Combine(run.DataFolder, "run")));
        string[] order = ["front     stopped", "back      stopped", "postgres  stopped"];
        Assert.Equal(order, order.OrderBy(line => run.Output.IndexOf(line, StringComparison.Ordinal)));
        Assert.All(order, line => Assert.Contains(line, run.Output, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_killed_run_leaves_a_data_directory_that_the_next_run_heals()
    {
        var dataFolder = TestServers.NewFolder("killed");
        await using (var killed = await SampleRun.StartAsync(dataFolder))
        {
            await killed.WaitForAsync("back      ready on");
            await ScalarAsync(await ConnectionStringAsync(dataFolder), "CREATE TABLE kept AS SELECT 42 AS answer");
            var postgres = killed.ChildIds()["postgres"];
            killed.Signal(UnixSignal.Kill);
            _ = Native.Kill(postgres, (int)UnixSignal.Kill);
            Assert.Equal(137, await killed.ExitCodeAsync());
        }

        await using var healed = await SampleRun.StartAsync(dataFolder);
        await healed.WaitForAsync("Everything runs");
        Assert.Equal("42", await ScalarAsync(await ConnectionStringAsync(dataFolder), "SELECT answer FROM kept"));
    }

    [Fact]
    public async Task A_port_that_is_taken_is_named_with_what_to_do()
    {
        using var squatter = new TcpListener(IPAddress.Loopback, 0);
        squatter.Start();
        var port = ((IPEndPoint)squatter.LocalEndpoint).Port;

        await using var run = await SampleRun.StartAsync(port: port);
        Assert.Equal(1, await run.ExitCodeAsync());
        Assert.Contains($"Port {port} is taken by another program", run.Output, StringComparison.Ordinal);
        Assert.Contains($"PORT={port + 1} eng/run", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_second_run_on_the_same_folder_is_refused_and_leaves_the_first_alone()
    {
        await using var first = await SampleRun.StartAsync();
        await first.WaitForAsync("postgres  ready on");

        await using var second = await SampleRun.StartAsync(first.DataFolder);
        Assert.Equal(1, await second.ExitCodeAsync());
        Assert.Contains($"Another run (process {first.Id}) uses {first.DataFolder}", second.Output, StringComparison.Ordinal);
        await first.WaitForAsync("Everything runs");
    }

    private static async Task<string> ConnectionStringAsync(string dataFolder)
    {
        var folder = Path.Combine(dataFolder, "postgres");
        return $"Host=127.0.0.1;Port={await File.ReadAllTextAsync(Path.Combine(folder, "port"))};Username=postgres;Password={await File.ReadAllTextAsync(Path.Combine(folder, "password"))};Database=sample;Pooling=false";
    }

    private static async Task<string?> ScalarAsync(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (await command.ExecuteScalarAsync())?.ToString();
    }
}
