using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Generation.Api.Errors;
using Generation.Api.Events;
using Generation.Api.Generations;
using Generation.Core.Localization;
using Generation.Core.Sessions;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.OpenApi;

namespace Generation.Api.Description;

/// <summary>
/// <c>/openapi/v1.json</c> for customers and <c>/openapi/admin.json</c> for operators: each route with every answer that it gives. Types and
/// routes come from the code; what code does not say stands in the endpoints' metadata (<see cref="EndpointDescriptions"/>).
/// </summary>
internal static class ApiDocuments
{
    public const string Customers = "v1";
    public const string Operators = "admin";

    /// <summary>Security schemes, a name a document, so that <c>/docs</c> can fill in another key for operators.</summary>
    public const string ApiKey = "apiKey";
    public const string AdminKey = "adminKey";
    private const string Problem = "Problem";
    private const string AdminPrefix = "api/admin/";

    public static void AddApiDocuments(this IServiceCollection services)
    {
        services.TryAddEnumerable(ServiceDescriptor.Transient<IApiDescriptionProvider, DescribedTypes>());
        foreach (var name in new[] { Customers, Operators })
        {
            services.AddOpenApi(name, options =>
            {
                options.ShouldInclude = route => (route.RelativePath ?? "").StartsWith(AdminPrefix, StringComparison.Ordinal) == (name == Operators);
                options.CreateSchemaReferenceId = type => IsAnyJson(type.Type) ? null : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
                options.AddSchemaTransformer(CompleteSchemaAsync);
                options.AddOperationTransformer(CompleteOperationAsync);
                options.AddDocumentTransformer((document, _, _) => CompleteDocumentAsync(document, name));
            });
        }
    }

    private static Task CompleteDocumentAsync(OpenApiDocument document, string name)
    {
        document.Info = new OpenApiInfo
        {
            Title = name == Operators ? "Generation for operators" : "Generation",
            Version = "1",
            Description = name == Operators
                ? "Credits, ledger, queues, providers, dead letters. Every change wants an `Idempotency-Key` and a reason, and leaves an audit row."
                : "Pictures, films and sound. A submit holds credits and answers at once; what is delivered is captured, the rest is released.\n\n"
                + "Every refusal is a problem (RFC 9457) with a stable `code`; wrong fields stand in `errors` by their path. `503` and `429` come "
                    + "with `Retry-After`, and a request that is repeated with its `Idempotency-Key` is done once.",
        };
        document.Servers = []; // wherever it was read from
        var paths = new OpenApiPaths();
        foreach (var (path, item) in document.Paths.OrderBy(path => path.Key, StringComparer.Ordinal)) paths.Add(path, item);
        document.Paths = paths;
        var used = document.Paths.Values.SelectMany(path => path.Operations!.Values)
            .SelectMany(operation => operation.Tags ?? new HashSet<OpenApiTagReference>()).Select(tag => tag.Name).ToHashSet(StringComparer.Ordinal);
        document.Tags = ApiTags.All.Where(tag => used.Contains(tag.Name))
            .Select(tag => new OpenApiTag { Name = tag.Name, Description = tag.Description }).ToHashSet();
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>(StringComparer.Ordinal)
        {
            [name == Operators ? AdminKey : ApiKey] = new OpenApiSecurityScheme
            {
                Type = SecuritySchemeType.Http,
                Scheme = "bearer",
                Description = name == Operators ? "An API key with the role admin: `Authorization: Bearer gk_…`"
                    : "An API key: `Authorization: Bearer gk_…`"
            },
        };
        document.AddComponent(Problem, ProblemSchema());
        document.Components.Schemas!.Remove(nameof(GenerationEvents)); // only its fields' types are used
        return Task.CompletedTask;
    }

