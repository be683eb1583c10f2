namespace Generation.Core.Settings;

/// <summary>A setting cannot be used. The message names it and says what it should be; it quotes no secret.</summary>
public sealed class SettingException : InvalidOperationException
{
    public SettingException()
    {
    }

    public SettingException(string message)
        : base(message)
    {
    }

    public SettingException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
