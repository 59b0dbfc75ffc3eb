//! The durable log of a node: promises, accepted decrees and hints on what is chosen, of all groups, in one store
//! with one writer.
//!
//! [`Journal::append`] queues records; one thread writes all that queued while it synced, syncs once, and only then
//! calls each append's `done`, in order. That is the only place in a node where durability is made.
//!
//! It never reports a record as durable that an error or a power cut can take back: the first failed write or sync
//! stops the writer for good, no sync is tried twice, and the node is told to stop. It never takes a damaged record
//! for an absent one: every record carries a checksum over its key and its value. It never opens the data directory
//! of another node or cluster ([`stamp`]), nor one that another process has open.
//!
//! It never takes a log that has lost its end, or something in it, for a whole one: [`tally`] says what it has to hold, and
//! [`head`] how far it has come at least.
//!
//! What is verified when: at the start, the promise, the hint, the last [`recovery::VERIFIED_SLOTS`] decrees up to the
//! hint and all behind it; everything else when it is read.
//!
//! Start reading at [`journal`], then [`record`] (what is on disk) and [`sled_store`] (how it gets there). [`stopped`] is for
//! audits of a node that does not run.

pub mod failpoint;
pub mod head;
pub mod journal;
pub mod memory_store;
pub mod rebuilding;
pub mod record;
pub mod recovery;
pub mod sled_store;
pub mod stamp;
pub mod stopped;
pub mod store;
pub mod tally;

mod bulk;
mod pace;
mod queue;
mod space_ahead;
mod watch;
mod writer;

pub use journal::{Journal, JournalError, OpenError};
pub use memory_store::MemoryStore;
pub use recovery::{Known, ReadError, Unreadable, Verified};
pub use stamp::Stamp;
pub use stopped::{StoppedError, StoppedLog};
