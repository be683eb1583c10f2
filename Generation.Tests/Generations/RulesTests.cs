using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Generation.Core.Catalog;
using Generation.Tests.Harness;

namespace Generation.Tests.Generations;

/// <summary>What must hold between parameters: the field to blame is named, and a form can know it from the schema.</summary>
public sealed class RulesTests
{
    private static readonly Model Made = new()
    {
        Id = "made-1",
        Tool = "made",
        JobType = "gen.made",
        Provider = "p",
        ProviderModel = "p-1",
        Kind = "video",
        Lane = "video",
        Parameters =
        [
            new ChoiceParameter("resolution", "r", "720p", "1080p") { Default = "720p" },
            new IntegerParameter("duration", "d", 4, 8) { Default = 6 },
            new ImageParameter("first_frame", "f"),
            new ImageParameter("last_frame", "l"),
            new ImagesParameter("reference_images", "r", 3),
            new BooleanParameter("group", "g"),
            new IntegerParameter("n", "n", 1, 15),
        ],
        Rules =
        [
            new Excludes(["first_frame", "last_frame"], ["reference_images"]),
            new Needs("last_frame", "first_frame"),
            new Limits("resolution", ["1080p"], "duration", [8], 6),
            new AtMostTogether("group", "reference_images", "n", 4, 2),
        ],
    };

    [Theory]
    [InlineData("""{}""", null, null)]
    [InlineData("""{"first_frame":"https://a.example/1.png","last_frame":"https://a.example/2.png"}""", null, null)]
    [InlineData("""{"first_frame":null,"reference_images":["https://a.example/1.png"]}""", null, null)]
    [InlineData("""{"resolution":"1080p","duration":8}""", null, null)]
    [InlineData("""{"resolution":"720p","duration":5}""", null, null)]
    [InlineData("""{"first_frame":"https://a.example/1.png","reference_images":["https://a.example/1.png"]}""", "reference_images",
        "cannot be used together with first_frame")]
    [InlineData("""{"last_frame":"https://a.example/1.png"}""", "last_frame", "needs first_frame beside it")]
    [InlineData("""{"resolution":"1080p","duration":5}""", "duration", "must be 8 when resolution is 1080p")]
    [InlineData("""{"resolution":"1080p"}""", "duration", "must be 8 when resolution is 1080p")] // the default is 6
    [InlineData("""{"first_frame":"http://a.example/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://10.0.0.1/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://user:password@a.example/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://localhost./1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://a.LOCALHOST/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://10.0.0.1.nip.io/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://metadata.google.internal/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"https://a.example/1.png\r\nHost: b"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"first_frame":"\nhttps://a.example/1.png"}""", "first_frame", "must be an https address of a picture")]
    [InlineData("""{"reference_images":["https://a.example/1.png","https://127-0-0-1.sslip.io/"]}""", "reference_images", "must be a list of 1 to 3")]
    [InlineData("""{"duration":8.0,"resolution":"1080p","n":2.0}""", null, null)]
    [InlineData("""{"duration":0.8e1}""", null, null)]
    [InlineData("""{"duration":5.5}""", "duration", "must be a whole number from 4 to 8")]
    [InlineData("""{"n":1e-20000}""", "n", "must be a whole number from 1 to 15")]
    [InlineData("""{"n":1e20000}""", "n", "must be a whole number from 1 to 15")]
    [InlineData("""{"group":true,"n":5.0}""", "n", "must be at most 4 beside 0 reference_images when group is true")]
    [InlineData("""{"reference_images":[]}""", "reference_images", "must be a list of 1 to 3")]
    [InlineData("""{"reference_images":["https://a.example/1","https://a.example/2","https://a.example/3","https://a.example/4"]}""",
        "reference_images", "must be a list of 1 to 3")]
    [InlineData("""{"group":true,"n":4}""", null, null)]
    [InlineData("""{"group":true,"reference_images":["https://a.example/1","https://a.example/2"]}""", null, null)]
    [InlineData("""{"group":true,"n":2,"reference_images":["https://a.example/1","https://a.example/2"]}""", null, null)]
    [InlineData("""{"group":false,"n":15,"reference_images":["https://a.example/1"]}""", null, null)]
    [InlineData("""{"group":true,"n":3,"reference_images":["https://a.example/1","https://a.example/2"]}""", "n",
        "must be at most 2 beside 2 reference_images when group is true")]
    [InlineData("""{"reference_images":["https://a.example/1",7]}""", "reference_images", "must be a list of 1 to 3")]
    public void A_rule_that_is_broken_names_the_field_to_blame(string given, string? field, string? problem)
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        Made.Validate(JsonElement.Parse(given), errors);

        if (field is null)
        {
            Assert.Empty(errors);
            return;
        }

