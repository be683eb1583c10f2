using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Generation.Core.Database;
using Npgsql;

namespace Generation.ServiceDefaults;

/// <summary>
/// Spans of Postgres are named for what they do, and not for the database: by the SQL file, or where the statement stands in the code by its verb
/// and table.
/// </summary>
internal static partial class DatabaseSpans
{
    private static readonly ConditionalWeakTable<string, string> Derived = [];

    public static void AddSpanNames(this NpgsqlDataSourceBuilder dataSource) => dataSource.ConfigureTracing(tracing => tracing
        .ConfigureCommandSpanNameProvider(command => NameOf(command.CommandText))
        .ConfigureBatchSpanNameProvider(batch => NameOf(MainOf(batch)))
        .ConfigureCommandEnrichmentCallback((span, command) => Describe(span, command.CommandText))
        .ConfigureBatchEnrichmentCallback((span, batch) => Describe(span, MainOf(batch))));

    /// <summary>A statement's file, or such as <c>UPDATE webhook_inbox</c>.</summary>
    internal static string NameOf(string text) => Sql.FileOf(text) ?? Derived.GetValue(text, Derive);

    /// <summary>
    /// What a batch is about: locks, planner settings and clearing up stand beside it and are shorter. A file comes before what stands in the code.
    /// </summary>
    private static string MainOf(NpgsqlBatch batch)
    {
        var (main, isFile) = ("", false);
        foreach (var command in batch.BatchCommands)
        {
            var thisIsFile = Sql.FileOf(command.CommandText) is not null;
            if ((thisIsFile && !isFile) || (thisIsFile == isFile && command.CommandText.Length > main.Length))
            {
                (main, isFile) = (command.CommandText, thisIsFile);
            }
        }

        return main;
    }

    /// <summary>The text of a file is in the repository, and ten kilobytes of it in every span would be most of what is exported.</summary>
    private static void Describe(Activity span, string text)
    {
        if (Sql.FileOf(text) is { } file)
        {
            span.SetTag("db.query.summary", file).SetTag("db.query.text", null).SetTag("db.statement", null);
        }
    }

    private static string Derive(string text)
    {
        var verb = Verb().Match(text);
        var table = Table().Match(text);
        return !verb.Success ? "postgresql" : table.Success ? $"{verb.Value.ToUpperInvariant()} {table.Groups["table"].Value}"
            : verb.Value.ToUpperInvariant();
    }

    /// <summary>What it changes, before what it reads: a WITH begins with neither.</summary>
    [GeneratedRegex(@"(?<=^\s*)(?:SELECT|INSERT|UPDATE|DELETE|VACUUM|DISCARD|LISTEN|GRANT|CREATE|ALTER)\b|\b(?:INSERT(?= INTO)|DELETE(?= FROM)|UPDATE(?= \w+ (?:AS|SET)))\b", RegexOptions.IgnoreCase, 1000)]
    private static partial Regex Verb();

    [GeneratedRegex(@"\b(?:INTO|UPDATE|FROM)\s+(?!SKIP\b)""?(?<table>[a-z_][\w.]*)", RegexOptions.IgnoreCase, 1000)]
    private static partial Regex Table();
}
