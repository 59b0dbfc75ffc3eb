//! Adding files that this process has made itself. Their bytes are at hand, and it hashes them itself, so there is no word of
//! anybody to be held against what was received: each is written at once, and becomes whole as every file does.

use synod_types::content::ManifestError;
use synod_types::{ContentKey, Digest, Manifest};

use crate::error::{BeginError, PutError};
use crate::partial::{Partial, PartialState};
use crate::receiving::Begun;
use crate::store::{Inner, Store};

/// Why a file is not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There is no room for it.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// It cannot be written.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl From<ManifestError> for AddError {
    fn from(why: ManifestError) -> AddError {
        AddError::Begin(why.into())
    }
}

impl Store {
    /// Adds files, as far as they are not here, and gives their keys in their order. They are durable then. To add many at once
    /// costs much less of the processor than one by one.
    ///
    /// # Errors
    /// [`AddError`]; those before the one that it is about are here.
    pub fn add(&self, files: &[&[u8]]) -> Result<Vec<ContentKey>, AddError> {
        let keys: Vec<ContentKey> = Digest::of_each(files).into_iter().map(ContentKey).collect();
        for (key, file) in keys.iter().zip(files) {
            let manifest = Manifest::of(file)?;
            // Whoever receives the same file meanwhile, or discards it, is no hindrance: then it is begun again.
            while let Begun::Missing(_) = self.begin(key, &manifest)? {
                let partials = self.inner.index().partials_of(key);
                if let Some(partial) = partials.into_iter().find(|partial| *partial.manifest == manifest) {
                    self.inner.fill(&partial, file)?;
                }
            }
        }
        Ok(keys)
    }
}

impl Inner {
    /// Writes all of a file, which hashes to its key, and makes it whole.
    fn fill(&self, partial: &Partial, file: &[u8]) -> Result<(), PutError> {
        let mut state = partial.lock();
        let PartialState::Receiving { file: on_disk, missing } = &mut *state else { return Ok(()) };
        if let Err(error) = self.disk.write(on_disk, &partial.path, file, 0) {
            self.discard(partial, &mut state);
            return Err(error.into());
        }
        missing.clear();
        partial.count(missing);
        self.complete(partial, state)
    }
}
