//! The application against a model that is too simple to be wrong: every state is a whole map, every answer is looked up in
//! one of them, and all that is counted is counted anew.

mod stage;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use stage::{apply_in, ask_in};
use synod_app_kv::{
    Kv, KvAnswer, KvChange, KvCompare, KvCondition, KvEntry, KvHistoryMax, KvKeyChange, KvLease, KvOp,
    KvQuery, KvRelation, KvReply, KvResult, KvSelection, KvSettings, KvStateChanges, KvTxn, KvUsage,
    KvVersion,
};
use synod_machine::{Application as _, Context, Moment};
use synod_types::limits::{
    KV_ENTRY_BYTES, KV_HISTORY_AGE_MS, KV_HISTORY_BYTES_MAX, KV_HISTORY_DROPPED_MAX, KV_HISTORY_STATES_MAX,
    KV_STATE_BYTES_MAX,
};
use synod_types::{CommanderId, LeaseMs, RefusalCode, StateNdx, TimeMs};

type Keys = BTreeMap<Bytes, KvEntry>;

#[derive(Clone, Debug)]
struct Granted {
    ttl_ms: u64,
    deadline: u64,
    commander: CommanderId,
}

/// What a command can change.
#[derive(Clone, Debug)]
struct Now {
    keys: Keys,
    leases: BTreeMap<u64, Granted>,
    quota: u64,
    history: KvHistoryMax,
    compacted: u64,
}

#[derive(Debug)]
struct Model {
    /// The keys of each state from 0 on.
    states: Vec<Keys>,
    times: Vec<u64>,
    expired: BTreeSet<u64>,
    now: Now,
    /// The states whose changes are held, and the oldest that can be read.
    held: Vec<u64>,
    oldest: u64,
    clock: u64,
}

fn number(count: usize) -> u64 {
    u64::try_from(count).expect("a small number")
}

fn place(ndx: u64) -> usize {
    usize::try_from(ndx).expect("a small number")
}

fn bytes_held(entry: &KvEntry) -> u64 {
    number(entry.key.len() + entry.value.len()) + KV_ENTRY_BYTES
}

impl Model {
    fn new() -> Model {
        let history = KvHistoryMax {
            states: KV_HISTORY_STATES_MAX,
            bytes: KV_HISTORY_BYTES_MAX,
            age_ms: KV_HISTORY_AGE_MS,
        };
        let now = Now {
            keys: Keys::new(),
            leases: BTreeMap::new(),
            quota: KV_STATE_BYTES_MAX,
            history,
            compacted: 0,
        };
        Model {
            states: vec![Keys::new()],
            times: vec![0],
            expired: BTreeSet::new(),
            now,
            held: vec![],
            oldest: 0,
            clock: 0,
        }
    }

    fn state_ndx(&self) -> u64 {
        number(self.states.len()) - 1
    }

    /// Each key that is another one than in the state before: from what, to what.
    fn diff(&self, ndx: u64) -> BTreeMap<Bytes, (Option<&KvEntry>, Option<&KvEntry>)> {
        let ndx = place(ndx);
        let (before, after) = (&self.states[ndx - 1], &self.states[ndx]);
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let pairs = keys.into_iter().map(|key| (key.clone(), (before.get(key), after.get(key))));
        pairs.filter(|(_, (before, after))| before != after).collect()
    }

    fn history_bytes(&self) -> u64 {
        let change = |(key, (before, _)): (Bytes, (Option<&KvEntry>, Option<&KvEntry>))| {
            number(key.len()) + KV_ENTRY_BYTES + before.map_or(0, bytes_held)
        };
        self.held.iter().flat_map(|&ndx| self.diff(ndx)).map(change).sum()
    }

    fn execute(&mut self, context: &Context, op: &KvOp) -> Result<KvReply, RefusalCode> {
        let mut next = self.now.clone();
        let ndx = context.state_ndx.0;
        let mut changes = 0;
        let done = next.make(context, op, &mut changes);
        if done.is_ok() {
            self.now = next;
            self.clock = context.clock.0;
        }
        self.states.push(self.now.keys.clone());
        self.times.push(context.time.0);
        if done.is_ok() {
            self.remember(ndx, context.time.0, changes);
        }
        // Only now is known what could be forgotten.
        done.map(|reply| match reply {
            KvReply::Compacted { .. } => KvReply::Compacted { oldest: StateNdx(self.oldest) },
            other => other,
        })
    }

