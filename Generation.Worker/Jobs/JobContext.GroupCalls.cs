using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Providers;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <content>Providers that make all outputs in one paid call and announce each as it comes.</content>
public sealed partial class JobContext
{
    /// <summary>
    /// The whole step of a provider that makes a group: one call, for all outputs, of which the model may make fewer. One intent stands for
    /// all of them. Every announcement is recorded at once and the output stored while the others are made, so that whoever comes after a
    /// crash fetches what was announced. The call is made again only when nothing was announced and it certainly cost nothing; else what
    /// is missing at its end has failed, of unknown outcome when nobody knows whether it was made. What the model chose not to make has not
    /// failed: it is released.
    /// </summary>
    /// <param name="rules">How the provider is used; <see cref="CallRules.CallTimeout"/> is of the whole group.</param>
    /// <param name="call">Makes the call, and says of each output when it is announced; <see cref="ProviderReply.Finished"/> or a failure.</param>
    /// <param name="ct">Stops; what was not announced by then is of unknown outcome.</param>
    public async Task<StepOutcome> CallGroupAsync(CallRules rules, Func<Func<GroupOutput, Task>, CancellationToken, Task<ProviderReply>> call,
        CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(rules);
        ReportStored();
        var group = FindTask(0) is { } earlier ? Group.Read(earlier) : null;
        if (group is { Task.State: ProviderTaskState.Intent })
        {
            await CloseAsync(group, ProviderReply.Failed(new Failure(
                FailureKind.OutcomeUnknown, "worker.cut_off", "The worker that made the call did not live to see its end.")));
        }
        else if (group is null)
        {
            var (intent, problem) = await TryBeginCallAsync(0, rules.CallTimeout, rules.Limit, null, ct, outputCount: RequestedOutputs);
            if (intent is null)
            {
                return Conclude([new FailedOutput(0, problem!)]);
            }

            group = new Group(intent);
            await MakeGroupAsync(rules, group, call, ct);
        }

        var failed = group.Refused.Select(r => new FailedOutput(r.Key, r.Value)).ToList();
        if (group.Rest is { } rest)
        {
            failed.AddRange(Enumerable.Range(0, RequestedOutputs).Where(o => !group.Knows(o)).Select(o => new FailedOutput(o, rest)));
        }

        var fetched = await Task.WhenAll(
            group.Announced.Keys.Where(o => !stored.Contains(o) && !group.Unusable.ContainsKey(o))
                .Select(o => FetchAnnouncedAsync(rules, group, o, ct)));
        failed.AddRange(fetched.OfType<FailedOutput>().Where(f => f.Failure.IsRetryable));
        failed.AddRange(group.Unusable.Select(u => new FailedOutput(u.Key, u.Value)));
        return Conclude(failed);
    }

    private async Task MakeGroupAsync(CallRules rules, Group group, Func<Func<GroupOutput, Task>, CancellationToken, Task<ProviderReply>> call,
        CancellationToken ct)
    {
        var transfers = new List<Task>();
        try
        {
            var reply = await Breaker.CallAsync(token => call(AnnouncedAsync, token), ct);
            await CloseAsync(group, reply);
            await Task.WhenAll(transfers);
        }
        finally
        {
            await Task.WhenAll(transfers).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // none outlives the step
        }

        async Task AnnouncedAsync(GroupOutput output)
        {
            if (!group.Place(output, RequestedOutputs, out var ordinal))
            {
                log.LogWarning("Ignored output {Index} of {Outputs} of {SessionId}, which is out of range or was announced before", Session.SessionId,
                    output.Index, RequestedOutputs);
                return;
            }

            // it is still open: only its end says what became of the rest
            group.Task = await RecordTaskAsync(group.Task, ProviderTaskState.Intent, result: group.ToResult());
            if (output.Url is not null)
            {
                transfers.Add(FetchAnnouncedAsync(rules, group, ordinal, ct)); // what fails is tried once more when the call has ended
            }
        }
    }

    /// <summary>Records how the call ended, by what was announced before.</summary>
    private async Task CloseAsync(Group group, ProviderReply reply)
    {
        var isWhole = group.Announced.Count + group.Refused.Count >= RequestedOutputs;
        var stop = reply.Failure
            // the provider gave up there: what is missing was not the model's choice
            ?? group.Refused.Values.FirstOrDefault(f => f.IsRetryable || f.IsForAllOutputs)
            ?? (group.Announced.Count + group.Refused.Count == 0
                ? new Failure(FailureKind.Unavailable, "group.empty", "The call ended without an output or a reason.") : null);
        group.Usage = reply.Usage;
        if (group.Announced.Count == 0 && stop is not null)
        {
            group.Rest = stop;
            group.Task = await RecordTaskAsync(group.Task, StateOf(stop), requestId: reply.RequestId, result: group.ToResult(), failure: stop);
            return;
        }

        // From here on something was billed, and the call is never made again.
        group.Rest = isWhole ? null : stop;
        group.Finish();
        var state = group.Rest?.Kind == FailureKind.OutcomeUnknown ? ProviderTaskState.Unknown : group.Announced.Count > 0
            ? ProviderTaskState.Delivered : ProviderTaskState.Failed;
        group.Task = await RecordTaskAsync(
            group.Task, state, requestId: reply.RequestId, result: group.ToResult(), failure: state == ProviderTaskState.Delivered ? null
                : group.Rest ?? group.Refused.Values.First());
    }

