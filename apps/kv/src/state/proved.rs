//! What of a state can be proved: each entry, with everything that a reader is told of it.
//!
//! History has what changed, so the map of digests is brought up to date with it, and the keys need not be compared. Where a
//! command lets so little of it be kept that a state is forgotten before the next one is asked for, they are.

use std::sync::Arc;

use imbl::OrdMap;
use synod_machine::Key;
use synod_merkle::{Changes, Messages, Source};
use synod_types::StateNdx;

use super::KvState;
use super::entries::Entry;
use super::history::Change;
use crate::proof::put_entry;

/// Least that history has to keep for being relied on: states, bytes and milliseconds.
const RELIED_ON: (u64, u64, u64) = (16_384, 64 << 20, 3_600_000);

/// The last record of a history.
pub struct Mark {
    state_ndx: StateNdx,
    changes: Arc<[Change]>,
}

impl Source for KvState {
    type Key = Key;
    type Value = Arc<Entry>;
    type Mark = Mark;

    fn map(&self) -> &OrdMap<Key, Arc<Entry>> {
        self.entries.map()
    }

    fn mark(&self) -> Option<Mark> {
        let (states, bytes, age_ms) = RELIED_ON;
        let settings = &self.settings;
        let is_relied_on = settings.history_states >= states
            && settings.history_bytes >= bytes
            && settings.history_age_ms >= age_ms;
        let (state_ndx, changes) = self.history.last().filter(|_| is_relied_on)?;
        Some(Mark { state_ndx, changes: Arc::clone(changes) })
    }

    fn since<'a>(&'a self, mark: &Mark) -> Option<Changes<'a, Key, Arc<Entry>>> {
        let behind = self.history.behind_record(mark.state_ndx, &mark.changes)?;
        Some(Box::new(behind.flatten().map(|change| (&change.key, change.after.as_ref()))))
    }

    fn put_key(key: &Key, keys: &mut Messages) {
        keys.push(&[key.as_bytes()]);
    }

    fn put_value(entry: &Arc<Entry>, values: &mut Messages) {
        put_entry(&entry.value, entry.created, entry.changed, entry.lease, values);
    }
}
