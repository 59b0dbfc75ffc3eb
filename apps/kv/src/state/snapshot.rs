//! The state as bytes, and back from bytes of unknown origin.
//!
//! A snapshot holds nothing twice: of a change it holds what was before, and what was after is found by going back from what
//! holds now, change by change. So what does not fit together is found as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use synod_machine::{Key, RestoreError};
use synod_merkle::Derived;
use synod_types::limits::{
    KV_KEY_BYTES_MAX, KV_LEASE_MS_MAX, KV_LEASE_MS_MIN, KV_LEASES_MAX, KV_STATE_BYTES_MAX, KV_VALUE_BYTES_MAX,
};
use synod_types::{CommanderId, LeaseMs, StateNdx, TimeMs, wire};

use super::KvState;
use super::entries::{Entries, Entry};
use super::history::{Change, History};
use super::leases::{Leases, end_of};
use super::settings::Settings;

/// First bytes of a snapshot: what it is, and in which version.
const SNAPSHOT_DOMAIN: &[u8; 12] = b"synod/kv/v1\0";

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    settings: Settings,
    clock: LeaseMs,
    leases: Vec<GrantedLease>,
    /// In the order of the keys.
    entries: Vec<(Key, Arc<Entry>)>,
    oldest: StateNdx,
    /// In the order of the states.
    history: Vec<Changes>,
}

#[derive(Serialize, Deserialize)]
struct GrantedLease {
    lease: StateNdx,
    ttl_ms: u64,
    deadline: LeaseMs,
    commander: CommanderId,
}

#[derive(Serialize, Deserialize)]
struct Changes {
    state_ndx: StateNdx,
    time: TimeMs,
    /// In the order of the keys.
    changes: Vec<Changed>,
}

#[derive(Serialize, Deserialize)]
struct Changed {
    key: Key,
    before: Option<Arc<Entry>>,
    expired: bool,
}

/// A state that is written as a [`Snapshot`] of it would be, without a copy of all that it refers to.
struct Shown<'a>(&'a KvState);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let KvState { entries, history, leases, settings, proved: _ } = self.0;
        let granted = leases.behind(None).map(|(lease, granted)| GrantedLease {
            lease,
            ttl_ms: granted.ttl_ms,
            deadline: granted.deadline,
            commander: granted.commander,
        });
        let recorded = || {
            history.iter().map(|(state_ndx, time, changes)| {
                (state_ndx, time, Each(move || changes.iter().map(shown_change)))
            })
        };
        let mut fields = serializer.serialize_struct("Snapshot", 6)?;
        fields.serialize_field("settings", settings)?;
        fields.serialize_field("clock", &leases.clock())?;
        fields.serialize_field("leases", &granted.collect::<Vec<_>>())?;
        fields.serialize_field("entries", &Each(|| entries.iter()))?;
        fields.serialize_field("oldest", &history.oldest())?;
        fields.serialize_field("history", &Each(recorded))?;
        fields.end()
    }
}

/// A change as a [`Changed`].
fn shown_change(change: &Change) -> (&Key, &Option<Arc<Entry>>, bool) {
    (&change.key, &change.before, change.expired)
}

/// A list of what comes from an iterator that knows how much that is.
struct Each<F>(F);

impl<F: Fn() -> I, I: ExactSizeIterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl KvState {
    /// The whole state; equal states give equal bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.snapshot_into(&mut out);
        out
    }

    /// Appends [`KvState::snapshot`].
    pub(crate) fn snapshot_into(&self, out: &mut Vec<u8>) {
        // About as much: each key and each change count for more than what is written of them besides their bytes.
        let bytes = self.entries.bytes() + self.history.bytes();
        out.reserve(usize::try_from(bytes).unwrap_or_default());
        out.extend_from_slice(SNAPSHOT_DOMAIN);
        wire::encode_into(&Shown(self), out);
    }

    /// The opposite of [`KvState::snapshot`], for bytes of unknown origin.
    pub(crate) fn restore(snapshot: &[u8]) -> Result<KvState, RestoreError> {
        let encoded = snapshot.strip_prefix(SNAPSHOT_DOMAIN).ok_or_else(|| error("it is of another kind"))?;
        let Snapshot { settings, clock, leases, entries, oldest, history } =
            wire::decode(encoded).map_err(|why| RestoreError(why.to_string()))?;
        if !settings.are_within_limits() {
            return Err(error("its settings are over their limits"));
        }
        let mut leases = restore_leases(clock, &leases)?;
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(error("the keys are not in order"));
        }
        for (key, entry) in &entries {
            check_entry(key, entry)?;
            if let Some(lease) = entry.lease {
                let granted = leases.find(lease).ok_or_else(|| error("a key is bound to no lease"))?;
                if !granted.has_room_for(key.as_bytes()) {
                    return Err(error("a lease has too many keys"));
                }
                leases.bind(lease, key);
            }
        }
        let history = restore_history(&entries, oldest, history)?;
        let entries = Entries::collect(entries);
        if entries.bytes() > KV_STATE_BYTES_MAX {
            return Err(error("all keys together are over their limit"));
        }
        Ok(KvState { entries, history, leases, settings, proved: Derived::default() })
    }
}

