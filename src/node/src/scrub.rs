//! The scrubber: reads everything on the disk in the background, time and again, and has mended what is not as it was written.
//!
//! What nobody reads rots unnoticed, until it is needed. So all of it is read: the journal's records, the files that commands
//! refer to, the chunks of snapshots and the small files that name them, the certificates of states, and the archive. It goes at a
//! pace that leaves the disk to others, and through the same doors: the journal's writer reads a little for it between two commits.
//!
//! What is damaged is had again: a record and a file from the other nodes, a promise or a hint and a small file from this
//! node's own memory. A segment of the archive is nobody's to give here; that it is damaged is told, and other nodes' archives
//! have it. What the store below the journal holds in memory is not read from the disk again.

mod certificates;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use synod_gateway::ScrubStatus;
use synod_journal::{Journal, ReadError, Unreadable, Verified};
use synod_paxos::Damage;
use synod_types::{AppNdx, ContentKey, Slot, TimeMs};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

pub(crate) use self::certificates::StateCertificates;
use crate::content::{self, Content};
use crate::driver::{Groups, Input, now};
use crate::metrics::float;
use crate::snapshots::disk::Folder;
use crate::snapshots::{Ask, Snapshots};

/// Bytes that the journal reads at a time, about.
const STRETCH_BYTES: u64 = 128 << 10;
/// The pause before a journal is asked again that has other things to read.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long another node may take to give a file.
const FILE_WAIT: Duration = Duration::from_secs(60);

/// How everything is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scrubbing {
    /// From the beginning of one pass to that of the next; one that takes longer is followed by the next at once.
    pub every: Duration,
    /// Bytes that are read in a second at most.
    pub bytes_per_second: u64,
}

/// What was found. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Findings(Arc<Inner>);

#[derive(Default)]
struct Inner {
    passed_ms: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    mended: AtomicU64,
}

impl Findings {
    /// For people. `mended` counts the records that were had from other nodes.
    pub(crate) fn status(&self, mended: u64) -> ScrubStatus {
        let passed_ms = self.0.passed_ms.load(Ordering::Relaxed);
        ScrubStatus {
            passed_ms: (passed_ms > 0).then_some(TimeMs(passed_ms)),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            damaged: self.0.damaged.load(Ordering::Relaxed),
            mended: self.0.mended.load(Ordering::Relaxed) + mended,
        }
    }

    fn damaged(&self, what: &'static str) {
        self.0.damaged.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("synod_scrub_damaged_total", "what" => what).increment(1);
    }

    fn mended(&self) {
        self.0.mended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The task.
pub(crate) struct Scrubber {
    pub scrubbing: Scrubbing,
    pub journal: Journal,
    pub groups: Arc<ArcSwap<Groups>>,
    /// The files that commands refer to.
    pub content: Content,
    /// The chunks of snapshots.
    pub chunks: Content,
    pub folder: Folder,
    pub snapshots: Snapshots,
    pub state_certificates: StateCertificates,
    /// The archive's directory, if there is one.
    pub archive: Option<PathBuf>,
    /// To the driver.
    pub inputs: mpsc::UnboundedSender<Input>,
    pub findings: Findings,
}

impl Scrubber {
    /// Runs until `stop` is set.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|&stop| stop) => {}
            () = self.scrub() => {}
        }
    }

    async fn scrub(&self) {
        loop {
            let begun = Instant::now();
            let before = self.findings.status(0);
            let apps: Vec<AppNdx> = self.groups.load().keys().copied().collect();
            for app in apps {
                self.scrub_journal(app).await;
            }
            self.scrub_files(&self.content, "file").await;
            self.scrub_files(&self.chunks, "chunk").await;
            self.scrub_certificates().await;
            self.scrub_state_certificates().await;
            self.scrub_archive().await;
            let after = self.findings.status(0);
            let (bytes, damaged) = (after.bytes - before.bytes, after.damaged - before.damaged);
            info!(bytes, damaged, took_s = begun.elapsed().as_secs(), "everything on the disk was read");
            self.findings.0.passed_ms.store(now().0, Ordering::Relaxed);
            metrics::gauge!("synod_scrub_passed_seconds").set(float(now().0 / 1000));
            tokio::time::sleep_until(begun + self.scrubbing.every).await;
        }
    }

