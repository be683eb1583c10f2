using Generation.Tests.Harness;

namespace Generation.Tests.Description;

/// <summary>The description as a TypeScript client has it: openapi-typescript makes types of it, with which Servers/client.ts compiles.</summary>
[Trait("tier", "slow")]
public sealed class TypeScriptTests
{
    [Fact]
    public async Task The_types_of_both_documents_compile_together_with_a_client_that_uses_them()
    {
        var folder = Directory.CreateTempSubdirectory("generation-types-");
        try
        {
            foreach (var name in new[] { "v1", "admin" })
            {
                var types = Path.Combine(folder.FullName, $"{name}.d.ts");
                await NodePackages.RunAsync("node_modules/openapi-typescript/bin/cli.js",
                    Repository.PathOf("Generation.Api", "Description", $"{name}.json"), "-o", types);
                Assert.Contains("export interface paths", await File.ReadAllTextAsync(types), StringComparison.Ordinal);
            }

            var client = Path.Combine(folder.FullName, "client.ts"); // where it finds them, and no types but them
            File.Copy(Repository.PathOf("Generation.Tests", "Servers", "client.ts"), client);
            await NodePackages.RunAsync("node_modules/typescript/bin/tsc", "--strict", "--noEmit", "--target", "es2022", "--module", "preserve",
                "--lib", "es2022,dom", "--typeRoots", folder.FullName, client);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
