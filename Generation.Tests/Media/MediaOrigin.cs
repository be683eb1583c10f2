using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.Media;

/// <summary>A web server on 127.0.0.1 that answers as the test says.</summary>
internal sealed class MediaOrigin : IAsyncDisposable
{
    private readonly WebApplication site;
    private int requests;

    private MediaOrigin(WebApplication site) => this.site = site;

    public int Port { get; private set; }

    /// <summary>How many requests have arrived.</summary>
    public int Requests => requests;

    public static async Task<MediaOrigin> StartAsync(Func<HttpContext, Task> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MinResponseDataRate = null);
        var origin = new MediaOrigin(builder.Build());
        origin.site.Run(async context =>
        {
            Interlocked.Increment(ref origin.requests);
            await answer(context);
        });
        await origin.site.StartAsync();
        origin.Port = new Uri(origin.site.Urls.Single()).Port;
        return origin;
    }

    /// <summary>Always the same file, with its length and whatever type it claims.</summary>
    public static Task<MediaOrigin> StartAsync(byte[] file, string contentType = "application/octet-stream") => StartAsync(async context =>
    {
        context.Response.ContentType = contentType;
        context.Response.ContentLength = file.Length;
        await context.Response.Body.WriteAsync(file);
    });

    public Uri Url(string path = "/file", string scheme = "http", string host = "127.0.0.1") => new($"{scheme}://{host}:{Port}{path}");

    public ValueTask DisposeAsync() => site.DisposeAsync();

    /// <summary>Answers one connection with these bytes and closes it properly, as a server that stops in the middle does.</summary>
    public static Uri AnswerOnce(string head, byte[] body)
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        _ = Task.Run(async () =>
        {
            using (listener)
            using (var connection = await listener.AcceptTcpClientAsync())
            {
                var stream = connection.GetStream();
                _ = await stream.ReadAsync(new byte[4096]);
                await stream.WriteAsync(Encoding.ASCII.GetBytes(head.ReplaceLineEndings("\r\n") + "\r\n\r\n"));
                await stream.WriteAsync(body);
                connection.Client.Shutdown(SocketShutdown.Send);
                _ = await stream.ReadAsync(new byte[4096]); // the client's close
            }
        });
        return new Uri($"http://127.0.0.1:{port}/file");
    }
}
