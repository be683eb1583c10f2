using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.EnvironmentVariables;
using Microsoft.Extensions.Configuration.Json;

namespace Generation.Core.Settings;

/// <summary>
/// The flat environment names that operators know, mapped to the sections that the code reads.
/// <para>Precedence, weakest first: appsettings files, flat names, section keys given by environment or command line
/// (<c>Worker__Concurrency</c>). Who spells out the section means this service; the flat name is the fleet's habit.</para>
/// <para>Flags are accepted as true/false, 1/0, yes/no, on/off. A value of the wrong kind stops the start and names the
/// variable. An empty value counts as not set, for that is how compose files pass variables nobody gave.</para>
/// </summary>
public static class FlatNames
{
    /// <summary>What a value must look like before the section's own validation judges it.</summary>
    public enum Kind
    {
        Text,
        Number,
        Flag,
    }

    /// <summary>One accepted name and the key it stands for.</summary>
    public sealed record FlatName(string Name, string Key, Kind Kind);

    public static IReadOnlyList<FlatName> All { get; } =
    [
        new("ENABLE_ENQUEUE_FIRST", "Api:EnqueueFirst", Kind.Flag),
        new("FORCE_OUTBOX_ONLY", "Api:OutboxOnly", Kind.Flag),
        new("GEN_WORKER_CONCURRENCY", "Worker:Concurrency", Kind.Number),
        new("GEN_WORKER_SETTINGS_REFRESH_MS", "Worker:SettingsRefreshMs", Kind.Number),
        new("SQS_MAIN_QUEUE_URL", "Queue:Sqs:MainQueueUrl", Kind.Text),
        new("SQS_DLQ_QUEUE_URL", "Queue:Sqs:DlqQueueUrl", Kind.Text),
        new("SQS_WAIT_TIME_SECONDS", "Queue:Sqs:WaitTimeSeconds", Kind.Number),
        new("SQS_VISIBILITY_TIMEOUT", "Queue:Sqs:VisibilityTimeoutSeconds", Kind.Number),
        new("SQS_IDLE_DELAY_MS", "Queue:Sqs:IdleDelayMs", Kind.Number),
        new("AWS_REGION", "Queue:Sqs:Region", Kind.Text),
        new("OUTBOX_BATCH", "Relay:OutboxBatch", Kind.Number),
        new("APP_SETTINGS_CACHE_MS", "Settings:CacheMs", Kind.Number),
        new("MAX_IMAGE_DOWNLOAD_BYTES", "Media:MaxImageDownloadBytes", Kind.Number),
        new("MAX_REMOTE_DOWNLOAD_BYTES", "Media:MaxRemoteDownloadBytes", Kind.Number),
        new("PUBLIC_BASE_URL", "Worker:PublicBaseUrl", Kind.Text),
        new("SEEDREAM4_PROVIDER_BATCH", "Providers:Ark:ImageBatch", Kind.Number),
        new("MOCK_MODE", "Mock:Enabled", Kind.Flag),
    ];

    /// <summary>
    /// Puts the flat names between the files and the environment. <paramref name="read"/> is the environment unless a test says otherwise.
    /// </summary>
    /// <exception cref="InvalidOperationException">A value is of the wrong kind; the message names the variable.</exception>
    public static void AddFlatNames(this IConfigurationBuilder configuration, Func<string, string?>? read = null)
    {
        var sources = configuration.Sources;
        var environment = sources.ToList().FindIndex(source => source is EnvironmentVariablesConfigurationSource { Prefix: null or "" });
        var lastFile = sources.ToList().FindLastIndex(source => source is JsonConfigurationSource);
        sources.Insert(environment >= 0 ? environment : lastFile + 1, new Source(read ?? Environment.GetEnvironmentVariable));
    }

    private static string Normalize(FlatName flat, string value) => flat.Kind switch
    {
        Kind.Flag => value.Trim().ToLowerInvariant() switch
        {
            "true" or "1" or "yes" or "on" => "true",
            "false" or "0" or "no" or "off" => "false",
            _ => throw new SettingException($"{flat.Name} must be true or false (or 1, 0, yes, no, on, off), not '{value}'"),
        },
        Kind.Number => long.TryParse(value, out var number)
            ? number.ToString()
            : throw new SettingException($"{flat.Name} must be a whole number, not '{value}'"),
        _ => value.Trim(),
    };

    private sealed class Source(Func<string, string?> read) : IConfigurationSource
    {
        public IConfigurationProvider Build(IConfigurationBuilder builder) => new Provider(read);
    }

    private sealed class Provider(Func<string, string?> read) : ConfigurationProvider
    {
        public override void Load()
        {
            Data = All
                .Select(flat => (flat, value: read(flat.Name)))
                .Where(given => !string.IsNullOrWhiteSpace(given.value))
                .ToDictionary(given => given.flat.Key, given => (string?)Normalize(given.flat, given.value!), StringComparer.OrdinalIgnoreCase);
        }
    }
}
