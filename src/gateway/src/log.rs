//! The log of each application, for front ends that give it out.

use std::future::Future;
use std::pin::Pin;

use synod_types::{AppNdx, Decree, Slot};

/// Where the decrees are that this node has applied.
pub trait Log: Send + Sync {
    /// Decrees from slot `from` up to `up_to`, of consecutive slots and within
    /// [`CATCH_UP_BYTES_MAX`](synod_types::limits::CATCH_UP_BYTES_MAX); the first one at least.
    fn read(&self, app: AppNdx, from: Slot, up_to: Slot) -> LogRead<'_>;
}

/// A stretch of the log that is being read.
pub type LogRead<'a> = Pin<Box<dyn Future<Output = Result<Vec<(Slot, Decree)>, LogUnread>> + Send + 'a>>;

/// Why it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogUnread {
    /// Too many are reading.
    #[error("too many are reading the log")]
    Busy,
    /// It was cut off: the log begins behind this slot.
    #[error("the log begins behind slot {0}")]
    Cut(Slot),
    /// This node cannot read its first decree.
    #[error("this node cannot read this part of its log")]
    NotHere,
}

/// A node that shows no log.
pub(crate) struct NoLog;

impl Log for NoLog {
    fn read(&self, _app: AppNdx, _from: Slot, _up_to: Slot) -> LogRead<'_> {
        Box::pin(std::future::ready(Err(LogUnread::NotHere)))
    }
}
