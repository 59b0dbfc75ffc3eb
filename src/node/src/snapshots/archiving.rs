//! What is to be cut off goes to the archive first, where there is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use synod_archive::{AppendError, Archive, Held};
use synod_journal::{Journal, ReadError};
use synod_paxos::Damage;
use synod_types::limits::CATCH_UP_BYTES_MAX;
use synod_types::{AppNdx, Decree, Slot};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::driver::{Groups, Input};
use crate::metrics::float;

/// The pause before the journal is asked again that has too many reads, or a record that is damaged.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is asked for a damaged record, which the other nodes are asked for meanwhile.
const DAMAGED_LOOKS: u32 = 400;

/// The way from this node's logs to its archive. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Archiver {
    archive: Arc<Archive>,
    journal: Journal,
    /// Where the logs begin.
    groups: Arc<ArcSwap<Groups>>,
    /// The slots behind which logs begin that have nothing before.
    origins: Arc<BTreeMap<AppNdx, Slot>>,
    /// To the driver.
    inputs: mpsc::UnboundedSender<Input>,
    stopping: Arc<AtomicBool>,
}

/// Why a part of the log is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// The journal says why.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The journal has nothing there.
    #[error("the journal has no record of it")]
    Nothing,
    /// The node stops.
    #[error("the node stops")]
    Stopping,
}

impl Archiver {
    /// From the logs in `journal`; `groups` says where they begin, and `origins` where they began.
    pub(crate) fn new(
        archive: Archive,
        journal: Journal,
        groups: Arc<ArcSwap<Groups>>,
        inputs: mpsc::UnboundedSender<Input>,
        origins: BTreeMap<AppNdx, Slot>,
    ) -> Archiver {
        let (archive, origins) = (Arc::new(archive), Arc::new(origins));
        Archiver { archive, journal, groups, origins, inputs, stopping: Arc::default() }
    }

    /// Archives an application's log up to `up_to`, which is chosen and about to be cut off; it was cut off behind slot `cut` when the
    /// node started. Waits for the disk.
    ///
    /// # Errors
    /// [`AppendError`]: the log must not be cut.
    pub(crate) fn archive(&self, app: AppNdx, cut: Slot, up_to: Slot) -> Result<(), AppendError<Unread>> {
        let cut = self.groups.load().get(&app).map_or(cut, |group| group.cut.max(cut));
        let began = self.origins.get(&app).copied().unwrap_or_default();
        let held = self.archive.held(app).last.max(began);
        let mut from = held.max(cut).next();
        if held < cut && from <= up_to {
            self.tell_missing(app, held.next(), cut);
        }
        let archived = loop {
            if from > up_to {
                break Ok(());
            }
            match self.archive.append(app, from, up_to, |next| self.read(app, next, up_to)) {
                Err(AppendError::Read { slot, why: Unread::Journal(ReadError::Damaged { .. }) })
                    if self.comes_back(app, slot) =>
                {
                    from = self.archive.held(app).last.max(cut).next();
                }
                // No other node has it either, or none answers.
                Err(AppendError::Read { slot, why: Unread::Journal(ReadError::Damaged { .. }) }) => {
                    self.tell_missing(app, slot, slot);
                    from = slot.next();
                }
                archived => break archived,
            }
        };
        self.measure(app);
        let Held { last, bytes } = self.archive.held(app);
        if last > held {
            info!(%app, slot = %last, bytes, "archived");
        }
        archived
    }

    /// Tells how much is archived of an application.
    pub(crate) fn measure(&self, app: AppNdx) {
        let Held { last, bytes } = self.archive.held(app);
        let labels = [("app", app.to_string())];
        metrics::gauge!("synod_archive_bytes", &labels).set(float(bytes));
        metrics::gauge!("synod_archive_slot", &labels).set(float(last.0));
    }

    /// Returns when nothing is written any more.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.archive.close();
    }

    /// Has the other nodes asked for a damaged record. Says whether one of them gave it.
    fn comes_back(&self, app: AppNdx, slot: Slot) -> bool {
        for _ in 0..DAMAGED_LOOKS {
            // The driver is gone only when the node stops.
            let _ = self.inputs.send(Input::Damaged(app, Damage::Slot(slot)));
            if self.stopping.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(ASK_AGAIN);
            match self.journal.read_blocking(app, slot, slot, CATCH_UP_BYTES_MAX) {
                Ok(decrees) if !decrees.is_empty() => return true,
                Ok(_) | Err(ReadError::Damaged { .. } | ReadError::Busy) => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn tell_missing(&self, app: AppNdx, from: Slot, to: Slot) {
        error!(%app, %from, %to, "the archive has no slots {from} to {to}: this node does not have them; another node's archive has");
    }

    fn read(&self, app: AppNdx, from: Slot, up_to: Slot) -> Result<Vec<(Slot, Decree)>, Unread> {
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(Unread::Stopping);
            }
            match self.journal.read_blocking(app, from, up_to, CATCH_UP_BYTES_MAX) {
                Ok(decrees) if decrees.is_empty() => return Err(Unread::Nothing),
                Ok(decrees) => {
                    return Ok(decrees.into_iter().map(|(slot, _, decree)| (slot, decree)).collect());
                }
                Err(ReadError::Busy) => thread::sleep(ASK_AGAIN),
                Err(why) => return Err(why.into()),
            }
        }
    }
}
