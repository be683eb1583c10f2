using Generation.Core.Credits;
using Generation.Core.Sessions;
using Generation.Core.Submit;

namespace Generation.Tests.Credits;

/// <summary>A price as the model needs it: listed, and what a unit of the provider's usage costs where the price goes by usage.</summary>
internal sealed record ModelPrice(string Name, long Listed, decimal? CreditsPerToken);

/// <summary>A row of the ledger. Balances after it are not here: they follow from replaying the rows.</summary>
internal sealed record ModelEntry(string User, string Type, string From, string To, long Amount, string? Session, string? Lot);

/// <summary>
/// What the ledger should do, written from docs/ledger.md and docs/state-machine.md, and knowing nothing of SQL: sums are summed, never stored,
/// so that it cannot make the mistakes it is to find. Its clock counts minutes and stands still unless a jump moves it. Calls answer what Core
/// should.
/// </summary>
internal sealed class LedgerModel
{
    private const int HoldMinutes = 60;
    private const long MostCredits = 1_000_000_000_000; // an output's cost beyond that is a mistake of whoever counted

    private readonly List<ModelEntry> entries = [];
    private readonly Dictionary<string, (string User, string Content)> adminActions = [];

    public int Now { get; private set; }

    public List<ModelUser> Users { get; } = [];

    public List<ModelSession> Sessions { get; } = [];

    /// <summary>What was booked since this was last asked.</summary>
    public List<ModelEntry> TakeEntries()
    {
        var taken = entries.ToList();
        entries.Clear();
        return taken;
    }

    public void Jump(int minutes) => Now += minutes;

    // administrators ---------------------------------------------------------------------------------------------------------

    public AdminActionOutcome Grant(string key, ModelUser user, long amount, string kind, int priority, int? expiresIn)
    {
        if (AdminCommand(key, user, $"grant {amount} {kind} {priority} {expiresIn}") is { } known) return known;
        AddLot(key, user, amount, kind == "purchase" ? "purchase" : "bonus", priority, Now + expiresIn);
        return AdminActionOutcome.Done;
    }

    public AdminActionOutcome Adjust(string key, ModelUser user, long amount)
    {
        if (AdminCommand(key, user, $"adjust {amount}") is { } known) return known;
        if (amount > 0)
        {
            AddLot(key, user, amount, "adjustment", priority: 100, expiresAt: null);
            return AdminActionOutcome.Done;
        }

        if (user.Available < -amount)
        {
            adminActions.Remove(key); // nothing was written, the key is free
            return AdminActionOutcome.NotEnough;
        }

        foreach (var (lot, part) in Draw(user, -amount))
        {
            lot.Available -= part;
            lot.Withdrawn += part;
        }

        Book(user, "adjustment", "available", "external", -amount);
        return AdminActionOutcome.Done;
    }

    public AdminActionOutcome Freeze(string key, ModelUser user, bool frozen)
    {
        if (AdminCommand(key, user, $"freeze {frozen}") is { } known) return known;
        user.Frozen = frozen;
        return AdminActionOutcome.Done;
    }

    private AdminActionOutcome? AdminCommand(string key, ModelUser user, string content)
    {
        user.HasAccount = true;
        Expire(user);
        if (adminActions.TryGetValue(key, out var before)) return before == (user.Name, content) ? AdminActionOutcome.Replayed
            : AdminActionOutcome.KeyReused;
        adminActions[key] = (user.Name, content);
        return null;
    }

    private void AddLot(string key, ModelUser user, long amount, string type, int priority, int? expiresAt)
    {
        user.Lots.Add(new ModelLot { Name = key, Granted = amount, Available = amount, Priority = priority, ExpiresAt = expiresAt });
        Book(user, type, "external", "available", amount, lot: key);
    }

    // work -------------------------------------------------------------------------------------------------------------------

    public SubmitOutcome Submit(ModelUser user, string key, string body, ModelPrice price, int outputs, int lifetimeMinutes)
    {
        Expire(user);
        if (Sessions.Find(s => s.User == user && s.Key == key) is { } known) return known.Body == body ? SubmitOutcome.Replayed
            : SubmitOutcome.Conflict;
        if (!user.HasAccount) return SubmitOutcome.NoAccount;
        if (user.Frozen) return SubmitOutcome.Frozen;
        var amount = price.Listed * outputs;
        if (amount > user.Available) return SubmitOutcome.NotEnoughCredits;

        var session = new ModelSession
        {
            User = user,
            Key = key,
            Body = body,
            Price = price,
            Outputs = outputs,
            Held = amount,
            HoldUntil = Now + HoldMinutes,
            Deadline = Now + lifetimeMinutes,
        };
        foreach (var (lot, part) in Draw(user, amount))
        {
            lot.Available -= part;
            lot.Held += part;
            session.Draws.Add(new ModelDraw { Lot = lot, Amount = part });
        }

        Sessions.Add(session);
        Book(user, "reservation", "available", "reserved", amount, session);
        return SubmitOutcome.Accepted;
    }

