using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Generation.LocalServers;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.AppHost;

/// <summary>What <c>azd</c> gets to deploy: that it can read it, and that the services run on exactly that.</summary>
[Trait("tier", "process")]
public sealed partial class ManifestTests(TestS3 s3)
{
    /// <summary>What azd's reader of manifests knows; our own use of them is narrower.</summary>
    private static readonly string[] KnownTypes = ["parameter.v0", "project.v0", "container.v0", "value.v0", "annotated.string"];

    [Theory]
    [InlineData("external")]
    [InlineData("containers")]
    public async Task The_manifest_is_what_azd_accepts(string servers)
    {
        var resources = await PublishAsync(servers);
        Assert.All(resources, resource => Assert.Contains((string?)resource.Value!["type"], KnownTypes));
        Assert.Equal(["api", "relay", "worker"], OfType("project.v0").Order(StringComparer.Ordinal)); // no simulator
        foreach (var project in OfType("project.v0"))
        {
            var resource = resources[project]!;
            Assert.Equal(Path.Combine(Root, $"Generation.{char.ToUpperInvariant(project[0])}{project[1..]}",
                $"Generation.{char.ToUpperInvariant(project[0])}{project[1..]}.csproj"), (string?)resource["path"]);
            Assert.All(resource["bindings"]!.AsObject(), binding =>
            {
                Assert.Contains(binding.Key, (string[])["http", "https"]); // one binding a scheme, named like it
                Assert.Equal(binding.Key, (string?)binding.Value!["scheme"]);
                Assert.Equal(("tcp", "http", 8080), ((string?)binding.Value["protocol"], (string?)binding.Value["transport"],
                    (int?)binding.Value["targetPort"]));
                Assert.Equal(project == "api", (bool?)binding.Value["external"] ?? false);
            });
            Assert.DoesNotContain(resource["env"]!.AsObject(), variable =>
                variable.Key is "ASPNETCORE_ENVIRONMENT" or "DOTNET_ENVIRONMENT" or "MOCK_MODE");
            Assert.DoesNotMatch("gk_dev|sim-|Development|localhost|127\\.0\\.0\\.1", resource["env"]!.ToJsonString());
            Assert.All(References(resource["env"]!.ToJsonString()), reference =>
                Assert.True(resources.ContainsKey(reference.Split('.')[0]), reference));
        }

        // The owner's login is the relay's alone, and a service has its own password.
        foreach (var service in new[] { "api", "worker" })
        {
            Assert.DoesNotContain("owner", resources[service]!["env"]!.ToJsonString(), StringComparison.Ordinal);
            Assert.EndsWith($"Username=generation_{service};Password={{database-{service}-password.value}}",
                (string?)resources[service]!["env"]!["ConnectionStrings__generation"], StringComparison.Ordinal);
        }

        foreach (var parameter in OfType("parameter.v0"))
        {
            var input = resources[parameter]!["inputs"]!["value"]!;
            Assert.Equal("string", (string?)input["type"]);
            if (SecretName().IsMatch(parameter)) Assert.True((bool?)input["secret"], $"{parameter} must be a secret");
        }

        // Azure Files is no disk for a database: initdb fails on it.
        Assert.All(OfType("container.v0"), container => Assert.True(resources[container]!["volumes"] is null && resources[container]!["bindMounts"]
            is null, container));
        Assert.Equal(servers == "containers" ? ["postgres", "redis"] : [], OfType("container.v0").Order(StringComparer.Ordinal));

        IEnumerable<string> OfType(string type) => resources.Where(resource => (string?)resource.Value!["type"] == type).Select(resource =>
            resource.Key);
    }

    [Theory]
    [InlineData("Api")]
    [InlineData("Relay")]
    [InlineData("Worker")]
    public async Task An_image_runs_as_an_ordinary_user_and_says_what_to_ask(string service)
    {
        var (exitCode, output) = await ChildProcess.RunAsync(
            new ChildCommand("dotnet", "msbuild", Path.Combine(Root, $"Generation.{service}"), "-getProperty:ContainerUser,ContainerRepository",
                "-getItem:ContainerPort,ContainerLabel"),
            CancellationToken.None);
        Assert.True(exitCode == 0, output);
        var image = JsonNode.Parse(output)!;
        Assert.Equal(("app", $"generation/{service.ToLowerInvariant()}"),
            ((string?)image["Properties"]!["ContainerUser"], (string?)image["Properties"]!["ContainerRepository"]));
        Assert.Equal("8080", (string?)image["Items"]!["ContainerPort"]![0]!["Identity"]);
        Assert.Contains(image["Items"]!["ContainerLabel"]!.AsArray(), label => (string?)label!["Value"] == "/readyz");
    }