    fn remember(&mut self, ndx: u64, time: u64, changes: usize) {
        self.oldest = self.oldest.max(self.now.compacted);
        let oldest = self.oldest;
        // Few enough here for one compaction to drop them all.
        self.held.retain(|&held| held > oldest);
        if !self.diff(ndx).is_empty() {
            self.held.push(ndx);
        }
        let mut dropped = 0;
        while dropped < 2 * changes + KV_HISTORY_DROPPED_MAX {
            let Some(&first) = self.held.first() else { return };
            let max = self.now.history;
            let is_over = first <= self.oldest
                || number(self.held.len()) > max.states
                || self.history_bytes() > max.bytes
                || self.times[place(first)].saturating_add(max.age_ms) < time;
            if !is_over {
                return;
            }
            dropped += self.diff(first).len();
            self.held.remove(0);
            self.oldest = self.oldest.max(first);
        }
    }

    fn due(&self) -> Option<u64> {
        self.now.leases.values().map(|lease| lease.deadline).min()
    }

    fn expire(&mut self, time: u64, clock: u64) -> u64 {
        self.clock = clock;
        let over: Vec<_> = self.now.leases.iter().filter(|(_, lease)| lease.deadline <= clock).collect();
        let over: BTreeSet<u64> = over.into_iter().map(|(&ndx, _)| ndx).collect();
        let before = self.now.keys.len();
        self.now.leases.retain(|ndx, _| !over.contains(ndx));
        self.now.keys.retain(|_, entry| entry.lease.is_none_or(|lease| !over.contains(&lease.0)));
        let count = before - self.now.keys.len();
        self.states.push(self.now.keys.clone());
        self.times.push(time);
        self.expired.insert(self.state_ndx());
        self.remember(self.state_ndx(), time, count);
        number(count)
    }

    fn at(&self, ndx: u64) -> &Keys {
        &self.states[place(ndx)]
    }
}

