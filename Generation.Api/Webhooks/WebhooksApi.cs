using System.Buffers;
using System.Text;
using Generation.Api.Description;
using Generation.Api.Errors;
using Generation.Core;
using Generation.Core.Webhooks;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;

namespace Generation.Api.Webhooks;

/// <param name="Received">True.</param>
/// <param name="Outcome">What became of it.</param>
public sealed record CallbackReceipt(bool Received, string Outcome);

/// <summary>
/// <c>POST /api/webhooks/{provider}/{token}</c>: a provider says that something has happened to a task. The token in the address is what
/// makes it ours; a provider that signs is checked too. The body is kept and not believed: the session's handler asks the provider.
/// </summary>
public static class WebhooksApi
{
    /// <summary>More than any provider sends.</summary>
    private const int MaxBodyBytes = 256 << 10;

    public static void MapWebhooks(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/api/webhooks/{provider}/{token}", ReceiveAsync).AllowAnonymous()
        .Describe("receiveCallback", ApiTags.Webhooks, "A provider's callback: a hint, the provider is asked for the state", ProblemCodes.NotFound,
            ProblemCodes.BodyTooLarge, ProblemCodes.InvalidSignature, ProblemCodes.Unavailable)
        .ExcludeFromDescription();

    private static async Task<Results<Ok<CallbackReceipt>, ProblemHttpResult>> ReceiveAsync(
        string provider, string token, HttpContext context, WebhookInbox inbox, WebhookSignatures signatures, ILogger<WebhookInbox> log,
            CancellationToken ct)
    {
        if (token.Length != WebhookInbox.TokenLength || provider.Length > 40)
        {
            return Problems.Of(ProblemCodes.NotFound, $"There is no such callback address.");
        }

        if (await ReadAsync(context.Request, ct) is not { } body)
        {
            return Problems.Of(ProblemCodes.BodyTooLarge, $"A callback has at most {MaxBodyBytes} bytes.");
        }

        if (signatures.Check(provider, context.Request.Headers, body) is { } wrong)
        {
            log.LogWarning("Rejected a callback of {Provider}: {Problem}", provider, wrong);
            return Problems.Of(ProblemCodes.InvalidSignature, $"The callback is not signed: {wrong}");
        }

        try
        {
            var outcome = await inbox.ReceiveAsync(provider, token, body, ct);
            log.LogInformation(OperationEvents.ProviderCallback, "Received a callback of {Provider}: {Outcome}", provider, outcome);
            return outcome == CallbackOutcome.Unknown
                ? Problems.Of(ProblemCodes.NotFound, $"There is no such callback address.")
                : TypedResults.Ok(new CallbackReceipt(true, outcome.Name()));
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException)
        {
            log.LogWarning("Could not store a callback of {Provider}: {Problem}", provider, e.Message);
            return Problems.RetryLater(context, ProblemCodes.Unavailable, $"The callback could not be kept now. Send it again.");
        }
    }

    /// <summary>As text that Postgres can hold; null when it is too long.</summary>
    private static async Task<string?> ReadAsync(HttpRequest request, CancellationToken ct)
    {
        if (request.ContentLength > MaxBodyBytes)
        {
            return null;
        }

        var buffer = ArrayPool<byte>.Shared.Rent(MaxBodyBytes + 1);
        try
        {
            var length = await request.Body.ReadAtLeastAsync(buffer.AsMemory(0, MaxBodyBytes + 1), MaxBodyBytes + 1, throwOnEndOfStream: false, ct);
            return length > MaxBodyBytes ? null : Encoding.UTF8.GetString(buffer, 0, length).Replace('\0', '\uFFFD');
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
