using Generation.Api.Events;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.Mvc.ModelBinding;

namespace Generation.Api.Description;

/// <summary>Tells the description of types that handlers read and write themselves: bodies, and events.</summary>
internal sealed class DescribedTypes : IApiDescriptionProvider
{
    /// <summary>After the one that reads the routes.</summary>
    public int Order => 0;

    public void OnProvidersExecuting(ApiDescriptionProviderContext context)
    {
        foreach (var route in context.Results)
        {
            var metadata = route.ActionDescriptor.EndpointMetadata;
            foreach (var body in metadata.OfType<RequestBody>().Where(body => body.Json is not null))
            {
                route.ParameterDescriptions.Add(
                    new ApiParameterDescription { Name = "body", Type = body.Json!, Source = BindingSource.Body, IsRequired = true });
                route.SupportedRequestFormats.Add(new ApiRequestFormat { MediaType = "application/json" });
            }

            if (metadata.OfType<EventStreamResponse>().Any())
            {
                route.SupportedResponseTypes.Clear();
                route.SupportedResponseTypes.Add(new ApiResponseType
                {
                    StatusCode = StatusCodes.Status200OK,
                    Type = typeof(GenerationEvents),
                    Description = "Events until the generation ends; a comment every 15 s.",
                    ApiResponseFormats = [new ApiResponseFormat { MediaType = "text/event-stream" }],
                });
            }
        }
    }

    public void OnProvidersExecuted(ApiDescriptionProviderContext context)
    {
    }
}