impl Now {
    fn make(&mut self, context: &Context, op: &KvOp, changes: &mut usize) -> Result<KvReply, RefusalCode> {
        let ndx = context.state_ndx.0;
        let put = |key: &Bytes, value: &Bytes, lease: Option<StateNdx>| KvChange::Put {
            key: key.clone(),
            value: value.clone(),
            lease,
        };
        let change = match op {
            KvOp::Put { key, value } => put(key, value, None),
            KvOp::PutBound { key, value, lease } => put(key, value, Some(*lease)),
            KvOp::CompareAndSet { key, expected, value } => {
                if self.keys.get(key).map(|entry| entry.changed) != *expected {
                    return Err(RefusalCode::Conflict);
                }
                put(key, value, None)
            }
            KvOp::Delete { key } => KvChange::Delete { key: key.clone() },
            KvOp::DeletePrefix { prefix } => KvChange::DeletePrefix { prefix: prefix.clone() },
            KvOp::Add { key, delta } => KvChange::Add { key: key.clone(), delta: *delta },
            KvOp::Txn(txn) => {
                let failed = txn.compare.iter().position(|compare| !self.holds(compare));
                let list = if failed.is_none() { &txn.then } else { &txn.otherwise };
                let made = list.iter().map(|change| self.change(context, change, changes));
                let results = made.collect::<Result<Vec<_>, _>>()?;
                let failed = failed.map(|index| u32::try_from(index).expect("a small number"));
                return Ok(KvReply::Txn { failed, results });
            }
            KvOp::GrantLease { ttl_ms } => {
                let deadline = context.clock.0 + ttl_ms;
                let granted = Granted { ttl_ms: *ttl_ms, deadline, commander: context.commander };
                self.leases.insert(ndx, granted);
                return Ok(KvReply::Leased);
            }
            KvOp::KeepAlive { leases } => {
                let mut gone = Vec::new();
                for lease in leases {
                    match self.leases.get_mut(&lease.0) {
                        Some(granted) if granted.commander != context.commander => {
                            return Err(RefusalCode::Conflict);
                        }
                        Some(granted) => granted.deadline = context.clock.0 + granted.ttl_ms,
                        None => gone.push(*lease),
                    }
                }
                return Ok(KvReply::KeptAlive { gone });
            }
            KvOp::RevokeLease { lease } => {
                self.check_lease(context, *lease)?;
                self.leases.remove(&lease.0);
                let before = self.keys.len();
                self.keys.retain(|_, entry| entry.lease != Some(*lease));
                *changes += before - self.keys.len();
                return Ok(KvReply::DeletedMany { count: number(before - self.keys.len()) });
            }
            KvOp::Compact { through } => {
                if through.0 > ndx {
                    return Err(RefusalCode::Conflict);
                }
                self.compacted = self.compacted.max(through.0);
                return Ok(KvReply::Compacted { oldest: *through });
            }
            KvOp::Configure(settings) => {
                self.quota = settings.quota_bytes.unwrap_or(self.quota);
                self.history.states = settings.history_states.unwrap_or(self.history.states);
                self.history.bytes = settings.history_bytes.unwrap_or(self.history.bytes);
                self.history.age_ms = settings.history_age_ms.unwrap_or(self.history.age_ms);
                return Ok(KvReply::Configured);
            }
        };
        let before = self.keys.get(match &change {
            KvChange::Put { key, .. } | KvChange::Delete { key } | KvChange::Add { key, .. } => key,
            KvChange::DeletePrefix { prefix } => prefix,
        });
        let previous = before.map(|entry| entry.changed);
        Ok(match (self.change(context, &change, changes)?, op) {
            (KvResult::Put { .. }, _) => KvReply::Written { previous },
            (KvResult::Counted { value }, _) => KvReply::Counted { value },
            (KvResult::Deleted { count }, KvOp::Delete { .. }) => KvReply::Deleted { existed: count == 1 },
            (KvResult::Deleted { count }, _) => KvReply::DeletedMany { count },
        })
    }

    fn check_lease(&self, context: &Context, lease: StateNdx) -> Result<(), RefusalCode> {
        match self.leases.get(&lease.0) {
            None => Err(RefusalCode::Conflict),
            Some(granted) if granted.commander != context.commander => Err(RefusalCode::Conflict),
            Some(_) => Ok(()),
        }
    }

    fn change(
        &mut self,
        context: &Context,
        change: &KvChange,
        changes: &mut usize,
    ) -> Result<KvResult, RefusalCode> {
        match change {
            KvChange::Put { key, value, lease } => {
                if let Some(lease) = lease {
                    self.check_lease(context, *lease)?;
                }
                let existed = self.write(context, key, value.clone(), *lease)?;
                *changes += 1;
                Ok(KvResult::Put { existed })
            }
            KvChange::Delete { key } => {
                let count = usize::from(self.keys.remove(key).is_some());
                *changes += count;
                Ok(KvResult::Deleted { count: number(count) })
            }
            KvChange::DeletePrefix { prefix } => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !key.starts_with(prefix));
                *changes += before - self.keys.len();
                Ok(KvResult::Deleted { count: number(before - self.keys.len()) })
            }
            KvChange::Add { key, delta } => {
                let entry = self.keys.get(key);
                let text = entry.map_or("0", |entry| std::str::from_utf8(&entry.value).expect("text"));
                let value: i64 = text.parse().map_err(|_| RefusalCode::Conflict)?;
                let value = value.checked_add(*delta).ok_or(RefusalCode::Conflict)?;
                let lease = entry.and_then(|entry| entry.lease);
                self.write(context, key, value.to_string().into(), lease)?;
                *changes += 1;
                Ok(KvResult::Counted { value })
            }
        }
    }

    fn write(
        &mut self,
        context: &Context,
        key: &Bytes,
        value: Bytes,
        lease: Option<StateNdx>,
    ) -> Result<bool, RefusalCode> {
        let changed = context.state_ndx;
        let before = self.keys.get(key).cloned();
        let created = before.as_ref().map_or(changed, |before| before.created);
        let entry = KvEntry { key: key.clone(), value, created, changed, lease };
        let grows = bytes_held(&entry) > before.as_ref().map_or(0, bytes_held);
        self.keys.insert(key.clone(), entry);
        if grows && self.keys.values().map(bytes_held).sum::<u64>() > self.quota {
            return Err(RefusalCode::QuotaExceeded);
        }
        Ok(before.is_some())
    }

    fn holds(&self, compare: &KvCompare) -> bool {
        let Some(entry) = self.keys.get(&compare.key) else {
            return compare.condition == KvCondition::Absent;
        };
        let stands = |relation: &KvRelation, less: bool, equal: bool| match relation {
            KvRelation::Equal => equal,
            KvRelation::NotEqual => !equal,
            KvRelation::Less => less,
            KvRelation::Greater => !less && !equal,
        };
        match &compare.condition {
            KvCondition::Exists => true,
            KvCondition::Absent => false,
            KvCondition::Value(how, value) => stands(how, entry.value < *value, entry.value == *value),
            KvCondition::Created(how, ndx) => stands(how, entry.created < *ndx, entry.created == *ndx),
            KvCondition::Changed(how, ndx) => stands(how, entry.changed < *ndx, entry.changed == *ndx),
        }
    }
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// One of two commanders commands, so much later by the decree's time and the lease clock.
    Command(bool, Draw, u64, u64),
    /// Time passes; what has run out ends.
    Tick(u64),
    /// A new leader.
    Term,
}

