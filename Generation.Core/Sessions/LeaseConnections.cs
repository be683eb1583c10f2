using Npgsql;

namespace Generation.Core.Sessions;

/// <summary>
/// A small pool for claims and renewals alone. Work for users (settlements, outputs, records of calls) may use up the shared pool while it waits;
/// a lease that is not renewed meanwhile costs a paid call.
/// </summary>
public sealed class LeaseConnections(string connectionString) : IAsyncDisposable
{
    private const int MaxConnections = 4;

    public NpgsqlDataSource Database { get; } = NpgsqlDataSource.Create(
        new NpgsqlConnectionStringBuilder(connectionString) { MinPoolSize = 0, MaxPoolSize = MaxConnections });

    public ValueTask DisposeAsync() => Database.DisposeAsync();
}
