using Generation.Core.Credits;
using Npgsql;

namespace Generation.Tests.Harness;

/// <summary>What must hold about money, media and sessions at any moment: the product's own audit must find nothing.</summary>
public static class Books
{
    public static async Task AssertCleanAsync(NpgsqlDataSource database)
    {
        var report = await AuditAsync(database);
        Assert.True(report.Clean, string.Join('\n', report.Differences));
    }

    public static Task<AuditReport> AuditAsync(NpgsqlDataSource database) =>
        new LedgerAudit(database, new AuditOptions(), TimeProvider.System).RunAsync(CancellationToken.None);
}
