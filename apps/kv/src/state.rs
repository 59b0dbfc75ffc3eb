//! The keys: a persistent map in byte order. A copy is O(1), and a change copies one path of the tree.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_machine::{Key, RestoreError};
use synod_types::limits::{KV_ENTRY_BYTES, KV_KEY_BYTES_MAX, KV_STATE_BYTES_MAX, KV_VALUE_BYTES_MAX};
use synod_types::{StateNdx, wire};

/// First bytes of a snapshot: what it is, and in which version.
const SNAPSHOT_DOMAIN: &[u8; 12] = b"synod/kv/v1\0";

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The state that made the key, after it last did not exist.
    pub created: StateNdx,
    /// The state that last wrote the key.
    pub changed: StateNdx,
}

/// All keys of one application.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KvState {
    /// Entries are behind pointers because a changed path of the tree copies all of its neighbours.
    entries: OrdMap<Key, Arc<Entry>>,
    /// The sum of [`bytes_held`] over all keys.
    bytes: u64,
}

/// Bytes that a key counts for.
fn bytes_held(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).expect("usize has at most 64 bits") + KV_ENTRY_BYTES
}

/// All keys together would take more than [`KV_STATE_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoRoom;

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
        self.entries.is_empty()
    }

    /// Bytes that all keys together count for, of at most [`KV_STATE_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The keys that begin with `prefix`, in byte order, behind `after` if there is one.
    pub fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<_, [u8]>((start, Bound::Unbounded))
            .map(|(key, entry)| (key.as_bytes(), entry.as_ref()))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Writes a key; gives the state that had changed it before.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing has changed then.
    pub(crate) fn write(
        &mut self,
        key: &[u8],
        value: Bytes,
        state_ndx: StateNdx,
    ) -> Result<Option<StateNdx>, NoRoom> {
        let replaced = self.entry(key);
        let previous = replaced.map(|entry| entry.changed);
        let created = replaced.map_or(state_ndx, |entry| entry.created);
        let freed = replaced.map_or(0, |entry| bytes_held(key, &entry.value));
        let bytes = self.bytes - freed + bytes_held(key, &value);
        if bytes > KV_STATE_BYTES_MAX {
            return Err(NoRoom);
        }
        self.bytes = bytes;
        self.entries.insert(Key::new(key), Arc::new(Entry { value, created, changed: state_ndx }));
        Ok(previous)
    }

    /// Removes a key; gives whether it existed.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.bytes -= bytes_held(key, &entry.value);
        true
    }

    /// Every key in order, behind [`SNAPSHOT_DOMAIN`].
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let entries: Vec<(&Key, &Arc<Entry>)> = self.entries.iter().collect();
        let mut out = SNAPSHOT_DOMAIN.to_vec();
        wire::encode_into(&entries, &mut out);
        out
    }

    /// The opposite of [`KvState::snapshot`], for bytes of unknown origin.
    pub(crate) fn restore(snapshot: &[u8]) -> Result<KvState, RestoreError> {
        let error = |why: &str| RestoreError(why.to_owned());
        let encoded = snapshot.strip_prefix(SNAPSHOT_DOMAIN).ok_or_else(|| error("it is of another kind"))?;
        let entries: Vec<(Key, Arc<Entry>)> =
            wire::decode(encoded).map_err(|why| RestoreError(why.to_string()))?;
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(error("the keys are not in order"));
        }
        let mut bytes = 0;
        for (key, entry) in &entries {
            let key = key.as_bytes();
            bytes += bytes_held(key, &entry.value);
            if key.is_empty() || key.len() > KV_KEY_BYTES_MAX || entry.value.len() > KV_VALUE_BYTES_MAX {
                return Err(error("a key or a value is over its limit"));
            }
            if entry.created > entry.changed {
                return Err(error("a key was changed before it was created"));
            }
        }
        Ok(KvState { entries: entries.into_iter().collect(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_all_keys_together_is_exact() {
        let full = |bytes| KvState { entries: OrdMap::new(), bytes };
        let write = |state: &mut KvState, key: &[u8], value: &'static [u8]| {
            let before = state.bytes();
            let written = state.write(key, Bytes::from_static(value), StateNdx(1)).is_ok();
            assert!(written || state.bytes() == before, "a refused write was counted");
            written
        };
        let held = bytes_held(b"key", b"value");
        assert!(write(&mut full(KV_STATE_BYTES_MAX - held - 1), b"key", b"value"));
        assert!(!write(&mut full(KV_STATE_BYTES_MAX - held + 1), b"key", b"value"));

        let mut state = full(KV_STATE_BYTES_MAX - held);
        assert!(write(&mut state, b"key", b"value"));
        assert_eq!(state.bytes(), KV_STATE_BYTES_MAX);
        assert!(write(&mut state, b"key", b"VALUE"), "a value of the same size can be replaced");
        assert!(!write(&mut state, b"key", b"VALUE+"));
        assert!(!write(&mut state, b"other", b""));
        assert!(state.remove(b"key"));
        assert_eq!(state.bytes(), KV_STATE_BYTES_MAX - held);
    }

    #[test]
    fn overwriting_counts_the_last_value_only() {
        let mut state = KvState::default();
        assert_eq!(state.write(b"key", vec![0; 100].into(), StateNdx(1)), Ok(None));
        assert_eq!(state.write(b"key", vec![0; 7].into(), StateNdx(2)), Ok(Some(StateNdx(1))));
        assert_eq!(state.bytes(), bytes_held(b"key", &[0; 7]));
        assert_eq!(KvState::restore(&state.snapshot()), Ok(state));
    }

    #[test]
    fn a_snapshot_that_cannot_be_is_refused() {
        let entry = |created, changed| Entry {
            value: Bytes::from_static(b"v"),
            created: StateNdx(created),
            changed: StateNdx(changed),
        };
        let restore = |entries: &[(&[u8], Entry)]| {
            let mut snapshot = SNAPSHOT_DOMAIN.to_vec();
            wire::encode_into(&entries.to_vec(), &mut snapshot);
            KvState::restore(&snapshot)
        };
        assert!(restore(&[(b"a", entry(1, 1)), (b"b", entry(2, 3))]).is_ok());
        assert!(restore(&[(b"b", entry(1, 1)), (b"a", entry(2, 3))]).is_err(), "out of order");
        assert!(restore(&[(b"a", entry(1, 1)), (b"a", entry(2, 3))]).is_err(), "twice");
        assert!(restore(&[(b"", entry(1, 1))]).is_err(), "an empty key");
        assert!(restore(&[(&[1; KV_KEY_BYTES_MAX], entry(1, 1))]).is_ok());
        assert!(restore(&[(&[1; KV_KEY_BYTES_MAX + 1], entry(1, 1))]).is_err(), "a key over its limit");
        assert!(restore(&[(b"a", entry(2, 1))]).is_err(), "changed before it was created");
    }
}
