using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Generation.Tests.Harness;

namespace Generation.Tests.Description;

/// <summary>A request of a <see cref="RequestsFile"/>; texts still contain their <c>{{references}}</c>.</summary>
/// <param name="Title">What stands behind its <c>###</c>.</param>
/// <param name="Name">That of <c># @name</c>, by which later requests refer to its answer.</param>
internal sealed record FileRequest(string Title, string? Name, string Method, string Url,
    IReadOnlyList<(string Name, string Value)> Headers, string Body);

/// <summary>
/// A file of requests as the HTTP clients of Visual Studio and VS Code read it: <c>@variable = value</c>, requests between lines of
/// <c>###</c>, and <c>{{variable}}</c> or <c>{{name.response.body.$.field}}</c> in them.
/// </summary>
internal sealed partial class RequestsFile
{
    private readonly Dictionary<string, Reply> answers = new(StringComparer.Ordinal);

    private RequestsFile(Dictionary<string, string> variables, List<FileRequest> requests) => (Variables, Requests) = (variables, requests);

    /// <summary>By name; a test may replace them, as an environment of an editor does.</summary>
    public Dictionary<string, string> Variables { get; }

    public IReadOnlyList<FileRequest> Requests { get; }

    public static RequestsFile Parse(string text)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        var requests = new List<FileRequest>();
        foreach (var part in Separator().Split(text))
        {
            var lines = part.Split('\n').Select(line => line.TrimEnd('\r')).ToList();
            foreach (var match in lines.Select(line => Variable().Match(line)).Where(match => match.Success))
            {
                variables[match.Groups["name"].Value] = match.Groups["value"].Value.Trim();
            }

            var name = lines.Select(line => RequestName().Match(line)).FirstOrDefault(match => match.Success)?.Groups["name"].Value;
            var title = lines[0].Trim();
            var own = lines.Skip(1).SkipWhile(line => line.Length == 0 || line[0] is '#' or '@').ToList();
            if (own.Count == 0) continue; // what stands before the first request

            var start = own[0].Split(' ', 2);
            var headers = own.Skip(1).TakeWhile(line => line.Length > 0).Select(line => line.Split(':', 2)).ToList();
            requests.Add(new FileRequest(title, name, start[0], start[1].Trim(), [.. headers.Select(pair => (pair[0].Trim(), pair[1].Trim()))],
                string.Join('\n', own.Skip(1 + headers.Count)).Trim()));
        }

        return new RequestsFile(variables, requests);
    }

    /// <summary>Sends one, and reads its answer to the end, which of a stream of events is that of what it watches.</summary>
    public async Task<Reply> SendAsync(HttpClient http, FileRequest wanted)
    {
        using var request = new HttpRequestMessage(new HttpMethod(wanted.Method), Fill(wanted.Url));
        if (wanted.Body.Length > 0) request.Content = new StringContent(Fill(wanted.Body));
        foreach (var (name, value) in wanted.Headers)
        {
            if (name == "Content-Type") request.Content!.Headers.ContentType = MediaTypeHeaderValue.Parse(value);
            else Assert.True(request.Headers.TryAddWithoutValidation(name, Fill(value)), $"{wanted.Title}: {name} is no header of a request");
        }

        var reply = await Reply.ReadAsync(await http.SendAsync(request));
        if (wanted.Name is { } own) answers[own] = reply;
        return reply;
    }

    private string Fill(string text) => Reference().Replace(text, match =>
    {
        var (name, path) = (match.Groups["name"].Value, match.Groups["path"]);
        if (!path.Success) return Variables.TryGetValue(name, out var value) ? value : throw new FormatException($"There is no variable {name}");
        Assert.True(answers.TryGetValue(name, out var answer), $"No request before this one has the name {name}");
        JsonNode? found = answer.Body;
        foreach (var field in path.Value.Split('.')) found = found?[field];
        return (string?)found ?? throw new FormatException($"The answer to {name} has no {path.Value}: {answer.Body}");
    });

    [GeneratedRegex("^###", RegexOptions.Multiline)]
    private static partial Regex Separator();

    [GeneratedRegex(@"^@(?<name>\w+)\s*=(?<value>.*)$", RegexOptions.ExplicitCapture)]
    private static partial Regex Variable();

    [GeneratedRegex(@"^#\s*@name\s+(?<name>\w+)\s*$", RegexOptions.ExplicitCapture)]
    private static partial Regex RequestName();

    [GeneratedRegex(@"\{\{(?<name>\w+)(\.response\.body\.\$\.(?<path>[\w.]+))?\}\}", RegexOptions.ExplicitCapture)]
    private static partial Regex Reference();
}
