//! What can go wrong, operation by operation.

use std::io;
use std::path::{Path, PathBuf};

use synod_types::content::ManifestError;
use synod_types::{ContentKey, Digest};

/// The disk refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct DiskError {
    /// What was to be done, as in "cannot … the file".
    pub what: &'static str,
    /// With which file or directory.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn of<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
        move |source| DiskError { what, path: path.to_owned(), source }
    }

    /// Whether the disk, or this user's part of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    #[error("{} is open elsewhere: is another node running on this data directory?", .0.display())]
    Locked(PathBuf),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a file cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The manifest cannot be one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The limit on files is reached.
    #[error(
        "this node keeps {max} files already, which is the limit; those that nothing refers to go in time"
    )]
    Files {
        /// The limit.
        max: usize,
    },
    /// The limit on files that are being received is reached.
    #[error("this node is receiving {max} files already, which is the limit; try again in a moment")]
    Partials {
        /// The limit.
        max: usize,
    },
    /// The disk has no room for it.
    #[error(
        "the file has {needed} bytes, and the disk has {free} free of which {reserve} are kept for the log"
    )]
    Full {
        /// Bytes of the file.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes of these that files may not use.
        reserve: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a piece is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// No file with this key and manifest is being received, or not any more. Begin (again).
    #[error("file {0} is not being received: offer it first")]
    NotBegun(ContentKey),
    /// The bytes are not what the manifest says of this piece, or there is no such piece. Nothing was written.
    #[error("piece {number} of file {key} is not as its manifest says")]
    WrongPiece {
        /// Which file.
        key: ContentKey,
        /// Which piece.
        number: u32,
    },
    /// All pieces are as the manifest says, and the whole is another file. It is discarded.
    #[error("the pieces make file {found}, and not {key}: their manifest is wrong")]
    WrongWhole {
        /// Which file it should be.
        key: ContentKey,
        /// SHA3-256 of what it is.
        found: Digest,
    },
    /// The disk refused; what was received of the file is discarded.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not here.
    #[error("file {0} is not here")]
    NotHeld(ContentKey),
    /// It has no such piece.
    #[error("file {key} has no piece {number}")]
    NoPiece {
        /// Which file.
        key: ContentKey,
        /// Which piece.
        number: u32,
    },
    /// It was here, and what is on the disk is not the file any more, or cannot be read. Not held from now on.
    #[error("file {key} was damaged on the disk and counts as not held: {why}; {what_came_of_it}")]
    Damaged {
        /// Which file.
        key: ContentKey,
        /// What is wrong.
        why: String,
        /// Where it is now.
        what_came_of_it: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a file of a store that is not open cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It is not here.
    #[error("{} is not there", .0.display())]
    NotHere(PathBuf),
    /// What is there is another file.
    #[error("{} is damaged: its bytes are those of file {found}", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What its bytes are.
        found: ContentKey,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
