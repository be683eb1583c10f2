using StackExchange.Redis;

namespace Generation.Core.Queue;

/// <summary>Opens a connection to Redis for one purpose: a blocking read blocks everything that shares its connection.</summary>
/// <param name="name">What it is for, as its client name says.</param>
/// <param name="timeout">Of a command without an argument that says how long it blocks.</param>
public delegate Task<IConnectionMultiplexer> ConnectDedicatedRedis(string name, TimeSpan timeout);
