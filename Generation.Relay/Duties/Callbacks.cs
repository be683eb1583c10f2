using Generation.Core.Media;
using Generation.Core.Webhooks;

namespace Generation.Relay.Duties;

/// <summary>Callbacks that have nothing left to say are booked, old ones forgotten.</summary>
public sealed class Callbacks(WebhookInbox inbox, RelayOptions options, TimeProvider time, ILogger<Callbacks> log)
    : Duty(options.StrayInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct) => await inbox.TidyAsync(ct) >= 1000;
}

/// <summary>Reference pictures past their time go.</summary>
public sealed class OldUploads(Uploads uploads, RelayOptions options, TimeProvider time, ILogger<OldUploads> log)
    : Duty(options.StrayInterval, time, log)
{
    public override async Task<bool> RunOnceAsync(CancellationToken ct) => await uploads.SweepAsync(ct) >= Uploads.Batch;
}
