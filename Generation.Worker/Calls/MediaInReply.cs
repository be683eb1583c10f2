using Generation.Core.Media;
using Generation.Core.Providers;

namespace Generation.Worker.Calls;

/// <summary>
/// The output that an answer holds instead of its address: it goes into the store while it arrives, and the first that is stored counts.
/// </summary>
internal sealed class MediaInReply(Func<Stream, Task<(StoredMedia? Media, Failure? Problem)>> store)
{
    public StoredMedia? Media { get; private set; }

    /// <summary>Why the output could not be stored.</summary>
    public Failure? Problem { get; private set; }

    /// <exception cref="UnusableMediaException">It could not be stored: what is left of the answer is of no use.</exception>
    public async Task StoreAsync(Stream bytes)
    {
        (Media, Problem) = await store(bytes);
        if (Media is null)
        {
            throw new UnusableMediaException();
        }
    }

    /// <summary>What was stored was something else, such as a preview.</summary>
    public void Forget() => Media = null;

    /// <summary>The output was made and paid, and is gone: what would otherwise come again must not.</summary>
    public Failure? FailureOf(string? requestId) => Problem is not { } failure ? null
        : failure.IsRetryable ? ProviderHttp.TransportFailure(mayHaveCost: true, failure.ProviderCode, failure.Detail, requestId)
        : failure with { RequestId = requestId };
}

/// <summary>An output in an answer could not be stored; <see cref="MediaInReply.Problem"/> says why.</summary>
internal sealed class UnusableMediaException : Exception;
