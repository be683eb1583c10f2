using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>
/// What is known of the outputs of a <see cref="GroupCall"/>, kept in <c>provider_tasks.result</c>:
/// <c>{"outputs":[{"ordinal","url","at"}],"refused":[{"ordinal","kind","code"}],"rest":{"kind","code"},"usage":{…}}</c>.
/// </summary>
internal sealed class GroupRecord(ProviderTask task)
{
    public ProviderTask Task { get; set; } = task;

    /// <summary>URLs of outputs that were made and billed, by ordinal.</summary>
    public SortedDictionary<int, Uri> Announced { get; } = [];

    /// <summary>When each was announced, by the database's clock.</summary>
    public Dictionary<int, DateTimeOffset> AnnouncedAt { get; } = [];

    /// <summary>Outputs that were not made, and the provider's reasons.</summary>
    public SortedDictionary<int, Failure> Refused { get; } = [];

    /// <summary>Why the other outputs were not made; null when that was the model's choice.</summary>
    public Failure? Rest { get; set; }

    public JsonObject? Usage { get; set; }

    public bool Knows(int ordinal) => Announced.ContainsKey(ordinal) || Refused.ContainsKey(ordinal);

    /// <summary>Adds an announcement; false when its ordinal is out of range or was announced before.</summary>
    public bool TryAdd(GroupOutput output, int outputs, DateTimeOffset now, out int ordinal)
    {
        ordinal = OrdinalOf(output, outputs) ?? -1;
        if (ordinal < 0)
        {
            return false;
        }

        if (output.Url is { } url)
        {
            (Announced[ordinal], AnnouncedAt[ordinal]) = (url, now);
        }
        else
        {
            Refused[ordinal] = output.Failure ?? throw new ArgumentException("An output has an address or a failure.", nameof(output));
        }

        return true;
    }

    /// <summary>Where an announcement belongs; null when its ordinal is out of range or was announced before.</summary>
    public int? OrdinalOf(GroupOutput output, int outputs)
    {
        var ordinal = output.Index ?? Enumerable.Range(0, outputs).FirstOrDefault(o => !Knows(o), -1);
        return ordinal < 0 || ordinal >= outputs || Knows(ordinal) ? null : ordinal;
    }

    /// <summary>Makes every failure final, so that none leads to another call.</summary>
    public void MakeFinal()
    {
        Rest = Rest is null ? null : Final(Rest);
        foreach (var ordinal in Refused.Keys.ToArray())
        {
            Refused[ordinal] = Final(Refused[ordinal]);
        }

        static Failure Final(Failure failure) => failure.IsRetryable ? failure with { IsFinal = true } : failure;
    }

    public JsonObject ToResult() => new()
    {
        ["outputs"] = new JsonArray([.. Announced.Select(a => new JsonObject
        {
            ["ordinal"] = a.Key,
            ["url"] = a.Value.AbsoluteUri,
            ["at"] = AnnouncedAt[a.Key],
        })]),
        ["refused"] = new JsonArray([.. Refused.Select(r => new JsonObject
        {
            ["ordinal"] = r.Key,
            ["kind"] = r.Value.Kind.ToString(),
            ["code"] = r.Value.ProviderCode,
        })]),
        ["rest"] = Rest is null ? null : new JsonObject { ["kind"] = Rest.Kind.ToString(), ["code"] = Rest.ProviderCode },
        ["usage"] = Usage?.DeepClone(),
    };

    /// <summary>Reads what an earlier run recorded.</summary>
    public static GroupRecord Read(ProviderTask task)
    {
        var group = new GroupRecord(task);
        if (task.Result is { ValueKind: JsonValueKind.Object } result)
        {
            foreach (var output in result.GetProperty("outputs").EnumerateArray())
            {
                var ordinal = output.GetProperty("ordinal").GetInt32();
                group.Announced[ordinal] = new Uri(output.GetProperty("url").GetString()!);
                group.AnnouncedAt[ordinal] = output.TryGetProperty("at", out var at) ? at.GetDateTimeOffset() : task.CreatedAt;
            }

            foreach (var output in result.GetProperty("refused").EnumerateArray())
            {
                group.Refused[output.GetProperty("ordinal").GetInt32()] = FailureIn(output);
            }

            group.Rest = result.GetProperty("rest") is { ValueKind: JsonValueKind.Object } rest ? FailureIn(rest) : null;
            group.Usage = result.GetProperty("usage") is { ValueKind: JsonValueKind.Object } usage ? JsonObject.Create(usage) : null;
        }

        if (task.State is ProviderTaskState.Failed or ProviderTaskState.Unknown && group.Announced.Count + group.Refused.Count == 0)
        {
            group.Rest ??= TaskRecord.FailureOf(task);
        }

        group.MakeFinal();
        return group;

        static Failure FailureIn(JsonElement recorded) => new(
            Enum.Parse<FailureKind>(recorded.GetProperty("kind").GetString()!), recorded.GetProperty("code").GetString()!,
            "recorded by an earlier run");
    }
}
