using Generation.Api.Errors;
using Generation.Core.Hosting;

namespace Generation.Api.Catalog;

/// <summary>
/// <c>GET /api/voices</c>: the voices for speech. The list is up to five minutes old; <c>?refresh=true</c> has it read now, at most once
/// every few seconds. While ElevenLabs is unavailable the last list comes with <c>stale: true</c> and a <c>warning</c>; without any list it is 503.
/// </summary>
public static class VoicesApi
{
    public static void AddVoices(this WebApplicationBuilder builder)
    {
        builder.AddChecked<VoiceOptions>(VoiceOptions.Section, o => o.Problem());
        builder.Services.AddSingleton<VoiceList>();
    }

    public static void MapVoices(this IEndpointRouteBuilder routes) => routes.MapGet("/api/voices", ListAsync).RequireAuthorization();

    private static async Task<IResult> ListAsync(bool? refresh, VoiceList list, VoiceOptions options, HttpContext context, CancellationToken ct)
    {
        if (!list.IsConfigured)
        {
            return Problems.Of(StatusCodes.Status503ServiceUnavailable, "voices_not_configured", "No account at ElevenLabs is configured, so its voices cannot be listed.");
        }

        var (listing, problem) = await list.GetAsync(refresh ?? false, ct);
        return listing is null
            ? Problems.RetryLater(context, "voices_unavailable", "The voices cannot be read at the moment.", (int)Math.Ceiling(options.RefreshSpacing.TotalSeconds))
            : TypedResults.Ok(new
            {
                Voices = listing.Voices.Select(voice => new
                {
                    voice.VoiceId,
                    voice.Name,
                    voice.Category,
                    voice.Description,
                    voice.PreviewUrl,
                    Labels = voice.Labels ?? [],
                    Languages = (voice.VerifiedLanguages ?? []).Select(language => language.Language).OfType<string>().Distinct(StringComparer.Ordinal),
                }),
                Complete = listing.IsComplete,
                listing.ReadAt,
                Stale = problem is not null,
                Warning = problem is null ? null : "The voices could not be read again; this is the last list that was.",
            });
    }
}