/// A command, whose lease is one of those that were ever granted.
#[derive(Clone, Debug)]
enum Draw {
    Op(KvOp),
    Bound(Bytes, Bytes, Index),
    BoundTxn(Bytes, Index, Vec<KvChange>),
    KeepAlive(Vec<Index>),
    Revoke(Index),
    Compact(Index),
}

impl Draw {
    fn op(&self, granted: &[u64], state_ndx: u64) -> KvOp {
        let lease = |index: &Index| match granted {
            [] => StateNdx(1_000),
            granted => StateNdx(*index.get(granted)),
        };
        match self {
            Draw::Op(op) => op.clone(),
            Draw::Bound(key, value, index) => {
                KvOp::PutBound { key: key.clone(), value: value.clone(), lease: lease(index) }
            }
            Draw::BoundTxn(key, index, changes) => {
                let lease = Some(lease(index));
                let put = KvChange::Put { key: key.clone(), value: Bytes::new(), lease };
                let then = [&[put][..], changes].concat();
                KvOp::Txn(KvTxn { compare: vec![], then, otherwise: vec![] })
            }
            Draw::KeepAlive(leases) => KvOp::KeepAlive { leases: leases.iter().map(lease).collect() },
            Draw::Revoke(index) => KvOp::RevokeLease { lease: lease(index) },
            Draw::Compact(index) => {
                let states = place(state_ndx) + 2;
                KvOp::Compact { through: StateNdx(number(index.index(states))) }
            }
        }
    }
}

const KEYS: [&str; 7] = ["a", "aa", "ab", "ab/1", "ab/2", "b", "c"];

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just(Bytes::from_static(b"1")),
        Just(Bytes::from_static(b"no number")),
        (0..60_usize).prop_map(|len| vec![b'7'; len].into()),
    ]
}

fn relation() -> impl Strategy<Value = KvRelation> {
    use KvRelation::{Equal, Greater, Less, NotEqual};
    prop::sample::select(vec![Equal, NotEqual, Less, Greater])
}

fn compare() -> impl Strategy<Value = KvCompare> {
    let ndx = || (0..40_u64).prop_map(StateNdx);
    let condition = prop_oneof![
        3 => Just(KvCondition::Exists),
        1 => Just(KvCondition::Absent),
        2 => (relation(), value()).prop_map(|(how, value)| KvCondition::Value(how, value)),
        1 => (relation(), ndx()).prop_map(|(how, ndx)| KvCondition::Created(how, ndx)),
        1 => (relation(), ndx()).prop_map(|(how, ndx)| KvCondition::Changed(how, ndx)),
    ];
    (key(), condition).prop_map(|(key, condition)| KvCompare { key, condition })
}

