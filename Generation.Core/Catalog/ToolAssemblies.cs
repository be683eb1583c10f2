using System.Reflection;
using Generation.Core.Settings;
using Microsoft.Extensions.Configuration;

namespace Generation.Core.Catalog;

/// <summary>
/// The models of a tool that is not part of this build, with their default prices. It stands beside the tool's handler, in the same file, is
/// public, and has a constructor without parameters: an Api reads it that knows no handler.
/// </summary>
public interface IModelSource
{
    IEnumerable<Model> Models { get; }
}

/// <summary>
/// Assemblies with tools that are not part of this build. Api, worker and relay are given the same list: the Api sells their models, the
/// worker runs their handlers, and the relay's <c>migrate</c> writes their prices.
/// </summary>
public sealed class ToolAssemblies
{
    /// <summary>
    /// Paths, as a list or with commas between them; relative ones start at the service's own folder. Default none. What an assembly needs
    /// beside the service's own assemblies lies in its folder. One that cannot be loaded stops the service's start.
    /// </summary>
    public const string Setting = "Tools:Assemblies";

    private ToolAssemblies(IReadOnlyList<Assembly> all) => All = all;

    public IReadOnlyList<Assembly> All { get; }

    /// <summary>The models of all sources in the assemblies.</summary>
    public IEnumerable<Model> Models => All.SelectMany(TypesOf)
        .Where(type => type is { IsClass: true, IsAbstract: false, IsVisible: true } && type.IsAssignableTo(typeof(IModelSource)))
        .SelectMany(type => ((IModelSource)Activator.CreateInstance(type)!).Models);

    /// <exception cref="InvalidOperationException">One cannot be loaded; the message names the setting.</exception>
    public static ToolAssemblies Load(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var list = configuration.GetSection(Setting);
        var paths = list.Value?.Split(',') ?? list.GetChildren().Select(item => item.Value ?? "");
        return new ToolAssemblies([.. paths.Select(path => path.Trim()).Where(path => path.Length > 0).Select(LoadOne)]);
    }

    private static Assembly LoadOne(string path)
    {
        try
        {
            return Assembly.LoadFrom(Path.GetFullPath(path, AppContext.BaseDirectory));
        }
        catch (Exception e) when (e is IOException or BadImageFormatException)
        {
            throw new SettingException($"{Setting} names {path}, which cannot be loaded: {e.Message}", e);
        }
    }

    /// <summary>Without those that a service cannot load: a handler is nothing to an Api, which has no worker beside it.</summary>
    private static IEnumerable<Type> TypesOf(Assembly assembly)
    {
        try
        {
            return assembly.GetTypes();
        }
        catch (ReflectionTypeLoadException e)
        {
            return e.Types.OfType<Type>();
        }
    }
}
