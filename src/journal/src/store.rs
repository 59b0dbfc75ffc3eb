//! What the journal needs of the place where it keeps its entries. Two implementations: [`crate::sled_store`] on
//! disk, [`crate::memory_store`] for tests and for measuring what the disk costs.
//!
//! A store has one owner, the writer thread; nothing here is shared.

use std::io;
use std::ops::ControlFlow;

use crate::record::Entry;

/// An ordered map from keys to values.
pub trait Store: Send {
    /// Writes `entries`; a later one replaces an earlier one at its key. After a crash all of them are there or none,
    /// and none is there without those of every earlier call.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then not to be used again.
    fn append(&mut self, entries: Vec<Entry>) -> Result<(), StoreError>;

    /// Returns when everything appended is on disk, where neither a crash nor a power cut takes it back.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is known about what is on disk, and the store is not to be used again.
    fn make_durable(&mut self) -> Result<(), StoreError>;

    /// The value at `key`, durable or not.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows the keys from `from` up to, but not including, `before`, in order, until told to stop.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn scan_keys(
        &mut self,
        from: &[u8],
        before: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Removes up to `entries_max` entries from `from` up to, but not including, `before`, and says how many. Not
    /// atomic: after a crash any of them may be there again.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then not to be used again.
    fn truncate(&mut self, from: &[u8], before: &[u8], entries_max: usize) -> Result<usize, StoreError>;

    /// Whether some entries could not be read since this was opened, because what holds them is damaged. They cannot be
    /// replaced here either: all that can be read has to go into another store.
    fn is_corrupt(&self) -> bool {
        false
    }
}

/// Why a store cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}", io_text(.0))]
    Io(#[from] io::Error),
    /// What holds the entry is damaged; others can be read.
    #[error("the log's own structure is damaged here: {0}")]
    Corrupt(String),
    /// The store found its own files broken.
    #[error("the log's own structure is broken: {0}")]
    Broken(String),
}

fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("the disk is full ({error})"),
        _ => error.to_string(),
    }
}
