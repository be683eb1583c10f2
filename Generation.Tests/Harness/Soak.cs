namespace Generation.Tests.Harness;

/// <summary><c>eng/test --soak</c>: the same tests, for longer and with bigger numbers.</summary>
public static class Soak
{
    public static bool IsOn => Environment.GetEnvironmentVariable("GENERATION_SOAK") == "1";
}