    public bool Claim(ModelSession session, int leaseMinutes)
    {
        var ready = session.Phase switch
        {
            ModelPhase.Queued => true,
            ModelPhase.Awaiting => session.WakeAt <= Now || session.CancelRequested,
            ModelPhase.Leased => session.LeaseUntil <= Now,
            _ => false,
        };
        if (!ready || session.Deadline <= Now) return false;
        session.Phase = ModelPhase.Leased;
        session.Token++;
        session.LeaseUntil = Now + leaseMinutes;
        return true;
    }

    public bool Suspend(ModelSession session, long token, int minutes)
    {
        if (!IsHolder(session, token)) return false;
        session.Phase = ModelPhase.Awaiting;
        session.Token++;
        session.WakeAt = session.CancelRequested ? Now : Now + minutes;
        return true;
    }

    /// <summary>Tokens is what the provider counted, null when it said nothing that is a number.</summary>
    public bool Store(ModelSession session, long token, int ordinal, decimal? tokens)
    {
        if (!IsHolder(session, token)) return false;
        session.Stored.TryAdd(ordinal, tokens is { } counted && session.Price.CreditsPerToken is { } rate
            ? (long)Math.Clamp(Math.Ceiling(counted * rate), 1, MostCredits)
            : session.Price.Listed);
        return true;
    }

    private static bool IsHolder(ModelSession session, long token) => session.Phase == ModelPhase.Leased && session.Token == token;

    public CancelOutcome Cancel(ModelSession session, CostPolicy policy)
    {
        if (session.IsOver) return CancelOutcome.AlreadyEnded;
        var isFirst = !session.CancelRequested;
        session.CancelRequested = true;
        if (session.Phase != ModelPhase.Queued) return CancelOutcome.Requested;
        Settle([new(session, SettleGuard.Queued, 0, Canceled: true)], policy);
        return session.Status == "canceled" && isFirst ? CancelOutcome.Canceled : CancelOutcome.AlreadyEnded;
    }

    // the end ----------------------------------------------------------------------------------------------------------------

    /// <summary>
    /// The sessions that ended. What several sessions of one user owe beyond their holds is charged in the order of their ids, and from
    /// what was available before any of them ended: the design leaves both open, and this is what was built.
    /// </summary>
    public List<ModelSession> Settle(IReadOnlyList<ModelSettle> requests, CostPolicy policy)
    {
        var ending = new List<ModelSession>();
        foreach (var request in requests.OrderBy(r => r.Session.Id))
        {
            var session = request.Session;
            var allowed = request.Guard switch
            {
                SettleGuard.Fenced => IsHolder(session, request.Token),
                SettleGuard.Queued => session.Phase == ModelPhase.Queued,
                SettleGuard.Deadline => session.Deadline <= Now,
                _ => session.Phase == ModelPhase.Leased && session.LeaseUntil <= Now && session.CancelRequested,
            };
            if (session.IsOver || !allowed || ending.Contains(session)) continue;
            session.Status = session.Stored.Count == session.Outputs ? "completed"
                : request.Canceled || session.CancelRequested ? "canceled"
                : session.Stored.Count > 0 ? "completed"
                : "failed";
            ending.Add(session);
        }

        foreach (var session in ending)
        {
            var excess = Math.Max(0, session.Stored.Values.Sum() - session.Held);
            var charged = policy == CostPolicy.ChargeAvailable ? Math.Min(excess, Draw(session.User, long.MaxValue).Sum(d => d.Part)) : 0;
            foreach (var (lot, part) in Draw(session.User, charged))
            {
                lot.Available -= part;
                lot.Spent += part;
                session.Draws.Add(new ModelDraw { Lot = lot, Amount = part, Captured = part, IsExtra = true });
            }

            session.Extra = charged;
            session.Shortfall = excess - charged;
            if (charged > 0) Book(session.User, "usage", "available", "spent", charged, session);
        }

        foreach (var session in ending)
        {
            Close(session, Math.Min(session.Stored.Values.Sum(), session.Held), abandoned: false);
            session.Phase = ModelPhase.Over;
            session.Token++;
        }

        return ending;
    }

    private void Close(ModelSession session, long capture, bool abandoned)
    {
        var left = capture;
        var lapsed = 0L;
        foreach (var draw in session.Draws.Where(d => !d.IsExtra))
        {
            draw.Captured = Math.Min(left, draw.Amount);
            draw.Released = draw.Amount - draw.Captured;
            left -= draw.Captured;
            draw.Lot.Held -= draw.Amount;
            draw.Lot.Spent += draw.Captured;
            if (draw.Lot.ExpiresAt <= Now)
            {
                draw.Lot.Expired += draw.Released;
                lapsed += draw.Released;
            }
            else
            {
                draw.Lot.Available += draw.Released;
            }
        }

        session.Captured = capture;
        session.Released = session.Held - capture;
        session.HoldStatus = capture > 0 ? "captured" : abandoned ? "expired" : "released";
        if (capture > 0) Book(session.User, "usage", "reserved", "spent", capture, session);
        if (session.Released > 0) Book(session.User, capture > 0 ? "adjustment" : "refund", "reserved", "available", session.Released, session);
        if (lapsed > 0) Book(session.User, "expiry", "available", "expired", lapsed, session);
    }

