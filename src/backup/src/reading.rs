//! Reading a backup. Nothing is given out of it that is not what its manifest says, and no manifest that was not signed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha3::{Digest as _, Sha3_256};
use synod_auth::{BackupSignatureError, verify_backup};
use synod_types::limits::{BACKUP_MANIFEST_BYTES_MAX, CONTENT_BYTES_MAX, GENESIS_BYTES_MAX};
use synod_types::{CommanderId, ContentKey, Digest};

use crate::manifest::{FORMAT, Manifest, Section};
use crate::{END, FILE_HEAD_BYTES, FOOTER_BYTES, MAGIC};

/// Why a backup is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read the backup {}: {source}", path.display())]
    Io {
        /// The backup.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or its end is missing.
    #[error("{} is no backup, or one whose beginning or end is missing or damaged", .0.display())]
    NotOne(PathBuf),
    /// Another version wrote it.
    #[error("the backup {} is of format {found:?}; this program reads {FORMAT:?}", path.display())]
    OtherFormat {
        /// The backup.
        path: PathBuf,
        /// Its format.
        found: String,
    },
    /// Nobody is known to have made it.
    #[error("the manifest of the backup {} is not what was signed: {source}", path.display())]
    Signature {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        source: BackupSignatureError,
    },
    /// What is in it is not what its manifest says.
    #[error("the backup {} is damaged: {what}; take another copy of it", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A backup, whose manifest and genesis document were verified.
#[derive(Debug)]
pub struct Backup<R> {
    path: PathBuf,
    file: R,
    manifest: Manifest,
    signer: CommanderId,
    genesis: Vec<u8>,
}

impl Backup<File> {
    /// Opens the backup at `path`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Backup<File>, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Backup::read(path, file)
    }
}

impl<R: Read + Seek> Backup<R> {
    /// The backup in `file`, called `path` in what is said of it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(path: &Path, mut file: R) -> Result<Backup<R>, ReadError> {
        let path = path.to_owned();
        let (manifest, signer, behind) = read_manifest(&path, &mut file)?;
        let damaged = |what: &str| ReadError::Damaged { path: path.clone(), what: what.to_owned() };
        let sections = [manifest.genesis.bytes, manifest.files.bytes];
        let mut sections = sections.into_iter().chain(manifest.apps.iter().map(|app| app.state.bytes));
        let expected = sections.try_fold(length(MAGIC), u64::checked_add);
        if expected != Some(behind) {
            return Err(damaged("it has more or fewer bytes than its manifest says"));
        }
        if manifest.genesis.bytes > length_of(GENESIS_BYTES_MAX) {
            return Err(damaged("its genesis document is too long"));
        }
        let section = manifest.genesis;
        let mut backup = Backup { path: path.clone(), file, manifest, signer, genesis: Vec::new() };
        backup.genesis = backup.section(length(MAGIC), section, "the genesis document")?;
        if Digest::of(&[&backup.genesis]) != backup.manifest.cluster.0 {
            return Err(damaged("its genesis document founds another cluster"));
        }
        Ok(backup)
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who has signed that. Whether whoever that is may be believed is for the reader to decide.
    pub fn signer(&self) -> CommanderId {
        self.signer
    }

    /// The genesis document of the cluster.
    pub fn genesis(&self) -> &[u8] {
        &self.genesis
    }

    /// The state of the nth application in the manifest, a snapshot.
    ///
    /// # Errors
    /// [`ReadError::Damaged`], [`ReadError::Io`].
    ///
    /// # Panics
    /// If there are not so many.
    pub fn state(&mut self, nth: usize) -> Result<Vec<u8>, ReadError> {
        let before = self.manifest.apps[..nth].iter().map(|app| app.state.bytes).sum::<u64>();
        let app = &self.manifest.apps[nth];
        let what = format!("the state of application {}", app.app_ndx);
        self.section(length(MAGIC) + self.manifest.genesis.bytes + before, app.state, &what)
    }