fn change() -> impl Strategy<Value = KvChange> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| KvChange::Put { key, value, lease: None }),
        2 => key().prop_map(|key| KvChange::Delete { key }),
        1 => key().prop_map(|prefix| KvChange::DeletePrefix { prefix }),
        1 => (key(), -3..9_i64).prop_map(|(key, delta)| KvChange::Add { key, delta }),
    ]
}

fn changes() -> impl Strategy<Value = Vec<KvChange>> {
    prop::collection::vec(change(), 0..5)
}

fn txn() -> impl Strategy<Value = KvTxn> {
    (prop::collection::vec(compare(), 0..3), changes(), changes())
        .prop_map(|(compare, then, otherwise)| KvTxn { compare, then, otherwise })
}

fn settings() -> impl Strategy<Value = KvSettings> {
    let maybe = |range: std::ops::Range<u64>| prop::option::of(range);
    (maybe(200..2_000), maybe(0..12), maybe(0..4_000), maybe(0..300)).prop_map(
        |(quota_bytes, history_states, history_bytes, history_age_ms)| KvSettings {
            quota_bytes,
            history_states,
            history_bytes,
            history_age_ms,
        },
    )
}

fn draw() -> impl Strategy<Value = Draw> {
    let op = prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| KvOp::Put { key, value }),
        3 => key().prop_map(|key| KvOp::Delete { key }),
        2 => (key(), prop::option::of(0..40_u64), value()).prop_map(|(key, expected, value)| {
            KvOp::CompareAndSet { key, expected: expected.map(StateNdx), value }
        }),
        6 => txn().prop_map(KvOp::Txn),
        1 => key().prop_map(|prefix| KvOp::DeletePrefix { prefix }),
        2 => (key(), -3..9_i64).prop_map(|(key, delta)| KvOp::Add { key, delta }),
        3 => (1_000..1_500_u64).prop_map(|ttl_ms| KvOp::GrantLease { ttl_ms }),
        1 => settings().prop_map(KvOp::Configure),
    ];
    let index = any::<Index>;
    prop_oneof![
        12 => op.prop_map(Draw::Op),
        4 => (key(), value(), index()).prop_map(|(key, value, index)| Draw::Bound(key, value, index)),
        2 => (key(), index(), changes()).prop_map(|(key, index, changes)| Draw::BoundTxn(key, index, changes)),
        1 => prop::collection::vec(index(), 1..4).prop_map(Draw::KeepAlive),
        1 => index().prop_map(Draw::Revoke),
        1 => index().prop_map(Draw::Compact),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop::bool::weighted(0.2), draw(), 0..30_u64, 0..80_u64)
            .prop_map(|(other, draw, time, clock)| Step::Command(other, draw, time, clock)),
        2 => (0..700_u64).prop_map(Step::Tick),
        1 => Just(Step::Term),
    ]
}

