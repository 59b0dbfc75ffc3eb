//! The task that makes, signs, gives and gets snapshots, one application after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use synod_archive::AppendError;
use synod_auth::{OriginApp, TlsIdentity, sign_checkpoint};
use synod_content::Store;
use synod_journal::Journal;
use synod_machine::{Machine, View};
use synod_mesh::Mesh;
use synod_types::configuration::is_majority;
use synod_types::{AppNdx, Certificate, Checkpoint, ClusterId, ContentKey, Message, NodeId, Slot, Versions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::archiving::{Archiver, Unread};
use super::disk::{self, Folder, Kept, StoreError};
use super::restoring::{self, read_index};
use super::{Ask, Snapshots, Word, signer};
use crate::content::Content;
use crate::driver::Input;
use crate::lanes::Maker;
use crate::metrics::float;
use crate::roster::Roster;
use crate::tasks::Fatal;

/// How often a node asks again for the word of the others.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often chunks of no snapshot are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(20);
/// How long they stay when nobody asks for them any more: another node may be fetching them.
const UNREFERRED: Duration = Duration::from_secs(60);
/// Snapshots of an application that are kept, certified or not. Of those that are not certified, the last ones.
const KEPT_MAX: usize = 2;
/// Chunks that are fetched at a time.
const CHUNKS_MAX: usize = 4;
/// How long no chunk may come of a fetch before another one may take its place. What came of the next chunk stays.
const PATIENCE: Duration = Duration::from_secs(30);
/// In place of a number of chunks: all are here, and the state is being made of them, however long that takes.
const ALL: usize = usize::MAX;

/// What the task works with.
pub(crate) struct Task {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// All nodes, and whose word counts.
    pub roster: Arc<Roster>,
    pub identity: Arc<TlsIdentity>,
    pub folder: Folder,
    /// The chunks.
    pub content: Content,
    pub mesh: Arc<Mesh>,
    pub snapshots: Snapshots,
    /// To the driver.
    pub inputs: mpsc::UnboundedSender<Input>,
    /// The log that snapshots follow.
    pub journal: Journal,
    /// Where what is cut off is kept, if it is.
    pub archiver: Option<Archiver>,
    /// By the rules of which levels this program can execute.
    pub levels: Versions,
    /// Ends the node.
    pub fatal: Fatal,
    pub apps: BTreeMap<AppNdx, App>,
    pub jobs: JoinSet<Done>,
}

/// The snapshots of one application.
pub(crate) struct App {
    maker: Maker,
    /// With what the cluster begins.
    origin: Option<OriginApp>,
    /// Oldest first.
    kept: Vec<Kept>,
    /// What other nodes said last of states of which this node has no snapshot yet.
    heard: BTreeMap<NodeId, Word>,
    is_making: bool,
    /// The next one to make.
    waiting: Option<Arc<View>>,
    fetching: Option<Fetching>,
    /// The last slot that was cut off when the node started.
    cut: Slot,
    is_archiving: bool,
    /// Where the log is to be cut next.
    to_cut: Option<Slot>,
}

struct Fetching {
    slot: Slot,
    job: AbortHandle,
    /// Chunks that came, and those that had when it was looked at last.
    chunks: Arc<AtomicUsize>,
    seen: (usize, Instant),
}

/// What came of a job.
pub(crate) enum Done {
    Made(AppNdx, Result<Kept, StoreError>),
    Fetched(AppNdx, Option<(Kept, Box<Machine>)>),
    Archived(AppNdx, Slot, Result<(), AppendError<Unread>>),
}

impl App {
    /// With the snapshots that were found at the start, and a log that was cut off behind slot `cut`.
    pub(crate) fn new(maker: Maker, origin: Option<OriginApp>, kept: Vec<Kept>, cut: Slot) -> App {
        App {
            maker,
            origin,
            kept,
            heard: BTreeMap::new(),
            is_making: false,
            waiting: None,
            fetching: None,
            cut,
            is_archiving: false,
            to_cut: None,
        }
    }
}

impl Task {
    /// Runs until `stop` is set.
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut stop: watch::Receiver<bool>) {
        let mut asking = tokio::time::interval(ASK_EVERY);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut collecting = tokio::time::interval(COLLECT_EVERY);
        collecting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let apps: Vec<AppNdx> = self.apps.keys().copied().collect();
        for app in apps {
            self.on_certified(app).await;
        }
        loop {
            tokio::select! {
                biased;
                () = async { drop(stop.wait_for(|&stop| stop).await) } => return,
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.on_done(done).await,
                    Err(why) => match why.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_called_off) => {}
                    },
                },
                Some(ask) = asks.recv() => match ask {
                    Ask::Due(view) => self.on_due(view),
                    Ask::Heard(word) => self.on_heard(word).await,
                    Ask::WriteAgain(done) => {
                        self.write_again().await;
                        // Whoever asked is gone only when the node stops.
                        let _ = done.send(());
                    }
                    Ask::Fetch(certificate) => self.on_fetch(certificate),
                },
                _ = asking.tick() => {
                    self.give_up_stalled();
                    self.ask();
                }
                _ = collecting.tick() => self.collect().await,
            }
        }
    }

    // Making.

    fn on_due(&mut self, view: Arc<View>) {
        let Some(app) = self.apps.get_mut(&view.app_ndx) else { return };
        if app.is_making {
            app.waiting = Some(view);
            return;
        }
        app.is_making = true;
        let (content, folder, identity, cluster) =
            (self.content.clone(), self.folder.clone(), Arc::clone(&self.identity), self.cluster);
        let (done, durable) = oneshot::channel();
        self.journal.append(
            Vec::new(),
            Box::new(move || {
                // The job is gone only when the node stops.
                let _ = done.send(());
            }),
        );
        self.jobs.spawn(async move {
            let app = view.app_ndx;
            // A snapshot that the log does not reach durably would leave a hole in it after a crash.
            if durable.await.is_err() {
                // The node stops.
                return std::future::pending().await;
            }
            let made = content.on_disk(move |chunks| {
                let begun = std::time::Instant::now();
                let mut kept = disk::make(&view, chunks)?;
                let own = sign_checkpoint(identity.signing_key(), cluster, kept.checkpoint());
                kept.certificate.signatures.push(own);
                folder.write(&kept.certificate)?;
                metrics::histogram!("synod_snapshot_seconds", "app" => app.to_string())
                    .record(begun.elapsed());
                Ok(kept)
            });
            match made.await {
                Some(made) => Done::Made(app, made),
                // The runtime ends, and this task with it.
                None => std::future::pending().await,
            }
        });
    }

    async fn on_done(&mut self, done: Done) {
        match done {
            Done::Made(ndx, made) => {
                let Some(app) = self.apps.get_mut(&ndx) else { return };
                app.is_making = false;
                match made {
                    Ok(kept) => {
                        kept.files().for_each(|key| self.content.is_stored(key));
                        self.keep(kept).await;
                        self.ask();
                    }
                    Err(why) => {
                        error!(app = %ndx, %why, "cannot make a snapshot; the log stays as long as it is")
                    }
                }
                let waiting = self.apps.get_mut(&ndx).and_then(|app| app.waiting.take());
                if let Some(view) = waiting {
                    self.on_due(view);
                }
            }
            Done::Fetched(ndx, fetched) => {
                if let Some(app) = self.apps.get_mut(&ndx) {
                    app.fetching = None;
                }
                if let Some((kept, machine)) = fetched {
                    let slot = kept.checkpoint().slot;
                    self.keep(kept).await;
                    // The driver is gone only when the node stops.
                    let _ = self.inputs.send(Input::SnapshotFetched(ndx, slot, machine));
                }
            }
            Done::Archived(ndx, slot, archived) => {
                match archived {
                    // As above.
                    Ok(()) => drop(self.inputs.send(Input::CutLog(ndx, slot))),
                    Err(AppendError::Closed | AppendError::Read { why: Unread::Stopping, .. }) => {}
                    Err(why) => {
                        error!(app = %ndx, %slot, %why, "the log is not cut, since what is to be cut off cannot be \
                        archived; that is tried again with the next snapshot")
                    }
                }
                let Some(app) = self.apps.get_mut(&ndx) else { return };
                app.is_archiving = false;
                if let Some(next) = app.to_cut.take().filter(|next| *next > slot) {
                    self.cut(ndx, next);
                }
            }
        }
    }

    /// Takes a snapshot, whose files are here, among those that are kept.
    async fn keep(&mut self, kept: Kept) {
        let checkpoint = *kept.checkpoint();
        let Some(app) = self.apps.get_mut(&checkpoint.app) else { return };
        info!(
            app = %checkpoint.app,
            slot = %checkpoint.slot,
            state_ndx = %checkpoint.state_ndx,
            bytes = kept.index.bytes,
            "snapshot"
        );
        let labels = [("app", checkpoint.app.to_string())];
        metrics::gauge!("synod_snapshot_bytes", &labels).set(float(kept.index.bytes));
        metrics::gauge!("synod_snapshot_slot", &labels).set(float(checkpoint.slot.0));
        app.kept.retain(|other| other.checkpoint().slot != checkpoint.slot);
        app.kept.push(kept);
        app.kept.sort_by_key(|kept| kept.checkpoint().slot);
        let heard = std::mem::take(&mut app.heard);
        for word in heard.into_values() {
            if word.checkpoint.slot >= checkpoint.slot {
                self.take_word(word);
            }
        }
        self.on_certified(checkpoint.app).await;
    }

    // The others' word.

    async fn on_heard(&mut self, word: Word) {
        if let Some(ndx) = self.take_word(word) {
            self.on_certified(ndx).await;
        }
    }

    /// Counts a node's word; says of which application, if one of its snapshots is certified by it.
    fn take_word(&mut self, word: Word) -> Option<AppNdx> {
        let ndx = word.checkpoint.app;
        let known = self.roster.load();
        let voters = known.voters(ndx);
        let app = self.apps.get_mut(&ndx)?;
        let same_slot = |kept: &&mut Kept| kept.checkpoint().slot == word.checkpoint.slot;
        let Some(kept) = app.kept.iter_mut().find(same_slot) else {
            let newest = app.kept.last().map_or(Slot(0), |kept| kept.checkpoint().slot);
            if word.checkpoint.slot > newest {
                app.heard.insert(word.from, word);
            }
            return None;
        };
        let own = *kept.checkpoint();
        if own != word.checkpoint {
            let (own, other) = (own.state_ndx, word.checkpoint.state_ndx);
            metrics::counter!("synod_divergences_total", "app" => ndx.to_string()).increment(1);
            error!(app = %ndx, slot = %word.checkpoint.slot, from = word.from.short(), %own, %other,
                "another node has signed a state that this one did not come to; one of the two is wrong");
            return None;
        }
        let was_certified = is_certified(kept, voters);
        if !kept.certificate.signatures.iter().any(|signature| signer(signature) == word.from) {
            kept.certificate.signatures.push(word.signature);
        }
        let is_certified = is_certified(kept, voters);
        if word.asks
            && let Some(message) = own_word(self.node, kept, false)
        {
            self.mesh.send(word.from, &message);
        }
        (is_certified && !was_certified).then_some(ndx)
    }

    /// Asks the others for their word where it is missing.
    fn ask(&self) {
        let known = self.roster.load();
        let others: Vec<NodeId> = known.others().collect();
        for (&ndx, app) in &self.apps {
            if let Some(kept) = app.kept.last()
                && !is_certified(kept, known.voters(ndx))
                && let Some(message) = own_word(self.node, kept, true)
            {
                self.mesh.send_to(&others, &message);
            }
        }
    }

    /// Writes down who has signed, forgets what is not needed any more, and has the log cut.
    async fn on_certified(&mut self, ndx: AppNdx) {
        let known = self.roster.load_full();
        let voters = known.voters(ndx);
        let Some(app) = self.apps.get_mut(&ndx) else { return };
        let is_certified = |kept: &&Kept| is_certified(kept, voters);
        // The log goes back to the last but one.
        let oldest = app.kept.iter().rev().filter(is_certified).nth(KEPT_MAX - 1);
        let oldest = oldest.map(|kept| kept.checkpoint().slot);
        let (mut kept, mut uncertified) = (Vec::new(), 0);
        let mut dropped = Vec::new();
        for one in std::mem::take(&mut app.kept).into_iter().rev() {
            let is_old = oldest.is_some_and(|oldest| one.checkpoint().slot < oldest);
            let is_certified = is_certified(&&one);
            uncertified += usize::from(!is_certified);
            if is_old || (!is_certified && uncertified > KEPT_MAX) { &mut dropped } else { &mut kept }
                .push(one);
        }
        kept.reverse();
        app.kept = kept;
        let folder = self.folder.clone();
        // Also an earlier one may have got its majority just now: who audits begins with it.
        let to_write: Vec<Certificate> =
            app.kept.iter().filter(is_certified).map(|kept| kept.certificate.clone()).collect();
        let newest = to_write.last().cloned();
        let written = self.content.on_disk(move |_| {
            for certificate in to_write {
                if let Err(why) = folder.write(&certificate) {
                    warn!(%why, "who has signed a snapshot cannot be written down");
                }
            }
            for old in &dropped {
                if let Err(why) = folder.forget(old.checkpoint()) {
                    warn!(%why, "an old snapshot cannot be removed now");
                }
            }
        });
        written.await;
        if let Some(newest) = newest {
            self.snapshots.set_certified(newest);
        }
        if let Some(slot) = oldest {
            self.cut(ndx, slot);
        }
    }

    /// Writes down once more which snapshots are here, and who has signed them.
    async fn write_again(&self) {
        let folder = self.folder.clone();
        let kept: Vec<Certificate> =
            self.apps.values().flat_map(|app| &app.kept).map(|kept| kept.certificate.clone()).collect();
        let written = self.content.on_disk(move |_| {
            for certificate in kept {
                if let Err(why) = folder.write(&certificate) {
                    warn!(%why, "who has signed a snapshot cannot be written down");
                }
            }
        });
        written.await;
    }

    /// Has the log cut off behind `slot`, as soon as it is archived up to there.
    fn cut(&mut self, ndx: AppNdx, slot: Slot) {
        let Some(app) = self.apps.get_mut(&ndx) else { return };
        let Some(archiver) = self.archiver.clone() else {
            // The driver is gone only when the node stops.
            let _ = self.inputs.send(Input::CutLog(ndx, slot));
            return;
        };
        if app.is_archiving {
            app.to_cut = Some(slot);
            return;
        }
        app.is_archiving = true;
        let cut = app.cut;
        self.jobs.spawn_blocking(move || Done::Archived(ndx, slot, archiver.archive(ndx, cut, slot)));
    }

    /// Removes the chunks of no snapshot.
    async fn collect(&self) {
        if self.apps.values().any(|app| app.is_making || app.fetching.is_some()) {
            return;
        }
        let used: BTreeSet<ContentKey> =
            self.apps.values().flat_map(|app| &app.kept).flat_map(Kept::files).collect();
        let collect = move |chunks: &Store| {
            chunks.collect(std::time::Instant::now(), UNREFERRED, |key| used.contains(key))
        };
        let Some(collected) = self.content.on_disk(collect).await else { return };
        if let Some(why) = collected.failed {
            warn!(%why, "files of old snapshots cannot be removed now");
        }
        self.content.are_collected(collected.files);
    }

    // Getting.

    fn on_fetch(&mut self, certificate: Certificate) {
        let Checkpoint { app: ndx, slot, .. } = certificate.checkpoint;
        let Some(app) = self.apps.get_mut(&ndx) else { return };
        if app.fetching.is_some() {
            return;
        }
        info!(app = %ndx, %slot, "this node is far behind, and fetches a snapshot");
        let chunks = Arc::new(AtomicUsize::new(0));
        let fetch = Fetch {
            certificate,
            maker: app.maker.clone(),
            origin: app.origin,
            cluster: self.cluster,
            levels: self.levels,
            fatal: self.fatal.clone(),
            content: self.content.clone(),
            folder: self.folder.clone(),
            chunks: Arc::clone(&chunks),
        };
        let job = self.jobs.spawn(async move { Done::Fetched(ndx, fetch.run().await) });
        app.fetching = Some(Fetching { slot, job, chunks, seen: (0, Instant::now()) });
    }

    /// Gives up what nobody gives any more. What came of it stays for a while; the driver asks for another one.
    fn give_up_stalled(&mut self) {
        for (ndx, app) in &mut self.apps {
            let stalled = app.fetching.take_if(|fetching| {
                let chunks = fetching.chunks.load(Ordering::Relaxed);
                if fetching.seen.0 != chunks {
                    fetching.seen = (chunks, Instant::now());
                }
                chunks != ALL && fetching.seen.1.elapsed() > PATIENCE
            });
            if let Some(Fetching { slot, job, .. }) = stalled {
                warn!(app = %ndx, %slot, "no node gives this snapshot; another one is fetched, if it is still needed");
                job.abort();
            }
        }
    }
}

