using System.Net;
using System.Net.Sockets;

namespace Generation.LocalServers;

/// <summary>TCP ports of this machine's loopback addresses.</summary>
internal static class Ports
{
    /// <summary>A port that nobody listens on now. Whoever binds it first has it: be ready to ask again.</summary>
    public static int Free()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>True when someone listens on the port at 127.0.0.1 or ::1.</summary>
    public static bool IsTaken(int port) =>
        !CanBind(IPAddress.Loopback, port) || (Socket.OSSupportsIPv6 && !CanBind(IPAddress.IPv6Loopback, port));

    private static bool CanBind(IPAddress address, int port)
    {
        try
        {
            using var listener = new TcpListener(address, port);
            listener.Start();
            return true;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode != SocketError.AddressAlreadyInUse; // an address that this machine lacks is not taken
        }
    }
}
