namespace Generation.ProviderSim.Forge;

/// <summary>
/// An error as a WebUI sends it. There are two dialects: AUTOMATIC1111's handler says <c>{"error","detail","body","errors"}</c> of every
/// exception; Forge does not install that handler, so FastAPI answers: <c>{"detail"}</c>, and of whatever nobody foresaw nothing but
/// "Internal Server Error".
/// </summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Error">The exception's type, e.g. <c>HTTPException</c>.</param>
/// <param name="Detail">An HTTPException's text; empty for others.</param>
/// <param name="Errors">The text of any other exception.</param>
public sealed record ForgeError(int Status, string Error, string Detail, string Errors = "")
{
    private const string Http = "HTTPException";

    public static readonly ForgeError WrongPassword = new(401, Http, "Incorrect username or password");

    /// <summary>HTTPBasic's own, before the password is checked.</summary>
    public static readonly ForgeError NotAuthenticated = new(401, Http, "Not authenticated");

    public static readonly ForgeError UnknownSampler = new(400, Http, "Sampler not found");

    /// <summary>No route: the WebUI was started without <c>--api</c>.</summary>
    public static readonly ForgeError NoSuchRoute = new(404, Http, "Not Found");

    public static readonly ForgeError OutOfMemory = new(
        500, "OutOfMemoryError", "",
        "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 7.78 GiB of which 1.02 GiB is free.");

    public static readonly ForgeError Crashed = new(500, "RuntimeError", "", "CUDA error: an illegal memory access was encountered");

    public static ForgeError UnknownScript(string name) => new(422, Http, $"Script '{name}' not found");

    public static ForgeError UnknownModel(string name) => new(500, "RuntimeError", "", $"model '{name}' not found");

    /// <summary>How Forge words a fault; null: it has no such error, and the fault does not strike.</summary>
    public static ForgeError? For(string faultWord) => faultWord switch
    {
        "unauthorized" => WrongPassword,
        "not-found" => NoSuchRoute,
        "overload" => OutOfMemory,
        "server-error" or "server-error-paid" => Crashed,
        _ => null,
    };

    /// <param name="http">To answer.</param>
    /// <param name="bare">Forge's dialect instead of AUTOMATIC1111's.</param>
    public async Task SendAsync(HttpContext http, bool bare)
    {
        http.Response.StatusCode = Status;
        if (Status == StatusCodes.Status401Unauthorized)
        {
            http.Response.Headers.WWWAuthenticate = "Basic";
        }

        if (Error == Http && (bare || this == NoSuchRoute))
        {
            await http.Response.WriteAsJsonAsync(new { detail = Detail });
        }
        else if (bare)
        {
            http.Response.ContentType = "text/plain; charset=utf-8";
            await http.Response.WriteAsync("Internal Server Error");
        }
        else
        {
            await http.Response.WriteAsJsonAsync(new { error = Error, detail = Detail, body = "", errors = Errors });
        }
    }
}

/// <summary>A field that could not be read, as FastAPI says it in both dialects: 422 <c>{"detail":[{"loc","msg","type"}]}</c>.</summary>
/// <param name="Location">Where, from <c>body</c> on.</param>
/// <param name="Message">What is wrong.</param>
/// <param name="Type">Its kind.</param>
public sealed record ForgeInvalid(object[] Location, string Message, string Type)
{
    public async Task SendAsync(HttpContext http)
    {
        http.Response.StatusCode = StatusCodes.Status422UnprocessableEntity;
        await http.Response.WriteAsJsonAsync(new { detail = new[] { new { loc = Location, msg = Message, type = Type } } });
    }
}
