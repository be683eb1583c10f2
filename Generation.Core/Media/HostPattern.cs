using System.Net;
using System.Net.Sockets;
using Generation.Core.Settings;

namespace Generation.Core.Media;

/// <summary>Which addresses belong to the public internet.</summary>
public static class PublicAddress
{
    // IANA's special-purpose registries (RFC 6890 and successors), less what is globally reachable.
    private static readonly IPNetwork[] NotPublicV4 =
    [
        IPNetwork.Parse("0.0.0.0/8"),
        IPNetwork.Parse("10.0.0.0/8"),
        IPNetwork.Parse("100.64.0.0/10"), // carrier-grade NAT; some clouds keep their metadata server here
        IPNetwork.Parse("127.0.0.0/8"),
        IPNetwork.Parse("169.254.0.0/16"), // link-local: 169.254.169.254 hands out cloud credentials
        IPNetwork.Parse("168.63.129.16/32"), // Azure's wire server, a public address that only a virtual machine's own host answers
        IPNetwork.Parse("172.16.0.0/12"),
        IPNetwork.Parse("192.0.0.0/24"),
        IPNetwork.Parse("192.0.2.0/24"),
        IPNetwork.Parse("192.88.99.0/24"),
        IPNetwork.Parse("192.168.0.0/16"),
        IPNetwork.Parse("198.18.0.0/15"),
        IPNetwork.Parse("198.51.100.0/24"),
        IPNetwork.Parse("203.0.113.0/24"),
        IPNetwork.Parse("224.0.0.0/4"), // multicast
        IPNetwork.Parse("240.0.0.0/4"), // reserved, and broadcast
    ];

    private static readonly IPNetwork GlobalV6 = IPNetwork.Parse("2000::/3");
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");
    private static readonly IPNetwork[] NotPublicV6 =
    [
        IPNetwork.Parse("2001::/23"), // protocol assignments; Teredo carries an IPv4 address
        IPNetwork.Parse("2001:db8::/32"),
        IPNetwork.Parse("2002::/16"), // 6to4 carries an IPv4 address
        IPNetwork.Parse("3fff::/20"),
    ];

    // Names that mean this machine or its network, or that spell out an address which their server then answers with (10.0.0.1.nip.io).
    private static readonly string[] NotPublicDomains =
    [
        "localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me",
    ];

    /// <summary>
    /// Whether a host name may belong to the public internet, as far as the name says: it has a domain, and none that leads inwards by design.
    /// </summary>
    public static bool MayBePublic(string host)
    {
        ArgumentNullException.ThrowIfNull(host);
        var name = host.TrimEnd('.'); // "localhost." is localhost
        return name.Contains('.', StringComparison.Ordinal) && !Array.Exists(NotPublicDomains, domain =>
            name.EndsWith("." + domain, StringComparison.OrdinalIgnoreCase) || name.Equals(domain, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>
    /// False for private, loopback, link-local, metadata, unique-local, carrier-NAT, multicast, documentation and reserved
    /// addresses, also when they come dressed as IPv6 (mapped or NAT64).
    /// </summary>
    public static bool IsPublic(IPAddress address)
    {
        if (address.AddressFamily == AddressFamily.InterNetwork)
        {
            return !Array.Exists(NotPublicV4, network => network.Contains(address));
        }

        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return false;
        }

        if (address.IsIPv4MappedToIPv6 || Nat64.Contains(address))
        {
            return IsPublic(new IPAddress(address.GetAddressBytes().AsSpan(12)));
        }

        return GlobalV6.Contains(address) && !Array.Exists(NotPublicV6, network => network.Contains(address));
    }
}

/// <summary>Allow-lists of hosts: <c>ark.example.com</c> is itself alone, <c>*.example.com</c> every name below it but not itself.</summary>
public static class HostPattern
{
    /// <summary>Whether the pattern can match anything: a host name or address, perhaps after <c>*.</c>; no scheme, port or path.</summary>
    public static bool IsValid(string pattern) =>
        Uri.CheckHostName(pattern.StartsWith("*.", StringComparison.Ordinal) ? pattern[2..] : pattern)
            is not (UriHostNameType.Unknown or UriHostNameType.Basic);

    /// <summary>Checks a setting that is a list of patterns.</summary>
    public static void Hosts(this SettingsCheck check, string setting, IEnumerable<string> patterns)
    {
        foreach (var pattern in patterns)
        {
            check.That(IsValid(pattern), $"{setting} has '{pattern}'; a host or *.domain is wanted, without scheme or port.");
        }
    }

    /// <summary>Whether the URL's host matches one of the patterns. Case, a final dot and Unicode spelling make no difference.</summary>
    public static bool MatchesAny(IEnumerable<string> patterns, Uri url)
    {
        var host = Normalize(url.IdnHost);
        return patterns.Any(pattern => pattern.StartsWith("*.", StringComparison.Ordinal)
            ? host.EndsWith(pattern[1..].TrimEnd('.'), StringComparison.OrdinalIgnoreCase) && host.Length >= pattern.Length
            : string.Equals(host, Normalize(pattern), StringComparison.OrdinalIgnoreCase));
    }

    private static string Normalize(string host) => host.TrimEnd('.').Trim('[', ']');
}