fn error(why: &str) -> RestoreError {
    RestoreError(why.to_owned())
}

fn check_key(key: &Key) -> Result<(), RestoreError> {
    match key.as_bytes().len() {
        1..=KV_KEY_BYTES_MAX => Ok(()),
        _ => Err(error("a key is over its limit")),
    }
}

fn check_entry(key: &Key, entry: &Entry) -> Result<(), RestoreError> {
    check_key(key)?;
    if entry.value.len() > KV_VALUE_BYTES_MAX {
        return Err(error("a value is over its limit"));
    }
    if entry.created > entry.changed {
        return Err(error("a key was changed before it was created"));
    }
    Ok(())
}

fn restore_leases(clock: LeaseMs, granted: &[GrantedLease]) -> Result<Leases, RestoreError> {
    if granted.len() > KV_LEASES_MAX || !granted.is_sorted_by(|a, b| a.lease < b.lease) {
        return Err(error("the leases are too many, or not in order"));
    }
    let mut leases = Leases::default();
    leases.advance(clock);
    for &GrantedLease { lease, ttl_ms, deadline, commander } in granted {
        if !(KV_LEASE_MS_MIN..=KV_LEASE_MS_MAX).contains(&ttl_ms) || deadline > end_of(ttl_ms, clock) {
            return Err(error("a lease lasts longer than it can"));
        }
        leases.grant(lease, ttl_ms, deadline, commander);
    }
    Ok(leases)
}

/// Goes back from what holds now, change by change.
fn restore_history(
    entries: &[(Key, Arc<Entry>)],
    oldest: StateNdx,
    history: Vec<Changes>,
) -> Result<History, RestoreError> {
    if !history.is_sorted_by(|a, b| a.state_ndx < b.state_ndx && a.time <= b.time) {
        return Err(error("the states of its history are not in order"));
    }
    let mut held: BTreeMap<Key, Arc<Entry>> = entries.iter().cloned().collect();
    let mut records = Vec::with_capacity(history.len());
    for Changes { state_ndx, time, changes } in history.into_iter().rev() {
        if changes.is_empty() || !changes.is_sorted_by(|a, b| a.key < b.key) {
            return Err(error("a state of its history has no changes, or not in order"));
        }
        let went_back = |changed| go_back(&mut held, state_ndx, changed);
        let changes: Vec<Change> = changes.into_iter().map(went_back).collect::<Result<_, _>>()?;
        records.push((state_ndx, time, changes));
    }
    if held.values().any(|entry| entry.changed > oldest) {
        return Err(error("a change is not in its history"));
    }
    let mut history = History::default();
    history.compact(oldest);
    for (state_ndx, time, changes) in records.into_iter().rev() {
        history.record(state_ndx, time, changes.into());
    }
    Ok(history)
}

