using FsCheck;
using FsCheck.Fluent;
using Generation.Core.Media;

namespace Generation.Tests.Media;

public sealed class MediaKeyTests
{
    private static readonly Guid User = new("0199a3f0-0000-7000-8000-00000000000a");
    private static readonly Guid Session = new("0199a3f0-0000-7000-8000-00000000000b");
    private static readonly string Written = $"{User:D}/2026-03-04/{Session:D}/output-2-17.png";

    [Fact]
    public void A_key_names_user_day_session_output_and_lease()
    {
        // Half past eleven in New York is the next day in UTC.
        var createdAt = new DateTimeOffset(2026, 3, 3, 23, 30, 0, TimeSpan.FromHours(-5));

        var key = MediaKey.Output(User, createdAt, Session, 2, 17, "png");

        Assert.Equal(Written, key.ToString());
        Assert.StartsWith(MediaKey.SessionPrefix(User, createdAt, Session), key.ToString(), StringComparison.Ordinal);
        Assert.False(key.IsSample);
    }

    [Fact]
    public void Whatever_is_formed_is_parsed_to_the_same_parts()
    {
        var parts =
            from user in ArbMap.Default.GeneratorFor<Guid>()
            from session in ArbMap.Default.GeneratorFor<Guid>()
            from day in Gen.Choose(0, 40_000)
            from ordinal in Gen.OneOf(Gen.Choose(0, 20), Gen.Choose(0, int.MaxValue))
            from token in Gen.OneOf(Gen.Choose(0, 20).Select(n => (long)n), Gen.Constant(long.MaxValue))
            from type in Gen.Elements(MediaType.All.AsEnumerable())
            select MediaKey.Output(user, DateTimeOffset.UnixEpoch.AddDays(day), session, ordinal, token, type.Extension);

        Prop.ForAll(parts.ToArbitrary(), key =>
        {
            var parsed = MediaKey.Parse(key.ToString());
            return parsed == key && parsed.ToString() == key.ToString();
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_key_with_any_one_character_changed_parses_only_to_itself()
    {
        const string alphabet = "abcdefABCDEFxyz0123456789-._/\\ %\0ÄÜ٣";
        var mutations =
            from at in Gen.Choose(0, Written.Length - 1)
            from character in Gen.Elements(alphabet.AsEnumerable())
            from edit in Gen.Choose(0, 2)
            select edit switch
            {
                0 => Written[..at] + character + Written[(at + 1)..],
                1 => Written[..at] + character + Written[at..],
                _ => Written[..at] + Written[(at + 1)..],
            };

        Prop.ForAll(mutations.ToArbitrary(), text => !MediaKey.TryParse(text, out var key) || key.ToString() == text)
            .QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData("")]
    [InlineData("../../etc/passwd")]
    [InlineData("/etc/passwd")]
    [InlineData("samples/../secret.png")]
    [InlineData("samples/.png")]
    [InlineData("samples/Lighthouse.png")]
    [InlineData("samples/a/b.png")]
    [InlineData("samples/a.exe")]
    [InlineData("samples/a..png")]
    [InlineData("samples/-a.png")]
    [InlineData("{user}/2026-03-04/{session}/../output-2-17.png")]
    [InlineData("{user}/2026-03-04/{session}/output-2-17.png/")]
    [InlineData("/{user}/2026-03-04/{session}/output-2-17.png")]
    [InlineData("{user}/2026-02-30/{session}/output-2-17.png")]
    [InlineData("{user}/2026-3-4/{session}/output-2-17.png")]
    [InlineData("{user}/2026-03-04/{session}/output-02-17.png")]
    [InlineData("{user}/2026-03-04/{session}/output--2-17.png")]
    [InlineData("{user}/2026-03-04/{session}/output-+2-17.png")]
    [InlineData("{user}/2026-03-04/{session}/output-2-99999999999999999999.png")]
    [InlineData("{user}/2026-03-04/{session}/output.2-17-png")]
    [InlineData("{user}/2026-03-04/{session}/output-2-17.html")]
    [InlineData("{user}/2026-03-04/{session}/output-2-17.PNG")]
    [InlineData("{user}/2026-03-04/{session}/output-2-17.png\n")]
    [InlineData("{{user}}/2026-03-04/{session}/output-2-17.png")]
    public void A_string_that_no_key_writes_is_no_key(string text)
    {
        text = text
            .Replace("{user}", User.ToString("D"), StringComparison.Ordinal)
            .Replace("{session}", Session.ToString("D"), StringComparison.Ordinal);

        Assert.False(MediaKey.TryParse(text, out var key));
        Assert.Null(key);
        Assert.Throws<FormatException>(() => MediaKey.Parse(text));
    }

    [Fact]
    public void An_upper_case_id_is_no_key_because_stores_tell_case_apart() => Assert.False(MediaKey.TryParse(Written.ToUpperInvariant(), out _));

    [Fact]
    public void A_sample_has_a_plain_name_and_belongs_to_nobody()
    {
        var key = MediaKey.Sample("lighthouse-2.webp");

        Assert.Equal("samples/lighthouse-2.webp", key.ToString());
        Assert.True(key.IsSample);
        Assert.Equal(MediaType.WebP, key.Type);
        Assert.Equal(key, MediaKey.Parse("samples/lighthouse-2.webp"));
        Assert.Throws<ArgumentException>(() => MediaKey.Sample("../a.png"));
    }

    [Fact]
    public void Keys_of_two_leases_differ_so_that_a_late_worker_cannot_overwrite()
    {
        var createdAt = DateTimeOffset.UnixEpoch;

        Assert.NotEqual(MediaKey.Output(User, createdAt, Session, 0, 1, "png"), MediaKey.Output(User, createdAt, Session, 0, 2, "png"));
    }

    [Fact]
    public void Negative_numbers_and_unknown_extensions_are_programming_errors()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => MediaKey.Output(User, default, Session, -1, 1, "png"));
        Assert.Throws<ArgumentOutOfRangeException>(() => MediaKey.Output(User, default, Session, 0, -1, "png"));
        Assert.Throws<ArgumentException>(() => MediaKey.Output(User, default, Session, 0, 1, "html"));
    }
}