/// Everything that can be asked, in every state that can be asked about.
fn check(kv: &Kv, model: &Model) {
    let now = model.state_ndx();
    let ask = |query: KvQuery| ask_in(kv, now, &query);
    let oldest = StateNdx(model.oldest);
    let keys = || KEYS.iter().map(|key| Bytes::from_static(key.as_bytes()));
    for ndx in 0..=now + 1 {
        let at = Some(StateNdx(ndx));
        let unknown = match ndx {
            _ if ndx > now => Some(KvAnswer::NotYet),
            _ if ndx < model.oldest => Some(KvAnswer::Compacted { oldest }),
            _ => None,
        };
        let prefix = Bytes::from_static(b"a");
        if let Some(unknown) = unknown {
            assert_eq!(ask(KvQuery::Get { key: prefix.clone(), at }), unknown);
            assert_eq!(ask(KvQuery::Range { prefix, after: None, limit: 0, at }), unknown);
            assert_eq!(ask(KvQuery::Changes { after: StateNdx(ndx), of: stage::all(), limit: 0 }), unknown);
            continue;
        }
        for key in keys() {
            let found = model.at(ndx).get(&key).cloned();
            assert_eq!(ask(KvQuery::Get { key: key.clone(), at }), KvAnswer::Get(found));
            check_changes(kv, model, ndx, KvSelection::Key(key));
        }
        for prefix in ["", "a", "ab/"].map(|prefix| Bytes::from_static(prefix.as_bytes())) {
            check_range(kv, now, model.at(ndx), &prefix, at);
            check_changes(kv, model, ndx, KvSelection::Prefix(prefix));
        }
    }
    for key in keys() {
        assert_eq!(
            ask(KvQuery::Get { key: key.clone(), at: None }),
            KvAnswer::Get(model.at(now).get(&key).cloned())
        );
        check_history(kv, model, &key);
    }
    check_range(kv, now, model.at(now), &Bytes::new(), None);
    check_leases(kv, model);
    let is_member = |key: &Bytes| key.starts_with(b"a") && !key.contains(&b'/');
    let mut queue: Vec<_> = model.now.keys.values().filter(|entry| is_member(&entry.key)).cloned().collect();
    queue.sort_by_key(|entry| (entry.created, entry.key.clone()));
    let count = number(queue.len());
    queue.truncate(2);
    let asked = ask(KvQuery::Queue { prefix: Bytes::from_static(b"a"), limit: 2 });
    assert_eq!(asked, KvAnswer::Queue { entries: queue, count });
    assert_eq!(
        ask(KvQuery::Usage),
        KvAnswer::Usage(KvUsage {
            keys: number(model.now.keys.len()),
            bytes: model.now.keys.values().map(bytes_held).sum(),
            quota_bytes: model.now.quota,
            leases: number(model.now.leases.len()),
            oldest,
            history_states: number(model.held.len()),
            history_bytes: model.history_bytes(),
            history_max: model.now.history,
        })
    );
}

/// Pages of two.
fn check_range(kv: &Kv, now: u64, keys: &Keys, prefix: &Bytes, at: Option<StateNdx>) {
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|entry: &KvEntry| entry.key.clone());
        let query = KvQuery::Range { prefix: prefix.clone(), after, limit: 2, at };
        let KvAnswer::Range { entries, more } = ask_in(kv, now, &query) else { panic!("{query:?}") };
        found.extend(entries);
        if !more {
            break;
        }
    }
    let expected: Vec<_> = keys.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect();
    assert_eq!(found, expected, "{prefix:?} in {at:?}");
}

/// Pages of two states, until there is nothing behind.
fn check_changes(kv: &Kv, model: &Model, after: u64, of: KvSelection) {
    let now = model.state_ndx();
    let mut found = Vec::new();
    let mut reached = after;
    while reached < now {
        let (states, through) = stage::changes(kv, now, reached, of.clone(), 2);
        assert!(through > reached, "it comes to a halt");
        found.extend(states);
        reached = through;
    }
    let selected = |key: &Bytes| match &of {
        KvSelection::Key(selected) => key == selected,
        KvSelection::Prefix(prefix) => key.starts_with(prefix),
    };
    let expected: Vec<KvStateChanges> = (after + 1..=now)
        .map(|ndx| KvStateChanges {
            state_ndx: StateNdx(ndx),
            time: TimeMs(model.times[place(ndx)]),
            changes: model
                .diff(ndx)
                .into_iter()
                .filter(|(key, _)| selected(key))
                .map(|(key, (_, after))| KvKeyChange {
                    key,
                    entry: after.cloned(),
                    expired: after.is_none() && model.expired.contains(&ndx),
                })
                .collect(),
        })
        .filter(|state| !state.changes.is_empty())
        .collect();
    assert_eq!(found, expected, "{of:?} behind {after}");
}

