using System.Text.Json;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Generation.Core.Realtime;

/// <summary>The channels of Postgres NOTIFY. A notification is a hint: whoever misses it finds the fact in the table.</summary>
public static class ChangeChannel
{
    /// <summary>There is something in the outbox. The payload names the lanes, with commas; an empty one means any.</summary>
    public const string Outbox = "outbox";

    public const string SessionCreated = "session_created";

    /// <summary>An output was stored; also with the end of a session that completed, whose last output is stored together with it.</summary>
    public const string ImagesAttached = "images_attached";

    /// <summary>A session ended.</summary>
    public const string SessionCompleted = "session_completed";

    /// <summary>Any other change of state.</summary>
    public const string SessionChanged = "session_changed";
}

/// <summary>
/// A session that changed; on the wire <c>[sessionId, userId, version, reservationId]</c>, the last where an output was stored or the session
/// ended. A payload is an array of these (docs/operations.md).
/// </summary>
public readonly record struct Change(Guid SessionId, Guid UserId, long Version, Guid? ReservationId = null)
{
    /// <summary>What a notification says; nothing when it makes no sense, because anybody may NOTIFY.</summary>
    public static IReadOnlyList<Change> Read(string payload)
    {
        try
        {
            using var document = JsonDocument.Parse(payload);
            return [.. document.RootElement.EnumerateArray().Select(c => new Change(
                c[0].GetGuid(), c[1].GetGuid(), c[2].GetInt64(), c.GetArrayLength() > 3 ? c[3].GetGuid() : null))];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or IndexOutOfRangeException)
        {
            return [];
        }
    }

    internal string Write() => ReservationId is { } reservation
        ? $"[\"{SessionId}\",\"{UserId}\",{Version},\"{reservation}\"]"
        : $"[\"{SessionId}\",\"{UserId}\",{Version}]";
}

/// <summary>
/// The one notifier of a process. Changes are told after their commit, coalesced, at most 55 a notification: NOTIFY takes a
/// database-wide lock at commit (32 clients fall from 24,500 to 9,000 commits/s), so it is kept out of the transactions that do the
/// work. When the database is unavailable, hints are dropped: listeners read again every few seconds anyway.
/// </summary>
public sealed class ChangeNotifier(NpgsqlDataSource database, ILogger<ChangeNotifier> log) : BackgroundService
{
    /// <summary>55 × 137 bytes stay below the 8,000 bytes of a notification.</summary>
    private const int MaxPerNotification = 55;

    private readonly Channel<Hint> changes = Channel.CreateBounded<Hint>(
        new BoundedChannelOptions(50_000) { SingleReader = true, FullMode = BoundedChannelFullMode.DropOldest });

    /// <summary>A new session, and with it an outbox row.</summary>
    public void SessionCreated(Guid sessionId, Guid userId, string lane)
    {
        changes.Writer.TryWrite(new Hint(ChangeChannel.SessionCreated, new Change(sessionId, userId, 1), null));
        OutboxWritten(lane);
    }

    public void Changed(string channel, Change change) => changes.Writer.TryWrite(new Hint(channel, change, null));

    /// <summary>A row in the outbox that is due now, in this lane; null when that is not known.</summary>
    public void OutboxWritten(string? lane = null) => changes.Writer.TryWrite(new Hint(ChangeChannel.Outbox, default, lane ?? ""));

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var newest = new Dictionary<(string Channel, Guid SessionId), Change>();
        var lanes = new SortedSet<string>(StringComparer.Ordinal);
        while (await WaitForChangesAsync(stoppingToken))
        {
            // Not everything at once: what arrives while a notification is on its way goes with the next.
            while (newest.Count < 4 * MaxPerNotification && changes.Reader.TryRead(out var next))
            {
                if (next.Lane is not null)
                {
                    lanes.Add(next.Lane);
                    continue;
                }

                var key = (next.Channel, next.Change.SessionId);
                if (!newest.TryGetValue(key, out var known) || known.Version < next.Change.Version)
                {
                    newest[key] = next.Change;
                }
            }

            try
            {
                await NotifyAsync(newest, lanes);
            }
            catch (Exception e) // any: a hint may be lost, the loop that sends the next one not
            {
                log.LogDebug(e, "{Count} change notifications were dropped; listeners will find the changes themselves", newest.Count);
            }

            newest.Clear();
            lanes.Clear();
        }
    }

    private async ValueTask<bool> WaitForChangesAsync(CancellationToken ct)
    {
        try
        {
            return await changes.Reader.WaitToReadAsync(ct);
        }
        catch (OperationCanceledException)
        {
            return changes.Reader.TryPeek(out _); // the last ones still go out
        }
    }

    private async Task NotifyAsync(Dictionary<(string Channel, Guid SessionId), Change> newest, SortedSet<string> lanes)
    {
        var channels = new List<string>();
        var payloads = new List<string>();
        if (lanes.Count > 0)
        {
            channels.Add(ChangeChannel.Outbox);
            payloads.Add(lanes.Contains("") ? "" : string.Join(',', lanes));
        }

        foreach (var group in newest.GroupBy(c => c.Key.Channel, c => c.Value))
        {
            foreach (var chunk in group.Chunk(MaxPerNotification))
            {
                channels.Add(group.Key);
                payloads.Add("[" + string.Join(',', chunk.Select(c => c.Write())) + "]");
            }
        }

        // A hint need not survive a crash: without a flush of its own it does not queue with the commits of the work.
        await using var command = database.CreateCommand(
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS n (channel, "
                + "payload)");
        command.CommandTimeout = 5;
        command.Parameters.AddWithValue(channels);
        command.Parameters.AddWithValue(payloads);
        await command.ExecuteNonQueryAsync();
    }

    /// <param name="Channel">Where it is told.</param>
    /// <param name="Change">What has changed.</param>
    /// <param name="Lane">Of <see cref="ChangeChannel.Outbox"/>: where something is due; empty when that is not known.</param>
    private readonly record struct Hint(string Channel, Change Change, string? Lane);
}

/// <summary>
/// Listens for the notifications of <paramref name="channels"/> on a dedicated connection. After every (re)connect it reports that anything may
/// have changed, because notifications in between are lost. The connection must not be a pooled one.
/// </summary>
public sealed class ChangeListener(
    string connectionString, IReadOnlyList<string> channels, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan MaxBackoff = TimeSpan.FromSeconds(5);

    /// <summary>Listens until cancelled.</summary>
    /// <param name="onChange">The payload of a notification.</param>
    /// <param name="onConnected">Read everything again.</param>
    /// <param name="ct">Stops.</param>
    public async Task RunAsync(Action<string> onChange, Action onConnected, CancellationToken ct)
    {
        var backoff = TimeSpan.FromMilliseconds(100);
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await using var connection = new NpgsqlConnection(connectionString);
                await connection.OpenAsync(ct);
                connection.Notification += (_, told) => onChange(told.Payload);
                await using (var listen = new NpgsqlCommand(string.Join("; ", channels.Select(c => $"LISTEN {c}")), connection))
                {
                    await listen.ExecuteNonQueryAsync(ct);
                }

                backoff = TimeSpan.FromMilliseconds(100);
                onConnected();
                while (true)
                {
                    await connection.WaitAsync(ct);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) // any: nobody would listen any more
            {
                log.LogDebug(e, "Lost the connection that listens for changes; next try in {Delay}", backoff);
                await Task.Delay(backoff, time, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                backoff = backoff * 2 > MaxBackoff ? MaxBackoff : backoff * 2;
            }
        }
    }
}