    private static OpenApiSchema ProblemSchema() => new()
    {
        Type = JsonSchemaType.Object,
        Description = "RFC 9457. More fields come with some codes.",
        Required = new HashSet<string>(StringComparer.Ordinal) { "type", "title", "status", "detail", "code" },
        Properties = new Dictionary<string, IOpenApiSchema>(StringComparer.Ordinal)
        {
            ["type"] = new OpenApiSchema { Type = JsonSchemaType.String },
            ["title"] = new OpenApiSchema { Type = JsonSchemaType.String, Description = "The HTTP phrase." },
            ["status"] = new OpenApiSchema { Type = JsonSchemaType.Integer },
            ["detail"] = new OpenApiSchema { Type = JsonSchemaType.String, Description = "A sentence for people." },
            ["code"] = new OpenApiSchema { Type = JsonSchemaType.String, Description = "Stable: what to branch on.", Enum = Names(ProblemCodes.All) },
            ["traceId"] = new OpenApiSchema { Type = JsonSchemaType.String, Description = "What support finds it by." },
            ["errors"] = new OpenApiSchema
            {
                Type = JsonSchemaType.Object,
                Description = "What is wrong with each field, by its path.",
                AdditionalProperties = new OpenApiSchema { Type = JsonSchemaType.Array, Items = new OpenApiSchema { Type = JsonSchemaType.String } },
            },
        },
    };

