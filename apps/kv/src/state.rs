//! The state: what keys hold, what they held before, the leases with which they end, and the limits on all of it. It lives in
//! persistent collections: a copy is O(1), and a change copies one path of a tree.
//!
//! Everything that changes it goes through a [`Draft`](draft::Draft), which knows how to take it back.

mod draft;
mod entries;
mod history;
mod leases;
mod proved;
mod settings;
mod snapshot;

use std::sync::Arc;

use synod_machine::Key;
use synod_merkle::{Derived, Tree};
use synod_types::{LeaseMs, StateNdx, TimeMs};

pub(crate) use draft::Draft;
use entries::Entries;
pub use entries::Entry;
pub(crate) use entries::NoRoom;
use history::History;
pub(crate) use history::{Change, Version};
pub(crate) use leases::Lease;
use leases::Leases;
pub(crate) use settings::Settings;

/// The state of one application.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KvState {
    entries: Entries,
    history: History,
    leases: Leases,
    settings: Settings,
    /// The map in which each key can be proved; what changes, it finds by itself.
    proved: Derived<KvState>,
}

/// What is there now.
impl KvState {
    /// What a key holds.
    pub fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).map(Arc::as_ref)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Bytes that all keys together count for, which a quota bounds.
    pub fn bytes(&self) -> u64 {
        self.entries.bytes()
    }

    /// The keys that begin with `prefix`, in byte order, behind `after` if there is one.
    pub fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        self.entries.range(prefix, after).map(|(key, entry)| (key.as_bytes(), entry.as_ref()))
    }

    /// The map in which what each key holds can be proved. It costs what changed since it was last asked for.
    pub(crate) fn tree(&self) -> Tree {
        self.proved.tree(self)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn lease(&self, lease: StateNdx) -> Option<&Lease> {
        self.leases.find(lease)
    }

    /// The leases behind `after`, in the order of their grants.
    pub(crate) fn leases_behind(&self, after: Option<StateNdx>) -> impl Iterator<Item = (StateNdx, &Lease)> {
        self.leases.behind(after)
    }

    /// How many leases there are.
    pub fn leases_len(&self) -> usize {
        self.leases.len()
    }

    /// The lease clock, as of the last command or expiry that changed something.
    pub(crate) fn clock(&self) -> LeaseMs {
        self.leases.clock()
    }

    /// When the next lease runs out.
    pub(crate) fn due(&self) -> Option<LeaseMs> {
        self.leases.due()
    }

    /// Gives every lease its whole time from `clock` on.
    pub(crate) fn on_new_term(&mut self, clock: LeaseMs) {
        self.leases.renew_all(clock);
    }
}

/// What was there before.
impl KvState {
    /// The oldest state that can be read, and behind which changes are known.
    pub fn oldest(&self) -> StateNdx {
        self.history.oldest()
    }

    /// How many states have their changes kept, and the bytes that these count for; with what is to be dropped by and by.
    pub(crate) fn history_held(&self) -> (usize, u64) {
        (self.history.states(), self.history.bytes())
    }

    /// What a key held in a state from the oldest on.
    pub(crate) fn entry_at<'a>(&'a self, key: &'a [u8], at: StateNdx) -> Option<&'a Entry> {
        self.versions(key).find(|version| version.changed <= at)?.entry.map(Arc::as_ref)
    }

    /// As [`KvState::range`], in a state from the oldest on.
    pub(crate) fn range_at<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        at: StateNdx,
    ) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        let mut held = self.entries.range(prefix, after).map(|(key, _)| key).peekable();
        let mut removed = self.history.removed_range(prefix, after, at).peekable();
        // Each key once, also one that was removed and made again.
        let keys = std::iter::from_fn(move || match (held.peek(), removed.peek()) {
            (Some(next), Some(other)) if next == other => {
                held.next();
                removed.next()
            }
            (Some(next), Some(other)) if next > other => removed.next(),
            (None, _) => removed.next(),
            (Some(_), _) => held.next(),
        });
        keys.filter_map(move |key| Some((key.as_bytes(), self.entry_at(key.as_bytes(), at)?)))
    }

    /// What a key held, the latest first, as far as it is known.
    pub(crate) fn versions<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = Version<'a>> {
        self.history.versions(key, self.entries.get(key))
    }

    /// The same, of what began before `before`.
    pub(crate) fn versions_before<'a>(
        &'a self,
        key: &'a [u8],
        before: StateNdx,
    ) -> impl Iterator<Item = Version<'a>> {
        self.history.versions_before(key, self.entries.get(key), before)
    }

    /// What changed in each state behind `after`, in their order.
    pub(crate) fn changes_behind(
        &self,
        after: StateNdx,
    ) -> impl Iterator<Item = (StateNdx, TimeMs, &[Change])> {
        self.history.behind(after)
    }
}

/// The keys of a lease, in their order.
pub(crate) fn keys_of(lease: &Lease) -> impl Iterator<Item = &Key> {
    lease.keys.iter()
}
