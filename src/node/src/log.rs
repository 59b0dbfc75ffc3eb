//! The node's own log, for front ends: read by the journal's writer, between two commits.

use std::sync::Arc;

use arc_swap::ArcSwap;
use synod_gateway::{Log, LogRead, LogUnread};
use synod_journal::{Journal, ReadError};
use synod_types::limits::{CATCH_UP_BYTES_MAX, LOG_READS_MAX};
use synod_types::{AppNdx, Slot};
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

use crate::driver::Groups;

/// Reads from the journal, [`LOG_READS_MAX`] stretches at a time.
pub(crate) struct OwnLog {
    journal: Journal,
    groups: Arc<ArcSwap<Groups>>,
    places: Arc<Semaphore>,
}

impl OwnLog {
    /// The log in `journal`; `groups` says where it begins.
    pub(crate) fn new(journal: Journal, groups: Arc<ArcSwap<Groups>>) -> OwnLog {
        OwnLog { journal, groups, places: Arc::new(Semaphore::new(LOG_READS_MAX)) }
    }
}

impl Log for OwnLog {
    fn read(&self, app: AppNdx, from: Slot, up_to: Slot) -> LogRead<'_> {
        Box::pin(async move {
            let cut = self.groups.load().get(&app).map_or(Slot(0), |group| group.cut);
            if from <= cut {
                return Err(LogUnread::Cut(cut));
            }
            let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_full| LogUnread::Busy)?;
            let (sender, result) = oneshot::channel();
            // The place is taken until the read is done, also if nobody waits for it any more.
            let reply = move |result| {
                drop(place);
                let _ = sender.send(result);
            };
            self.journal.read(app, from, up_to, CATCH_UP_BYTES_MAX, Box::new(reply));
            match result.await {
                Ok(Ok(decrees)) if !decrees.is_empty() => {
                    Ok(decrees.into_iter().map(|(slot, _, decree)| (slot, decree)).collect())
                }
                Ok(Err(ReadError::Busy)) => Err(LogUnread::Busy),
                Ok(Err(why)) => {
                    warn!(%app, slot = %from, %why, "a reader does not get this part of the log");
                    Err(LogUnread::NotHere)
                }
                Ok(Ok(_)) | Err(_) => Err(LogUnread::NotHere),
            }
        })
    }
}
