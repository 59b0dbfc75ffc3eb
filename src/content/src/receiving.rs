//! Receiving a file: begin, put its pieces, and with the last one it is whole and durable.
//!
//! The order of the last steps is what durability is made of: every byte hashed, the file synced, renamed to its final
//! name, its directory synced, and only then is it held. A crash between any two of them leaves the file whole or leaves
//! none; what is left of the partial file is gone on with or goes in time.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use synod_types::{ContentKey, Manifest};

use crate::disk::free_bytes;
use crate::error::{BeginError, DiskError, PutError};
use crate::hashing;
use crate::index::{Index, Slot};
use crate::layout::ManifestId;
use crate::partial::{Partial, PartialState};
use crate::store::{Inner, Store};

/// What [`Store::begin`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begun {
    /// The file is here, whole and durable.
    Stored,
    /// These pieces are missing, at least one.
    Missing(Vec<u32>),
}

/// What [`Store::put`] came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Progress {
    /// The file is whole and durable.
    Stored,
    /// So many pieces are still missing.
    Missing(usize),
}

pub(crate) type Guard<'a> = MutexGuard<'a, PartialState>;

impl Store {
    /// Begins to receive a file, or goes on with it: what an earlier attempt under the same manifest left on the disk is
    /// hashed, and counts. Several manifests for one key are received side by side, since at most one of them is right.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn begin(&self, key: &ContentKey, manifest: &Manifest) -> Result<Begun, BeginError> {
        manifest.check()?;
        let inner = &*self.inner;
        let id = ManifestId::of(manifest);
        loop {
            let mut index = inner.index();
            if index.files.contains_key(key) {
                return Ok(Begun::Stored);
            }
            let begun = index.partials.get(&(*key, id)).and_then(|slot| slot.partial.clone());
            if let Some(partial) = begun {
                drop(index);
                let mut state = partial.lock();
                match &*state {
                    PartialState::Receiving { missing, .. } if !missing.is_empty() => {
                        return Ok(Begun::Missing(missing.iter().copied().collect()));
                    }
                    // Whoever was to complete it did not get to the end.
                    PartialState::Receiving { .. } => inner.discard(&partial, &mut state),
                    // It is whole now, or was discarded: in either case it is not in the index any more.
                    PartialState::Over => {}
                }
                continue;
            }
            inner.make_room(&mut index, *key, id, manifest)?;
            let path = inner.layout.partial(key, id);
            let partial = Arc::new(Partial::new(*key, id, manifest.clone(), path));
            let mut state = partial.try_lock().expect("nobody else knows of it");
            index.partials.insert((*key, id), Slot { partial: Some(Arc::clone(&partial)), idle: None });
            drop(index);
            return match inner.open_partial(&partial) {
                Ok((file, missing)) => {
                    partial.count(&missing);
                    let numbers: Vec<u32> = missing.iter().copied().collect();
                    *state = PartialState::Receiving { file, missing };
                    if !numbers.is_empty() {
                        return Ok(Begun::Missing(numbers));
                    }
                    // A crash came between the last piece and the whole.
                    match inner.prove(&partial, state) {
                        Ok(()) => Ok(Begun::Stored),
                        Err(PutError::Disk(error)) => Err(error.into()),
                        Err(_) => continue,
                    }
                }
                Err(error) => {
                    inner.discard(&partial, &mut state);
                    Err(error.into())
                }
            };
        }
    }

    /// Takes a piece of a file that is being received under this manifest. The last one completes the file: this returns
    /// when it is durable, after some tenths of a second for the largest. A piece that is there already changes nothing.
    ///
    /// # Errors
    /// [`PutError`].
    pub fn put(
        &self,
        key: &ContentKey,
        manifest: &Manifest,
        number: u32,
        bytes: &[u8],
    ) -> Result<Progress, PutError> {
        let partials = self.inner.index().partials_of(key);
        let partial = partials.into_iter().find(|partial| *partial.manifest == *manifest);
        match partial {
            Some(partial) => self.inner.put(&partial, number, bytes),
            None if self.has(key).is_some() => Ok(Progress::Stored),
            None => Err(PutError::NotBegun(*key)),
        }
    }

    /// [`Store::put`] under every manifest of which it is a piece, for who does not know any more under which it was
    /// begun. Says how far the one is that is farthest.
    ///
    /// # Errors
    /// [`PutError`]; [`PutError::WrongPiece`] if it is a piece of none.
    pub fn put_any(&self, key: &ContentKey, number: u32, bytes: &[u8]) -> Result<Progress, PutError> {
        if self.has(key).is_some() {
            return Ok(Progress::Stored);
        }
        let mut farthest = Err(PutError::NotBegun(*key));
        // Before the loop: in its head the index would stay locked until its end.
        let partials = self.inner.index().partials_of(key);
        for partial in partials {
            farthest = match (farthest, self.inner.put(&partial, number, bytes)) {
                (Ok(one), Ok(other)) => Ok(one.min(other)),
                (Err(_), Ok(progress)) | (Ok(progress), Err(_)) => Ok(progress),
                // That the whole was wrong, or the disk full, says more than that it is no piece of another.
                (Err(error), Err(PutError::WrongPiece { .. } | PutError::NotBegun(_)))
                    if !matches!(error, PutError::NotBegun(_)) =>
                {
                    Err(error)
                }
                (Err(_), Err(error)) => Err(error),
            };
        }
        farthest
    }
}