    [Fact]
    public async Task The_services_make_a_picture_in_Production_with_exactly_the_environment_of_the_manifest()
    {
        var resources = await PublishAsync("external");
        await using var sim = await TestSim.StartAsync();
        var bucket = (await s3.NewBucketAsync()).S3;
        var redis = await TestRedis.Shared;
        var postgres = new PostgresProcess(
            new PostgresOptions
            {
                Folder = TestServers.NewFolder("deployed"),
                RecordPath = TestServers.NewRecordPath("deployed"),
                ServerArguments = ["-c", "fsync=off"]
            }, TimeProvider.System);
        await postgres.StartAsync(CancellationToken.None);
        await using var running = new Running(postgres);
        await CreateOwnerAsync(postgres); // as a managed server gives one: no superuser

        var ports = new Dictionary<string, int>(StringComparer.Ordinal)
        {
            ["relay"] = Ports.Free(),
            ["api"] = Ports.Free(),
            ["worker"] =
            Ports.Free()
        };
        var given = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["database"] = $"Host=127.0.0.1;Port={postgres.Port};Database=customers;SSL Mode=Disable",
            ["database-owner"] = "keeper",
            ["database-owner-password"] = "a-password-of-the-owner",
            ["redis"] = redis.ConnectionString,
            ["s3-endpoint"] = bucket.Endpoint!,
            ["s3-bucket"] = bucket.Bucket!,
            ["s3-access-key"] = bucket.AccessKey!,
            ["s3-secret-key"] = bucket.SecretKey!,
            ["s3-force-path-style"] = "true",
            ["openai-api-key"] = "sim-openai-key",
            ["openai-base-url"] = $"{sim.Address.GetLeftPart(UriPartial.Authority)}/v1",
        };
        IReadOnlyDictionary<string, string?> EnvironmentOf(string service) => resources[service]!["env"]!.AsObject()
            .ToDictionary(variable => variable.Key, variable =>
                (string?)Resolve(resources, (string)variable.Value!, given, ports), StringComparer.Ordinal);

        foreach (var service in new[] { ("relay", "Relay"), ("api", "Api"), ("worker", "Worker") })
        {
            await running.StartAsync(service.Item2, [], EnvironmentOf(service.Item1));
            await UntilReadyAsync(ports[service.Item1], running);
        }

        Assert.Equal(3L, await ScalarAsync(postgres,
            "SELECT count(DISTINCT usename) FROM pg_stat_activity WHERE usename IN ('generation_api', 'generation_relay', 'generation_worker')"));
        var (exitCode, output) = await ChildProcess.RunAsync(
            running.Command("Relay", ["create-admin", "ada"], EnvironmentOf("relay")), CancellationToken.None);
        Assert.True(exitCode == 0, output);
        var key = output.Split('\n').Single(line => line.StartsWith("gk_live_", StringComparison.Ordinal));

