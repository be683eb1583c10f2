using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Tests.Harness;
using Json.Schema;

namespace Generation.Tests.Description;

/// <summary>The API's description, against which real answers are held.</summary>
internal sealed class DescribedApi
{
    private readonly List<JsonObject> documents;
    private readonly HashSet<string> seenFields = new(StringComparer.Ordinal);
    private readonly HashSet<string> answered = new(StringComparer.Ordinal);

    private DescribedApi(List<JsonObject> documents) => this.documents = documents;

    public static async Task<DescribedApi> ReadAsync(HttpClient http)
    {
        var read = new List<JsonObject>();
        foreach (var name in new[] { "v1", "admin" }) read.Add(
            JsonNode.Parse(await http.GetStringAsync(new Uri($"/openapi/{name}.json", UriKind.Relative)))!.AsObject());
        return new DescribedApi(read);
    }

    /// <summary>Every operation: method, template, the document's part.</summary>
    public IEnumerable<(JsonObject Document, string Method, string Template, JsonObject Operation)> Operations() =>
        from document in documents
        from path in document["paths"]!.AsObject()
        from method in path.Value!.AsObject()
        select (document, method.Key.ToUpperInvariant(), path.Key, method.Value!.AsObject());

    /// <summary>Holds an answer against the schema of its operation and status. Fields that are not described are wrong too.</summary>
    public void Check(string method, string template, Reply reply)
    {
        var (document, _, _, operation) = Operations().Single(one => one.Method == method && one.Template == template);
        var where = $"{method} {template} {(int)reply.Status}";
        Assert.True(operation["responses"]!.AsObject().TryGetPropertyValue($"{(int)reply.Status}", out var response),
            $"{where} is not described: {reply.Body.ToJsonString()}");
        answered.Add(where);
        if (response!["content"] is not JsonObject content) return;
        Assert.True(content.TryGetPropertyValue(reply.ContentType!, out var media), $"{where}: {reply.ContentType} is not described");
        Check(document, media!["schema"]!, reply.Body, where);
    }

    public void Check(JsonObject document, JsonNode schema, JsonNode body, string where)
    {
        var self = new JsonObject { ["$defs"] = document["components"]!["schemas"]!.DeepClone(), ["allOf"] = new JsonArray(schema.DeepClone()) };
        var text = self.ToJsonString().Replace("#/components/schemas/", "#/$defs/", StringComparison.Ordinal);
        var result = JsonSchema.FromText(text).Evaluate(body, new EvaluationOptions { OutputFormat = OutputFormat.List });
        Assert.True(result.IsValid,
            $"{where}: {string.Join("; ", result.Details.Where(detail => detail.Errors is not null).SelectMany(detail => detail.Errors!.Select(error => $"{detail.InstanceLocation} {error.Value}")))}\n{body.ToJsonString()}");
        Walk(document, schema, body, where, "", "");
    }

    /// <summary>Fields of answers that no answer had, also those of objects in them; those of requests are not among them.</summary>
    public IEnumerable<string> UnseenFields() =>
        from document in documents
        from schema in document["components"]!["schemas"]!.AsObject()
        where !schema.Key.EndsWith("Body", StringComparison.Ordinal) && !schema.Key.EndsWith("Filter", StringComparison.Ordinal)
        from field in FieldsOf(schema.Key, schema.Value!)
        where !seenFields.Contains(field)
        select field;

    /// <summary>Operations with a JSON answer of success that was never checked.</summary>
    public IEnumerable<string> UnansweredOperations() =>
        from one in Operations()
        from response in one.Operation["responses"]!.AsObject()
        where response.Key[0] == '2' && response.Value!["content"]?["application/json"] is not null
        group $"{one.Method} {one.Template} {response.Key}" by $"{one.Method} {one.Template}" into operation
        where !operation.Any(answered.Contains)
        select operation.Key;

    private static IEnumerable<string> FieldsOf(string name, JsonNode schema)
    {
        foreach (var (field, content) in schema["properties"]?.AsObject() ?? [])
        {
            yield return $"{name}.{field}";
            foreach (var its in FieldsOf($"{name}.{field}", content!)) yield return its;
        }

        if (schema["items"] is not { } item) yield break;
        foreach (var its in FieldsOf($"{name}[]", item)) yield return its;
    }

    /// <param name="document">The one that has the schema.</param>
    /// <param name="schema">A reference, or the schema itself.</param>
    /// <param name="value">What it describes.</param>
    /// <param name="where">Of the whole answer, for messages.</param>
    /// <param name="path">In the answer, for messages.</param>
    /// <param name="name">In the description: that of the component, and the fields down to here.</param>
    private void Walk(JsonObject document, JsonNode schema, JsonNode? value, string where, string path, string name)
    {
        if (schema["$ref"] is { } reference)
        {
            var its = ((string)reference!).Split('/')[^1];
            Walk(document, document["components"]!["schemas"]![its]!, value, where, path, its);
            return;
        }

        foreach (var choice in (schema["oneOf"] ?? schema["anyOf"] ?? schema["allOf"])?.AsArray() ?? [])
        {
            if (choice!["$ref"] is not null && value is JsonObject) Walk(document, choice, value, where, path, "");
        }

        if (value is JsonArray items && schema["items"] is { } item)
        {
            foreach (var one in items) Walk(document, item, one, where, path + "[]", name + "[]");
        }

        if (value is not JsonObject fields || schema["properties"] is not JsonObject described) return;
        foreach (var (field, content) in fields)
        {
            if (!described.TryGetPropertyValue(field, out var its))
            {
                Assert.True(name == "Problem", $"{where}: {path}.{field} is not described");
                continue;
            }

            seenFields.Add($"{name}.{field}");
            Walk(document, its!, content, where, $"{path}.{field}", $"{name}.{field}");
        }
    }

    public static string Indented(JsonNode document) => document.ToJsonString(
        new JsonSerializerOptions { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }) + "\n";
}
