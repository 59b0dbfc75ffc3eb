//! What was before: the changes of each state, and what keys held until then.
//!
//! A value holds from the state that changed the key until the one that changes it next. What holds still is in the entries;
//! here is what does not, in the record of the state that superseded it, as long as that is behind the oldest readable
//! state. What a key held is found from the latest on: a value names the state that wrote it, whose record has what was
//! before. So a write costs no index, and to look far back costs a step for each change of the key since then.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use synod_machine::Key;
use synod_types::limits::KV_ENTRY_BYTES;
use synod_types::{StateNdx, TimeMs};

use super::entries::{Entry, bytes_held};
use super::settings::Settings;

/// What became of a key in one state.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Change {
    pub(crate) key: Key,
    /// What it held before; `None`: it did not exist.
    pub(crate) before: Option<Arc<Entry>>,
    /// What it holds; `None`: it was removed.
    pub(crate) after: Option<Arc<Entry>>,
    /// Whether it was removed because its lease ran out.
    pub(crate) expired: bool,
}

/// What a key held from a state on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Version<'a> {
    pub(crate) changed: StateNdx,
    /// `None`: the key was removed.
    pub(crate) entry: Option<&'a Arc<Entry>>,
}

impl<'a> Version<'a> {
    fn of(entry: &'a Arc<Entry>) -> Version<'a> {
        Version { changed: entry.changed, entry: Some(entry) }
    }
}

/// The changes of one state.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    time: TimeMs,
    /// In the order of their keys, one for each.
    changes: Arc<[Change]>,
}

/// What is remembered.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct History {
    records: OrdMap<StateNdx, Record>,
    /// The removals among the changes: what nothing that holds leads to.
    removals: OrdSet<(Key, StateNdx)>,
    /// Records up to this state are none: they are dropped by and by.
    oldest: StateNdx,
    /// The sum of [`change_bytes`] over all records.
    bytes: u64,
}

/// Bytes that a change counts for: its place in the record, and what it superseded.
fn change_bytes(change: &Change) -> u64 {
    let key = change.key.as_bytes();
    let superseded = change.before.as_ref().map_or(0, |before| bytes_held(key, &before.value));
    superseded + u64::try_from(key.len()).expect("usize has at most 64 bits") + KV_ENTRY_BYTES
}

impl History {
    pub(super) fn oldest(&self) -> StateNdx {
        self.oldest
    }

    pub(super) fn states(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All records, the oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (StateNdx, TimeMs, &Arc<[Change]>)> {
        self.records.iter().map(|(&state_ndx, record)| (state_ndx, record.time, &record.changes))
    }

    /// The changes of each state behind `after`.
    pub(super) fn behind(&self, after: StateNdx) -> impl Iterator<Item = (StateNdx, TimeMs, &[Change])> {
        let behind = (Bound::Excluded(after.max(self.oldest)), Bound::Unbounded);
        self.records
            .range(behind)
            .map(|(&state_ndx, record)| (state_ndx, record.time, record.changes.as_ref()))
    }

    /// The last record, which nothing but this very history has: who kept it will know what changed behind it.
    pub(super) fn last(&self) -> Option<(StateNdx, &Arc<[Change]>)> {
        self.records.get_max().map(|(state_ndx, record)| (*state_ndx, &record.changes))
    }

    /// The changes of each state behind that of a record; `None` if this history does not have that record, or no longer.
    pub(super) fn behind_record<'a>(
        &'a self,
        state_ndx: StateNdx,
        changes: &Arc<[Change]>,
    ) -> Option<impl Iterator<Item = &'a [Change]> + use<'a>> {
        let record = self.records.get(&state_ndx)?;
        let behind = (Bound::Excluded(state_ndx), Bound::Unbounded);
        Arc::ptr_eq(&record.changes, changes)
            .then(|| self.records.range(behind).map(|(_, record)| record.changes.as_ref()))
    }