impl Inner {
    /// Checks that one more file can be received.
    fn make_room(
        &self,
        index: &mut Index,
        key: ContentKey,
        id: ManifestId,
        manifest: &Manifest,
    ) -> Result<(), BeginError> {
        let active = index.partials.values().filter(|slot| slot.partial.is_some()).count();
        if index.files.len() + active >= self.limits.files_max {
            return Err(BeginError::Files { max: self.limits.files_max });
        }
        while index.partials.len() >= self.limits.partials_max && !index.partials.contains_key(&(key, id)) {
            let max = self.limits.partials_max;
            let (key, id) = index.any_left_over().ok_or(BeginError::Partials { max })?;
            index.partials.remove(&(key, id));
            self.disk.remove(&self.layout.partial(&key, id))?;
        }
        let (free, reserve) = (free_bytes(&self.layout.dir)?, self.limits.reserve_bytes);
        let needed = manifest.bytes;
        if free < needed.saturating_add(index.bytes_to_come()).saturating_add(reserve) {
            return Err(BeginError::Full { needed, free, reserve });
        }
        Ok(())
    }

    fn open_partial(&self, partial: &Partial) -> Result<(std::fs::File, BTreeSet<u32>), DiskError> {
        let file = self.disk.create(&partial.path)?;
        let missing = hashing::missing_in(&file, &partial.manifest);
        let missing = missing.map_err(DiskError::of("read", &partial.path))?;
        Ok((file, missing.into_iter().collect()))
    }

    fn put(&self, partial: &Partial, number: u32, bytes: &[u8]) -> Result<Progress, PutError> {
        let key = partial.key;
        let place = partial.manifest.place(number).filter(|(_, len)| *len == bytes.len());
        let Some((start, len)) = place.filter(|_| partial.manifest.proves(number, bytes)) else {
            return Err(PutError::WrongPiece { key, number });
        };
        let mut state = partial.lock();
        let PartialState::Receiving { file, missing } = &mut *state else {
            drop(state);
            let is_here = self.index().files.contains_key(&key);
            return if is_here { Ok(Progress::Stored) } else { Err(PutError::NotBegun(key)) };
        };
        if missing.contains(&number) {
            if let Err(error) = self.disk.write(file, &partial.path, bytes, start) {
                self.discard(partial, &mut state);
                return Err(error.into());
            }
            missing.remove(&number);
            let len = u64::try_from(len).expect("a piece's length");
            partial.bytes_to_come.fetch_sub(len, Ordering::Relaxed);
        }
        if !missing.is_empty() {
            return Ok(Progress::Missing(missing.len()));
        }
        self.prove(partial, state)?;
        Ok(Progress::Stored)
    }

    /// Makes a whole file of a partial one that has all its pieces, if the whole is what its key says; or discards it.
    fn prove(&self, partial: &Partial, mut state: Guard<'_>) -> Result<(), PutError> {
        let PartialState::Receiving { file, .. } = &*state else {
            return Err(PutError::NotBegun(partial.key));
        };
        let why = match hashing::key_of(file) {
            Ok(found) if found == partial.key => return self.complete(partial, state),
            Ok(found) => PutError::WrongWhole { key: partial.key, found: found.0 },
            Err(error) => DiskError::of("read", &partial.path)(error).into(),
        };
        self.discard(partial, &mut state);
        Err(why)
    }

    /// Makes a whole file of a partial one that has all its bytes, or discards it.
    pub(crate) fn complete(&self, partial: &Partial, mut state: Guard<'_>) -> Result<(), PutError> {
        match self.make_whole(partial, &state) {
            Ok(()) => *state = PartialState::Over,
            Err(error) => {
                self.discard(partial, &mut state);
                return Err(error);
            }
        }
        let mut index = self.index();
        index.insert(partial.key, partial.manifest.bytes);
        index.partials.remove(&(partial.key, partial.id));
        let others = index.partials_of(&partial.key);
        drop(index);
        drop(state);
        self.remember(partial.key, Arc::clone(&partial.manifest));
        for other in others {
            self.discard(&other, &mut other.lock());
        }
        Ok(())
    }

    fn make_whole(&self, partial: &Partial, state: &PartialState) -> Result<(), PutError> {
        let (key, path) = (partial.key, &partial.path);
        let PartialState::Receiving { file, .. } = state else { return Err(PutError::NotBegun(key)) };
        let whole = self.layout.file(&key);
        self.disk.sync_file(file, path)?;
        self.disk.rename(path, &whole)?;
        if let Err(error) = self.disk.sync_dir(&self.layout.shard_of(&key)) {
            // It may be there after a crash or not: then it shall not be there now.
            let _ = self.disk.remove(&whole);
            return Err(error.into());
        }
        Ok(())
    }

    /// Forgets a partial file and removes it.
    pub(crate) fn discard(&self, partial: &Partial, state: &mut PartialState) {
        *state = PartialState::Over;
        let mut index = self.index();
        // Another one may have taken its place, if this one is over already.
        let which = (partial.key, partial.id);
        let is_this = index.partials.get(&which).and_then(|slot| slot.partial.as_ref());
        if is_this.is_some_and(|this| std::ptr::eq(Arc::as_ptr(this), partial)) {
            index.partials.remove(&which);
            if let Err(error) = self.disk.remove(&partial.path) {
                tracing::warn!(%error, "a partial file stays where it is");
            }
        }
    }
}
