namespace Generation.LocalServers;

/// <summary>One run at a time owns a data folder. The kernel takes the lock back when its owner dies, however it dies.</summary>
internal static class DataFolderLock
{
    /// <exception cref="StartFailure">Another run owns it.</exception>
    public static IDisposable Take(string dataFolder)
    {
        Directory.CreateDirectory(dataFolder);
        var path = Path.Combine(dataFolder, "apphost.lock");
        var ownerPath = Path.Combine(dataFolder, "apphost.owner"); // a file of its own: what is locked cannot be read
        try
        {
            var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            File.WriteAllText(ownerPath, $"{Environment.ProcessId}");
            return file;
        }
        catch (IOException) when (File.Exists(ownerPath))
        {
            throw new StartFailure($"Another run (process {File.ReadAllText(ownerPath)}) uses {dataFolder}. Stop it first, or give this one a "
                + "folder and a port of its own: DATA_DIR=.data-2 PORT=8081 eng/run");
        }
    }
}
