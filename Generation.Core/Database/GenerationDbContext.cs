using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Generation.Core.Database;

/// <summary>
/// EF Core's part: the migrations, and the small tables that are read and administered rather than worked on. Money and the hot
/// paths are never written through it: a retry of EF's could pay twice.
/// </summary>
public sealed class GenerationDbContext(DbContextOptions<GenerationDbContext> options) : DbContext(options)
{
    public DbSet<User> Users => Set<User>();

    public DbSet<ApiKey> ApiKeys => Set<ApiKey>();

    public DbSet<AppSetting> AppSettings => Set<AppSetting>();

    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<User>(user =>
        {
            user.ToTable("users").HasKey(u => u.UserId);
            user.Property(u => u.UserId).HasColumnName("user_id");
            user.Property(u => u.Handle).HasColumnName("handle");
            user.Property(u => u.Role).HasColumnName("role");
        });
        modelBuilder.Entity<ApiKey>(key =>
        {
            key.ToTable("api_keys").HasKey(k => k.KeyHash);
            key.Property(k => k.KeyHash).HasColumnName("key_hash");
            key.Property(k => k.UserId).HasColumnName("user_id");
            key.Property(k => k.Name).HasColumnName("name");
            key.Property(k => k.RevokedAt).HasColumnName("revoked_at");
        });
        modelBuilder.Entity<AppSetting>(setting =>
        {
            setting.ToTable("app_settings").HasKey(s => s.Key);
            setting.Property(s => s.Key).HasColumnName("key");
            setting.Property(s => s.Value).HasColumnName("value").HasColumnType("jsonb");
        });
    }

    /// <summary>Options for a context over <paramref name="connectionString"/>; the SQL files are the model, so no snapshot is compared.</summary>
    public static DbContextOptionsBuilder Configure(DbContextOptionsBuilder builder, string connectionString) => builder
        .UseNpgsql(connectionString)
        .ConfigureWarnings(w => w.Ignore(RelationalEventId.PendingModelChangesWarning));
}

public sealed class User
{
    public Guid UserId { get; set; }

    public required string Handle { get; set; }

    /// <summary><c>user</c> or <c>admin</c>.</summary>
    public required string Role { get; set; }
}

public sealed class ApiKey
{
    /// <summary>SHA-256 of the key.</summary>
    public required byte[] KeyHash { get; set; }

    public Guid UserId { get; set; }

    public required string Name { get; set; }

    public DateTimeOffset? RevokedAt { get; set; }
}

public sealed class AppSetting
{
    public required string Key { get; set; }

    /// <summary>A JSON value.</summary>
    public required string Value { get; set; }
}

/// <summary>A migration is a numbered SQL file; this class only reads it.</summary>
[DbContext(typeof(GenerationDbContext))]
[Migration(Id)]
public sealed class Pipeline : Migration
{
    public const string Id = "0001_pipeline";

    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Sql.Text($"Database/Migrations/{Id}.sql"));
}
