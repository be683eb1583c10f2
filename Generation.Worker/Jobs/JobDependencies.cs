using Generation.Core.Media;
using Generation.Core.Realtime;
using Generation.Core.Sessions;
using Generation.Worker.Calls;

namespace Generation.Worker.Jobs;

/// <summary>The dependencies that all jobs of a worker share.</summary>
public sealed record JobDependencies(
    Leases Leases, MediaTransfer Transfer, IMediaStore Store, ProgressChannel Progress, ProviderBreakers Breakers, ProviderLimits Limits,
    WorkerOptions Options, TimeProvider Time);