fn go_back(
    held: &mut BTreeMap<Key, Arc<Entry>>,
    state_ndx: StateNdx,
    changed: Changed,
) -> Result<Change, RestoreError> {
    let Changed { key, before, expired } = changed;
    let after = match &before {
        Some(before) => {
            check_entry(&key, before)?;
            held.insert(key.clone(), before.clone())
        }
        None => {
            check_key(&key)?;
            held.remove(key.as_bytes())
        }
    };
    let is_followed = match (&before, &after) {
        (None, None) => false,
        // A key that was removed and made again in one state is made in it.
        (Some(before), Some(after)) => {
            after.changed == state_ndx && (after.created == before.created || after.created == state_ndx)
        }
        (None, Some(after)) => after.changed == state_ndx && after.created == state_ndx,
        (Some(_), None) => true,
    };
    let can_expire = after.is_none() && before.as_ref().is_some_and(|before| before.lease.is_some());
    if !is_followed
        || before.as_ref().is_some_and(|before| before.changed >= state_ndx)
        || expired && !can_expire
    {
        return Err(error("a change of its history is none"));
    }
    Ok(Change { key, before, after, expired })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(created: u64, changed: u64) -> Arc<Entry> {
        let value = Bytes::from_static(b"v");
        Arc::new(Entry { value, created: StateNdx(created), changed: StateNdx(changed), lease: None })
    }

    fn snapshot(entries: &[(&[u8], Arc<Entry>)]) -> Snapshot {
        let entries: Vec<_> = entries.iter().map(|(key, entry)| (Key::new(key), entry.clone())).collect();
        let oldest = entries.iter().map(|(_, entry)| entry.changed).max().unwrap_or_default();
        let settings = Settings::default();
        Snapshot { settings, clock: LeaseMs(5), leases: Vec::new(), entries, oldest, history: Vec::new() }
    }

    fn restore(snapshot: &Snapshot) -> Result<KvState, RestoreError> {
        let mut bytes = SNAPSHOT_DOMAIN.to_vec();
        wire::encode_into(snapshot, &mut bytes);
        KvState::restore(&bytes)
    }

    fn why(snapshot: &Snapshot) -> String {
        restore(snapshot).expect_err("it cannot be").0
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let restore = |entries: &[(&[u8], Arc<Entry>)]| restore(&snapshot(entries));
        assert!(restore(&[(b"a", entry(1, 1)), (b"b", entry(2, 3))]).is_ok());
        assert!(restore(&[(b"b", entry(1, 1)), (b"a", entry(2, 3))]).is_err(), "out of order");
        assert!(restore(&[(b"a", entry(1, 1)), (b"a", entry(2, 3))]).is_err(), "twice");
        assert!(restore(&[(b"", entry(1, 1))]).is_err(), "an empty key");
        assert!(restore(&[(&[1; KV_KEY_BYTES_MAX], entry(1, 1))]).is_ok());
        assert!(restore(&[(&[1; KV_KEY_BYTES_MAX + 1], entry(1, 1))]).is_err(), "a key over its limit");
        assert!(restore(&[(b"a", entry(2, 1))]).is_err(), "changed before it was created");
    }

    #[test]
    fn leases_that_cannot_be_are_refused() {
        let lease = |lease, ttl_ms, deadline| GrantedLease {
            lease: StateNdx(lease),
            ttl_ms,
            deadline: LeaseMs(deadline),
            commander: CommanderId::default(),
        };
        let with = |leases: Vec<GrantedLease>| restore(&Snapshot { leases, ..snapshot(&[]) });
        assert!(with(vec![lease(1, 1000, 1005), lease(2, 1000, 7)]).is_ok());
        assert!(with(vec![lease(1, 1000, 1006)]).is_err(), "longer than its time");
        assert!(with(vec![lease(1, 999, 1000)]).is_err(), "too short a time");
        assert!(with(vec![lease(2, 1000, 1000), lease(1, 1000, 1000)]).is_err(), "out of order");

        let bound = Arc::new(Entry { lease: Some(StateNdx(1)), ..entry(2, 2).as_ref().clone() });
        let leases = |lease_ndx| vec![lease(lease_ndx, 1000, 1005)];
        let good = Snapshot { leases: leases(1), ..snapshot(&[(b"k", bound.clone())]) };
        assert_eq!(restore(&good).unwrap().lease(StateNdx(1)).map(|lease| lease.keys.len()), Some(1));
        assert!(why(&Snapshot { leases: leases(3), ..good }).contains("no lease"));
    }

    #[test]
    fn a_history_that_does_not_lead_to_what_is_there_is_refused() {
        let change = |before: Option<Arc<Entry>>| Changed { key: Key::new(b"k"), before, expired: false };
        let changes = |state_ndx, before| Changes {
            state_ndx: StateNdx(state_ndx),
            time: TimeMs(0),
            changes: vec![change(before)],
        };
        let with = |held: Option<Arc<Entry>>, oldest, history: Vec<Changes>| {
            let entries: Vec<(&[u8], _)> = held.into_iter().map(|held| (&b"k"[..], held)).collect();
            restore(&Snapshot { oldest: StateNdx(oldest), history, ..snapshot(&entries) }).is_ok()
        };
        let changed = || vec![changes(2, None), changes(5, Some(entry(2, 2)))];
        assert!(with(Some(entry(2, 5)), 1, changed()));
        assert!(with(Some(entry(5, 5)), 1, changed()), "removed and made again");
        assert!(with(None, 1, changed()), "removed");
        assert!(!with(Some(entry(3, 5)), 1, changed()), "made in a state that did not");
        assert!(!with(Some(entry(2, 6)), 1, changed()), "changed in a state that did not");
        assert!(!with(Some(entry(1, 3)), 2, vec![]), "changed in a state that is not remembered");
        assert!(with(Some(entry(1, 2)), 2, vec![]));
        assert!(
            !with(Some(entry(2, 5)), 1, vec![changes(5, Some(entry(2, 5)))]),
            "what was before is not before"
        );
        assert!(!with(None, 1, vec![changes(5, None)]), "nothing changed");
        assert!(!with(Some(entry(2, 5)), 1, changed().into_iter().rev().collect()), "out of order");
        let none = Changes { state_ndx: StateNdx(6), time: TimeMs(0), changes: vec![] };
        assert!(!with(Some(entry(2, 5)), 1, changed().into_iter().chain([none]).collect()), "no changes");
        let mut expired = changed();
        expired[1].changes[0].expired = true;
        assert!(!with(None, 1, expired), "expired without a lease");
    }
}
