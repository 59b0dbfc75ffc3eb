//! The keys and what they hold now, in byte order.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_machine::Key;
use synod_types::StateNdx;
use synod_types::limits::KV_ENTRY_BYTES;

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The state that made the key, after it last did not exist.
    pub created: StateNdx,
    /// The state that last wrote the key.
    pub changed: StateNdx,
    /// The lease with which the key ends.
    pub lease: Option<StateNdx>,
}

/// Bytes that a key counts for.
pub(super) fn bytes_held(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).expect("usize has at most 64 bits") + KV_ENTRY_BYTES
}

/// All keys together would take more than their quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoRoom {
    /// What they would take.
    pub(crate) bytes: u64,
}

/// All keys of one application.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Entries {
    /// Entries are behind pointers because a changed path of the tree copies all of its neighbours.
    map: OrdMap<Key, Arc<Entry>>,
    /// The sum of [`bytes_held`] over all keys.
    bytes: u64,
}

impl Entries {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.map.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Arc<Entry>)> {
        self.map.iter()
    }

    /// The keys that begin with `prefix`, behind `after` if there is one.
    pub(super) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Entry>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.map
            .range::<_, [u8]>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.as_bytes().starts_with(prefix))
    }

    pub(super) fn map(&self) -> &OrdMap<Key, Arc<Entry>> {
        &self.map
    }

    /// Writes a key in `state_ndx`; gives what it held, and what it holds.
    ///
    /// # Errors
    /// [`NoRoom`] if the keys grow beyond `quota` bytes; nothing has changed then.
    pub(super) fn write(
        &mut self,
        key: &Key,
        value: Bytes,
        lease: Option<StateNdx>,
        state_ndx: StateNdx,
        quota: u64,
    ) -> Result<(Option<Arc<Entry>>, Arc<Entry>), NoRoom> {
        let needed = bytes_held(key.as_bytes(), &value);
        let slot = self.map.get_mut(key.as_bytes());
        let freed = slot.as_ref().map_or(0, |entry| bytes_held(key.as_bytes(), &entry.value));
        let bytes = self.bytes - freed + needed;
        // Who is over a quota that was lowered can still write what takes less than before.
        if bytes > quota && needed > freed {
            return Err(NoRoom { bytes });
        }
        self.bytes = bytes;
        let created = slot.as_ref().map_or(state_ndx, |entry| entry.created);
        let entry = Arc::new(Entry { value, created, changed: state_ndx, lease });
        let before = match slot {
            Some(slot) => Some(std::mem::replace(slot, entry.clone())),
            None => self.map.insert(key.clone(), entry.clone()),
        };
        Ok((before, entry))
    }

    /// Removes a key; gives what it held.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.map.remove(key)?;
        self.bytes -= bytes_held(key, &entry.value);
        Some(entry)
    }

    /// Lets a key hold again what it held before; gives what it held until now.
    pub(super) fn put_back(&mut self, key: &Key, before: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        let Some(before) = before else { return self.remove(key.as_bytes()) };
        self.bytes += bytes_held(key.as_bytes(), &before.value);
        let until_now = self.map.insert(key.clone(), before)?;
        self.bytes -= bytes_held(key.as_bytes(), &until_now.value);
        Some(until_now)
    }

    /// The keys of a snapshot, in their order.
    pub(super) fn collect(entries: Vec<(Key, Arc<Entry>)>) -> Entries {
        let bytes = entries.iter().map(|(key, entry)| bytes_held(key.as_bytes(), &entry.value)).sum();
        Entries { map: entries.into_iter().collect(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(entries: &mut Entries, key: &[u8], value: &'static [u8], quota: u64) -> bool {
        let before = entries.clone();
        let value = Bytes::from_static(value);
        let written = entries.write(&Key::new(key), value, None, StateNdx(1), quota).is_ok();
        assert!(written || *entries == before, "a refused write changed something");
        written
    }

    #[test]
    fn the_quota_is_exact() {
        let held = bytes_held(b"key", b"value");
        assert!(!write(&mut Entries::default(), b"key", b"value", held - 1));
        assert!(write(&mut Entries::default(), b"key", b"value", held + 1));

        let mut entries = Entries::default();
        assert!(write(&mut entries, b"key", b"value", held));
        assert_eq!(entries.bytes(), held);
        assert!(write(&mut entries, b"key", b"VALUE", held), "a value of the same size can be replaced");
        assert!(!write(&mut entries, b"key", b"VALUE+", held));
        assert!(!write(&mut entries, b"other", b"", held));
        assert!(
            write(&mut entries, b"key", b"VALU", held - 10),
            "less is no growth, under a lower quota too"
        );
        assert!(!write(&mut entries, b"key", b"VALUE", held - 10));
        assert!(entries.remove(b"key").is_some());
        assert_eq!(entries.bytes(), 0);
        assert!(write(&mut entries, b"other", b"", held));
    }

    #[test]
    fn what_is_put_back_counts_as_before() {
        let mut entries = Entries::default();
        let key = Key::new(b"key");
        write(&mut entries, b"key", b"value", u64::MAX);
        let full = entries.clone();
        let (before, _) =
            entries.write(&key, Bytes::from_static(b"longer"), None, StateNdx(2), u64::MAX).unwrap();
        entries.put_back(&key, before);
        assert_eq!(entries, full);
        let before = entries.remove(b"key");
        entries.put_back(&key, before);
        assert_eq!(entries, full);
        entries.put_back(&key, None);
        assert_eq!(entries, Entries::default());
    }
}
