using System.Reflection;

namespace Generation.Worker.Jobs;

/// <summary>The handlers of some assemblies by job type.</summary>
public sealed class HandlerRegistry
{
    private readonly Dictionary<string, IGenerationHandler> byJobType = new(StringComparer.Ordinal);

    public HandlerRegistry(IEnumerable<IGenerationHandler> handlers)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        foreach (var handler in handlers)
        {
            foreach (var jobType in handler.JobTypes)
            {
                if (!byJobType.TryAdd(jobType, handler))
                {
                    throw new InvalidOperationException(
                        $"Two handlers claim {jobType}: {byJobType[jobType].GetType().Name} and {handler.GetType().Name}.");
                }
            }
        }
    }

    public IEnumerable<string> JobTypes => byJobType.Keys.Order(StringComparer.Ordinal);

    public IGenerationHandler? Find(string jobType) => byJobType.GetValueOrDefault(jobType);
}

public static class Handlers
{
    /// <summary>Adds every public handler of an assembly.</summary>
    public static IServiceCollection AddHandlers(this IServiceCollection services, Assembly assembly)
    {
        ArgumentNullException.ThrowIfNull(assembly);
        foreach (var handler in assembly.GetTypes().Where(t => t is { IsClass: true, IsAbstract: false, IsVisible: true } && t.IsAssignableTo(
            typeof(IGenerationHandler))))
        {
            services.AddSingleton(handler);
            services.AddSingleton(s => (IGenerationHandler)s.GetRequiredService(handler));
        }

        return services;
    }
}
