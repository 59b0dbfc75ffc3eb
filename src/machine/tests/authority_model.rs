//! Random grants, rotations, revocations, signatures and jumps in time, with commands that arrive late, out of order and
//! more than once. A naive model reads the whole history again for each command to say who may do what; the machine, and
//! another one that is restored from snapshots on the way, have to agree with it on every verdict.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod stage;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use stage::*;
use synod_machine::{Applied, AuthorityReply, Machine, Role};
use synod_types::limits::{CHANGE_PENDING_MS_MAX, CHANGES_PENDING_BY_ONE_MAX};
use synod_types::{Outcome, Receipt, RefusalCode, SignedCommand, TimeMs};

/// Genesis' administrators are the first of these.
const FOUNDERS: u64 = 3;
/// Everybody who may turn up.
const KEYS: u64 = 10;
const CASES: u32 = 200;
/// All times are multiples of it, so that the last millisecond of something is met, too.
const GRAIN: i64 = 20;

/// What somebody wants done, before it is known in which state.
#[derive(Clone, Debug)]
enum Wish {
    Add(u8),
    Grant {
        key: u64,
        terms: TermsWish,
    },
    Revoke {
        key: u64,
    },
    Rotate {
        key: u64,
    },
    /// Signs one of the changes that are pending, or one that is not; perhaps not what was proposed.
    Approve {
        pick: usize,
        is_forged: bool,
    },
    Withdraw {
        pick: usize,
    },
}

/// Times are relative to when it is signed.
#[derive(Clone, Debug)]
struct TermsWish {
    role: Role,
    scopes: Vec<&'static str>,
    from: Option<i64>,
    to: Option<i64>,
}

/// One arrival of a command.
#[derive(Clone, Debug)]
struct Arrival {
    /// How far behind its turn.
    late: usize,
    /// Whether a decree begins with it, and how much later than the one before.
    begins: Option<i64>,
    /// Whether the other replica is restored from its snapshot before that decree.
    restores: bool,
}

#[derive(Clone, Debug)]
struct Action {
    actor: u64,
    wish: Wish,
    arrivals: Vec<Arrival>,
}

#[derive(Clone, Debug)]
struct Case {
    signatures_needed: u32,
    actions: Vec<Action>,
}

