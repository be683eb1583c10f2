using FsCheck;
using FsCheck.Fluent;
using Generation.Core.Credits;

namespace Generation.Tests.Credits;

/// <summary>
/// One step of a random sequence, as data, so that a failing sequence can be shortened and printed. Users, admin actions and sessions are named by
/// numbers that are taken modulo what there is: a command means something whichever of its predecessors were left out.
/// </summary>
internal abstract record Command
{
    internal sealed record Grant(int User, int Amount, string Kind, int Priority, int? ExpiresIn) : Command;

    internal sealed record Adjust(int User, int Amount) : Command;

    internal sealed record Freeze(int User, bool IsFrozen) : Command;

    /// <summary>An administrator's admin action again, with its key: as it was, or asking for another amount.</summary>
    internal sealed record RepeatAdminAction(int AdminCommand, bool IsChanged) : Command;

    /// <summary>Sent together, before the first has its answer.</summary>
    internal sealed record Submit(Order[] Orders) : Command
    {
        public override string ToString() => $"Submit {string.Join(" + ", Orders.AsEnumerable())}";
    }

    internal sealed record Order(int User, int Key, int Price, int Outputs);

    /// <summary>A request that was accepted before, again.</summary>
    internal sealed record RepeatSubmit(int Session) : Command;

    internal sealed record Claim(int Session) : Command;

    /// <summary>By the last worker that claimed the session, or by the first, which may have lost it.</summary>
    internal sealed record Store(int Session, bool IsLate, int Ordinal, Usage Usage) : Command;

    internal sealed record Suspend(int Session, bool IsLate) : Command;

    internal sealed record Settle(Ending[] Endings, CostPolicy Policy) : Command
    {
        public override string ToString() => $"Settle {string.Join(" + ", Endings.AsEnumerable())} {Policy}";
    }

    internal sealed record Ending(int Session, bool IsLate, bool IsCanceled);

    /// <summary>Claim, work for so long, store every output, settle.</summary>
    internal sealed record Finish(int Session, int Minutes, Usage Usage, CostPolicy Policy) : Command;

    internal sealed record Cancel(int Session, CostPolicy Policy) : Command;

    internal sealed record ExtendHolds : Command;

    internal sealed record ReleaseAbandoned : Command;

    internal sealed record ExpireLots : Command;

    internal sealed record EndOverdue(CostPolicy Policy) : Command;

    internal sealed record RevokeDeadLeases(CostPolicy Policy) : Command;

    internal sealed record Jump(int Minutes) : Command;

    /// <summary>Written by the superuser: a session that is over while its hold is not.</summary>
    internal sealed record Abandon(int Session) : Command;

    /// <summary>
    /// Minutes are chosen so that no two moments ever meet: jumps are multiples of 20 like the hour of a hold, lots end 10 minutes beside,
    /// and so do leases, alarms and deadlines. What a test itself takes is then too little to matter.
    /// </summary>
    public static Gen<Command> Any()
    {
        var user = Gen.Choose(0, LedgerCase.Users - 1);
        var session = Gen.Choose(0, 99);
        var policy = Gen.Elements(Enum.GetValues<CostPolicy>());
        var isLate = Gen.Frequency((4, Gen.Constant(false)), (1, Gen.Constant(true)));
        var usage = Gen.Frequency((3, Gen.Choose(20, 1_500).Select(Usage.Tokens)), (1, Gen.Elements(Usage.Odd)));
        var order =
            from who in user
            from key in Gen.Choose(0, 9)
            from price in Gen.Choose(0, LedgerCase.Prices.Length - 1)
            from outputs in Gen.Elements(1, 1, 2, 3)
            select new Order(who, key, price, outputs);
        var ending =
            from which in session
            from late in isLate
            from canceled in isLate
            select new Ending(which, late, canceled);

        return Gen.Frequency(
            (8, Wrap(
                from who in user
                from amount in Gen.Choose(1, 40)
                from kind in Gen.Elements("purchase", "bonus", "grant", "plan")
                from priority in Gen.Elements(50, 100, 100, 200)
                from expires in Gen.Elements<int?>(null, 30, 30, 90, 250)
                select new Grant(who, amount, kind, priority, expires))),
            (4, Wrap(from who in user from amount in Gen.Choose(-25, 15).Where(a => a != 0) select new Adjust(who, amount))),
            (1, Wrap(from who in user from frozen in Gen.Elements(true, false, false) select new Freeze(who, frozen))),
            (2, Wrap(from adminAction in session from changed in isLate select new RepeatAdminAction(adminAction, changed))),
            (12, Wrap(Gen.Choose(1, 5).SelectMany(n => order.ArrayOf(n)).Select(orders => new Submit(orders)))),
            (3, Wrap(session.Select(s => new RepeatSubmit(s)))),
            (8, Wrap(session.Select(s => new Claim(s)))),
            (12, Wrap(from s in session from late in isLate from ordinal in Gen.Choose(0, 2) from u in usage select new Store(s, late, ordinal, u))),
            (2, Wrap(from s in session from late in isLate select new Suspend(s, late))),
            (8, Wrap(from n in Gen.Choose(1, 4) from endings in ending.ArrayOf(n) from p in policy select new Settle(endings, p))),
            (20, Wrap(from s in session from m in Gen.Elements(0, 0, 20, 40) from u in usage from p in policy select new Finish(s, m, u, p))),
            (3, Wrap(from s in session from p in policy select new Cancel(s, p))),
            (2, Gen.Constant<Command>(new ExtendHolds())),
            (2, Gen.Constant<Command>(new ReleaseAbandoned())),
            (2, Gen.Constant<Command>(new ExpireLots())),
            (2, Wrap(policy.Select(p => new EndOverdue(p)))),
            (2, Wrap(policy.Select(p => new RevokeDeadLeases(p)))),
            (5, Wrap(Gen.Elements(20, 20, 40, 40, 60, 100, 200).Select(m => new Jump(m)))),
            (3, Wrap(session.Select(s => new Abandon(s)))));
    }

