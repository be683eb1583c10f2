using Generation.Core.Catalog;
using Generation.Core.Media;
using Generation.Worker.Jobs;

namespace Generation.Tests.Jobs;

/// <summary>What the Api sells, and for how much: found by scanning this assembly.</summary>
public sealed class EchoModels : IModelSource
{
    public const int Price = 7;

    public IEnumerable<Model> Models { get; } =
    [
        new()
        {
            Id = "test-echo",
            Tool = "test-echo",
            JobType = "gen.test-echo",
            Provider = "nobody",
            ProviderModel = "echo-1",
            Kind = "image",
            Lane = "image",
            DefaultPrice = new DefaultPrice(Price),
            Parameters =
            [
                new TextParameter("prompt", "Anything.", 1, 100) { Required = true },
                new ImageParameter("picture", "What comes back.") { Required = true },
            ],
        },
    ];
}

/// <summary>What the worker runs, found likewise: gives back the picture that it was given.</summary>
public sealed class EchoTool : IGenerationHandler
{
    public IReadOnlyCollection<string> JobTypes => ["gen.test-echo"];

    public async Task<StepOutcome> StepAsync(JobContext job, CancellationToken ct)
    {
        using var http = new HttpClient();
        await using var picture = await http.GetStreamAsync(new Uri(job.Settings["picture"]!.GetValue<string>()), ct);
        return await job.Outputs.DeliverAsync(0, new MediaSource.Direct(picture), usage: null, ct) is { } failure
            ? new StepOutcome.Failed(failure, [new FailedOutput(0, failure)])
            : new StepOutcome.Completed(null, []);
    }
}