    private async Task<FailedOutput?> FetchAnnouncedAsync(CallRules rules, Group group, int ordinal, CancellationToken ct)
    {
        var failure = await DeliverAsync(ordinal, rules.Source.Of(group.Announced[ordinal]), null, ct);
        ReportStored();
        if (failure is { IsRetryable: false })
        {
            group.Unusable[ordinal] = failure;
        }

        return failure is null ? null : new FailedOutput(ordinal, failure);
    }

    private void ReportStored() => ReportProgress(10 + (85 * stored.Count / RequestedOutputs), "generating");

    /// <summary>What is known of a group's outputs; <c>provider_tasks.result</c> holds it.</summary>
    private sealed class Group(ProviderTask task)
    {
        public ProviderTask Task { get; set; } = task;

        /// <summary>Made and billed, by ordinal.</summary>
        public SortedDictionary<int, Uri> Announced { get; } = [];

        /// <summary>Not made, and the provider said why.</summary>
        public SortedDictionary<int, Failure> Refused { get; } = [];

        /// <summary>Announced, fetched, and of no use; known to this run alone.</summary>
        public ConcurrentDictionary<int, Failure> Unusable { get; } = [];

        /// <summary>Why the others did not come; null when the model chose not to make them.</summary>
        public Failure? Rest { get; set; }

        public JsonObject? Usage { get; set; }

        public bool Knows(int ordinal) => Announced.ContainsKey(ordinal) || Refused.ContainsKey(ordinal);

        /// <summary>Takes an announcement in; false for one that has no place.</summary>
        public bool Place(GroupOutput output, int outputs, out int ordinal)
        {
            ordinal = output.Index ?? Enumerable.Range(0, outputs).FirstOrDefault(o => !Knows(o), -1);
            if (ordinal < 0 || ordinal >= outputs || Knows(ordinal))
            {
                return false;
            }

            if (output.Url is { } url)
            {
                Announced[ordinal] = url;
            }
            else
            {
                Refused[ordinal] = output.Failure ?? throw new ArgumentException("An output has an address or a failure.", nameof(output));
            }

            return true;
        }

        /// <summary>No failure of it leads to another call.</summary>
        public void Finish()
        {
            Rest = Rest is null ? null : Final(Rest);
            foreach (var ordinal in Refused.Keys.ToArray())
            {
                Refused[ordinal] = Final(Refused[ordinal]);
            }

            static Failure Final(Failure failure) => failure.IsRetryable ? failure with { IsFinal = true } : failure;
        }

        /// <summary><c>{"outputs":[{"ordinal","url"}],"refused":[{"ordinal","kind","code"}],"rest":{"kind","code"},"usage":{…}}</c></summary>
        public JsonObject ToResult() => new()
        {
            ["outputs"] = new JsonArray([.. Announced.Select(a => new JsonObject { ["ordinal"] = a.Key, ["url"] = a.Value.AbsoluteUri })]),
            ["refused"] = new JsonArray(
                [.. Refused.Select(r => new JsonObject { ["ordinal"] = r.Key, ["kind"] = r.Value.Kind.ToString(),
                ["code"] = r.Value.ProviderCode })]),
            ["rest"] = Rest is null ? null : new JsonObject { ["kind"] = Rest.Kind.ToString(), ["code"] = Rest.ProviderCode },
            ["usage"] = Usage?.DeepClone(),
        };

        /// <summary>What an earlier run has recorded.</summary>
        public static Group Read(ProviderTask task)
        {
            var group = new Group(task);
            if (task.Result is { ValueKind: JsonValueKind.Object } result)
            {
                foreach (var output in result.GetProperty("outputs").EnumerateArray())
                {
                    group.Announced[output.GetProperty("ordinal").GetInt32()] = new Uri(output.GetProperty("url").GetString()!);
                }

                foreach (var output in result.GetProperty("refused").EnumerateArray())
                {
                    group.Refused[output.GetProperty("ordinal").GetInt32()] = Recorded(output);
                }

                group.Rest = result.GetProperty("rest") is { ValueKind: JsonValueKind.Object } rest ? Recorded(rest) : null;
                group.Usage = result.GetProperty("usage") is { ValueKind: JsonValueKind.Object } usage ? JsonObject.Create(usage) : null;
            }

            if (task.State is ProviderTaskState.Failed or ProviderTaskState.Unknown && group.Announced.Count + group.Refused.Count == 0)
            {
                group.Rest ??= AsRecorded(task);
            }

            group.Finish();
            return group;

            static Failure Recorded(JsonElement of) =>
                new(Enum.Parse<FailureKind>(of.GetProperty("kind").GetString()!), of.GetProperty("code").GetString()!, "recorded by an earlier run");
        }
    }
}
