using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Events;

/// <summary>What Postgres tells whoever listens beside our own services: docs/operations.md has the channels and their payload.</summary>
public sealed class NotificationTests
{
    [Theory]
    [InlineData(1)] // stored with the end
    [InlineData(3)] // the first two before it
    public async Task Every_completed_session_is_told_as_images_attached_and_as_completed(int outputs)
    {
        await using var system = await TestSystem.StartAsync();
        var told = new ConcurrentQueue<(string Channel, JsonArray Change)>();
        await using var connection = await system.Db.OpenConnectionAsync();
        connection.Notification += (_, notification) =>
        {
            foreach (var change in JsonNode.Parse(notification.Payload)!.AsArray())
            {
                told.Enqueue((notification.Channel, change!.AsArray()));
            }
        };
        await using (var listen = new NpgsqlCommand("LISTEN images_attached; LISTEN session_completed", connection))
        {
            await listen.ExecuteNonQueryAsync();
        }

        var id = await system.SubmitAsync("seedream-4", new { prompt = "told", n = outputs });
        var end = await system.EndOfAsync(id);
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!told.Any(t => t.Channel == "session_completed"))
        {
            await connection.WaitAsync(timeout.Token);
        }

        var user = await system.ScalarAsync<Guid>($"SELECT user_id FROM generation_sessions WHERE session_id = '{id}'");
        var reservation = await system.ScalarAsync<Guid>($"SELECT reservation_id FROM credit_reservations WHERE session_id = '{id}'");
        Assert.All(told, t => Assert.Equal((id, user, reservation), ((Guid)t.Change[0]!, (Guid)t.Change[1]!, (Guid)t.Change[3]!)));
        Assert.Equal((long)end["version"]!, (long)Assert.Single(told, t => t.Channel == "session_completed").Change[2]!);
        Assert.Contains(told, t => t.Channel == "images_attached" && (long)t.Change[2]! == (long)end["version"]!);
    }
}
