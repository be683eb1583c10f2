using System.Security.Cryptography;
using System.Text;

namespace Generation.Core.Database;

/// <summary>
/// What Postgres keeps of a password (RFC 5803, <c>SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey</c>). It is computed here and sent in
/// the password's place, so that no statement, and so no log of the server's, ever holds the password itself.
/// </summary>
internal static class ScramVerifier
{
    private const int Iterations = 4096; // Postgres's own default; passwords are random and long
    private const int SaltBytes = 16;
    private const int KeyBytes = 32;

    /// <param name="password">ASCII: beyond it SASLprep would have to be done exactly as every client does it.</param>
    public static string Of(string password) => Of(password, RandomNumberGenerator.GetBytes(SaltBytes));

    internal static string Of(string password, byte[] salt)
    {
        var salted = Rfc2898DeriveBytes.Pbkdf2(Encoding.ASCII.GetBytes(password), salt, Iterations, HashAlgorithmName.SHA256, KeyBytes);
        var storedKey = SHA256.HashData(HMACSHA256.HashData(salted, "Client Key"u8));
        var serverKey = HMACSHA256.HashData(salted, "Server Key"u8);
        return $"SCRAM-SHA-256${Iterations}:{Convert.ToBase64String(salt)}${Convert.ToBase64String(storedKey)}:{Convert.ToBase64String(serverKey)}";
    }
}
