//! The archive: what a node cuts off from its logs, kept for audits. Nothing in it is ever changed.
//!
//! ```text
//! DIR/lock                   held by the node that writes
//! DIR/1/1-900.gz             the segment of application 1 with its slots 1 to 900
//! DIR/1/901-1700.gz.new      one that is being written
//! DIR/1/901-1700.gz.damaged  one that was damaged when the node started
//! ```
//!
//! **Why a crash costs nothing.** A segment is written under another name, synced, renamed, and its directory synced; only
//! then does the node cut its log. What a crash leaves behind is removed, and the next attempt goes on behind the last
//! segment.
//!
//! **Why damage is found.** Each segment has a digest over all of its bytes ([`segment`]), and its name says which slots are
//! in it, one after the other.
//!
//! **What it never does.** It believes nothing and verifies no signature: whoever executes the log again does. It takes
//! nothing of the last [`synod_types::limits::CONTENT_DISK_RESERVE_BYTES`] of its disk, which may be the log's.
//!
//! [`Archive`] writes, [`ArchivedLog`] reads.

pub mod archive;
mod folder;
pub mod reading;
pub mod segment;
pub mod verifying;

pub use archive::{AppendError, Archive, Held, OpenError};
pub use reading::{ArchivedLog, ReadError};
pub use segment::SegmentError;
pub use verifying::{Segment, segments};