        using var api = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{ports["api"]}") };
        api.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        using var grant = new HttpRequestMessage(HttpMethod.Post, "/api/admin/credits/grants")
        {
            Headers = { { "Idempotency-Key", "opening" } },
            Content = JsonContent.Create(new { user = "ada", amount = 100, kind = "grant", reason = "the first credits" }),
        };
        using var granted = await api.SendAsync(grant);
        Assert.True(granted.IsSuccessStatusCode, await granted.Content.ReadAsStringAsync());
        using var submit = new HttpRequestMessage(HttpMethod.Post, "/api/generations")
        {
            Headers = { { "Prefer", "wait=60" } },
            Content = JsonContent.Create(new { model = "gpt-image-2", @params = new { prompt = "a lighthouse at dusk" } }),
        };
        using var answer = await api.SendAsync(submit);
        var session = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
        Assert.True((string?)session["status"] == "completed", $"{session}\n{running.Output}");
        var url = (string)session["media"]![0]!["url"]!;
        Assert.StartsWith(bucket.Endpoint!, url, StringComparison.Ordinal);
        using var anybody = new HttpClient(); // a signed address wants no other credentials
        Assert.True((await anybody.GetByteArrayAsync(url)).Length > 1000);
    }

    [GeneratedRegex("password|-key$|secret", RegexOptions.NonBacktracking)]
    private static partial Regex SecretName();

    [GeneratedRegex(@"\{(?<reference>[a-z0-9][a-zA-Z0-9.-]*)\}", RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    private static partial Regex Reference();

    private static string Root => Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../.."));

    private static IEnumerable<string> References(string text) => Reference().Matches(text).Select(match => match.Groups["reference"].Value);

    /// <summary>As azd calls it.</summary>
    private static async Task<JsonObject> PublishAsync(string servers)
    {
        var path = Path.Combine(TestServers.NewFolder("manifest"), "manifest.json");
        var project = Path.Combine(Root, "Generation.AppHost");
        var program = Path.Combine(project, AppContext.BaseDirectory[AppContext.BaseDirectory.LastIndexOf("/bin/", StringComparison.Ordinal)..].Trim(
            '/'), "Generation.AppHost.dll");
        var (exitCode, output) = await ChildProcess.RunAsync(
            new ChildCommand("dotnet", program, "--publisher", "manifest", "--output-path", path)
            {
                WorkingDirectory = project,
                Environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["PUBLISH_SERVERS"] = servers },
            },
            CancellationToken.None);
        Assert.True(exitCode == 0, output);
        var resources = JsonNode.Parse(await File.ReadAllTextAsync(path))!["resources"]!.AsObject();
        foreach (var resource in resources.Select(resource => resource.Value!.AsObject()).Where(resource => resource.ContainsKey("path")))
            resource["path"] = Path.GetFullPath((string)resource["path"]!, Path.GetDirectoryName(path)!); // they are relative to the manifest
        return resources;
    }

    /// <summary>What azd fills in: a parameter that was given, its default, or a generated password; a binding's port or address.</summary>
    private static string Resolve(JsonObject resources, string text, Dictionary<string, string> given, Dictionary<string, int> ports) =>
        Reference().Replace(text, match =>
    {
        var parts = match.Groups["reference"].Value.Split('.');
        return parts switch
        {
            [var name, "connectionString"] => Resolve(resources, (string)resources[name]!["connectionString"]!, given, ports),
            [var name, "value"] => Parameter(name),
            [var name, "bindings", "http", "targetPort"] => ports[name].ToString(CultureInfo.InvariantCulture),
            [var name, "bindings", "https", "url"] => $"https://{name}.example.net",
            _ => throw new InvalidOperationException($"The manifest refers to {match.Value}."),
        };

        string Parameter(string name)
        {
            if (given.TryGetValue(name, out var value)) return value;
            var standard = resources[name]!["inputs"]!["value"]!["default"]
                ?? throw new InvalidOperationException($"The parameter {name} has no default and was not given.");
            return given[name] = (string?)standard["value"] ?? Secrets.NewPassword(); // generate: the same in every place
        }
    });

    private static async Task CreateOwnerAsync(PostgresProcess postgres)
    {
        await using var admin = new NpgsqlConnection(postgres.ConnectionString("postgres") + ";Pooling=false");
        await admin.OpenAsync();
        foreach (var sql in new[] { "CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'a-password-of-the-owner'",
            "CREATE DATABASE customers OWNER keeper" })
        {
            await using var command = new NpgsqlCommand(sql, admin);
            await command.ExecuteNonQueryAsync();
        }
    }

    private static async Task<object?> ScalarAsync(PostgresProcess postgres, string sql)
    {
        await using var admin = new NpgsqlConnection(postgres.ConnectionString("postgres") + ";Pooling=false");
        await admin.OpenAsync();
        await using var command = new NpgsqlCommand(sql, admin);
        return await command.ExecuteScalarAsync();
    }

    private static async Task UntilReadyAsync(int port, Running running)
    {
        using var http = new HttpClient();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        while (true)
        {
            try
            {
                using var ready = await http.GetAsync(new Uri($"http://127.0.0.1:{port}/readyz"), limit.Token);
                if (ready.StatusCode == HttpStatusCode.OK) return;
            }
            catch (HttpRequestException)
            {
                // Not listening yet.
            }
            catch (OperationCanceledException)
            {
                Assert.Fail($"Not ready in time:\n{running.Output}");
            }

            if (running.AnyHasEnded) Assert.Fail($"A service ended:\n{running.Output}");
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>The services as processes, in an environment of their own.</summary>
    private sealed class Running(PostgresProcess postgres) : IAsyncDisposable
    {
        private static readonly string[] OfTheMachine = ["PATH", "HOME", "TMPDIR", "DOTNET_ROOT", "LD_LIBRARY_PATH"];

        private readonly List<ChildProcess> children = [];
        private readonly List<string> lines = [];

        public string Output
        {
            get
            {
                lock (lines) return string.Join('\n', lines);
            }
        }

        public bool AnyHasEnded => children.Any(child => child.Exited.IsCompleted);

        public async Task StartAsync(string service, string[] arguments, IReadOnlyDictionary<string, string?> environment) =>
            children.Add(await ChildProcess.StartAsync(Command(
                service, arguments, environment) with
            { RecordPath = TestServers.NewRecordPath(service) }, line =>
            {
                lock (lines) lines.Add($"{service}: {line}");
            }));

        public ChildCommand Command(string service, string[] arguments, IReadOnlyDictionary<string, string?> environment)
        {
            var all = System.Environment.GetEnvironmentVariables().Keys.Cast<string>().Where(name => !OfTheMachine.Contains(name))
                .ToDictionary(name => name, _ => (string?)null, StringComparer.Ordinal);
            foreach (var (name, value) in environment) all[name] = value;
            return new ChildCommand("dotnet", [Path.Combine(AppContext.BaseDirectory, $"Generation.{service}.dll"),
                .. arguments])
            { WorkingDirectory = AppContext.BaseDirectory, Environment = all };
        }

        public async ValueTask DisposeAsync()
        {
            await Task.WhenAll(children.Select(child => child.StopAsync(TimeSpan.FromSeconds(20), TimeProvider.System, CancellationToken.None)));
            await postgres.StopAsync(TimeSpan.FromSeconds(20), CancellationToken.None);
        }
    }
}