    private static Gen<Command> Wrap<T>(Gen<T> gen)
        where T : Command => gen.Select(command => (Command)command);
}

/// <summary>What a provider says it counted, as JSON, and what of it is a number of tokens.</summary>
internal sealed record Usage(string? Json, decimal? Counted)
{
    /// <summary>Where it says nothing that counts: the listed price holds. Less than nothing is the least that can be paid.</summary>
    public static readonly Usage[] Odd =
    [
        new(null, null),
        new("{}", null),
        new("""{"tokens":null}""", null),
        new("""{"tokens":"800"}""", null),
        new("""{"tokens":{"total":800}}""", null),
        new("""{"other":800}""", null),
        new("""{"tokens":0}""", 0),
        new("""{"tokens":-500}""", -500),
        new("""{"tokens":400}""", 400),
        new("""{"tokens":400.001}""", 400.001m),
    ];

    public static Usage Tokens(int tokens) => new($$"""{"tokens":{{tokens}}}""", tokens);

    public override string ToString() => Json ?? "nothing";
}

/// <summary>A sequence, printed a command a line.</summary>
internal sealed record Script(Command[] Commands)
{
    /// <summary>Most begin with something to spend: who has nothing can only be refused.</summary>
    public static Arbitrary<Script> Any(int longest) => Arb.From(
        from wealth in Gen.Frequency((9, Gen.Choose(20, 80)), (1, Gen.Constant(0)))
        from length in Gen.Choose(longest / 2, longest)
        from commands in Command.Any().ArrayOf(length)
        select new Script([.. Enumerable.Range(0, LedgerCase.Users).Where(_ => wealth > 0)
            .Select(n => new Command.Grant(n, wealth / (n + 1), "purchase", 100, null)), .. commands]),
        Shorter);

    public override string ToString() => $"\n  {string.Join("\n  ", Commands.AsEnumerable())}\n";

    /// <summary>Without a half, without a quarter, …, without one command; then with one order or ending less.</summary>
    private static IEnumerable<Script> Shorter(Script script)
    {
        var all = script.Commands;
        for (var length = all.Length / 2; length >= 1; length /= 2)
        {
            for (var at = 0; at + length <= all.Length; at += length) yield return new Script([.. all[..at], .. all[(at + length)..]]);
        }

        for (var at = 0; at < all.Length; at++)
        {
            IEnumerable<Command> simpler = all[at] switch
            {
                Command.Submit { Orders: { Length: > 1 } orders } =>
                    orders.Select((_, n) => new Command.Submit([.. orders[..n], .. orders[(n + 1)..]])),
                Command.Settle { Endings: { Length: > 1 } endings } settle =>
                    endings.Select((_, n) => settle with { Endings = [.. endings[..n], .. endings[(n + 1)..]] }),
                _ => [],
            };
            foreach (var command in simpler) yield return new Script([.. all[..at], command, .. all[(at + 1)..]]);
        }
    }
}