    private static Task CompleteOperationAsync(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        operation.Responses ??= [];
        if (metadata.OfType<IAuthorizeData>().Any())
        {
            var key = context.DocumentName == Operators ? AdminKey : ApiKey;
            operation.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(key, context.Document)] = [] }];
        }

        foreach (var parameter in (operation.Parameters ?? []).OfType<OpenApiParameter>().Where(parameter => parameter.In == ParameterLocation.Path))
        {
            parameter.Example = RequestExamples.OfPath(parameter.Name);
        }

        foreach (var header in metadata.OfType<RequestHeader>())
        {
            (operation.Parameters ??= []).Add(new OpenApiParameter
            {
                Name = header.Name,
                In = ParameterLocation.Header,
                Required = header.IsRequired,
                Description = header.Description,
                Example = header.IsRequired ? RequestExamples.OfHeader(operation.OperationId!) : null,
                Schema = new OpenApiSchema { Type = JsonSchemaType.String },
            });
        }

        if (metadata.OfType<RequestBody>().Any(body => body.Json is null)) operation.RequestBody = FileForm();
        else if (RequestExamples.Of(operation.OperationId) is { } example) operation.RequestBody!.Content!["application/json"].Example = example;
        if (metadata.OfType<EventStreamResponse>().Any()) DescribeEvents(operation.Responses["200"].Content!["text/event-stream"], context.Document!);
        foreach (var other in metadata.OfType<OtherResponse>())
        {
            var response = new OpenApiResponse { Description = other.Description };
            if (other.ContentType is not null)
            {
                response.Content = new Dictionary<string, OpenApiMediaType>(StringComparer.Ordinal)
                {
                    [other.ContentType] = new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" } },
                };
            }

            operation.Responses[$"{other.Status}"] = response;
        }

        if (metadata.OfType<OtherResponse>().Any(other => other.Status == StatusCodes.Status302Found)) operation.Responses.Remove("200");
        foreach (var problems in EndpointDescriptions.ProblemsOf(metadata))
        {
            operation.Responses[$"{problems.Key}"] = new OpenApiResponse
            {
                Description = string.Join(", ", problems.Select(code => $"`{code.Name}`")),
                Content = new Dictionary<string, OpenApiMediaType>(StringComparer.Ordinal)
                {
                    ["application/problem+json"] = new()
                    {
                        Schema = new OpenApiSchema
                        {
                            AllOf =
                            [
                                new OpenApiSchemaReference(Problem, context.Document),
                                new OpenApiSchema { Properties = new Dictionary<string,
                                    IOpenApiSchema>(StringComparer.Ordinal) { ["code"] = new OpenApiSchema { Enum = Names(problems) } } },
                            ],
                        },
                    },
                },
            };
        }

        return Task.CompletedTask;
    }

    private static OpenApiRequestBody FileForm()
    {
        var file = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary", Description = "PNG, JPEG, WebP or GIF, at most 30 MiB." };
        var form = new OpenApiSchema
        {
            Type = JsonSchemaType.Object,
            Required = new HashSet<string>(StringComparer.Ordinal) { "file" },
            Properties = new Dictionary<string, IOpenApiSchema>(StringComparer.Ordinal) { ["file"] = file },
        };
        return new OpenApiRequestBody
        {
            Required = true,
            Content = new Dictionary<string,
            OpenApiMediaType>(StringComparer.Ordinal)
            { ["multipart/form-data"] = new() { Schema = form } }
        };
    }

    /// <summary>What stands in <c>data:</c>: one of the types; <c>x-events</c> says which for each event.</summary>
    private static void DescribeEvents(OpenApiMediaType stream, OpenApiDocument document)
    {
        stream.Schema = new OpenApiSchema
        {
            OneOf = [.. EventStream.Events.Values.Distinct()
            .Select(type => new OpenApiSchemaReference(type.Name, document))]
        };
        stream.Extensions = new Dictionary<string, IOpenApiExtension>(StringComparer.Ordinal)
        {
            ["x-events"] = new JsonNodeExtension(new JsonObject(
                EventStream.Events.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)$"#/components/schemas/{pair.Value.Name}")))),
        };
    }

    private static Task CompleteSchemaAsync(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken ct)
    {
        if (context.JsonPropertyInfo?.AttributeProvider is { } property)
        {
            if (property.GetCustomAttributes(typeof(AllowedValuesAttribute), true) is [AllowedValuesAttribute allowed]) schema.Enum =
                [.. allowed.Values.Select(value => (JsonNode)(string)value!)];
            if (context.JsonPropertyInfo.DeclaringType == typeof(ErrorView) && context.JsonPropertyInfo.Name == "code") schema.Enum = FailureCodes();
            if (IsAnyJson(context.JsonTypeInfo.Type)) DescribeJson(schema, context.JsonPropertyInfo.Name);
        }
        else if (context.JsonTypeInfo.Kind == System.Text.Json.Serialization.Metadata.JsonTypeInfoKind.Object
            && context.JsonTypeInfo.Type.Namespace?.StartsWith("Generation.", StringComparison.Ordinal) == true
            && !context.JsonTypeInfo.Type.Name.EndsWith("Body", StringComparison.Ordinal)
                && !context.JsonTypeInfo.Type.Name.EndsWith("Filter", StringComparison.Ordinal))
        {
            // An answer has each of its fields, null or not, but for those that are left out when they are null.
            schema.Required = context.JsonTypeInfo.Properties.Where(p => !IsOptional(p.AttributeProvider)).Select(p => p.Name)
                .Where(name => schema.Properties?.ContainsKey(name) == true).ToHashSet(StringComparer.Ordinal);
        }
        else if (context.JsonTypeInfo.Type == typeof(FlatSubmitBody)) schema.AdditionalProperties = new OpenApiSchema(); // the model's parameters

        return Task.CompletedTask;
    }

    /// <summary>JSON that is passed on as it is.</summary>
    private static bool IsAnyJson(Type type) => (Nullable.GetUnderlyingType(type) ?? type) is var its && (its == typeof(JsonElement)
        || its == typeof(JsonObject));

    private static void DescribeJson(OpenApiSchema schema, string field)
    {
        if (field is "params" or "parameters" or "result")
        {
            schema.Type = JsonSchemaType.Object;
            schema.AdditionalProperties = new OpenApiSchema(); // anything; without it, generators of types make an object that has no fields
        }
        else if (field == "failedOutputs")
        {
            schema.Type = JsonSchemaType.Array | JsonSchemaType.Null;
            schema.Items = new OpenApiSchema
            {
                Type = JsonSchemaType.Object,
                Required = new HashSet<string>(StringComparer.Ordinal) { "ordinal", "code", "message" },
                Properties = new Dictionary<string, IOpenApiSchema>(StringComparer.Ordinal)
                {
                    ["ordinal"] = new OpenApiSchema { Type = JsonSchemaType.Integer },
                    ["code"] = new OpenApiSchema { Type = JsonSchemaType.String, Enum = FailureCodes() },
                    ["message"] = new OpenApiSchema { Type = JsonSchemaType.String },
                },
            };
        }
    }

    private static List<JsonNode> FailureCodes() => [.. UserMessages.FailureCodes.Order(StringComparer.Ordinal).Select(code => (JsonNode)code)];

    private static bool IsOptional(System.Reflection.ICustomAttributeProvider? property) =>
        property?.GetCustomAttributes(typeof(JsonIgnoreAttribute), true) is [JsonIgnoreAttribute { Condition: JsonIgnoreCondition.WhenWritingNull }];

    private static List<JsonNode> Names(IEnumerable<ProblemCode> codes) =>
        [.. codes.Select(code => code.Name).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(name => (JsonNode)name)];
}
