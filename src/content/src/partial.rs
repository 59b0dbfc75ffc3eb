//! A file on its way: its pieces are written at their places as they come, in any order, by any number of threads.
//!
//! It is one of three: *receiving*, and then *over*, when it became a whole file or was discarded. Its lock is held while a
//! piece is written, and while it becomes whole. The store's lock may be taken under it, and never the other way round.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use synod_types::{ContentKey, Manifest};

use crate::layout::ManifestId;

/// A file that is being received under one manifest.
#[derive(Debug)]
pub(crate) struct Partial {
    pub key: ContentKey,
    pub id: ManifestId,
    pub manifest: Arc<Manifest>,
    pub path: PathBuf,
    /// Bytes that are still to be written.
    pub bytes_to_come: AtomicU64,
    /// Something was done with it since the last collection.
    pub is_in_use: AtomicBool,
    state: Mutex<PartialState>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum PartialState {
    /// Takes pieces.
    Receiving {
        /// Where they go.
        file: File,
        /// Those that are not there.
        missing: BTreeSet<u32>,
    },
    /// Not begun, whole or discarded.
    Over,
}

impl Partial {
    pub(crate) fn new(key: ContentKey, id: ManifestId, manifest: Manifest, path: PathBuf) -> Partial {
        Partial {
            key,
            id,
            bytes_to_come: AtomicU64::new(manifest.bytes),
            manifest: Arc::new(manifest),
            path,
            is_in_use: AtomicBool::new(true),
            state: Mutex::new(PartialState::Over),
        }
    }

    /// Waits for whoever works on it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PartialState> {
        self.is_in_use.store(true, Ordering::Relaxed);
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while somebody works on it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, PartialState>> {
        match self.state.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Notes what is missing.
    pub(crate) fn count(&self, missing: &BTreeSet<u32>) {
        let places = missing.iter().filter_map(|&number| self.manifest.place(number));
        let bytes = places.map(|(_, len)| u64::try_from(len).expect("a piece's length")).sum();
        self.bytes_to_come.store(bytes, Ordering::Relaxed);
    }
}
