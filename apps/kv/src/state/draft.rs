//! One state in the making. Each step changes the state at once, so that the next step sees it; what does not end well is
//! taken back, step by step, and the state is as before. That costs nothing where nothing goes wrong: a copy of the state to
//! go back to would have every step copy a path of the tree.

use std::sync::Arc;

use bytes::Bytes;
use synod_machine::Key;
use synod_types::limits::{KV_DELETE_MANY_MAX, KV_HISTORY_DROPPED_MAX};
use synod_types::{CommanderId, LeaseMs, StateNdx, TimeMs};

use super::KvState;
use super::entries::NoRoom;
use super::history::Change;
use super::leases::end_of;
use crate::op::KvSettings;

/// A state in the making: to be kept, or to be taken back.
#[must_use]
pub(crate) struct Draft<'a> {
    state: &'a mut KvState,
    state_ndx: StateNdx,
    time: TimeMs,
    clock: LeaseMs,
    /// In the order in which they were made; a key may have several.
    steps: Vec<Change>,
}

impl Draft<'_> {
    /// Begins a state.
    pub(crate) fn new(state: &mut KvState, state_ndx: StateNdx, time: TimeMs, clock: LeaseMs) -> Draft<'_> {
        Draft { state, state_ndx, time, clock, steps: Vec::new() }
    }

    /// Makes room for so many steps.
    pub(crate) fn expect(&mut self, steps: usize) {
        self.steps.reserve_exact(steps);
    }

    /// The state with all steps up to here.
    pub(crate) fn state(&self) -> &KvState {
        self.state
    }

    /// Its number.
    pub(crate) fn state_ndx(&self) -> StateNdx {
        self.state_ndx
    }

    /// Writes a key, and binds it to a lease that there is and that has room for it, or to none. Gives the state that had
    /// changed the key before.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing has changed then.
    pub(crate) fn write(
        &mut self,
        key: &[u8],
        value: Bytes,
        lease: Option<StateNdx>,
    ) -> Result<Option<StateNdx>, NoRoom> {
        let key = Key::new(key);
        let quota = self.state.settings.quota_bytes;
        let (before, after) = self.state.entries.write(&key, value, lease, self.state_ndx, quota)?;
        self.state.move_binding(&key, before.as_ref().and_then(|before| before.lease), lease);
        let previous = before.as_ref().map(|before| before.changed);
        self.steps.push(Change { key, before, after: Some(after), expired: false });
        Ok(previous)
    }

    /// Removes a key; gives whether it existed.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(before) = self.state.entries.remove(key) else { return false };
        let key = Key::new(key);
        self.state.move_binding(&key, before.lease, None);
        self.steps.push(Change { key, before: Some(before), after: None, expired: false });
        true
    }

    /// Grants a lease, which has the number of this state.
    pub(crate) fn grant(&mut self, ttl_ms: u64, commander: CommanderId) {
        self.state.leases.grant(self.state_ndx, ttl_ms, end_of(ttl_ms, self.clock), commander);
    }

    /// Lets a lease that there is last its whole time again.
    pub(crate) fn renew(&mut self, lease: StateNdx) {
        self.state.leases.renew(lease, self.clock);
    }

    /// Ends a lease that there is, and removes its keys; gives how many these were.
    pub(crate) fn end(&mut self, lease: StateNdx, expired: bool) -> usize {
        let keys = self.state.leases.end(lease);
        self.expect(keys.len());
        for key in &keys {
            let before = self.state.entries.remove(key.as_bytes());
            assert!(before.is_some(), "a lease has keys that exist");
            self.steps.push(Change { key: key.clone(), before, after: None, expired });
        }
        keys.len()
    }

    /// Ends leases that have run out, as many as one command can; gives how many keys went with them.
    pub(crate) fn expire(&mut self) -> usize {
        self.state.leases.run_out(self.clock).into_iter().map(|lease| self.end(lease, true)).sum()
    }

    /// Forgets what was before `through`. What that leaves over is dropped at once in part, and by and by.
    pub(crate) fn compact(&mut self, through: StateNdx) {
        self.state.history.compact(through);
        self.state.history.trim(&self.state.settings, self.time, KV_DELETE_MANY_MAX);
    }

    /// Takes new limits.
    pub(crate) fn configure(&mut self, settings: &KvSettings) {
        self.state.settings.set(settings);
    }

    /// Ends the state, and remembers what changed in it.
    pub(crate) fn keep(self) {
        let Draft { state, state_ndx, time, clock, steps } = self;
        state.leases.advance(clock);
        let made = steps.len();
        let changes = one_for_each_key(steps);
        if !changes.is_empty() {
            state.history.record(state_ndx, time, changes);
        }
        state.history.trim(&state.settings, time, 2 * made + KV_HISTORY_DROPPED_MAX);
    }

    /// Takes all writes and removals back. Leases and limits are changed only by commands that cannot fail any more.
    pub(crate) fn undo(self) {
        let Draft { state, steps, .. } = self;
        for Change { key, before, .. } in steps.into_iter().rev() {
            let to = before.as_ref().and_then(|before| before.lease);
            let until_now = state.entries.put_back(&key, before);
            state.move_binding(&key, until_now.and_then(|entry| entry.lease), to);
        }
    }
}

impl KvState {
    fn move_binding(&mut self, key: &Key, from: Option<StateNdx>, to: Option<StateNdx>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.leases.free(from, key);
        }
        if let Some(to) = to {
            self.leases.bind(to, key);
        }
    }
}

/// Makes several changes of a key one, from what it held before them all to what it holds behind them.
fn one_for_each_key(mut steps: Vec<Change>) -> Arc<[Change]> {
    // The sort is stable: what is done to a key stays in its order.
    if !steps.is_sorted_by(|a, b| a.key < b.key) {
        steps.sort_by(|a, b| a.key.cmp(&b.key));
        steps.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same {
                first.after = later.after.take();
                first.expired = later.expired;
            }
            same
        });
    }
    // What was made and removed in one state was never there.
    steps.retain(|change| change.before.is_some() || change.after.is_some());
    steps.into()
}
