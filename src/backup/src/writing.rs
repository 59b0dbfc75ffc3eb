//! Writing a backup: to a file without a name, which gets its own when everything is on disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha3::{Digest as _, Sha3_256};
use synod_auth::{SigningKey, sign_backup};
use synod_types::{ContentKey, Digest};
use tempfile::NamedTempFile;

use crate::manifest::{Files, Manifest, Section};
use crate::{END, MAGIC};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a file of that name.
    #[error("{} is there already, and is not overwritten; name another file", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("cannot write the backup {}: {source}", path.display())]
    Io {
        /// The backup.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The parts came in another order, or are too large.
    #[error("the backup cannot be made: {0}")]
    Parts(&'static str),
}

/// A backup that is being written. Dropped before [`Writing::finish`], nothing of it stays.
#[derive(Debug)]
pub struct Writing {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    genesis: Section,
    files: Sha3_256,
    count: u64,
    bytes: u64,
    last: Option<ContentKey>,
}

impl Writing {
    /// Begins the backup `path` of a cluster with this genesis document.
    ///
    /// # Errors
    /// [`WriteError::Exists`], [`WriteError::Io`].
    pub fn begin(path: &Path, genesis: &[u8]) -> Result<Writing, WriteError> {
        if path.exists() {
            return Err(WriteError::Exists(path.to_owned()));
        }
        let file = NamedTempFile::with_prefix_in(".synod-backup-", directory(path));
        let file = file.map_err(|source| WriteError::Io { path: path.to_owned(), source })?;
        let mut writing = Writing {
            path: path.to_owned(),
            file: BufWriter::new(file),
            genesis: section(genesis),
            files: Sha3_256::new(),
            count: 0,
            bytes: 0,
            last: None,
        };
        writing.put(MAGIC)?;
        writing.put(genesis)?;
        Ok(writing)
    }

    /// Appends the state of the next application.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn state(&mut self, snapshot: &[u8]) -> Result<Section, WriteError> {
        if self.count > 0 {
            return Err(WriteError::Parts("a state comes behind a file"));
        }
        self.put(snapshot)?;
        Ok(section(snapshot))
    }

    /// Appends a file, whose key is behind that of the one before.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn file(&mut self, file: &[u8]) -> Result<(), WriteError> {
        let key = ContentKey::of(file);
        if self.last.replace(key).is_some_and(|last| key <= last) {
            return Err(WriteError::Parts("the files are not in order"));
        }
        let bytes = length(file);
        for part in [&key.as_bytes()[..], &bytes.to_be_bytes(), file] {
            self.files.update(part);
            self.put(part)?;
            self.bytes += length(part);
        }
        self.count += 1;
        Ok(())
    }

    /// Signs what is in it, and gives it its name once it is on disk. Where the manifest says what is in it, it is filled in, but
    /// for the applications.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self, mut manifest: Manifest, key: &SigningKey) -> Result<Manifest, WriteError> {
        manifest.genesis = self.genesis;
        let digest = Digest(self.files.finalize_reset().into());
        manifest.files = Files { count: self.count, bytes: self.bytes, digest };
        let json =
            serde_json::to_vec_pretty(&manifest).expect("text, numbers and lists always have a JSON form");
        let (spki, signature) = (key.public().spki_der().clone(), sign_backup(key, &json));
        let long = |_| WriteError::Parts("the manifest is too long");
        let manifest_bytes = u32::try_from(json.len()).map_err(long)?;
        let [key_bytes, signature_bytes] = [spki.len(), signature.len()].map(u16::try_from);
        let (key_bytes, signature_bytes) = (key_bytes.map_err(long)?, signature_bytes.map_err(long)?);
        for part in [&json[..], &spki, &signature, &manifest_bytes.to_be_bytes()] {
            self.put(part)?;
        }
        for part in [&key_bytes.to_be_bytes()[..], &signature_bytes.to_be_bytes(), END] {
            self.put(part)?;
        }
        let Writing { path, file, .. } = self;
        let io = |source| WriteError::Io { path: path.clone(), source };
        let file = file.into_inner().map_err(|why| io(why.into_error()))?;
        file.as_file().sync_all().map_err(io)?;
        file.persist_noclobber(&path).map_err(|why| match why.error.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists(path.clone()),
            _ => io(why.error),
        })?;
        File::open(directory(&path)).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(manifest)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn section(bytes: &[u8]) -> Section {
    Section { bytes: length(bytes), digest: Digest::of(&[bytes]) }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize has at most 64 bits")
}