/// A snapshot on its way here.
struct Fetch {
    certificate: Certificate,
    maker: Maker,
    origin: Option<OriginApp>,
    cluster: ClusterId,
    levels: Versions,
    fatal: Fatal,
    content: Content,
    folder: Folder,
    chunks: Arc<AtomicUsize>,
}

impl Fetch {
    /// Gets all files, makes the state of them, and writes down that the snapshot is here. `None`: it is no snapshot, or
    /// the node stops.
    async fn run(self) -> Option<(Kept, Box<Machine>)> {
        let checkpoint = self.certificate.checkpoint;
        let index = self.content.obtain(checkpoint.index).await?;
        let index = match read_index(&index) {
            Ok(index) => index,
            Err(why) => {
                error!(app = %checkpoint.app, slot = %checkpoint.slot, %why, "a snapshot cannot be used");
                return None;
            }
        };
        let mut left = index.chunks.iter().copied();
        let mut fetching = JoinSet::new();
        loop {
            while fetching.len() < CHUNKS_MAX
                && let Some(key) = left.next()
            {
                let content = self.content.clone();
                fetching.spawn(async move { content.obtain(key).await.is_some() });
            }
            match fetching.join_next().await {
                None => break,
                Some(Ok(true)) => drop(self.chunks.fetch_add(1, Ordering::Relaxed)),
                Some(_) => return None,
            }
        }
        self.chunks.store(ALL, Ordering::Relaxed);
        let Fetch { certificate, maker, origin, cluster, levels, fatal, content, folder, .. } = self;
        let reader = content.clone();
        let restored = content.on_disk(move |_| {
            let read = |key| reader.read_blocking(key).ok_or("it is not here");
            let machine = match restoring::restore(
                cluster,
                &checkpoint,
                &maker,
                levels,
                origin.as_ref(),
                read,
            ) {
                Ok(machine) => machine,
                Err(why) => {
                    error!(app = %checkpoint.app, slot = %checkpoint.slot, %why, "a snapshot cannot be used");
                    if why.is_too_new() {
                        fatal.raise(why.to_string());
                    }
                    return None;
                }
            };
            if let Err(why) = folder.write(&certificate) {
                error!(%why, "a snapshot that was fetched cannot be kept");
                return None;
            }
            Some((Kept { certificate, index }, Box::new(machine)))
        });
        restored.await.flatten()
    }
}

/// The word of `node`, this one, for one of its snapshots.
fn own_word(node: NodeId, kept: &Kept, asks: bool) -> Option<Message> {
    let signature = kept.certificate.signatures.iter().find(|signature| signer(signature) == node)?.clone();
    Some(Message::Checkpoint { checkpoint: *kept.checkpoint(), signature, asks })
}

fn is_certified(kept: &Kept, voters: &[NodeId]) -> bool {
    let signed = kept.certificate.signatures.iter().filter(|signature| voters.contains(&signer(signature)));
    is_majority(signed.count(), voters.len())
}
