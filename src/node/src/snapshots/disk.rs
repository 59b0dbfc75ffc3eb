//! Snapshots on disk: the chunks and their lists in a content store of their own, and beside it a small file for each
//! snapshot, whose name is the application and the slot, and whose content says what is in the snapshot and who has signed
//! it. Without that file the chunks are nobody's, and go when nobody has asked for them for a while.
//!
//! ```text
//! snapshots/chunks/…      see synod-content
//! snapshots/1-900         "synod/snapshot/v1\0" ‖ Certificate, wire-encoded, perhaps of few signatures ‖ SHA3-256 of both
//! snapshots/1-900.new     one that is being written
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use synod_content::{AddError, Store};
use synod_machine::{Away, View};
use synod_types::limits::SNAPSHOT_CHUNK_BYTES;
use synod_types::{AppNdx, Certificate, Checkpoint, ContentKey, Digest, Slot, SnapshotIndex, format, wire};
use tracing::error;

use super::restoring::read_index;
use crate::durable::{NEW, replace};

const DOMAIN: &[u8] = b"synod/snapshot/v1\0";
/// The same without the version.
const NAME: &str = "synod/snapshot/v";
const DIGEST_BYTES: usize = 32;

/// Where this node keeps its snapshots.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub(super) PathBuf);

/// A snapshot of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    /// What it is of, and who has signed that.
    pub certificate: Certificate,
    /// Its chunks.
    pub index: SnapshotIndex,
}

impl Kept {
    /// What it is of.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.certificate.checkpoint
    }

    /// All its files.
    pub(crate) fn files(&self) -> impl Iterator<Item = ContentKey> + '_ {
        self.index.chunks.iter().copied().chain([self.checkpoint().index])
    }
}

/// Why the small file of a snapshot is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(&'static str),
    /// It is of a version that this program does not read.
    #[error("it is of version {0}, and this program reads version 1: install a newer program")]
    UnknownVersion(String),
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a snapshot is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A chunk cannot be stored.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The small file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The application cannot be asked for its state.
    #[error(transparent)]
    Away(#[from] Away),
}

impl Folder {
    /// The folder in a data directory, made where it is missing.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Folder> {
        let folder = Folder::of(data_dir);
        fs::create_dir_all(&folder.0)?;
        File::open(data_dir)?.sync_all()?;
        Ok(folder)
    }

    /// The folder in a data directory, which is not touched.
    pub(super) fn of(data_dir: &Path) -> Folder {
        Folder(data_dir.join("snapshots"))
    }

    /// The small files of an application's snapshots, oldest first, by their names.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn list(&self, app: AppNdx) -> io::Result<Vec<(Slot, PathBuf)>> {
        let mut list = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(list),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let slot = name.strip_prefix(&format!("{app}-")).and_then(|slot| slot.parse().ok());
            list.extend(slot.map(|slot| (Slot(slot), path)));
        }
        list.sort();
        Ok(list)
    }

    /// The small files that are not what was written, and the bytes of those that are.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn verify(&self) -> io::Result<(Vec<PathBuf>, u64)> {
        let (mut damaged, mut bytes) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if !path.is_file() || path.extension().is_some_and(|extension| extension == NEW) {
                continue;
            }
            match read(&path) {
                // What a newer program has written is not damaged; this one has refused to start by then.
                Ok(_) | Err(ListError::UnknownVersion(_)) => {
                    bytes += path.metadata().map_or(0, |file| file.len());
                }
                Err(ListError::Damaged(_)) => damaged.push(path),
                // It may have gone meanwhile.
                Err(ListError::Io(why)) if why.kind() == io::ErrorKind::NotFound => {}
                Err(ListError::Io(why)) => return Err(why),
            }
        }
        Ok((damaged, bytes))
    }

    /// Where the chunks are.
    pub(crate) fn chunks(&self) -> PathBuf {
        self.0.join("chunks")
    }

    /// Every snapshot whose files are here, oldest first; what is damaged is logged, and left out.
    ///
    /// # Errors
    /// The operating system's; and where a newer program has written one.
    pub(crate) fn load(&self, chunks: &Store) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == NEW) {
                fs::remove_file(&path)?;
            } else if path.is_file() {
                let certificate = match read(&path) {
                    // The log behind it may be cut: without it, this node would seem to have forgotten everything.
                    Err(why @ ListError::UnknownVersion(_)) => {
                        let text = format!("{}: {why}", path.display());
                        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
                    }
                    read => read.ok(),
                };
                match certificate.and_then(|certificate| with_index(certificate, chunks)) {
                    Some(kept) => all.push(kept),
                    None => error!(file = %path.display(), "a snapshot is damaged, and not used"),
                }
            }
        }
        all.sort_by_key(|kept| (kept.checkpoint().app, kept.checkpoint().slot));
        Ok(all)
    }

    /// Says durably that a snapshot is here; its chunks are.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn write(&self, certificate: &Certificate) -> io::Result<()> {
        replace(&self.path(&certificate.checkpoint), &encode(certificate))
    }

    /// Forgets a snapshot. Its chunks stay until nobody asks for them any more.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn forget(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        fs::remove_file(self.path(checkpoint))?;
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, checkpoint: &Checkpoint) -> PathBuf {
        let Checkpoint { app: AppNdx(app), slot: Slot(slot), .. } = checkpoint;
        self.0.join(format!("{app}-{slot}"))
    }
}