fn terms() -> impl Strategy<Value = TermsWish> {
    let scopes = prop_oneof![
        3 => Just(vec![]), 2 => Just(vec!["low"]), 1 => Just(vec!["high"]), 1 => Just(vec!["high", "low"])
    ];
    let from = prop_oneof![5 => Just(None), 1 => (-3..10i64).prop_map(|n| Some(n * GRAIN))];
    let to = prop_oneof![4 => Just(None), 1 => (10..20i64).prop_map(|n| Some(n * GRAIN))];
    let role = prop_oneof![3 => Just(Role::Writer), 2 => Just(Role::Administrator)];
    (role, scopes, from, to).prop_map(|(role, scopes, from, to)| TermsWish {
        role,
        scopes: if role == Role::Writer { scopes } else { vec![] },
        from,
        to,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        8 => prop_oneof![Just(1), Just(200), Just(255)].prop_map(Wish::Add),
        5 => (0..KEYS, terms()).prop_map(|(key, terms)| Wish::Grant { key, terms }),
        1 => (0..KEYS).prop_map(|key| Wish::Revoke { key }),
        1 => (0..KEYS).prop_map(|key| Wish::Rotate { key }),
        5 => (0..3usize, prop::bool::weighted(0.1)).prop_map(|(pick, is_forged)| Wish::Approve { pick, is_forged }),
        1 => (0..3usize).prop_map(|pick| Wish::Withdraw { pick }),
    ]
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let step = prop_oneof![
        20 => (0..3i64).prop_map(|n| n * GRAIN),
        2 => (-3..0i64).prop_map(|n| n * GRAIN),
        1 => Just(i64::try_from(CHANGE_PENDING_MS_MAX).unwrap()),
    ];
    let late = prop_oneof![2 => Just(0), 1 => 0..90usize];
    (late, prop::option::weighted(0.6, step), prop::bool::weighted(0.1))
        .prop_map(|(late, begins, restores)| Arrival { late, begins, restores })
}

fn case() -> impl Strategy<Value = Case> {
    // The founders act more often: strangers get little done.
    let actor = prop_oneof![5 => 0..FOUNDERS, 2 => 0..KEYS];
    let action = (actor, wish(), prop::collection::vec(arrival(), 1..=3))
        .prop_map(|(actor, wish, arrivals)| Action { actor, wish, arrivals });
    (1..=3u32, prop::collection::vec(action, 1..120))
        .prop_map(|(signatures_needed, actions)| Case { signatures_needed, actions })
}

/// What is known of one command once it was signed.
#[derive(Clone)]
enum Op {
    Add(u8),
    Grant { key: u64, terms: Terms, bytes: Vec<u8> },
    Revoke { key: u64, bytes: Vec<u8> },
    Rotate { key: u64 },
    Approve { change: u64, bytes: Vec<u8> },
    Withdraw { change: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Terms {
    role: Role,
    scopes: Vec<&'static str>,
    from: Option<u64>,
    to: Option<u64>,
}

/// What has happened, in the order of the states that it made.
#[derive(Clone)]
enum Fact {
    Granted { key: u64, terms: Terms },
    Revoked { key: u64 },
    Rotated { from: u64, to: u64 },
    Proposed { change: u64, by: u64, time: u64, op: Op },
    Signed { change: u64, by: u64 },
    Closed { change: u64 },
}

/// What a key may do.
#[derive(Clone)]
struct Rights {
    terms: Terms,
    is_revoked: bool,
}

impl Rights {
    fn is_valid(&self, time: u64) -> bool {
        self.terms.from.is_none_or(|from| from <= time) && self.terms.to.is_none_or(|to| time <= to)
    }

    fn administers(&self, time: u64) -> bool {
        !self.is_revoked && self.terms.role == Role::Administrator && self.is_valid(time)
    }
}

/// The naive model: a history, read from its beginning whenever something is asked.
#[derive(Clone)]
struct Model {
    needed: usize,
    facts: Vec<Fact>,
    time: u64,
    state_ndx: u64,
    sum: u64,
}

/// What an executed command comes to.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Sum(u64),
    Done,
    Pending { change: u64, approvals: usize },
    Refused(RefusalCode),
}

impl Model {
    fn new(needed: u32) -> Model {
        let founder = Terms { role: Role::Administrator, scopes: vec![], from: None, to: None };
        let facts = (0..FOUNDERS).map(|key| Fact::Granted { key, terms: founder.clone() }).collect();
        Model { needed: usize::try_from(needed).unwrap(), facts, time: 0, state_ndx: 0, sum: 0 }
    }

    fn rights(&self) -> BTreeMap<u64, Rights> {
        let mut rights: BTreeMap<u64, Rights> = BTreeMap::new();
        for fact in &self.facts {
            match fact {
                Fact::Granted { key, terms } => {
                    rights.insert(*key, Rights { terms: terms.clone(), is_revoked: false });
                }
                Fact::Revoked { key } => rights.get_mut(key).unwrap().is_revoked = true,
                Fact::Rotated { from, to } => {
                    let old = rights.get_mut(from).unwrap();
                    let new = old.clone();
                    old.is_revoked = true;
                    rights.insert(*to, new);
                }
                Fact::Proposed { .. } | Fact::Signed { .. } | Fact::Closed { .. } => {}
            }
        }
        rights
    }

    /// Who has the place of `key` now, if it was an administrator's all the time since a fact.
    fn holder(&self, fact: usize, mut key: u64) -> Option<u64> {
        for fact in &self.facts[fact..] {
            match fact {
                Fact::Rotated { from, to } if *from == key => key = *to,
                Fact::Revoked { key: revoked } if *revoked == key => return None,
                Fact::Granted { key: granted, terms }
                    if *granted == key && terms.role != Role::Administrator =>
                {
                    return None;
                }
                _ => {}
            }
        }
        Some(key)
    }

    /// The changes that wait: number, author and signers of today, and what was proposed.
    fn pending(&self) -> Vec<(u64, u64, Vec<u64>, Op)> {
        let mut pending = Vec::new();
        for (n, fact) in self.facts.iter().enumerate() {
            let Fact::Proposed { change, by, time, op } = fact else { continue };
            let is_closed = |fact: &Fact| matches!(fact, Fact::Closed { change: closed } if closed == change);
            let Some(author) = self.holder(n, *by) else { continue };
            if self.time > time + CHANGE_PENDING_MS_MAX || self.facts.iter().any(is_closed) {
                continue;
            }
            let mut signers = vec![author];
            for (n, fact) in self.facts.iter().enumerate() {
                if let Fact::Signed { change: signed, by } = fact
                    && signed == change
                {
                    signers.extend(self.holder(n, *by));
                }
            }
            pending.push((*change, author, signers, op.clone()));
        }
        pending
    }

    fn permits(&self, actor: u64, op: &Op) -> Result<(), RefusalCode> {
        let rights = self.rights();
        let Some(rights) = rights.get(&actor) else { return Err(RefusalCode::UnknownCommander) };
        if rights.is_revoked {
            return Err(RefusalCode::Revoked);
        }
        if !rights.is_valid(self.time) {
            return Err(RefusalCode::NotValidNow);
        }
        let scopes = &rights.terms.scopes;
        let may = match (rights.terms.role, op) {
            (Role::Administrator, _) | (Role::Writer, Op::Rotate { .. }) => true,
            (Role::Writer, Op::Add(255)) => false,
            (Role::Writer, Op::Add(n)) => {
                scopes.is_empty() || scopes.contains(&if *n < 100 { "low" } else { "high" })
            }
            (Role::Writer, _) => false,
        };
        if may { Ok(()) } else { Err(RefusalCode::NotPermitted) }
    }

    /// The fact that a change is, where it can be made.
    fn makes(&self, op: &Op) -> Option<Fact> {
        let fact = match op {
            Op::Grant { key, terms, .. } => Fact::Granted { key: *key, terms: terms.clone() },
            Op::Revoke { key, .. } => {
                self.rights().get(key).filter(|rights| !rights.is_revoked)?;
                Fact::Revoked { key: *key }
            }
            _ => unreachable!("no change"),
        };
        let mut after = self.clone();
        after.facts.push(fact.clone());
        let lasting = |rights: &&Rights| rights.administers(self.time) && rights.terms.to.is_none();
        (after.rights().values().filter(lasting).count() >= self.needed).then_some(fact)
    }

    fn execute(&mut self, actor: u64, op: &Op) -> Verdict {
        self.state_ndx += 1;
        let conflict = Verdict::Refused(RefusalCode::Conflict);
        match op {
            Op::Add(n) => {
                self.sum += u64::from(*n);
                Verdict::Sum(self.sum)
            }
            Op::Grant { .. } | Op::Revoke { .. } => {
                let Some(fact) = self.makes(op) else { return conflict };
                if self.needed == 1 {
                    self.facts.push(fact);
                    return Verdict::Done;
                }
                let own = self.pending().iter().filter(|(_, author, ..)| *author == actor).count();
                if own >= CHANGES_PENDING_BY_ONE_MAX {
                    return Verdict::Refused(RefusalCode::QuotaExceeded);
                }
                let (change, time, op) = (self.state_ndx, self.time, op.clone());
                self.facts.push(Fact::Proposed { change, by: actor, time, op });
                Verdict::Pending { change, approvals: 1 }
            }
            Op::Rotate { key } => {
                if self.rights().contains_key(key) {
                    return conflict;
                }
                self.facts.push(Fact::Rotated { from: actor, to: *key });
                Verdict::Done
            }
            Op::Approve { change, bytes } => {
                let pending = self.pending();
                let found = pending.iter().find(|(number, ..)| number == change);
                let Some((_, _, signers, proposed)) = found else { return conflict };
                let proposed_bytes = match proposed {
                    Op::Grant { bytes, .. } | Op::Revoke { bytes, .. } => bytes,
                    _ => unreachable!("no change"),
                };
                if bytes != proposed_bytes || signers.contains(&actor) {
                    return conflict;
                }
                let rights = self.rights();
                let count = signers.iter().filter(|signer| rights[signer].administers(self.time)).count() + 1;
                if count < self.needed {
                    self.facts.push(Fact::Signed { change: *change, by: actor });
                    return Verdict::Pending { change: *change, approvals: count };
                }
                let Some(fact) = self.makes(proposed) else { return conflict };
                self.facts.extend([Fact::Closed { change: *change }, fact]);
                Verdict::Done
            }
            Op::Withdraw { change } => {
                let author = self.pending().iter().find(|(number, ..)| number == change).map(|found| found.1);
                if author != Some(actor) {
                    return conflict;
                }
                self.facts.push(Fact::Closed { change: *change });
                Verdict::Done
            }
        }
    }

    /// What a wish comes to as things stand.
    fn sign(&self, wish: &Wish) -> (Op, Vec<u8>) {
        let at = |offset: i64| self.time.saturating_add_signed(offset);
        // Of the pending ones the latest, the one before, or one that is not.
        let picked = |pick: usize| self.pending().into_iter().rev().nth(pick);
        match wish {
            Wish::Add(n) => (Op::Add(*n), add(*n)),
            Wish::Grant { key, terms: TermsWish { role, scopes, from, to } } => {
                let (from, to) = (from.map(at), to.map(at));
                let bytes = grant_terms(*key, *role, scopes, from, to);
                let terms = Terms { role: *role, scopes: scopes.clone(), from, to };
                (Op::Grant { key: *key, terms, bytes: bytes.clone() }, bytes)
            }
            Wish::Revoke { key } => (Op::Revoke { key: *key, bytes: revoke(*key) }, revoke(*key)),
            Wish::Rotate { key } => (Op::Rotate { key: *key }, rotate(*key)),
            Wish::Approve { pick, is_forged } => {
                let (change, proposed) = match picked(*pick) {
                    Some((change, _, _, Op::Grant { bytes, .. } | Op::Revoke { bytes, .. })) => {
                        (change, bytes)
                    }
                    _ => (self.state_ndx, revoke(0)),
                };
                let bytes = if *is_forged { grant(KEYS, Role::Administrator) } else { proposed };
                let signed = approve(change, &bytes);
                (Op::Approve { change, bytes }, signed)
            }
            Wish::Withdraw { pick } => {
                let change = picked(*pick).map_or(self.state_ndx, |(change, ..)| change);
                (Op::Withdraw { change }, withdraw(change))
            }
        }
    }
}

/// A command that was signed, and what it came to once it was executed.
#[derive(Clone)]
struct Signed {
    actor: u64,
    op: Op,
    command: SignedCommand,
    receipt: Option<Receipt>,
}

fn key_of(receipt: &Receipt) -> Verdict {
    match &receipt.outcome {
        Outcome::Refused(refusal) => Verdict::Refused(refusal.code),
        Outcome::Done(answer) => match (answer.len(), AuthorityReply::decode(answer)) {
            (8, _) => Verdict::Sum(u64::from_be_bytes(answer[..].try_into().unwrap())),
            (_, Ok(AuthorityReply::Done)) => Verdict::Done,
            (_, Ok(AuthorityReply::Pending { change, approvals, .. })) => {
                Verdict::Pending { change: change.0, approvals: usize::try_from(approvals).unwrap() }
            }
            (_, Err(why)) => panic!("{why}"),
        },
    }
}

/// How often each kind of verdict was given.
type Seen = BTreeMap<String, u64>;

fn check_batch(
    machine: &mut Machine,
    other: &mut Machine,
    model: &mut Model,
    time: u64,
    batch: &mut [&mut Signed],
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    let before = model.time;
    model.time = model.time.max(time);
    if let [signed] = batch
        && signed.receipt.is_none()
    {
        let body = synod_types::CommandBody::decode(&signed.command.body).unwrap();
        let admitted = machine.view().admit(&body, TimeMs(time)).map_err(|refusal| refusal.code);
        prop_assert_eq!(
            admitted,
            model.permits(signed.actor, &signed.op),
            "the leader judges as execution does"
        );
    }
    let commands: Vec<SignedCommand> = batch.iter().map(|signed| signed.command.clone()).collect();
    let applied = apply_at(machine, time, commands.clone());
    prop_assert_eq!(&apply_at(other, time, commands), &applied, "replicas agree");
    for (signed, Applied { result, repeated, .. }) in batch.iter_mut().zip(applied) {
        if let Some(receipt) = &signed.receipt {
            prop_assert!(repeated);
            prop_assert_eq!(result.as_ref(), Ok(receipt), "a repeat gets the receipt of the first time");
            *seen.entry("repeated".to_owned()).or_default() += 1;
            continue;
        }
        let expected = model.permits(signed.actor, &signed.op);
        match (expected, result) {
            (Err(code), Err(refusal)) => {
                prop_assert_eq!(refusal.code, code, "{}", refusal);
                *seen.entry(format!("without a trace: {}", code.name())).or_default() += 1;
            }
            (Ok(()), Ok(receipt)) => {
                let verdict = model.execute(signed.actor, &signed.op);
                prop_assert_eq!(receipt.state_ndx, ndx(model.state_ndx));
                prop_assert_eq!(&key_of(&receipt), &verdict);
                let kind = match (&verdict, &signed.op) {
                    (Verdict::Sum(_), _) => "added".to_owned(),
                    (Verdict::Done, Op::Approve { .. }) => "completed".to_owned(),
                    (Verdict::Done, Op::Rotate { .. }) => "rotated".to_owned(),
                    (Verdict::Done, Op::Withdraw { .. }) => "withdrawn".to_owned(),
                    (Verdict::Done, _) => "made".to_owned(),
                    (Verdict::Pending { .. }, Op::Approve { .. }) => "approved".to_owned(),
                    (Verdict::Pending { .. }, _) => "proposed".to_owned(),
                    (Verdict::Refused(code), _) => format!("executed: {}", code.name()),
                };
                *seen.entry(kind).or_default() += 1;
                signed.receipt = Some(receipt);
            }
            (expected, result) => {
                prop_assert!(
                    false,
                    "{:?} where {:?} was to be expected at {} after {}",
                    result,
                    expected,
                    time,
                    before
                );
            }
        }
    }
    check_state(machine, model)?;
    prop_assert_eq!(machine.state().chain, other.state().chain);
    prop_assert_eq!(machine.digest(), other.digest());
    Ok(())
}

/// What readers are told is what the model says.
fn check_state(machine: &Machine, model: &Model) -> Result<(), TestCaseError> {
    let authority = machine.state().authority();
    let rights = model.rights();
    prop_assert_eq!(authority.iter().count(), rights.len());
    for (key, rights) in &rights {
        let known = authority.commander(commander(*key)).unwrap();
        let grant = &known.grant;
        let (from, to) = (grant.valid_from.map(|time| time.0), grant.valid_to.map(|time| time.0));
        let scopes = rights.terms.scopes.clone();
        prop_assert_eq!(&Terms { role: grant.role, scopes, from, to }, &rights.terms);
        prop_assert_eq!(&grant.scopes, &rights.terms.scopes);
        prop_assert_eq!(known.revoked.is_some(), rights.is_revoked);
    }
    let pending = authority.pending(machine.state().time);
    let pending: Vec<_> = pending.map(|(one, signatures)| (one.change.0, one.by, signatures)).collect();
    let signatures = |signers: &[u64]| {
        let count = signers.iter().filter(|signer| rights[signer].administers(model.time)).count();
        u32::try_from(count).unwrap()
    };
    let expected: Vec<_> = model
        .pending()
        .iter()
        .map(|(change, author, signers, _)| (*change, commander(*author), signatures(signers)))
        .collect();
    prop_assert_eq!(pending, expected);
    Ok(())
}

fn run(case: &Case, seen: &mut Seen) -> Result<(), TestCaseError> {
    let mut machine = founded_by(FOUNDERS, case.signatures_needed);
    let mut other = founded_by(FOUNDERS, case.signatures_needed);
    let mut model = Model::new(case.signatures_needed);
    let mut arrivals: Vec<(usize, usize, &Arrival)> = Vec::new();
    for (n, action) in case.actions.iter().enumerate() {
        arrivals.extend(action.arrivals.iter().map(|arrival| (n * 10 + arrival.late, n, arrival)));
    }
    arrivals.sort_by_key(|(turn, n, _)| (*turn, *n));

    let mut signed: BTreeMap<usize, Signed> = BTreeMap::new();
    let mut time = 1_000_000_u64;
    let mut left = &arrivals[..];
    while let [(_, _, first), rest @ ..] = left {
        let more = rest.iter().take_while(|(_, _, arrival)| arrival.begins.is_none()).count();
        let (decree, behind) = left.split_at(1 + more);
        left = behind;
        time = time.saturating_add_signed(first.begins.unwrap_or_default());
        if first.restores {
            let snapshot = other.snapshot();
            other = Machine::restore(CLUSTER, APP, &snapshot, Box::new(Tally::default())).unwrap();
            prop_assert_eq!(other.snapshot(), snapshot);
        }
        for (_, n, _) in decree {
            signed.entry(*n).or_insert_with(|| {
                let Action { actor, wish, .. } = &case.actions[*n];
                let (op, bytes) = model.sign(wish);
                let seq = u64::try_from(*n).unwrap() + 1;
                Signed { actor: *actor, op, command: command(*actor, seq, bytes), receipt: None }
            });
        }
        // One command may be twice in a decree: then it is one after the other.
        let mut places: Vec<usize> = decree.iter().map(|(_, n, _)| *n).collect();
        while !places.is_empty() {
            let mut distinct: Vec<usize> = Vec::new();
            while let Some(n) = places.first().filter(|n| !distinct.contains(n)) {
                distinct.push(*n);
                places.remove(0);
            }
            let mut batch: Vec<Signed> = distinct.iter().map(|n| signed[n].clone()).collect();
            let mut places: Vec<&mut Signed> = batch.iter_mut().collect();
            check_batch(&mut machine, &mut other, &mut model, time, &mut places, seen)?;
            signed.extend(distinct.into_iter().zip(batch));
        }
    }
    Ok(())
}

#[test]
fn who_may_do_what_is_as_the_whole_history_says() {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let seen = RefCell::new(Seen::new());
    let result = TestRunner::new(config).run(&case(), |case| run(&case, &mut seen.borrow_mut()));
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    eprintln!("{seen:#?}");
    for kind in [
        "added",
        "made",
        "proposed",
        "approved",
        "completed",
        "withdrawn",
        "rotated",
        "repeated",
        "executed: conflict",
        "without a trace: unknown-commander",
        "without a trace: revoked",
        "without a trace: not-valid-now",
        "without a trace: not-permitted",
    ] {
        assert!(seen.contains_key(kind), "the test has never seen {kind:?}");
    }
}