        var (name, problems) = Assert.Single(errors);
        Assert.Equal($"params.{field}", name);
        Assert.StartsWith(problem!, Assert.Single(problems), StringComparison.Ordinal);
    }

    [Fact]
    public void The_handler_gets_an_integer_however_it_was_written()
    {
        var errors = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var settings = Made.Validate(JsonElement.Parse("""{"n":2.0,"duration":0.8e1}"""), errors);
        Assert.Empty(errors);
        Assert.Equal("2 8", $"{settings["n"]!.ToJsonString()} {settings["duration"]!.ToJsonString()}");
        Assert.Equal(2, Model.Outputs(settings));
    }

    [Theory]
    [InlineData("a", 1, null)]
    [InlineData("\U0001F600", 10, null)] // two UTF-16 units, one character
    [InlineData("\U0001F600", 11, "must have at most 10 characters, has 11")]
    [InlineData(" ", 5, "must have at least one character that can be seen")]
    [InlineData("\u200B", 5, "must have at least one character that can be seen")]
    [InlineData("\u2060\u200D\uFE0F", 3, "must have at least one character that can be seen")]
    [InlineData("\u3164", 2, "must have at least one character that can be seen")]
    [InlineData("\u2800\u00AD", 2, "must have at least one character that can be seen")]
    public void A_text_is_counted_in_characters_and_must_show_one(string piece, int times, string? problem) =>
        Assert.Equal(problem, new TextParameter("prompt", "p", 1, 10).Check(JsonSerializer.SerializeToElement(
            string.Concat(Enumerable.Repeat(piece, times)))));

    [Fact]
    public void Each_rule_is_an_element_of_allOf_in_the_schema()
    {
        var expected = JsonNode.Parse(
            """
            [{"not":{"allOf":[{"anyOf":[{"required":["first_frame"]},{"required":["last_frame"]}]},{"anyOf":[{"required":["reference_images"]}]}]}},
             {"dependentRequired":{"last_frame":["first_frame"]}},
             {"if":{"required":["resolution"],"properties":{"resolution":{"enum":["1080p"]}}},
              "then":{"properties":{"duration":{"enum":[8]}},"required":["duration"]}},
             {"if":{"properties":{"group":{"const":true}},"required":["group","reference_images"]},
              "then":{"anyOf":[{"properties":{"reference_images":{"maxItems":1},"n":{"maximum":3}}},{"properties":{"reference_images":{"maxItems":2},"n":{"maximum":2}}}]}}]
            """);
        Assert.True(JsonNode.DeepEquals(expected, Made.ToSchema()["allOf"]), Made.ToSchema()["allOf"]!.ToJsonString());
    }

    [Theory]
    [InlineData("seedance-2", """{"prompt":"p","last_frame":"https://a.example/1.png"}""", "params.last_frame")]
    [InlineData("seedance-2", """{"prompt":"p","first_frame":"https://a.example/1.png","reference_images":["https://a.example/1.png"]}""",
        "params.reference_images")]
    [InlineData("seedance-2", """{"prompt":"p","duration":-1}""", "params.duration")]
    [InlineData("seedance-2", """{"prompt":"p","seed":1}""", "params.seed")]
    [InlineData("seedance-2-fast", """{"prompt":"p","resolution":"1080p"}""", "params.resolution")]
    [InlineData("seedance-1-pro", """{"prompt":"p","ratio":"adaptive"}""", "params.ratio")]
    [InlineData("seedance-1-pro", """{"prompt":"p","generate_audio":true}""", "params.generate_audio")]
    [InlineData("seedance-1-pro", """{"prompt":"p","reference_images":["https://a.example/1.png"]}""", "params.reference_images")]
    public async Task Seedance_refuses_what_its_models_do_not_take(string model, string parameters, string field)
    {
        var user = await (await ApiSystem.Queued).NewUserAsync();
        var reply = await user.SubmitAsync($$"""{"model":"{{model}}","params":{{parameters}}}""");

        reply.AssertProblem(HttpStatusCode.BadRequest, (string)reply.Body["code"]!);
        Assert.Equal(field, Assert.Single(reply.Body["errors"]!.AsObject()).Key);
        await user.AssertNothingHappenedAsync();
    }

    [Fact]
    public async Task No_video_of_Seedance_costs_more_by_its_tokens_than_was_held_for_it()
    {
        // The most pixels of each resolution; those of 1.0 with the ratios that are documented elsewhere.
        Dictionary<(bool IsFirst, string Resolution), long> mostPixels = new()
        {
            [(false, "480p")] = 864 * 496,
            [(false, "720p")] = 1112 * 834,
            [(false, "1080p")] = 2206 * 946,
            [(true, "480p")] = 752 * 560,
            [(true, "720p")] = 1504 * 640,
            [(true, "1080p")] = 1920 * 1088,
        };
        var system = await ApiSystem.Queued;
        var user = await system.NewUserAsync();
        var models = (await user.GetAsync("/api/models")).Body["models"]!.AsArray().Where(m => (string?)m!["tool"] == "seedance").ToList();
        Assert.Equal(4, models.Count);
        foreach (var model in models)
        {
            var id = (string)model!["id"]!;
            var properties = model["parameters"]!["properties"]!;
            var resolutions = properties["resolution"]!["enum"]!.AsArray().Select(r => (string)r!).ToList();
            Assert.Equal(resolutions.Order(StringComparer.Ordinal),
                model["prices"]!.AsArray().Select(p => (string)p!["variant"]!).Order(StringComparer.Ordinal));
            foreach (var resolution in resolutions)
            {
                var price = model["prices"]!.AsArray().Single(p => (string?)p!["variant"] == resolution)!;
                var (perSecond, perToken) = ((long)price["credits"]!, (decimal)price["metering"]!["creditsPerUnit"]!);
                for (var seconds = (int)properties["duration"]!["minimum"]!; seconds <= (int)properties["duration"]!["maximum"]!; seconds++)
                {
                    var tokens = Math.Ceiling(mostPixels[(id == "seedance-1-pro", resolution)] * (24m * seconds + 1) / 1024);
                    var cost = Math.Ceiling(tokens * perToken);
                    Assert.True(cost <= perSecond * seconds, $"{id} {resolution} {seconds} s: {cost} of {perSecond * seconds}");
                    Assert.True(cost > perSecond * seconds / 2m,
                        $"{id} {resolution} {seconds} s holds far more than it costs: {cost} of {perSecond * seconds}");
                }
            }
        }
    }
}
