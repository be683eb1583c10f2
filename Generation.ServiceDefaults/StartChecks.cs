namespace Generation.ServiceDefaults;

/// <summary>Section <c>Security</c>.</summary>
public sealed class SecurityOptions
{
    public const string Section = "Security";

    /// <summary>
    /// Default false. True lets a service log in as the schema's owner or a superuser outside Development, and the relay migrate with that
    /// login: one password for everything, as before the services had logins of their own. Whoever takes over a service then has the database.
    /// </summary>
    public bool AllowOwnerLogin { get; set; }
}
