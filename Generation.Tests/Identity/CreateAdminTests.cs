using System.Net;
using Generation.Core.Database;
using Generation.Core.Identity;
using Generation.Relay;
using Generation.Tests.Harness;
using Npgsql;

namespace Generation.Tests.Identity;

/// <summary><c>Generation.Relay create-admin NAME</c>.</summary>
[Trait("tier", "slow")]
public sealed class CreateAdminTests
{
    [Fact]
    public async Task It_makes_an_administrator_whose_key_it_prints_once_and_leaves_an_audit_row()
    {
        await using var system = await TestSystem.StartAsync(o => (o.Workers, o.Relays) = (0, 0));
        var made = await Ended.RelayAsync(system.Db.ConnectionString, ["create-admin", "ada"]);
        Assert.True(made.ExitCode == CreateAdminCommand.Done, made.Errors);
        var key = made.Output.TrimEnd();
        Assert.Matches(@"\Agk_live_[A-Za-z0-9_-]{43}\z", key); // and nothing else: a script may take it from there
        Assert.DoesNotContain(key, made.Errors, StringComparison.Ordinal);
        Assert.Equal(ApiKeys.Hash(key), await system.ScalarAsync<byte[]>(
            "SELECT key_hash FROM api_keys JOIN users USING (user_id) WHERE handle = 'ada'"));

        using var http = system.Client(system.Apis[0], key);
        using var answer = await http.GetAsync(new Uri("/api/admin/actions", UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        var action = Assert.Single((await TestSystem.ReadAsync(answer))["actions"]!.AsArray())!;
        Assert.Equal("create_admin", (string?)action["action"]);
        Assert.DoesNotContain(key, action.ToJsonString(), StringComparison.Ordinal);

        var again = await Ended.RelayAsync(system.Db.ConnectionString, ["create-admin", "ada"]);
        Assert.Equal((CreateAdminCommand.Refused, ""), (again.ExitCode, again.Output));
        Assert.Contains("There is a user 'ada' already", again.Errors, StringComparison.Ordinal);

        var login = new NpgsqlConnectionStringBuilder(system.Db.ConnectionString)
        {
            Username = ServiceLogins.Relay,
            Password =
            TestPostgres.LoginPassword
        }.ConnectionString;
        var byRelay = await Ended.RunAsync("Generation.Relay", ["create-admin", "grace.hopper-2"], ("ConnectionStrings:generation", login), (
            "ConnectionStrings:redis", "127.0.0.1:1"));
        Assert.True(byRelay.ExitCode == CreateAdminCommand.Done, byRelay.Errors);
        Assert.Equal(2, await system.ScalarAsync<long>(
            "SELECT count(*) FROM admin_actions AS a JOIN users AS u USING (user_id) WHERE a.action = 'create_admin' AND u.role = 'admin'"));
        await system.AssertBooksAreCleanAsync();
    }

    [Theory]
    [InlineData("Ada")]
    [InlineData("-ada")]
    [InlineData("a d a")]
    [InlineData("")]
    [InlineData("a\n")]
    public void A_name_that_cannot_be_a_handle_is_refused(string name) => Assert.NotNull(Administrators.HandleProblem(name));

    [Fact]
    public async Task What_is_wrong_is_said_in_a_sentence()
    {
        const string Nowhere = "Host=127.0.0.1;Port=1;Username=nobody;Database=none";
        var badName = await Ended.RelayAsync(Nowhere, ["create-admin", "Ada"]);
        Assert.Equal((CreateAdminCommand.Refused, ""), (badName.ExitCode, badName.Output));
        Assert.Contains("'Ada' cannot be a name: it must be", badName.Errors, StringComparison.Ordinal);

        var noName = await Ended.RelayAsync(Nowhere, ["create-admin"]);
        Assert.Equal(CreateAdminCommand.Refused, noName.ExitCode);
        Assert.Contains("Usage:", noName.Errors, StringComparison.Ordinal);

        var unreachable = await Ended.RelayAsync(Nowhere, ["create-admin", "ada"]);
        Assert.Equal((CreateAdminCommand.CouldNotRun, ""), (unreachable.ExitCode, unreachable.Output));
        Assert.StartsWith("No administrator was made", Assert.Single(unreachable.Errors.TrimEnd().Split('\n')), StringComparison.Ordinal);

        await using var empty = await TestPostgres.CreateDatabaseAsync("template0");
        var noSchema = await Ended.RelayAsync(empty.ConnectionString, ["create-admin", "ada"]);
        Assert.Equal((CreateAdminCommand.CouldNotRun, ""), (noSchema.ExitCode, noSchema.Output));
        Assert.Contains("migrate", noSchema.Errors, StringComparison.Ordinal);
    }
}
