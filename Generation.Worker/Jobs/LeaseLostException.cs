namespace Generation.Worker.Jobs;

/// <summary>The lease was lost: another worker may hold the session, and no write of this one is accepted any more.</summary>
public sealed class LeaseLostException : Exception
{
    public LeaseLostException()
        : base("The lease of this session was lost.")
    {
    }

    public LeaseLostException(string message)
        : base(message)
    {
    }

    public LeaseLostException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
