using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Generation.ProviderSim;
using Generation.Tests.Harness;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.ProviderSim;

/// <summary>The simulator on a port of its own, without latency, on a clock that a test moves.</summary>
public class SimApp : WebApplicationFactory<SimOptions>, IAsyncLifetime
{
    public const string Model = "seedream-4-0-250828";

    public ShiftedClock Time { get; } = new();

    public HttpClient Http { get; private set; } = null!;

    protected virtual IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>();

    public ValueTask InitializeAsync()
    {
        UseKestrel(); // without a port: setting one from here races with the program's own start
        StartServer();
        var address = Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        // A client of our own: the factory's follows redirects over Kestrel whatever its options say.
        Http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = new Uri(address) };
        Prepare(Http.DefaultRequestHeaders);
        return ValueTask.CompletedTask;
    }

    public override ValueTask DisposeAsync()
    {
        Http?.Dispose(); // not there when the start itself failed, which is then what the test shall report
        GC.SuppressFinalize(this);
        return base.DisposeAsync();
    }

    /// <summary>What every call of <see cref="Http"/> brings along.</summary>
    protected virtual void Prepare(HttpRequestHeaders headers) => headers.Authorization = new AuthenticationHeaderValue("Bearer", "sim-ark-key");

    protected override void ConfigureWebHost(IWebHostBuilder builder)
    {
        builder.UseSetting(WebHostDefaults.ServerUrlsKey, "http://127.0.0.1:0");
        builder.UseSetting("Sim:LatencyMs", "0");
        builder.UseSetting("hostBuilder:reloadConfigOnChange", "false"); // a file watcher a host: they are few on a shared machine
        foreach (var (key, value) in Settings) builder.UseSetting(key, value);
        builder.ConfigureLogging(logging => logging.ClearProviders());
        builder.ConfigureTestServices(services => services.AddSingleton<TimeProvider>(Time));
    }

    /// <summary>Posts a request body as it is; the caller disposes the response.</summary>
    public Task<HttpResponseMessage> PostAsync(object body, string? clientRequestId = null, CancellationToken cancellation = default)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, "/api/v3/images/generations") { Content = JsonContent.Create(body) };
        if (clientRequestId is not null) request.Headers.Add("X-Client-Request-Id", clientRequestId);
        return Http.SendAsync(request, cancellation);
    }

    public Task<HttpResponseMessage> PromptAsync(string prompt, string? clientRequestId = null, CancellationToken cancellation = default) =>
        PostAsync(new { model = Model, prompt, size = "1280x720" }, clientRequestId, cancellation);

    /// <summary>The URL of the first picture that a prompt yields.</summary>
    public async Task<Uri> UrlOfAsync(string prompt)
    {
        using var response = await PromptAsync(prompt);
        using var json = await JsonAsync(response);
        return new Uri(json.RootElement.GetProperty("data")[0].GetProperty("url").GetString()!);
    }

    public async Task<(int Total, int Paid)> CallsAsync(string promptPart)
    {
        using var json = JsonDocument.Parse(await Http.GetStringAsync($"/sim/calls?prompt={Uri.EscapeDataString(promptPart)}"));
        return (json.RootElement.GetProperty("total").GetInt32(), json.RootElement.GetProperty("paid").GetInt32());
    }

    public static async Task<JsonDocument> JsonAsync(HttpResponseMessage response) => JsonDocument.Parse(await response.Content.ReadAsStringAsync());

    /// <summary>The code of an error reply.</summary>
    public static async Task<string> CodeAsync(HttpResponseMessage response)
    {
        using var json = await JsonAsync(response);
        return json.RootElement.GetProperty("error").GetProperty("code").GetString()!;
    }
}
