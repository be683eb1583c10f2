using System.Net;
using Generation.Core.Identity;
using Generation.Tests.Harness;

namespace Generation.Tests.Identity;

/// <summary>A database that was used in Development is used in Production: the keys that everybody knows open nothing.</summary>
[Trait("tier", "slow")]
public sealed class DevelopmentKeyTests
{
    [Fact]
    public async Task The_keys_of_Development_are_refused_in_Production_and_revoked_by_the_migration_which_says_so()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Relays) = (0, 0));
        await DevelopmentAccounts.CreateAsync(system.Db, CancellationToken.None);
        Assert.Equal(HttpStatusCode.OK, await AnswerAsync(system, TestSystem.UserKey));
        Assert.Equal(HttpStatusCode.Unauthorized, await AnswerAsync(system, DevelopmentAccounts.DemoKey)); // although the database has it
        Assert.Equal(HttpStatusCode.Unauthorized, await AnswerAsync(system, DevelopmentAccounts.AdminKey));
        Assert.Equal(0, await RevokedAsync(system));

        var migrated = await Ended.RelayAsync(system.Db.ConnectionString, ["migrate"]);
        Assert.Equal((0, ""), (migrated.ExitCode, migrated.Errors));
        Assert.Contains("Revoked 2 development API keys", migrated.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("gk_dev", migrated.Output, StringComparison.Ordinal);
        Assert.Equal(2, await RevokedAsync(system));
        Assert.Equal(HttpStatusCode.OK, await AnswerAsync(system, TestSystem.UserKey));

        migrated = await Ended.RelayAsync(system.Db.ConnectionString, ["migrate"]);
        Assert.Equal(0, migrated.ExitCode);
        Assert.DoesNotContain("Revoked", migrated.Output, StringComparison.Ordinal);

        migrated = await Ended.RelayAsync(system.Db.ConnectionString, ["migrate"], ("DOTNET_ENVIRONMENT", "Development"));
        Assert.Equal(0, migrated.ExitCode);
        await DevelopmentAccounts.CreateAsync(system.Db, CancellationToken.None); // as a relay in Development does at its start
        Assert.Equal(0, await RevokedAsync(system));
    }

    private static async Task<HttpStatusCode> AnswerAsync(TestSystem system, string key)
    {
        using var http = system.Client(system.Apis[0], key);
        using var answer = await http.GetAsync(new Uri("/api/credits", UriKind.Relative));
        return answer.StatusCode;
    }

    private static Task<long> RevokedAsync(TestSystem system) =>
        system.ScalarAsync<long>("SELECT count(*) FROM api_keys JOIN users USING (user_id) WHERE handle IN ('demo', 'admin') AND revoked_at IS NOT "
            + "NULL");
}
