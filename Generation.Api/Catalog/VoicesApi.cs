using System.ComponentModel;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Core.Localization;
using Generation.Core.Settings;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Generation.Api.Catalog;

/// <param name="Voices">In the provider's order.</param>
/// <param name="Complete">False: there are more than are read.</param>
/// <param name="ReadAt">When they were read.</param>
/// <param name="Stale">They could not be read again since.</param>
/// <param name="Warning">That in a sentence.</param>
public sealed record VoicePage(IReadOnlyList<VoiceView> Voices, bool Complete, DateTimeOffset ReadAt, bool Stale, string? Warning);

/// <param name="VoiceId">What the parameter <c>voice</c> takes.</param>
/// <param name="Name">For people.</param>
/// <param name="Category">The provider's.</param>
/// <param name="Description">The provider's.</param>
/// <param name="PreviewUrl">A sample to listen to.</param>
/// <param name="Labels">The provider's, such as accent and age.</param>
/// <param name="Languages">ISO 639-1.</param>
public sealed record VoiceView(
    string VoiceId, string Name, string? Category, string? Description, string? PreviewUrl, IReadOnlyDictionary<string, string?> Labels,
        IReadOnlyList<string> Languages);

/// <summary>
/// <c>GET /api/voices</c>: the voices for speech. The list is up to five minutes old; <c>?refresh=true</c> has it read now, at most once
/// every few seconds. While ElevenLabs is unavailable the last list comes with <c>stale: true</c> and a <c>warning</c>; without any list it is 503.
/// </summary>
public static class VoicesApi
{
    public static void AddVoices(this WebApplicationBuilder builder)
    {
        builder.AddChecked<VoiceOptions>(VoiceOptions.Section, (options, check) => options.Check(check));
        builder.Services.AddSingleton<VoiceList>();
    }

    public static void MapVoices(this IEndpointRouteBuilder routes) => routes.MapGet("/api/voices", ListAsync).RequireAuthorization()
        .Describe("listVoices", ApiTags.Models, "The voices for speech", ProblemCodes.VoicesNotConfigured, ProblemCodes.VoicesUnavailable);

    private static async Task<Results<Ok<VoicePage>, ProblemHttpResult>> ListAsync([Description("true: read the list again now.")] bool? refresh,
        VoiceList list, VoiceOptions options, HttpContext context, CancellationToken ct)
    {
        if (!list.IsConfigured)
        {
            return Problems.Of(ProblemCodes.VoicesNotConfigured, $"No account at ElevenLabs is configured, so its voices cannot be listed.");
        }

        var (listing, problem) = await list.GetAsync(refresh ?? false, ct);
        return listing is null
            ? Problems.RetryLater(context, ProblemCodes.VoicesUnavailable, $"The voices cannot be read at the moment.",
                (int)Math.Ceiling(options.RefreshSpacing.TotalSeconds))
            : TypedResults.Ok(new VoicePage(
                [.. listing.Voices.Select(voice => new VoiceView(
                    voice.VoiceId, voice.Name, voice.Category, voice.Description, voice.PreviewUrl, voice.Labels ?? [],
                    [.. (voice.VerifiedLanguages ?? []).Select(language => language.Language).OfType<string>().Distinct(StringComparer.Ordinal)]))],
                listing.IsComplete, listing.ReadAt, problem is not null, problem is null ? null
                    : Refusals.Say($"The voices could not be read again; this is the last list that was.")));
    }
}
