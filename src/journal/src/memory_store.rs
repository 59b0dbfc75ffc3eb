//! Entries in memory: for tests, and to measure what the disk costs. Nothing here is ever durable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::record::Entry;
use crate::store::{Store, StoreError};

/// An ordered map that is gone with its process.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl Store for MemoryStore {
    fn append(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.entries.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries.get(key).cloned())
    }

    fn scan_keys(
        &mut self,
        from: &[u8],
        before: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for (key, _) in self.entries.range(from.to_vec()..before.to_vec()) {
            if visit(key).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, from: &[u8], before: &[u8], entries_max: usize) -> Result<usize, StoreError> {
        let range = from.to_vec()..before.to_vec();
        let keys: Vec<_> = self.entries.range(range).take(entries_max).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.entries.remove(key);
        }
        Ok(keys.len())
    }
}