    // sweeps -----------------------------------------------------------------------------------------------------------------

    public void ExtendHolds()
    {
        foreach (var session in Sessions.Where(s => s.HoldStatus == "held" && !s.IsOver && s.HoldUntil - Now < HoldMinutes / 2)) session.HoldUntil =
            Now + HoldMinutes;
    }

    public void ReleaseAbandoned()
    {
        foreach (var session in Sessions.Where(s => s.HoldStatus == "held" && s.IsOver && s.HoldUntil <= Now)) Close(session, 0, abandoned: true);
    }

    public void ExpireLots() => Users.ForEach(Expire);

    public void EndOverdue(CostPolicy policy) => Settle(
        [.. Sessions.Where(s => s.Deadline <= Now).Select(s => new ModelSettle(s, SettleGuard.Deadline, 0, false))], policy);

    public void RevokeDeadLeases(CostPolicy policy)
    {
        foreach (var session in Sessions.Where(s => s.Phase == ModelPhase.Leased && s.LeaseUntil <= Now && !s.CancelRequested))
        {
            session.Phase = ModelPhase.Queued;
            session.Token++;
        }

        Settle([.. Sessions.Select(s => new ModelSettle(s, SettleGuard.Dead, 0, Canceled: true))], policy);
    }

    /// <summary>What must never happen and the sweep is there for: a session is over, its hold is not.</summary>
    public static void Abandon(ModelSession session)
    {
        session.Status = "canceled";
        session.Phase = ModelPhase.Over;
        session.Token++;
    }

    // lots -------------------------------------------------------------------------------------------------------------------

    private void Expire(ModelUser user)
    {
        foreach (var lot in user.Lots.Where(l => l.Available > 0 && l.ExpiresAt <= Now))
        {
            Book(user, "expiry", "available", "expired", lot.Available, lot: lot.Name);
            lot.Expired += lot.Available;
            lot.Available = 0;
        }
    }

    /// <summary>By priority, then earliest expiry, then age; never from a lot that has expired.</summary>
    private List<(ModelLot Lot, long Part)> Draw(ModelUser user, long amount)
    {
        var parts = new List<(ModelLot, long)>();
        foreach (var lot in user.Lots.Where(l => l.Available > 0 && !(l.ExpiresAt <= Now)).OrderBy(l => l.Priority)
            .ThenBy(l => l.ExpiresAt ?? int.MaxValue))
        {
            var part = Math.Min(amount, lot.Available);
            if (part > 0) parts.Add((lot, part));
            amount -= part;
        }

        return parts;
    }

    private void Book(ModelUser user, string type, string from, string to, long amount, ModelSession? session = null, string? lot = null) =>
        entries.Add(new ModelEntry(user.Name, type, from, to, amount, session?.Key, lot));
}

internal sealed class ModelUser(string name)
{
    public string Name { get; } = name;

    public bool HasAccount { get; set; }

    public bool Frozen { get; set; }

    /// <summary>Oldest first.</summary>
    public List<ModelLot> Lots { get; } = [];

    public long Available => Lots.Sum(l => l.Available);

    public long Reserved => Lots.Sum(l => l.Held);
}

internal sealed class ModelLot
{
    public required string Name { get; init; }

    public required int Priority { get; init; }

    public required int? ExpiresAt { get; init; }

    public required long Granted { get; init; }

    public required long Available { get; set; }

    public long Held { get; set; }

    public long Spent { get; set; }

    public long Expired { get; set; }

    public long Withdrawn { get; set; }
}

internal sealed class ModelDraw
{
    public required ModelLot Lot { get; init; }

    public required long Amount { get; init; }

    public long Captured { get; set; }

    public long Released { get; set; }

    public bool IsExtra { get; init; }
}

internal enum ModelPhase
{
    Queued,
    Leased,
    Awaiting,
    Over,
}

internal sealed record ModelSettle(ModelSession Session, SettleGuard Guard, long Token, bool Canceled);

/// <summary>A session and its hold.</summary>
internal sealed class ModelSession
{
    /// <summary>Given by the real thing; only its order counts here.</summary>
    public Guid Id { get; set; }

    public required ModelUser User { get; init; }

    public required string Key { get; init; }

    public required string Body { get; init; }

    public required ModelPrice Price { get; init; }

    public required int Outputs { get; init; }

    public required long Held { get; init; }

    public required int HoldUntil { get; set; }

    public required int Deadline { get; init; }

    public List<ModelDraw> Draws { get; } = [];

    /// <summary>Cost by ordinal.</summary>
    public Dictionary<int, long> Stored { get; } = [];

    public ModelPhase Phase { get; set; }

    public string? Status { get; set; }

    public bool IsOver => Phase == ModelPhase.Over;

    public long Token { get; set; }

    public int LeaseUntil { get; set; }

    public int WakeAt { get; set; }

    public bool CancelRequested { get; set; }

    public string HoldStatus { get; set; } = "held";

    public long Captured { get; set; }

    public long Released { get; set; }

    public long Extra { get; set; }

    public long Shortfall { get; set; }
}
