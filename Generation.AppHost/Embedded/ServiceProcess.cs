using System.Net;

namespace Generation.AppHost.Embedded;

/// <summary>How to run one of our services.</summary>
internal sealed record ServiceOptions
{
    /// <summary>The built assembly; run by the same dotnet as this process.</summary>
    public required string AssemblyPath { get; init; }

    /// <summary>The project's folder, where its appsettings.json lies.</summary>
    public required string WorkingDirectory { get; init; }

    public required IReadOnlyDictionary<string, string?> Environment { get; init; }

    /// <summary>What it listens on, such as <c>http://localhost:8080</c>; null for a service without an endpoint.</summary>
    public Uri? Url { get; init; }

    /// <summary>The path that answers 200 when it is ready; null: ready once started.</summary>
    public string? HealthPath { get; init; }

    public required string RecordPath { get; init; }

    public Action<string> OnLine { get; init; } = _ => { };

    /// <summary>Gets a sentence now and then while the service takes long to become ready.</summary>
    public Action<string> OnWaiting { get; init; } = _ => { };
}

/// <summary>A .NET service as a child process, ready when its health path answers 200.</summary>
/// <param name="describe">Called at every start: by then all that the service refers to has its address.</param>
/// <param name="http">Asks the health path; its timeout is that of one question.</param>
/// <param name="time">The clock.</param>
internal sealed class ServiceProcess(Func<ServiceOptions> describe, HttpClient http, TimeProvider time) : IServerProcess
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan ReportInterval = TimeSpan.FromSeconds(15);

    private ServiceOptions? options;
    private ChildProcess? child;

    public string Address => options?.Url?.GetLeftPart(UriPartial.Authority) ?? "no port";

    public Task<int> Exited => child?.Exited ?? throw new InvalidOperationException("The service was never started.");

    public async Task<bool> StartAsync(CancellationToken cancellationToken)
    {
        options = describe();
        if (!File.Exists(options.AssemblyPath)) throw new StartFailure($"{options.AssemblyPath} is not there. Build it: dotnet build");
        child?.Dispose();
        child = await ChildProcess.StartAsync(new ChildCommand(DotnetPath(), options.AssemblyPath)
        {
            WorkingDirectory = options.WorkingDirectory,
            Environment = options.Environment,
            RecordPath = options.RecordPath,
        }, options.OnLine);
        return options.Url is null || options.HealthPath is null || await BecomesHealthyAsync(new Uri(options.Url, options.HealthPath), cancellationToken);
    }

    public Task StopAsync(TimeSpan grace, CancellationToken hurry) => child?.StopAsync(grace, time, hurry) ?? Task.CompletedTask;

    private async Task<bool> BecomesHealthyAsync(Uri health, CancellationToken cancellationToken)
    {
        var reportedAt = time.GetTimestamp();
        while (!Exited.IsCompleted)
        {
            var answer = await AskAsync(health, cancellationToken);
            if (answer is null) return true;
            if (time.GetElapsedTime(reportedAt) > ReportInterval)
            {
                reportedAt = time.GetTimestamp();
                options!.OnWaiting($"is not ready yet: {health.AbsolutePath} {answer}");
            }

            await Task.WhenAny(Exited, Task.Delay(PollInterval, time, cancellationToken));
            cancellationToken.ThrowIfCancellationRequested();
        }

        return false;
    }

    /// <summary>Null when it is healthy, else what it answers.</summary>
    private async Task<string?> AskAsync(Uri health, CancellationToken cancellationToken)
    {
        try
        {
            using var response = await http.GetAsync(health, cancellationToken);
            return response.StatusCode == HttpStatusCode.OK ? null : $"answers {(int)response.StatusCode}";
        }
        catch (HttpRequestException e)
        {
            return $"does not answer ({e.HttpRequestError})";
        }
        catch (TaskCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return "takes too long";
        }
    }

    /// <summary>The dotnet command beside the runtime that we run on, which need not be the one in PATH.</summary>
    private static string DotnetPath()
    {
        var runtimeFolder = System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(); // …/shared/Microsoft.NETCore.App/10.0.1/
        var beside = Path.GetFullPath(Path.Combine(runtimeFolder, "..", "..", "..", "dotnet"));
        return File.Exists(beside) ? beside : Programs.Find("dotnet") ?? throw new StartFailure("There is no dotnet command. Install the .NET 10 SDK.");
    }
}
