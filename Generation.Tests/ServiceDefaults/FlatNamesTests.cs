using System.Diagnostics.Metrics;
using System.Reflection;
using Generation.Api;
using Generation.Core;
using Generation.Core.Media;
using Generation.Core.Settings;
using Generation.Relay;
using Generation.Worker;
using Microsoft.Extensions.Configuration;

namespace Generation.Tests.ServiceDefaults;

public sealed class FlatNamesTests
{
    public static TheoryData<string> Names => [.. FlatNames.All.Select(flat => flat.Name)];

    [Fact]
    public void A_flat_name_wins_over_a_file_and_loses_to_the_section_given_by_environment_or_command_line()
    {
        const string File = """{ "Worker": { "Concurrency": 1, "SettingsRefreshMs": 2 }, "Relay": { "OutboxBatch": 3 }, "Settings": { "CacheMs": 4 } }""";
        var prefix = $"FLAT{Guid.NewGuid():N}_"; // a process has one environment, and tests share it
        Environment.SetEnvironmentVariable(prefix + "Relay__OutboxBatch", "30");
        try
        {
            using var file = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(File));
            var builder = new ConfigurationBuilder();
            builder.AddJsonStream(file).AddEnvironmentVariables().AddEnvironmentVariables(prefix).AddCommandLine(["--Settings:CacheMs=40"]);
            builder.AddFlatNames(Given(("GEN_WORKER_CONCURRENCY", "100"), ("OUTBOX_BATCH", "300"), ("APP_SETTINGS_CACHE_MS", "400")));
            var configuration = builder.Build();

            Assert.Equal("100", configuration["Worker:Concurrency"]);
            Assert.Equal("2", configuration["Worker:SettingsRefreshMs"]);
            Assert.Equal("30", configuration["Relay:OutboxBatch"]);
            Assert.Equal("40", configuration["Settings:CacheMs"]);
        }
        finally
        {
            Environment.SetEnvironmentVariable(prefix + "Relay__OutboxBatch", null);
        }
    }

    [Fact]
    public async Task In_a_service_the_flat_names_stand_between_its_files_and_its_environment()
    {
        await using var service = await ServiceUnderTest.StartAsync([("Worker:Concurrency", "7")]);
        var order = ((IConfigurationRoot)service.App.Configuration).Providers.Select(provider => provider.GetType().FullName!).ToList();
        var flat = order.FindIndex(type => type.StartsWith(typeof(FlatNames).FullName!, StringComparison.Ordinal));
        Assert.InRange(order.FindLastIndex(type => type.Contains(".Json.", StringComparison.Ordinal)), 0, flat - 1);
        Assert.StartsWith(typeof(EmptyVariables).FullName!, order[flat + 1], StringComparison.Ordinal); // the environment, less what is empty in it
        Assert.Contains(order[flat..], type => type.Contains("CommandLine", StringComparison.Ordinal));
        Assert.Equal("7", service.App.Configuration["Worker:Concurrency"]);
    }

    /// <summary>A manifest passes what nobody gave as an empty text, which would overwrite a default.</summary>
    [Fact]
    public void An_empty_variable_counts_as_not_set()
    {
        Environment.SetEnvironmentVariable("EmptyVariablesTest__Empty", "");
        Environment.SetEnvironmentVariable("EmptyVariablesTest__Full", "kept");
        var builder = new ConfigurationBuilder().AddInMemoryCollection([new("EmptyVariablesTest:Empty", "default")]).AddEnvironmentVariables()
            .AddCommandLine(["--Later=1"]);
        builder.IgnoreEmptyVariables();
        var configuration = builder.Build();
        Assert.Equal(("default", "kept", "1"), (configuration["EmptyVariablesTest:Empty"], configuration["EmptyVariablesTest:Full"],
            configuration["Later"]));
    }

    [Theory]
    [InlineData("MOCK_MODE", "1", "Mock:Enabled", "true")]
    [InlineData("MOCK_MODE", "Off", "Mock:Enabled", "false")]
    [InlineData("ENABLE_ENQUEUE_FIRST", "False", "Api:EnqueueFirst", "false")]
    [InlineData("SQS_VISIBILITY_TIMEOUT", " 60 ", "Queue:Sqs:VisibilityTimeoutSeconds", "60")]
    [InlineData("AWS_REGION", "eu-central-1 ", "Queue:Sqs:Region", "eu-central-1")]
    [InlineData("MAX_REMOTE_DOWNLOAD_BYTES", "5368709120", "Media:MaxRemoteDownloadBytes", "5368709120")]
    [InlineData("OUTBOX_BATCH", "", "Relay:OutboxBatch", null)]
    public void Values_are_read_as_operators_write_them(string name, string value, string key, string? expected)
    {
        var configuration = new ConfigurationBuilder();
        configuration.AddFlatNames(Given((name, value)));
        Assert.Equal(expected, configuration.Build()[key]);
    }

    [Theory]
    [InlineData("MOCK_MODE", "perhaps")]
    [InlineData("GEN_WORKER_CONCURRENCY", "many")]
    [InlineData("MAX_IMAGE_DOWNLOAD_BYTES", "25MB")]
    public void A_value_of_the_wrong_kind_names_the_variable(string name, string value)
    {
        var configuration = new ConfigurationBuilder();
        configuration.AddFlatNames(Given((name, value)));
        var refused = Assert.Throws<SettingException>(() => configuration.Build());
        Assert.Contains($"{name} must be", refused.Message, StringComparison.Ordinal);
        Assert.Contains($"'{value}'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Each_name_and_each_key_stands_once_in_the_table()
    {
        Assert.Equal(FlatNames.All.Count, FlatNames.All.Select(flat => flat.Name).Distinct().Count());
        Assert.Equal(FlatNames.All.Count, FlatNames.All.Select(flat => flat.Key).Distinct(StringComparer.OrdinalIgnoreCase).Count());
    }

    /// <summary>A name that nobody reads would be accepted and do nothing.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void Each_name_sets_a_property_of_an_options_type(string name)
    {
        var flat = FlatNames.All.Single(flat => flat.Name == name);
        var (section, type) = Assert.Single(OptionsTypes(), options => flat.Key.StartsWith(options.Section + ':', StringComparison.Ordinal));
        var path = flat.Key[(section.Length + 1)..].Split(':');
        var options = Activator.CreateInstance(type)!;
        var before = ValueOf(options);

        var configuration = new ConfigurationBuilder();
        configuration.AddFlatNames(Given((name, flat.Kind switch
        {
            FlatNames.Kind.Number => "77",
            FlatNames.Kind.Flag => before is true ? "off" : "on",
            _ => "https://another.example.com",
        })));
        configuration.Build().GetSection(section).Bind(options);

        Assert.NotEqual(before, ValueOf(options));

        object? ValueOf(object owner) => path.Aggregate<string, object?>(owner, (value, key) => Assert.Single(
            value!.GetType().GetProperties(), property => (property.GetCustomAttribute<ConfigurationKeyNameAttribute>()?.Name
                ?? property.Name) == key).GetValue(value));
    }

    [Fact]
    public void An_observed_value_is_reported_until_its_registration_ends()
    {
        var lane = $"lane-{Guid.NewGuid():N}";
        var seen = new List<long>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, meter) =>
        {
            if (instrument.Meter == Telemetry.Meter && instrument.Name == "generation.queue.depth")
                meter.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, messages, tags, _) =>
        {
            if (tags.Length == 1 && tags[0].Value is string tag && tag == lane)
                seen.Add(messages);
        });
        listener.Start();

        var depth = 5L;
        using (Telemetry.ObserveQueueDepth(() => [(lane, depth)]))
        {
            listener.RecordObservableInstruments();
            depth = 6;
            listener.RecordObservableInstruments();
        }

        listener.RecordObservableInstruments();
        Assert.Equal([5, 6], seen);
    }

    /// <summary>Every options type of the services, with the section it says it is bound to.</summary>
    private static IEnumerable<(string Section, Type Type)> OptionsTypes() =>
        from assembly in new[] { typeof(MediaOptions).Assembly, typeof(ApiOptions).Assembly, typeof(RelayOptions).Assembly,
            typeof(WorkerOptions).Assembly }
        from type in assembly.GetTypes()
        let section = type.GetField("Section")
        where section is { IsLiteral: true }
        select ((string)section.GetRawConstantValue()!, type);

    private static Func<string, string?> Given(params (string Name, string Value)[] environment) =>
        name => environment.FirstOrDefault(variable => variable.Name == name).Value;
}
