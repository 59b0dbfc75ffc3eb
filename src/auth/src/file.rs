//! Files that hold keys and certificates.
//!
//! A private key's file must give nothing to the group or to others, and is created that way. No file is ever
//! overwritten: a key that is gone is gone for good.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use pkcs8::der::zeroize::Zeroizing;
use synod_types::limits::KEY_FILE_BYTES_MAX;

/// Why a file with keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refuses to read it.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// Far larger than any key or certificate.
    #[error("{} has more than {KEY_FILE_BYTES_MAX} bytes: is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A private key that others than its owner can use.
    #[error(
        "{} holds a private key and its mode {mode:04o} lets others than its owner use it: run `chmod 600 {}`",
        path.display(), path.display()
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl LoadError {
    /// Makes an error about the content of the file at `path`.
    pub(crate) fn content(path: &Path, problem: impl ToString) -> LoadError {
        LoadError::Content { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// Why a file could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It is there already.
    #[error("{} exists and is never overwritten: choose another name, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot create {}: {why}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
}

/// Reads a file with a private key, after it was seen that only its owner can use it. What is read is wiped from memory
/// when it is dropped.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    read(path, |file| {
        // The open file is asked, not the path, so that nobody can put another file there in between.
        let file = file.metadata()?;
        let mode = file.permissions().mode() & 0o7777;
        let is_private = is_private(mode, file.uid(), geteuid().as_raw());
        Ok((!is_private).then(|| LoadError::NotPrivate { path: path.to_owned(), mode }))
    })
    .map(Zeroizing::new)
}

/// Whether nobody but its owner can use a file. One that root owns and has given to a service to read, through its group, is as
/// private: Kubernetes hands keys over so.
fn is_private(mode: u32, owner: u32, user: u32) -> bool {
    let others = if owner == 0 && user != 0 { 0o037 } else { 0o077 };
    mode & others == 0
}

/// Reads a file with something that everybody may know.
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, LoadError> {
    read(path, |_| Ok(None))
}

fn read(
    path: &Path,
    refuse: impl FnOnce(&File) -> io::Result<Option<LoadError>>,
) -> Result<Vec<u8>, LoadError> {
    let failed = |why| LoadError::Read { path: path.to_owned(), why };
    let file = File::open(path).map_err(failed)?;
    if let Some(refusal) = refuse(&file).map_err(failed)? {
        return Err(refusal);
    }
    // With its whole capacity from the start the buffer never moves, and leaves no copy of a key behind.
    let mut bytes = Vec::with_capacity(KEY_FILE_BYTES_MAX + 1);
    let limit = u64::try_from(KEY_FILE_BYTES_MAX).expect("the limit is far below 2^64") + 1;
    (&file).take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Creates a file with a private key, mode 0600, and makes it durable.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    create(path, bytes, 0o600)
}

/// Creates a file that everybody may read, mode 0644, and makes it durable.
pub(crate) fn create_public(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    create(path, bytes, 0o644)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SaveError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_owned() },
        _ => SaveError::Create { path: path.to_owned(), why },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_directory(path));
    written.map_err(|why| {
        // Half a key is of no use and would be in the way of the next attempt; if this fails too, the first error is
        // the one that says why.
        let _ = std::fs::remove_file(path);
        failed(why)
    })
}

/// Makes the name of a new file durable, not only its content.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    #[test]
    fn only_the_owner_may_use_a_private_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create_private(&path, b"secret").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o600, 0o400] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(*read_private(&path).unwrap(), b"secret");
        }
        for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o777] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refusal = read_private(&path).unwrap_err();
            assert!(matches!(refusal, LoadError::NotPrivate { .. }), "mode {mode:o} was taken");
            assert!(refusal.to_string().contains(&format!("chmod 600 {}", path.display())), "{refusal}");
        }
        assert_eq!(read_public(&path).unwrap(), b"secret");
    }

    #[test]
    fn root_may_let_a_service_read() {
        for (mode, owner, user, private) in [
            (0o440, 0, 10_001, true),
            (0o640, 0, 10_001, true),
            (0o660, 0, 10_001, false),
            (0o644, 0, 10_001, false),
            (0o641, 0, 10_001, false),
            (0o640, 0, 0, false),
            (0o640, 10_001, 10_001, false),
            (0o600, 10_001, 10_001, true),
        ] {
            assert_eq!(is_private(mode, owner, user), private, "{mode:o} of {owner}, read by {user}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create_public(&path, b"first").unwrap();
        assert!(matches!(create_private(&path, b"second"), Err(SaveError::Exists { .. })));
        assert_eq!(read_public(&path).unwrap(), b"first");
    }

    #[test]
    fn the_size_limit_is_exact() {
        let directory = tempfile::tempdir().unwrap();
        for (extra, fits) in [(-1, true), (0, true), (1, false)] {
            let path = directory.path().join(format!("file{extra}"));
            let bytes = vec![b'x'; KEY_FILE_BYTES_MAX.checked_add_signed(extra).unwrap()];
            create_public(&path, &bytes).unwrap();
            assert_eq!(read_public(&path).is_ok(), fits);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("/nowhere/key.pem");
        assert!(read_private(path).unwrap_err().to_string().contains("/nowhere/key.pem"));
        assert!(create_private(path, b"").unwrap_err().to_string().contains("/nowhere/key.pem"));
    }
}