/// The small file of a snapshot.
fn encode(certificate: &Certificate) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    bytes.extend_from_slice(&wire::encode(certificate));
    let digest = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&digest.0);
    bytes
}

/// Who has signed which snapshot, as a small file says.
pub(super) fn read(path: &Path) -> Result<Certificate, ListError> {
    decode(&fs::read(path)?)
}

fn decode(bytes: &[u8]) -> Result<Certificate, ListError> {
    let damaged = ListError::Damaged;
    let (content, digest) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(damaged("it is too short"))?;
    if Digest::of(&[content]).0 != *digest {
        return Err(damaged("its digest does not match"));
    }
    match format::split(NAME, content).ok_or(damaged("it is nothing that this program writes"))? {
        ("1", certificate) => wire::decode(certificate).map_err(|_| damaged("it is no certificate")),
        (version, _) => Err(ListError::UnknownVersion(version.to_owned())),
    }
}

fn with_index(certificate: Certificate, chunks: &Store) -> Option<Kept> {
    let index = read_index(&chunks.read(&certificate.checkpoint.index).ok()?).ok()?;
    index.chunks.iter().all(|key| chunks.has(key).is_some()).then_some(Kept { certificate, index })
}

/// Writes a snapshot of a state, as far as it is not there already.
///
/// # Errors
/// [`StoreError`]; what was written goes in time.
pub(crate) fn make(view: &View, chunks: &Store) -> Result<Kept, StoreError> {
    let snapshot = view.try_snapshot()?;
    let files: Vec<&[u8]> = snapshot.chunks(SNAPSHOT_CHUNK_BYTES).collect();
    let bytes = u64::try_from(snapshot.len()).expect("usize has at most 64 bits");
    let index = SnapshotIndex { bytes, chunks: chunks.add(&files)? };
    let [listed] = chunks.add(&[&wire::encode(&index)])?[..] else { unreachable!("a key for each file") };
    let checkpoint = Checkpoint {
        app: view.app_ndx,
        slot: view.applied,
        state_ndx: view.state_ndx,
        chain: view.chain,
        index: listed,
    };
    Ok(Kept { certificate: Certificate { checkpoint, signatures: Vec::new() }, index })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_types::{CheckpointSignature, StateNdx};

    use super::*;

    #[test]
    fn the_small_file_is_golden() {
        let digest = |n| Digest([n; 32]);
        let checkpoint = Checkpoint {
            app: AppNdx(7),
            slot: Slot(258),
            state_ndx: StateNdx(257),
            chain: digest(3),
            index: ContentKey(digest(4)),
        };
        let (key, signature) = (Bytes::from_static(b"key"), Bytes::from_static(b"signature"));
        let signatures = vec![CheckpointSignature { key, signature }];
        let certificate = Certificate { checkpoint, signatures };
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/snapshot-v1.hex");
        let kept = synod_golden::holds(file, [("certificate", encode(&certificate))]);
        assert_eq!(decode(&kept["certificate"]).unwrap(), certificate);

        let mut newer = kept["certificate"].clone();
        newer.truncate(newer.len() - DIGEST_BYTES);
        newer[NAME.len()] = b'9';
        let sum = Digest::of(&[&newer]);
        newer.extend_from_slice(&sum.0);
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::write(folder.0.join("7-258"), newer).unwrap();
        let why = folder.load(&Store::open(&folder.chunks()).unwrap()).unwrap_err().to_string();
        assert!(why.contains("7-258: it is of version 9, and this program reads version 1"), "{why}");
    }
}
