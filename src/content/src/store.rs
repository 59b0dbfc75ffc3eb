//! The store: what is asked of it, and what it answers.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_types::ContentKey;
use synod_types::limits::{CONTENT_DISK_RESERVE_BYTES, CONTENT_FILES_MAX, CONTENT_PARTIAL_MAX};

use crate::disk::Disk;
use crate::error::{DiskError, OpenError};
use crate::index::Index;
use crate::layout::Layout;
use crate::opening;
use crate::reading::Remembered;

/// How much a store takes; the default is that of [`synod_types::limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Files, those included that are being received.
    pub files_max: usize,
    /// Files that are being received.
    pub partials_max: usize,
    /// Bytes that stay free on the disk.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            files_max: CONTENT_FILES_MAX,
            partials_max: CONTENT_PARTIAL_MAX,
            reserve_bytes: CONTENT_DISK_RESERVE_BYTES,
        }
    }
}

/// The files of one node. Cheap to clone; every call may be made from any thread, and blocks on the disk unless it says
/// otherwise.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub limits: Limits,
    pub layout: Layout,
    pub disk: Disk,
    pub strangers: Vec<PathBuf>,
    pub remembered: Mutex<Remembered>,
    index: Mutex<Index>,
    /// Given back behind everything else.
    _lock: File,
}

impl Store {
    /// Opens the store in `dir`, which is created if need be and is private to this user.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        Store::open_with(dir, Limits::default())
    }

    /// Opens a store with limits of its own.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Store, OpenError> {
        Store::open_on(Disk::default(), dir, limits)
    }

    pub(crate) fn open_on(disk: Disk, dir: &Path, limits: Limits) -> Result<Store, OpenError> {
        let layout = Layout { dir: dir.to_owned() };
        let opened = opening::open(&disk, &layout)?;
        let inner = Inner {
            limits,
            layout,
            disk,
            strangers: opened.strangers,
            remembered: Mutex::default(),
            index: Mutex::new(opened.index),
            _lock: opened.lock,
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// What lay in the directory at the start and is none of the store's, the first few. It was logged then, and is left
    /// alone.
    pub fn strangers(&self) -> &[PathBuf] {
        &self.inner.strangers
    }

    /// Bytes of the file, if it is here. Does not block on the disk.
    pub fn has(&self, key: &ContentKey) -> Option<u64> {
        self.inner.index().files.get(key).map(|entry| entry.bytes)
    }

    /// How many files are here. Does not block on the disk.
    pub fn count(&self) -> usize {
        self.inner.index().files.len()
    }

    /// The keys of all files. Does not block on the disk.
    pub fn keys(&self) -> Vec<ContentKey> {
        self.inner.index().files.keys().copied().collect()
    }

    /// Whether the file is here; if so, it counts as new for [`Store::collect`]. To be called whenever a receipt is
    /// signed, which promises to keep it. Does not block on the disk.
    pub fn touch(&self, key: &ContentKey) -> bool {
        let mut index = self.inner.index();
        index.files.get_mut(key).map(|entry| entry.seen = None).is_some()
    }

    /// Removes a file; `false` if it was not here.
    ///
    /// # Errors
    /// [`DiskError`]; it is not held any more all the same, and will be found again by the next open.
    pub fn remove(&self, key: &ContentKey) -> Result<bool, DiskError> {
        let inner = &self.inner;
        // Under the lock, so that a file that takes its place is not the one that is removed.
        let mut index = inner.index();
        let was_here = index.files.remove(key).is_some();
        inner.forget(key);
        if was_here {
            inner.disk.remove(&inner.layout.file(key))?;
        }
        Ok(was_here)
    }
}

impl Inner {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.layout.dir).finish_non_exhaustive()
    }
}
