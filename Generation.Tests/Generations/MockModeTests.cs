using System.Net;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>Who decides whether a request is mocked: its signed override, then app_settings, then configuration.</summary>
[Trait("tier", "slow")]
public sealed class MockModeTests
{
    private const string Body = """{"model":"seedream-4","params":{"prompt":"x"}}""";

    [Fact]
    public async Task A_signed_override_wins_over_configuration_in_both_directions()
    {
        foreach (var (system, byDefault) in new[] { (await ApiSystem.Queued, false), (await ApiSystem.Mocked, true) })
        {
            var (user, admin) = (await system.NewUserAsync(), await system.NewUserAsync(role: "admin"));
            Assert.Equal(byDefault, await MockAsync(user));
            foreach (var mock in new[] { true, false })
            {
                var token = await IssueAsync(admin, mock);
                Assert.Equal(mock, (bool)token["mock"]!);
                Assert.Equal(mock, await MockAsync(user, (string)token["token"]!));
            }
        }
    }

    [Fact]
    public async Task An_override_that_is_not_ours_or_is_over_is_refused()
    {
        var system = await ApiSystem.Queued;
        var (user, admin) = (await system.NewUserAsync(), await system.NewUserAsync(role: "admin"));
        var token = (string)(await IssueAsync(admin, mock: true))["token"]!;
        var parts = token.Split('.');
        foreach (var forged in new[]
        {
            "on", "true", "..", "on.99999999999.AAAA", $"off.{parts[1]}.{parts[2]}", $"on.{long.Parse(parts[1]) + 1}.{parts[2]}", $"on.1.{parts[2]}",
            $"{parts[0]}.{parts[1]}.", token + "A", token[..^1], token + ".x", new string('x', 500), Signed("on", 1_000_000_000),
        })
        {
            (await user.SubmitAsync(Body, ("x-mock-override", forged))).AssertProblem(HttpStatusCode.Forbidden, "mock_override_invalid");
        }

        await user.AssertNothingHappenedAsync();
        Assert.True(await MockAsync(user, Signed("on", TimeProvider.System.GetUtcNow().ToUnixTimeSeconds() + 60)));
    }

    [Fact]
    public async Task App_settings_win_over_configuration_without_a_restart()
    {
        await using var system = await TestSystem.StartAsync(o =>
        {
            o.Workers = 0;
            o.Settings["Mock:Enabled"] = "true";
            o.Settings["Settings:CacheMs"] = "0";
        });
        var (user, admin) = (await system.NewUserAsync(), await system.NewUserAsync(role: "admin"));
        Assert.True(await MockAsync(user));
        await system.ExecuteAsync("INSERT INTO app_settings (key, value) VALUES ('mock_mode', 'false')");
        Assert.False(await MockAsync(user));
        await system.ExecuteAsync("UPDATE app_settings SET value = '\"true\"' WHERE key = 'mock_mode'"); // as a tool writes it that knows only texts
        Assert.True(await MockAsync(user));
        await system.ExecuteAsync("UPDATE app_settings SET value = '\" False\"' WHERE key = 'mock_mode'");
        Assert.False(await MockAsync(user));
        Assert.True(await MockAsync(user, (string)(await IssueAsync(admin, mock: true))["token"]!));
        await system.ExecuteAsync("UPDATE app_settings SET value = 'true' WHERE key = 'mock_mode'");
        Assert.True(await MockAsync(user));
        await system.ExecuteAsync("UPDATE app_settings SET value = '\"perhaps\"' WHERE key = 'mock_mode'");
        Assert.True(await MockAsync(user)); // no truth value: configuration decides

        // Each token that was issued has its audit row, and is not in it.
        var actions = (await admin.GetAsync($"/api/admin/actions?user={admin.UserId}")).AssertStatus(HttpStatusCode.OK).Body["actions"]!.AsArray();
        var issued = Assert.Single(actions)!;
        Assert.Equal(("mock_override", true), ((string?)issued["action"], (bool)issued["result"]!["mock"]!));
        Assert.Equal(["expiresAt", "mock"], issued["result"]!.AsObject().Select(field => field.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_mocked_request_costs_what_the_real_one_would()
    {
        var system = await ApiSystem.Mocked;
        var user = await system.NewUserAsync();
        var end = await system.EndOfAsync(await user.AcceptedAsync(n: 3), user.Http);
        Assert.True((bool)end["mock"]!);
        Assert.Equal(12, (long?)end["receipt"]!["captured"]);
        Assert.Equal(988, (long?)(await user.GetAsync("/api/credits")).Body["available"]);
        await system.AssertBooksAreCleanAsync();
    }

    private static async Task<bool> MockAsync(ApiUser user, string? token = null)
    {
        var reply = await user.SubmitAsync(Body, token is null ? [] : [("x-mock-override", token)]);
        return (bool)(await user.GetAsync($"/api/generations/{reply.AssertStatus(HttpStatusCode.Accepted).SessionId}")).Body["mock"]!;
    }

    private static async Task<JsonObject> IssueAsync(ApiUser admin, bool mock) =>
        (await admin.SendAsync(HttpMethod.Post, $"/api/admin/mock-overrides?mock={(mock ? "true" : "false")}")).AssertStatus(HttpStatusCode.OK).Body;

    /// <summary>A token as somebody who knows the harness's key would make it.</summary>
    private static string Signed(string mode, long expiresUnixSeconds)
    {
        var claim = $"{mode}.{expiresUnixSeconds}";
        var hash = System.Security.Cryptography.HMACSHA256.HashData("only for tests, long enough"u8, System.Text.Encoding.ASCII.GetBytes(claim));
        return $"{claim}.{System.Buffers.Text.Base64Url.EncodeToString(hash)}";
    }
}
