namespace Generation.Api;

/// <summary>
/// HEAD wherever GET is (RFC 9110 §9.3.2): answered as the GET, of which the server sends no body. Before routing, which knows the two apart.
/// A stream of events has no end to wait for, so its HEAD is told the headers alone.
/// </summary>
internal sealed class HeadRequests : IStartupFilter
{
    private static readonly object Marker = new();

    public static bool IsHead(HttpContext context) => context.Items.ContainsKey(Marker);

    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use((context, rest) =>
        {
            if (HttpMethods.IsHead(context.Request.Method))
            {
                context.Items[Marker] = true;
                context.Request.Method = HttpMethods.Get;
            }

            return rest(context);
        });
        next(app);
    };
}