    /// Gives each file to `take`, by rising keys; each is what its key says. That nothing was left out is known when all were
    /// given.
    ///
    /// # Errors
    /// [`ReadError`], and what `take` comes to.
    pub fn files<E: From<ReadError>>(
        &mut self,
        mut take: impl FnMut(ContentKey, Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let states = self.manifest.apps.iter().map(|app| app.state.bytes).sum::<u64>();
        let files = self.manifest.files;
        self.seek(length(MAGIC) + self.manifest.genesis.bytes + states)?;
        let (mut left, mut hasher, mut last) = (files.bytes, Sha3_256::new(), None);
        for _ in 0..files.count {
            left = left.checked_sub(FILE_HEAD_BYTES).ok_or_else(|| self.wrong_files())?;
            let (mut key, mut bytes) = ([0; 32], [0; 8]);
            self.fill(&mut key)?;
            self.fill(&mut bytes)?;
            hasher.update(key);
            hasher.update(bytes);
            let (key, bytes) = (ContentKey(Digest(key)), u64::from_be_bytes(bytes));
            left = left.checked_sub(bytes).ok_or_else(|| self.wrong_files())?;
            if !(1..=CONTENT_BYTES_MAX).contains(&bytes) || last.replace(key).is_some_and(|last| key <= last)
            {
                return Err(self.wrong_files().into());
            }
            let mut file = vec![0; usize::try_from(bytes).map_err(|_| self.wrong_files())?];
            self.fill(&mut file)?;
            hasher.update(&file);
            if ContentKey::of(&file) != key {
                return Err(self.damaged(format!("the file {key} is not what its key says")).into());
            }
            take(key, file)?;
        }
        let is_all = left == 0 && Digest(hasher.finalize().into()) == files.digest;
        if is_all { Ok(()) } else { Err(self.wrong_files().into()) }
    }

    /// Verifies everything that is in it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn verify(&mut self) -> Result<(), ReadError> {
        for nth in 0..self.manifest.apps.len() {
            self.state(nth)?;
        }
        self.files(|_, _| Ok(()))
    }

    fn section(&mut self, from: u64, section: Section, what: &str) -> Result<Vec<u8>, ReadError> {
        let wrong = || self.damaged(format!("{what} is not what the manifest says"));
        let len = usize::try_from(section.bytes).map_err(|_| wrong())?;
        let mut bytes = vec![0; len];
        self.seek(from)?;
        self.fill(&mut bytes)?;
        if Digest::of(&[&bytes]) != section.digest {
            return Err(self.damaged(format!("{what} is not what the manifest says")));
        }
        Ok(bytes)
    }

    fn seek(&mut self, to: u64) -> Result<(), ReadError> {
        self.file
            .seek(SeekFrom::Start(to))
            .map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.file.read_exact(bytes).map_err(|source| ReadError::Io { path: self.path.clone(), source })
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged { path: self.path.clone(), what }
    }

    fn wrong_files(&self) -> ReadError {
        self.damaged("its files are not what the manifest says".to_owned())
    }
}

/// The manifest, who has signed it, and the bytes before it.
fn read_manifest(
    path: &Path,
    file: &mut (impl Read + Seek),
) -> Result<(Manifest, CommanderId, u64), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let not_one = || ReadError::NotOne(path.to_owned());
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *MAGIC => {}
        Err(why) if why.kind() != io::ErrorKind::UnexpectedEof => return Err(io(why)),
        Ok(()) | Err(_) => return Err(not_one()),
    }
    let end = file.seek(SeekFrom::End(0)).map_err(io)?;
    let at_footer = end.checked_sub(length_of(FOOTER_BYTES)).ok_or_else(not_one)?;
    let mut footer = [0; FOOTER_BYTES];
    file.seek(SeekFrom::Start(at_footer)).map_err(io)?;
    file.read_exact(&mut footer).map_err(io)?;
    let [a, b, c, d, e, f, g, h, magic @ ..] = footer;
    let manifest_bytes = length_of(usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| not_one())?);
    let key_bytes = u64::from(u16::from_be_bytes([e, f]));
    let signature_bytes = u64::from(u16::from_be_bytes([g, h]));
    let sealed = manifest_bytes + key_bytes + signature_bytes;
    let at_manifest = at_footer.checked_sub(sealed).filter(|at| *at >= length(MAGIC));
    let Some(at_manifest) = at_manifest.filter(|_| magic == *END) else { return Err(not_one()) };
    if manifest_bytes > length_of(BACKUP_MANIFEST_BYTES_MAX) {
        return Err(not_one());
    }
    file.seek(SeekFrom::Start(at_manifest)).map_err(io)?;
    let mut part = |bytes: u64| {
        let mut part = vec![0; usize::try_from(bytes).map_err(|_| not_one())?];
        file.read_exact(&mut part).map_err(io)?;
        Ok(part)
    };
    let (json, key, signature) = (part(manifest_bytes)?, part(key_bytes)?, part(signature_bytes)?);
    let signer = verify_backup(&json, &key, &signature);
    let signer = signer.map_err(|source| ReadError::Signature { path: path.to_owned(), source })?;
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|why| {
        let what = format!("its manifest cannot be read: {why}");
        ReadError::Damaged { path: path.to_owned(), what }
    })?;
    if manifest.format != FORMAT {
        return Err(ReadError::OtherFormat { path: path.to_owned(), found: manifest.format });
    }
    Ok((manifest, signer, at_manifest))
}

fn length(bytes: &[u8]) -> u64 {
    length_of(bytes.len())
}

fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize has at most 64 bits")
}

#[cfg(test)]
mod tests;
