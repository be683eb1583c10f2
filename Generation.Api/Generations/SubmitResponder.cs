using System.Globalization;
using Generation.Api.Events;
using Generation.Api.Identity;
using Generation.Api.Media;
using Generation.Core.Credits;
using Generation.Core.Database;
using Generation.Core.Outbox;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Generations;

/// <summary>Responds to an accepted request: immediately, or when the session has ended.</summary>
public sealed class SubmitResponder(SessionFeed feed, SessionReader sessions, LanePositions positions, CreditReader credits, MediaLinks links,
    ApiOptions options, TimeProvider time)
{
    /// <summary>What the aliases do when the client does not say: wait, if ENABLE_ENQUEUE_FIRST is off.</summary>
    public TimeSpan? AliasWait => options.EnqueueFirst ? null : options.AliasWait;

    /// <summary><c>Prefer: wait=n</c> in seconds, cut to the maximum; null when it is absent or invalid (RFC 7240: ignored).</summary>
    public TimeSpan? PreferredWait(HttpContext context)
    {
        foreach (var preference in context.Request.Headers["Prefer"].SelectMany(h => h?.Split(',', ';') ?? []).Select(p => p.Trim()))
        {
            if (preference.StartsWith("wait=", StringComparison.OrdinalIgnoreCase)
                && int.TryParse(preference.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out var seconds))
            {
                var wanted = TimeSpan.FromSeconds(seconds);
                return wanted < options.MaxPreferWait ? wanted : options.MaxPreferWait;
            }
        }

        return null;
    }

    public async Task<Results<Ok<GenerationResult>, Accepted<AcceptedGeneration>,
        ProblemHttpResult>> AnswerAsync(HttpContext context, Accepted accepted, TimeSpan? wait, CancellationToken ct, bool isAlias = false)
    {
        var self = $"/api/generations/{accepted.SessionId}";
        context.Response.Headers.Location = self;
        if (accepted.Replayed)
        {
            context.Response.Headers["Idempotent-Replayed"] = "true";
        }

        if (wait is { } maxWait && await WaitAsync(accepted.SessionId, context.Caller().UserId, maxWait, ct) is { } ended)
        {
            var session = links.Present(ended, context);
            var balance = await credits.BalanceAsync(session.UserId, ct);
            return TypedResults.Ok(new GenerationResult(
                session.SessionId, session.ClientKey, accepted.ReservationId, session.Status, [.. session.Media.Select(m => m.Url!)], session.Media,
                session.Receipt!.Captured, balance.Available, session.Receipt, session.Error, session.FailedOutputs, Links(self)));
        }

        var (queue, eta) = await EstimateAsync(accepted.Job);
        return TypedResults.Accepted(self, new AcceptedGeneration(
            accepted.SessionId, accepted.ClientKey, accepted.ReservationId, "queued", accepted.CreditsHeld, Links(self), queue?.Ahead, eta,
            isAlias ? queue?.Ahead + 1 : null));
    }

    /// <summary>From the position index, without a query.</summary>
    private async Task<(QueueView? Queue, int? EtaSeconds)> EstimateAsync(OpenJob? job) =>
        job?.Place is { Rank: { } rank } place && await positions.GetAsync(job.Lane) is { } index
            ? QueueEstimate.Of(job, index.State, positions.Find(index, rank, place.OutboxId), time.GetUtcNow())
            : (null, null);

    /// <summary>The session once it has ended; null when it has not within <paramref name="maxWait"/>.</summary>
    private async Task<SessionView?> WaitAsync(Guid sessionId, Guid userId, TimeSpan maxWait, CancellationToken ct)
    {
        using var timeout = new SafeTimeout(maxWait, time, ct);
        await using var watcher = await feed.WatchAsync(sessionId);
        try
        {
            var session = await sessions.GetAsync(userId, sessionId, timeout.Token);
            while (session is { HasEnded: false })
            {
                session = (await watcher.Reader.ReadAsync(timeout.Token)).State ?? session;
            }

            return session;
        }
        catch (Exception e) when ((e is OperationCanceledException && !ct.IsCancellationRequested) || e
            is System.Threading.Channels.ChannelClosedException)
        {
            return null;
        }
    }

    private static GenerationLinks Links(string self) => new(self, $"{self}/events", $"{self}/cancel");
}
