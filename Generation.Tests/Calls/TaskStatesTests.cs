using Generation.Core.Providers;
using Generation.Worker.Calls;
using Polly.CircuitBreaker;

namespace Generation.Tests.Calls;

/// <summary>What providers say of a task, and what it says of the provider.</summary>
public sealed class TaskStatesTests
{
    [Theory]
    [InlineData("success succeeded completed Succeeded SUCCESS", TaskState.Succeeded)]
    [InlineData("fail failed error FAILED Error", TaskState.Failed)]
    [InlineData("canceled cancelled CANCELED", TaskState.Canceled)]
    [InlineData("expired", TaskState.Expired)]
    [InlineData("queued waiting queuing IN_QUEUE", TaskState.Queued)]
    [InlineData("running generating in_progress processing In-Progress", TaskState.Running)]
    [InlineData("dreaming undone ", TaskState.Unknown)]
    public void Every_provider_understands_the_words_of_all_in_any_case(string words, TaskState state) =>
        Assert.All(words.Split(' '), word => Assert.Equal(state, TaskStates.Read(word)));

    /// <summary>Eight tasks of a state without a word, and all pictures of the provider waited for its breaker.</summary>
    [Fact]
    public async Task A_well_formed_answer_that_is_not_understood_says_that_the_provider_is_there()
    {
        var breaker = new ProviderBreaker("ark", TimeSpan.FromMinutes(1), TimeProvider.System);
        var unknown = ((TaskReport.PollFailed)TaskReport.UnknownState("ark.unknown_status", "dreaming", null)).Failure;
        await AnswerAsync(unknown with { ProviderIsThere = false }, times: 4); // one more would open it
        await AnswerAsync(unknown, times: 8);
        await AnswerAsync(unknown with { ProviderIsThere = false }, times: 4);
        Assert.Equal((CircuitState.Closed, 4), (breaker.State, breaker.ConsecutiveFailures));

        async Task AnswerAsync(Failure failure, int times)
        {
            for (var n = 0; n < times; n++)
            {
                await breaker.CallAsync(_ => Task.FromResult(ProviderReply.Failed(failure)), CancellationToken.None);
            }
        }
    }
}