    /// So much was read: waits for as long as it may take.
    async fn pace(&self, bytes: u64) {
        self.findings.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        metrics::counter!("synod_scrub_bytes_total").increment(bytes);
        let micros = bytes.saturating_mul(1_000_000) / self.scrubbing.bytes_per_second;
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    async fn scrub_journal(&self, app: AppNdx) {
        let mut from = Slot(0);
        loop {
            let chosen = self.groups.load().get(&app).map_or(Slot(0), |group| group.chosen);
            let (sender, verified) = oneshot::channel();
            let reply = move |found| {
                // Whoever asked is gone only when the node stops.
                let _ = sender.send(found);
            };
            self.journal.verify(app, from, chosen, STRETCH_BYTES, Box::new(reply));
            let Ok(found) = verified.await else { return };
            match found {
                Ok(Verified { bytes, unreadable, next }) => {
                    for what in unreadable {
                        self.report(app, what);
                    }
                    self.pace(bytes).await;
                    let Some(next) = next else { return };
                    from = next;
                }
                Err(ReadError::Busy) => tokio::time::sleep(ASK_AGAIN).await,
                Err(ReadError::Stopped) => return,
                Err(why) => return error!(%app, %from, %why, "the journal cannot be read"),
            }
        }
    }

    fn report(&self, app: AppNdx, what: Unreadable) {
        // It may have been cut off meanwhile.
        let cut = self.groups.load().get(&app).map_or(Slot(0), |group| group.cut);
        if matches!(what, Unreadable::Slot(slot) if slot <= cut) {
            return;
        }
        self.findings.damaged("record");
        let what = match what {
            Unreadable::Promise => Damage::Promise,
            Unreadable::Chosen => Damage::Chosen,
            Unreadable::Cut => Damage::Cut,
            Unreadable::Slot(slot) => Damage::Slot(slot),
        };
        match what {
            Damage::Slot(slot) => {
                error!(%app, %slot, "the journal's record of this slot is damaged; the other nodes are asked for it");
            }
            Damage::Promise | Damage::Chosen | Damage::Cut => {
                error!(%app, ?what, "a record of the journal is damaged, and is written again");
                self.findings.mended();
            }
        }
        // The driver is gone only when the node stops.
        let _ = self.inputs.send(Input::Damaged(app, what));
    }

    async fn scrub_files(&self, content: &Content, kind: &'static str) {
        for key in content.keys() {
            let reader = content.clone();
            let Some(verified) = content.on_disk(move |_| reader.verify_blocking(key)).await else { return };
            match verified {
                content::Verified::Whole(bytes) => self.pace(u64::try_from(bytes).unwrap_or(u64::MAX)).await,
                content::Verified::Gone => {}
                content::Verified::Damaged => {
                    self.findings.damaged(kind);
                    self.have_again(content, key, kind).await;
                }
            }
        }
    }

    /// Gets a file from another node. Whether anybody needs it, nobody asks: what nothing refers to goes in time.
    async fn have_again(&self, content: &Content, key: ContentKey, kind: &'static str) {
        match tokio::time::timeout(FILE_WAIT, content.obtain(key)).await {
            Ok(Some(_)) => {
                info!(file = key.short(), kind, "a damaged file is whole again");
                self.findings.mended();
            }
            // The node stops.
            Ok(None) => {}
            Err(_) => warn!(file = key.short(), kind, "a file is damaged, and no other node gives it now"),
        }
    }

    async fn scrub_certificates(&self) {
        let damaged = match self.verify_certificates().await {
            Some(damaged) if !damaged.is_empty() => damaged,
            _ => return,
        };
        for path in &damaged {
            self.findings.damaged("certificate");
            error!(file = %path.display(), "the small file of a snapshot is damaged, and is written again");
        }
        let (done, is_done) = oneshot::channel();
        self.snapshots.tell(Ask::WriteAgain(done));
        // Where too much waits for that task this is forgotten, and done in the next pass.
        let _ = is_done.await;
        let left = self.verify_certificates().await.unwrap_or_default();
        damaged.difference(&left).for_each(|_| self.findings.mended());
    }

    async fn verify_certificates(&self) -> Option<BTreeSet<PathBuf>> {
        let folder = self.folder.clone();
        match self.chunks.on_disk(move |_| folder.verify()).await? {
            Ok((damaged, bytes)) => {
                self.pace(bytes).await;
                Some(damaged.into_iter().collect())
            }
            Err(why) => {
                error!(%why, "the small files of snapshots cannot be read");
                None
            }
        }
    }

    async fn scrub_archive(&self) {
        let Some(dir) = self.archive.clone() else { return };
        let listed = self.chunks.on_disk(move |_| synod_archive::segments(&dir)).await;
        let segments = match listed {
            Some(Ok(segments)) => segments,
            Some(Err(why)) => return error!(%why, "the archive cannot be read"),
            None => return,
        };
        for segment in segments {
            match self.chunks.on_disk(move |_| segment.verify()).await {
                Some(Ok(bytes)) => self.pace(bytes).await,
                Some(Err(why)) => {
                    self.findings.damaged("segment");
                    error!(%why, "a segment of the archive cannot be read; copy it from another node's archive");
                }
                None => return,
            }
        }
    }
}