    /// What a key held, the latest first, as far as it is known; `now`: what it holds.
    pub(super) fn versions<'a>(
        &'a self,
        key: &'a [u8],
        now: Option<&'a Arc<Entry>>,
    ) -> impl Iterator<Item = Version<'a>> {
        let latest = now.map(Version::of).or_else(|| self.last_removal(key, StateNdx(u64::MAX)));
        std::iter::successors(latest, |later| self.version_before(key, later.changed))
    }

    /// The same, of what began before `before`. One that a version begins with is found at once, so that pages of a long
    /// history can follow one another.
    pub(super) fn versions_before<'a>(
        &'a self,
        key: &'a [u8],
        now: Option<&'a Arc<Entry>>,
        before: StateNdx,
    ) -> impl Iterator<Item = Version<'a>> {
        let first = match self.change(key, before) {
            Some(_) => self.version_before(key, before),
            None => self.versions(key, now).find(|version| version.changed < before),
        };
        std::iter::successors(first, |later| self.version_before(key, later.changed))
    }

    /// What became of a key in a state, if that is known to have changed it.
    fn change(&self, key: &[u8], changed: StateNdx) -> Option<&Change> {
        if changed <= self.oldest {
            return None;
        }
        let changes = &self.records.get(&changed)?.changes;
        let place = changes.binary_search_by(|change| change.key.as_bytes().cmp(key)).ok()?;
        Some(&changes[place])
    }

    /// What a key held until the state `changed`, which changed it; `None`: nothing is known any more.
    fn version_before(&self, key: &[u8], changed: StateNdx) -> Option<Version<'_>> {
        let before = self.change(key, changed)?.before.as_ref().map(Version::of);
        before.or_else(|| self.last_removal(key, StateNdx(changed.0 - 1)))
    }

    /// The last state up to `at` that is known to have removed a key.
    fn last_removal(&self, key: &[u8], at: StateNdx) -> Option<Version<'_>> {
        if self.removals.is_empty() || at <= self.oldest {
            return None;
        }
        let known = (Bound::Excluded((Key::new(key), self.oldest)), Bound::Included((Key::new(key), at)));
        let (_, removed) = self.removals.range(known).next_back()?;
        Some(Version { changed: *removed, entry: None })
    }

    /// The keys that begin with `prefix` and were removed behind `at`, in byte order, behind `after` if there is one.
    pub(super) fn removed_range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        at: StateNdx,
    ) -> impl Iterator<Item = &'a Key> {
        let last = StateNdx(u64::MAX);
        let mut start = match after {
            Some(after) if after >= prefix => Bound::Excluded((Key::new(after), last)),
            _ => Bound::Included((Key::new(prefix), StateNdx(0))),
        };
        std::iter::from_fn(move || {
            loop {
                let (key, removed) = self.removals.range((start.clone(), Bound::Unbounded)).next()?;
                if !key.as_bytes().starts_with(prefix) {
                    return None;
                }
                // A key may have been removed a million times: its removals are leapt over.
                if *removed <= at {
                    start = Bound::Excluded((key.clone(), at));
                    continue;
                }
                start = Bound::Excluded((key.clone(), last));
                return Some(key);
            }
        })
    }

    /// Remembers what changed in a state, in the order of the keys.
    pub(super) fn record(&mut self, state_ndx: StateNdx, time: TimeMs, changes: Arc<[Change]>) {
        for change in changes.iter() {
            self.bytes += change_bytes(change);
            if change.after.is_none() {
                self.removals.insert((change.key.clone(), state_ndx));
            }
        }
        let twice = self.records.insert(state_ndx, Record { time, changes });
        assert!(twice.is_none(), "each state is made once");
    }

    /// Forgets what was before `through`.
    pub(super) fn compact(&mut self, through: StateNdx) {
        self.oldest = self.oldest.max(through);
    }

    /// Drops the oldest records as far as they are over the limits at `now`, and no further one after `changes_max` changes.
    pub(super) fn trim(&mut self, settings: &Settings, now: TimeMs, changes_max: usize) {
        let mut dropped = 0;
        while dropped < changes_max {
            let Some((state_ndx, record)) = self.records.get_min() else { return };
            let held = u64::try_from(self.records.len()).expect("usize has at most 64 bits");
            let is_over = *state_ndx <= self.oldest
                || held > settings.history_states
                || self.bytes > settings.history_bytes
                || record.time.0.saturating_add(settings.history_age_ms) < now.0;
            if !is_over {
                return;
            }
            let (state_ndx, changes) = (*state_ndx, record.changes.clone());
            dropped += changes.len();
            for change in changes.iter() {
                self.bytes -= change_bytes(change);
                if change.after.is_none() {
                    self.removals.remove(&(change.key.clone(), state_ndx));
                }
            }
            self.records.remove(&state_ndx);
            self.compact(state_ndx);
        }
    }
}
