using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql;

namespace Generation.Core.Database;

/// <summary>
/// EF Core's part: the migrations. Money and the hot paths are never written through it: a retry of EF's could pay twice.
/// </summary>
public sealed class GenerationDbContext(DbContextOptions<GenerationDbContext> options) : DbContext(options)
{
    /// <summary>Options for a context over <paramref name="connectionString"/>; the SQL files are the model, so no snapshot is compared.</summary>
    public static DbContextOptionsBuilder Configure(DbContextOptionsBuilder builder, string connectionString) => builder
        .UseNpgsql(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ConnectionString) // once in a process's life
        .ConfigureWarnings(w => w.Ignore(RelationalEventId.PendingModelChangesWarning));
}

/// <summary>A migration is a numbered SQL file; this class only reads it.</summary>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Pipeline : Migration
{
    public const string Id = "0001_pipeline";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Ledger : Migration
{
    public const string Id = "0002_ledger";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Video : Migration
{
    public const string Id = "0003_video";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Providers : Migration
{
    public const string Id = "0004_providers";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Repairs : Migration
{
    public const string Id = "0005_repairs";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class TraceContext : Migration
{
    public const string Id = "0006_trace_context";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class FirstAdministrator : Migration
{
    public const string Id = "0007_first_administrator";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class TimerNames : Migration
{
    public const string Id = "0008_timer_names";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Comments : Migration
{
    public const string Id = "0009_comments";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class SweepFailures : Migration
{
    public const string Id = "0010_sweep_failures";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class EndedTaskIndex : Migration
{
    public const string Id = "0011_ended_tasks";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class ViewsAndActions : Migration
{
    public const string Id = "0012_views_and_actions";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class FairOrder : Migration
{
    public const string Id = "0013_fair_order";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class PositionsAndSlots : Migration
{
    public const string Id = "0014_positions_and_slots";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}

/// <inheritdoc cref="Pipeline"/>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class QueueActions : Migration
{
    public const string Id = "0015_queue_actions";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}
