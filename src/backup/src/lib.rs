//! Backups: the states of all applications of a cluster, and the files to which they refer, in one file with a signed manifest.
//!
//! ```text
//! "synod/backup/v1\0"
//! genesis document
//! the state of each application, a snapshot       in the order of the manifest
//! each file: key (32) ‖ bytes (u64) ‖ the file    by rising keys
//! manifest, JSON
//! key ‖ signature over the manifest               who made it
//! bytes of manifest (u32), key (u16) and signature (u16) ‖ "synod/backup/end"      numbers big-endian
//! ```
//!
//! The manifest stands at the end so that nothing is written twice, and has the digest of all that stands before it. So a file of
//! which any byte differs is refused. What this crate never does is to say whether a signer may be believed, or what a state
//! means: that is for who restores it.
//!
//! Start with [`manifest`]; [`writing`] makes a file and [`reading`] takes it.

pub mod manifest;
pub mod reading;
pub mod writing;

pub use manifest::{BackedUp, Begins, Files, Manifest, Section};
pub use reading::{Backup, ReadError};
pub use writing::{WriteError, Writing};

/// First bytes of a backup: what it is, and in which version.
const MAGIC: &[u8; 16] = b"synod/backup/v1\0";
/// Its last bytes.
const END: &[u8; 16] = b"synod/backup/end";
/// Three lengths and [`END`].
const FOOTER_BYTES: usize = 4 + 2 + 2 + 16;
/// A key and a length, before each file.
const FILE_HEAD_BYTES: u64 = 32 + 8;
