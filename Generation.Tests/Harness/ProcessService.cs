using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Generation.Tests.Harness;

/// <summary>One running service: its address, and ways to end it.</summary>
public interface ITestService : IAsyncDisposable
{
    Uri Address { get; }

    /// <summary>What it has logged so far, newest last.</summary>
    IReadOnlyCollection<string> Log { get; }
}

/// <summary>A service in the test's own process: its real Program on a real port, with the test's settings.</summary>
/// <typeparam name="TMarker">Any type of the service's assembly.</typeparam>
public sealed class InProcessService<TMarker> : ITestService
    where TMarker : class
{
    private readonly Factory factory;
    private readonly LogLines lines = new();

    public InProcessService(IReadOnlyDictionary<string, string> settings, Action<IServiceCollection>? configure)
    {
        factory = new Factory(settings, services =>
        {
            services.AddSingleton<ILoggerProvider>(lines);
            configure?.Invoke(services);
        });
        factory.UseKestrel(); // without a port: setting one from here races with the program's own start
        factory.StartServer();
        Address = new Uri(factory.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
    }

    public Uri Address { get; }

    public IServiceProvider Services => factory.Services;

    public IReadOnlyCollection<string> Log => lines.All;

    public ValueTask DisposeAsync() => factory.DisposeAsync();

    private sealed class Factory(IReadOnlyDictionary<string, string> settings, Action<IServiceCollection> configure) : WebApplicationFactory<TMarker>
    {
        protected override void ConfigureWebHost(IWebHostBuilder builder)
        {
            foreach (var (key, value) in settings)
            {
                builder.UseSetting(key, value);
            }

            builder.UseSetting(WebHostDefaults.ServerUrlsKey, "http://127.0.0.1:0");
            builder.UseSetting("hostBuilder:reloadConfigOnChange", "false"); // a file watcher a host would exhaust the machine's
            builder.UseEnvironment(settings.GetValueOrDefault(HostDefaults.EnvironmentKey, "Production")); // no development accounts
            builder.ConfigureLogging(logging => logging.ClearProviders()); // first: it would take the test's own with it
            builder.ConfigureServices(configure);
        }
    }

    private sealed class LogLines : ILoggerProvider
    {
        private readonly ConcurrentQueue<string> lines = new();

        public IReadOnlyCollection<string> All => lines;

        public ILogger CreateLogger(string categoryName) => new Logger(lines, categoryName);

        public void Dispose()
        {
        }

        private sealed class Logger(ConcurrentQueue<string> lines, string category) : ILogger
        {
            public IDisposable? BeginScope<TState>(TState state)
                where TState : notnull => null;

            public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Debug && (category.StartsWith("Generation", StringComparison.Ordinal)
                || logLevel >= LogLevel.Warning);

            public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?,
                string> formatter) =>
                lines.Enqueue($"{logLevel} {category} {eventId.Name} {formatter(state, exception)} {exception}");
        }
    }
}

/// <summary>A service as a process of its own, to be killed.</summary>
public sealed class ProcessService : ITestService
{
    private readonly Process process;
    private readonly ConcurrentQueue<string> lines = new();
    private readonly TaskCompletionSource<Uri> listening = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool disposed;

    private ProcessService(string project, IReadOnlyDictionary<string, string> settings)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, $"{project}.dll"), "--urls", "http://127.0.0.1:0"])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = AppContext.BaseDirectory,
        };
        foreach (var (key, value) in settings)
        {
            start.Environment[key.Replace(":", "__")] = value;
        }

        start.Environment["Logging__LogLevel__Microsoft.Hosting.Lifetime"] = "Information";
        start.Environment["Logging__LogLevel__Generation"] = "Debug";
        process = new Process { StartInfo = start };
        process.OutputDataReceived += (_, line) => Receive(line.Data);
        process.ErrorDataReceived += (_, line) => Receive(line.Data);
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => listening.TrySetException(new InvalidOperationException($"{project} ended at once:\n{string.Join('\n', lines)}"));
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        TestServers.StopAtTheEnd(async () => await DisposeAsync());
    }

    public Uri Address { get; private set; } = null!;

    public int ProcessId => process.Id;

    public IReadOnlyCollection<string> Log => lines;

    public static async Task<ProcessService> StartAsync(string project, IReadOnlyDictionary<string, string> settings)
    {
        var service = new ProcessService(project, settings);
        service.Address = await service.listening.Task.WaitAsync(TimeSpan.FromSeconds(60));
        return service;
    }

    /// <summary>kill -9.</summary>
    public async Task KillAsync()
    {
        if (!process.HasExited)
        {
            process.Kill();
            await process.WaitForExitAsync();
        }
    }

    /// <summary>SIGTERM, and waits for the orderly end.</summary>
    public async Task<int> StopAsync(TimeSpan timeout)
    {
        Signal("TERM");
        await process.WaitForExitAsync().WaitAsync(timeout);
        return process.ExitCode;
    }

    /// <summary>
    /// SIGSTOP: it exists, but does nothing. Returns when every thread has stopped: the signal is given to one of them, and the others run until
    /// it is scheduled.
    /// </summary>
    public async Task PauseAsync()
    {
        Signal("STOP");
        var started = TimeProvider.System.GetTimestamp();
        while (!Directory.GetDirectories($"/proc/{process.Id}/task").All(IsStopped))
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < TimeSpan.FromSeconds(30), "The process did not stop.");
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, CancellationToken.None);
        }
    }

    /// <summary>Whether a thread is stopped, or has ended meanwhile. Its state follows its name, which is in parentheses.</summary>
    private static bool IsStopped(string thread)
    {
        try
        {
            var stat = File.ReadAllText(Path.Combine(thread, "stat"));
            return stat[stat.LastIndexOf(')') + 2] is 'T' or 't' or 'X' or 'Z';
        }
        catch (IOException)
        {
            return true;
        }
    }

    /// <summary>SIGCONT.</summary>
    public void Resume() => Signal("CONT");

    /// <summary>Called by the test's system, and again after the last test for those whose test did not get that far.</summary>
    public async ValueTask DisposeAsync()
    {
        if (disposed)
        {
            return; // a disposed Process refuses every question
        }

        disposed = true;
        await KillAsync();
        process.Dispose();
    }

    private void Signal(string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", process.Id.ToString()]);
        kill.WaitForExit();
    }

    private void Receive(string? line)
    {
        if (line is null)
        {
            return;
        }

        lines.Enqueue(line);
        const string Marker = "Now listening on: ";
        if (line.IndexOf(Marker, StringComparison.Ordinal) is >= 0 and var at)
        {
            listening.TrySetResult(new Uri(line[(at + Marker.Length)..].Split('"', ' ')[0].Trim()));
        }
    }
}
