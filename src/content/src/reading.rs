//! Reading a file, hashed each time: what is handed out is what the key says, or nothing.
//!
//! A file that is not what its name says, or that the disk cannot read, is moved aside for whoever looks into it, and is
//! not held from then on.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_DAMAGED_MAX};
use synod_types::{ContentKey, Manifest};

use crate::error::{DiskError, ReadError};
use crate::hashing;
use crate::index::Entry;
use crate::store::{Inner, Store};

/// Manifests that are remembered, the newest last: of files of which pieces are being asked for. 8 KiB for the largest.
const MANIFESTS_MAX: usize = 64;

/// Manifests of files that were hashed lately.
#[derive(Debug, Default)]
pub(crate) struct Remembered(VecDeque<(ContentKey, Arc<Manifest>)>);

/// What is wrong with a file.
enum Fault {
    /// It is not the file any more.
    Damaged(String),
    /// The disk refused, and the file may be well.
    Disk(DiskError),
}

impl Store {
    /// The whole file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, key: &ContentKey) -> Result<Bytes, ReadError> {
        self.inner.look_at(key, |file, _| read_whole(file, key))
    }

    /// The pieces of a file. The whole is hashed, unless it was lately.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn manifest(&self, key: &ContentKey) -> Result<Arc<Manifest>, ReadError> {
        if let Some(manifest) = self.inner.remembered(key) {
            return Ok(manifest);
        }
        let manifest = self.inner.look_at(key, |mut file, _| {
            let hashed = hashing::hash(&mut file)?;
            Ok(if hashed.key == *key { Ok(Arc::new(hashed.manifest)) } else { Err(hashed.key) })
        })?;
        self.inner.remember(*key, Arc::clone(&manifest));
        Ok(manifest)
    }

    /// One piece.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn piece(&self, key: &ContentKey, number: u32) -> Result<Bytes, ReadError> {
        let manifest = self.manifest(key)?;
        let (start, len) = manifest.place(number).ok_or(ReadError::NoPiece { key: *key, number })?;
        self.inner.look_at(key, |file, _| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, start)?;
            // The whole is only hashed again to say what it is instead.
            Ok(if manifest.proves(number, &bytes) {
                Ok(Bytes::from(bytes))
            } else {
                Err(hashing::key_of(file)?)
            })
        })
    }
}

impl Inner {
    /// Reads from a file that is here. What `read` finds to be another file, and what cannot be read, is moved aside.
    fn look_at<T>(
        &self,
        key: &ContentKey,
        read: impl FnOnce(&File, Entry) -> io::Result<Result<T, ContentKey>>,
    ) -> Result<T, ReadError> {
        let entry = self.index().files.get(key).copied().ok_or(ReadError::NotHeld(*key))?;
        let path = self.layout.file(key);
        let fault = match File::open(&path).and_then(|file| read(&file, entry)) {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(found)) => Fault::Damaged(format!("its bytes are those of file {found}")),
            Err(error) if is_damage(&error) => Fault::Damaged(error.to_string()),
            Err(error) => Fault::Disk(DiskError::of("read", &path)(error)),
        };
        match fault {
            Fault::Damaged(why) => Err(self.move_aside(key, entry, why)),
            // It was removed while it was opened.
            Fault::Disk(_) if !self.is_here(key, entry) => Err(ReadError::NotHeld(*key)),
            Fault::Disk(error) => Err(error.into()),
        }
    }

    fn is_here(&self, key: &ContentKey, entry: Entry) -> bool {
        self.index().files.get(key).is_some_and(|now| now.generation == entry.generation)
    }

    /// Moves a damaged file aside, unless it is gone or was replaced meanwhile.
    fn move_aside(&self, key: &ContentKey, entry: Entry, why: String) -> ReadError {
        let mut index = self.index();
        if index.files.get(key).is_none_or(|now| now.generation != entry.generation) {
            return ReadError::NotHeld(*key);
        }
        index.files.remove(key);
        self.forget(key);
        self.thin_out_damaged();
        let (path, aside) = (self.layout.file(key), self.layout.aside(key));
        let what_came_of_it = match self.disk.rename(&path, &aside) {
            Ok(()) => format!("it was moved to {}", aside.display()),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => "it is gone".to_owned(),
            Err(error) => error.to_string(),
        };
        drop(index);
        tracing::error!(%key, %why, "a content file is damaged: {what_came_of_it}");
        ReadError::Damaged { key: *key, why, what_came_of_it }
    }

    /// Makes room for one more damaged file.
    fn thin_out_damaged(&self) {
        let Ok(entries) = fs::read_dir(self.layout.damaged()) else { return };
        for entry in entries.flatten().skip(CONTENT_DAMAGED_MAX - 1) {
            if let Err(error) = self.disk.remove(&entry.path()) {
                tracing::warn!(%error, "a damaged file stays where it is");
            }
        }
    }

    fn remembered(&self, key: &ContentKey) -> Option<Arc<Manifest>> {
        // What was remembered of a file that is not here any more says nothing.
        if !self.index().files.contains_key(key) {
            return None;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let at = remembered.0.iter().position(|(of, _)| of == key)?;
        let entry = remembered.0.remove(at)?;
        let manifest = Arc::clone(&entry.1);
        remembered.0.push_back(entry);
        Some(manifest)
    }

    /// Remembers the manifest of a file that was hashed.
    pub(crate) fn remember(&self, key: ContentKey, manifest: Arc<Manifest>) {
        self.forget(&key);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.0.len() >= MANIFESTS_MAX {
            remembered.0.pop_front();
        }
        remembered.0.push_back((key, manifest));
    }

    pub(crate) fn forget(&self, key: &ContentKey) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.0.retain(|(of, _)| of != key);
    }
}

/// Reads a file and hashes it. The inner error is what it is instead.
pub(crate) fn read_whole(file: &File, key: &ContentKey) -> io::Result<Result<Bytes, ContentKey>> {
    let mut bytes = Vec::new();
    let len = file.metadata()?.len().min(CONTENT_BYTES_MAX);
    bytes.reserve_exact(usize::try_from(len).map_err(io::Error::other)? + 1);
    file.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let found = ContentKey::of(&bytes);
    Ok(if found == *key { Ok(Bytes::from(bytes)) } else { Err(found) })
}

/// Whether an error means that the file is lost, and not that this user or this moment is wrong.
fn is_damage(error: &io::Error) -> bool {
    // EIO has no kind of its own.
    const EIO: i32 = 5;
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory
    ) || error.raw_os_error() == Some(EIO)
}
