//! Content files on disk, by their SHA3-256: what commands refer to and what is too large for the log.
//!
//! **What is stored.** A directory of its own, private to the node's user:
//!
//! | | |
//! |---|---|
//! | `files/ab/ab…` | whole files: the name is the SHA3-256 of the bytes, the directory its first byte |
//! | `partial/ab….cd…` | files on their way: key, and SHA3-256 of the manifest under which they are received |
//! | `damaged/ab…` | the last few files that were whole once and are not any more |
//! | `lock` | held by the process that has the store open |
//!
//! There is no list of the files beside the directories, and so none that can disagree with them.
//!
//! **Why a file that is held is durable.** [`Store::put`] writes each piece at its place after hashing it. With the last
//! one, the whole is read back and hashed, the file is synced, renamed to its final name, and that name's directory is
//! synced; only then is the file held, and a receipt may be signed. [`Store::add`] does the same with bytes that this process hashes
//! itself. Under a final name there is therefore never a file
//! whose bytes are not on the disk. Directories are made and synced before the first file, and names that the process
//! before left unsynced are synced when the store opens.
//!
//! **Why a crash costs nothing.** A file is whole under its final name or not there at all. What was received of a partial
//! file counts after a restart as far as it hashes to what the manifest says, and nothing about it is written down: the
//! bytes prove themselves. No sync is tried twice; after an error the partial file is discarded, and the next attempt
//! begins with an empty one.
//!
//! **Why a file that is read is the file.** It is hashed each time: as a whole, or the piece against a manifest that was
//! made from the whole. What is not what its name says goes aside, and the node asks the others for it. Nothing is hashed
//! at the start: a hundred gigabytes would take minutes.
//!
//! **Why a lie costs little.** A manifest is somebody's word. Several for one key are received side by side, each in its
//! own partial file; the one that makes the file removes the others.
//!
//! **When a file goes.** [`Store::collect`] removes what nobody refers to, and what is never completed, after a time that
//! counts anew whenever a receipt is signed ([`Store::touch`]) and at each start.
//!
//! **What it never does.** It takes no file over [`synod_types::limits::CONTENT_BYTES_MAX`], nor the last
//! [`synod_types::limits::CONTENT_DISK_RESERVE_BYTES`] of the disk, which are the log's; it holds no file in memory but
//! the one that [`Store::read`] returns; it touches no file that is not its own.
//!
//! Start with [`store`]; then `receiving.rs` for how a file becomes whole, and `crash_tests.rs` for the proof.

mod adding;
mod collecting;
#[cfg(test)]
mod crash_tests;
mod disk;
pub mod error;
mod hashing;
mod index;
mod layout;
mod looking;
mod opening;
mod partial;
mod reading;
mod receiving;
pub mod store;

pub use adding::AddError;
pub use collecting::Collected;
pub use error::{BeginError, DiskError, LookError, OpenError, PutError, ReadError};
pub use looking::look_up;
pub use receiving::{Begun, Progress};
pub use store::{Limits, Store};
