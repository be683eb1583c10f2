namespace Generation.Tests.Harness;

/// <summary><c>eng/test --full</c>: the same tests, for longer and with bigger numbers.</summary>
public static class FullTier
{
    public static bool IsOn => Environment.GetEnvironmentVariable("GENERATION_FULL") == "1";
}