fn check_history(kv: &Kv, model: &Model, key: &Bytes) {
    let mut expected: Vec<KvVersion> = Vec::new();
    if let Some(entry) = model.at(model.oldest).get(key) {
        expected.push(KvVersion { changed: entry.changed, entry: Some(entry.clone()) });
    }
    for ndx in model.oldest + 1..=model.state_ndx() {
        if let Some((_, after)) = model.diff(ndx).get(key) {
            expected.push(KvVersion { changed: StateNdx(ndx), entry: after.cloned() });
        }
    }
    expected.reverse();
    let mut found: Vec<KvVersion> = Vec::new();
    loop {
        let before = found.last().map(|version| version.changed);
        let query = KvQuery::History { key: key.clone(), before, limit: 2 };
        let KvAnswer::History { versions, more, oldest } = ask_in(kv, model.state_ndx(), &query) else {
            panic!("{query:?}")
        };
        assert_eq!(oldest.0, model.oldest);
        found.extend(versions);
        if !more {
            break;
        }
    }
    assert_eq!(found, expected, "{key:?}");
}

fn check_leases(kv: &Kv, model: &Model) {
    let known = |(&ndx, granted): (&u64, &Granted)| KvLease {
        lease: StateNdx(ndx),
        ttl_ms: granted.ttl_ms,
        left_ms: granted.deadline.saturating_sub(model.clock),
        commander: granted.commander,
    };
    let expected: Vec<_> = model.now.leases.iter().map(known).collect();
    for lease in &expected {
        let bound = model.now.keys.values().filter(|entry| entry.lease == Some(lease.lease));
        let bound = bound.map(|entry| entry.key.clone()).collect();
        let asked = ask_in(kv, model.state_ndx(), &KvQuery::Lease { lease: lease.lease });
        assert_eq!(asked, KvAnswer::Lease(Some((lease.clone(), bound))));
    }
    let asked = ask_in(kv, model.state_ndx(), &KvQuery::Leases { after: None, limit: 0 });
    assert_eq!(asked, KvAnswer::Leases { leases: expected, more: false });
    assert_eq!(kv.due().map(|due| due.0), model.due());
}

fn run(steps: &[Step]) {
    let (mut kv, mut model) = (Kv::new(), Model::new());
    let (mut time, mut clock) = (0, 0);
    let mut granted = Vec::new();
    let mut fork_of_before = None;
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Command(other, draw, later, ticks) => {
                (time, clock) = (time + later, clock + ticks);
                let state_ndx = model.state_ndx() + 1;
                let context = Context {
                    state_ndx: StateNdx(state_ndx),
                    time: TimeMs(time),
                    clock: LeaseMs(clock),
                    commander: stage::commander(if *other { "other" } else { "one" }),
                };
                let op = draw.op(&granted, state_ndx);
                let before = kv.digest();
                let done = apply_in(&mut kv, &context, &op).map_err(|refusal| refusal.code);
                assert_eq!(done, model.execute(&context, &op), "{op:?}");
                assert!(done.is_ok() || kv.digest() == before, "{op:?} was refused, and changed something");
                if done == Ok(KvReply::Leased) {
                    granted.push(state_ndx);
                }
            }
            Step::Tick(ticks) => {
                (time, clock) = (time + ticks, clock + ticks);
                if model.due().is_some_and(|due| due <= clock) {
                    let count = model.expire(time, clock);
                    let moment = Moment {
                        state_ndx: StateNdx(model.state_ndx()),
                        time: TimeMs(time),
                        clock: LeaseMs(clock),
                    };
                    let reply = KvReply::decode(&kv.expire(&moment));
                    assert_eq!(reply, Ok(KvReply::DeletedMany { count }));
                }
            }
            Step::Term => {
                kv.on_new_term(LeaseMs(clock));
                model.clock = clock;
                for lease in model.now.leases.values_mut() {
                    lease.deadline = clock + lease.ttl_ms;
                }
            }
        }
        if index == steps.len() / 2 {
            fork_of_before = Some((kv.fork(), kv.digest()));
        }
    }
    check(&kv, &model);

    let mut restored = Kv::new();
    restored.restore(&kv.snapshot()).expect("its own snapshot");
    assert_eq!(restored.state(), kv.state());
    assert_eq!(restored.digest(), kv.digest());
    check(&restored, &model);
    if let Some((fork, digest)) = fork_of_before {
        assert_eq!(fork.digest(), digest, "a fork saw what came later");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_application_does_what_the_model_does(steps in prop::collection::vec(step(), 1..50)) {
        run(&steps);
    }
}
