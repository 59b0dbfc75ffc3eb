//! Leases: what runs out, when, and which keys end with it.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use synod_machine::Key;
use synod_types::limits::{KV_DELETE_MANY_BYTES_MAX, KV_DELETE_MANY_MAX};
use synod_types::{CommanderId, LeaseMs, StateNdx};

/// A lease.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Lease {
    /// For how long it lasts.
    pub(crate) ttl_ms: u64,
    /// When it runs out.
    pub(crate) deadline: LeaseMs,
    /// Who has it.
    pub(crate) commander: CommanderId,
    /// The keys that end with it: so few that one command can remove them all.
    pub(super) keys: OrdSet<Key>,
    /// The sum of their lengths.
    key_bytes: usize,
}

impl Lease {
    /// Whether a key is bound to it, or can be.
    pub(crate) fn has_room_for(&self, key: &[u8]) -> bool {
        self.keys.len() < KV_DELETE_MANY_MAX && self.key_bytes + key.len() <= KV_DELETE_MANY_BYTES_MAX
            || self.keys.contains(key)
    }
}

/// All leases of one application.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Leases {
    granted: OrdMap<StateNdx, Arc<Lease>>,
    /// The same in the order in which they run out.
    deadlines: OrdSet<(LeaseMs, StateNdx)>,
    clock: LeaseMs,
}

impl Leases {
    pub(super) fn find(&self, lease: StateNdx) -> Option<&Lease> {
        self.granted.get(&lease).map(Arc::as_ref)
    }

    pub(super) fn len(&self) -> usize {
        self.granted.len()
    }

    pub(super) fn behind(&self, after: Option<StateNdx>) -> impl Iterator<Item = (StateNdx, &Lease)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.granted.range((start, Bound::Unbounded)).map(|(&lease, granted)| (lease, granted.as_ref()))
    }

    pub(super) fn clock(&self) -> LeaseMs {
        self.clock
    }

    pub(super) fn advance(&mut self, clock: LeaseMs) {
        self.clock = self.clock.max(clock);
    }

    pub(super) fn due(&self) -> Option<LeaseMs> {
        self.deadlines.get_min().map(|&(deadline, _)| deadline)
    }

    /// The leases that have run out at `clock`, the longest over first: at least one if there is one, and no more than have
    /// keys for one command. The others are due at once again.
    pub(super) fn run_out(&self, clock: LeaseMs) -> Vec<StateNdx> {
        let mut over = Vec::new();
        let (mut keys, mut key_bytes) = (0, 0);
        for &(_, lease) in self.deadlines.iter().take_while(|&&(deadline, _)| deadline <= clock) {
            let granted = self.granted.get(&lease).expect("each deadline is that of a lease");
            // A lease without keys is work as well.
            keys += granted.keys.len().max(1);
            key_bytes += granted.key_bytes;
            if !over.is_empty() && (keys > KV_DELETE_MANY_MAX || key_bytes > KV_DELETE_MANY_BYTES_MAX) {
                break;
            }
            over.push(lease);
        }
        over
    }

    pub(super) fn grant(&mut self, lease: StateNdx, ttl_ms: u64, deadline: LeaseMs, commander: CommanderId) {
        let granted = Lease { ttl_ms, deadline, commander, keys: OrdSet::new(), key_bytes: 0 };
        self.deadlines.insert((deadline, lease));
        self.granted.insert(lease, Arc::new(granted));
    }

    /// Lets a lease last its whole time from `clock` on.
    pub(super) fn renew(&mut self, lease: StateNdx, clock: LeaseMs) {
        let granted = Arc::make_mut(self.granted.get_mut(&lease).expect("only what there is is kept alive"));
        self.deadlines.remove(&(granted.deadline, lease));
        granted.deadline = end_of(granted.ttl_ms, clock);
        self.deadlines.insert((granted.deadline, lease));
    }

    /// Lets every lease last its whole time from `clock` on: some 100 ms for the most that there can be.
    pub(super) fn renew_all(&mut self, clock: LeaseMs) {
        self.advance(clock);
        let renewed = self.granted.iter().map(|(&lease, granted)| {
            let deadline = end_of(granted.ttl_ms, clock);
            (lease, Arc::new(Lease { deadline, ..granted.as_ref().clone() }))
        });
        self.granted = renewed.collect();
        self.deadlines = self.granted.iter().map(|(&lease, granted)| (granted.deadline, lease)).collect();
    }

    /// Ends a lease; gives its keys, which are still there.
    pub(super) fn end(&mut self, lease: StateNdx) -> OrdSet<Key> {
        let ended = self.granted.remove(&lease).expect("only what there is is ended");
        self.deadlines.remove(&(ended.deadline, lease));
        ended.keys.clone()
    }

    pub(super) fn bind(&mut self, lease: StateNdx, key: &Key) {
        let granted = Arc::make_mut(self.granted.get_mut(&lease).expect("keys are bound to what there is"));
        if granted.keys.insert(key.clone()).is_none() {
            granted.key_bytes += key.as_bytes().len();
        }
    }

    /// Frees a key from its lease, unless that has ended.
    pub(super) fn free(&mut self, lease: StateNdx, key: &Key) {
        let Some(granted) = self.granted.get_mut(&lease) else { return };
        let granted = Arc::make_mut(granted);
        if granted.keys.remove(key.as_bytes()).is_some() {
            granted.key_bytes -= key.as_bytes().len();
        }
    }
}

/// When a lease runs out that lasts so long from `clock` on.
pub(super) fn end_of(ttl_ms: u64, clock: LeaseMs) -> LeaseMs {
    LeaseMs(clock.0.saturating_add(ttl_ms))
}
