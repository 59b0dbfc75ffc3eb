//! The task that signs states and brings certificates together.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use synod_auth::{TlsIdentity, sign_statement};
use synod_delivery::cosign::broken::Broken;
use synod_delivery::cosign::{Beginning, Core, Due, Effect, Event, TICK_MS};
use synod_gateway::{AppDoor, Certified};
use synod_machine::View;
use synod_mesh::Mesh;
use synod_types::{
    AppNdx, ClusterId, Configuration, CosignMessage, Message, NodeId, StateCertificate, Statement,
    StatementKey, StatementSignature,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::disk::Folder;
use super::{Ask, Cosigning, Mark};
use crate::metrics::float;
use crate::roster::Roster;

/// Ticks in which an application makes no state, after which its last one is signed.
const IDLE_TICKS: u32 = 4;
/// States of one application that wait to be signed.
const WAITING_MAX: usize = 8;
/// States that were signed and of which there is no certificate yet: they are kept for when there is.
const VIEWS_MAX: usize = 8;

/// What the task works with.
pub(crate) struct Task {
    pub cluster: ClusterId,
    pub roster: Arc<Roster>,
    pub identity: Arc<TlsIdentity>,
    pub mesh: Arc<Mesh>,
    pub doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    pub folder: Folder,
    pub cosigning: Cosigning,
    /// Commands from one state that is signed to the next.
    pub every: u64,
    /// Certificates of an application that are kept.
    pub kept_max: usize,
    core: Core,
    apps: BTreeMap<AppNdx, App>,
    nodes: Vec<NodeId>,
    jobs: JoinSet<Done>,
}

/// What the task is made of.
pub(crate) struct Parts {
    pub cluster: ClusterId,
    pub roster: Arc<Roster>,
    pub identity: Arc<TlsIdentity>,
    pub mesh: Arc<Mesh>,
    pub doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    pub folder: Folder,
    pub cosigning: Cosigning,
    pub settings: crate::config::Certificates,
    /// The first members.
    pub first: Configuration,
    /// Who decides, as this node knows it.
    pub current: BTreeMap<AppNdx, Configuration>,
}

/// One application.
#[derive(Default)]
struct App {
    waiting: VecDeque<Mark>,
    is_signing: bool,
    views: BTreeMap<StatementKey, (Statement, Arc<View>)>,
    /// The last state that was seen, and for how many ticks.
    idle: Option<(StatementKey, u32)>,
    /// The last one that was taken to be signed.
    signed: Option<StatementKey>,
}

/// What came of a job.
enum Done {
    Signed(Mark, Statement, StatementSignature),
    Stored(StateCertificate, bool, io::Result<()>),
}

impl Task {
    pub(crate) fn new(parts: Parts) -> Task {
        let Parts { cluster, roster, identity, mesh, doors, folder, cosigning, settings, first, current } =
            parts;
        let beginning = |app: AppNdx| {
            let (proved, newest) = cosigning.with(app, |known| {
                (known.held.proved(&first), known.held.newest().map(|newest| StateCertificate::clone(newest)))
            });
            let current = current.get(&app).unwrap_or(&first).clone();
            Beginning { proved, current, newest }
        };
        let beginnings = doors.keys().map(|app| (*app, beginning(*app))).collect();
        let core = Core::new(settings.threshold, beginnings, Broken::NOT);
        let apps = doors.keys().map(|app| (*app, App::default())).collect();
        let (every, kept_max) = (settings.every_commands, settings.keep);
        Task {
            cluster,
            roster,
            identity,
            mesh,
            doors,
            folder,
            cosigning,
            every,
            kept_max,
            core,
            apps,
            nodes: Vec::new(),
            jobs: JoinSet::new(),
        }
    }

    /// Runs until `stop` is set.
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut stop: watch::Receiver<bool>) {
        let mut ticking = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.keep_nodes();
        loop {
            tokio::select! {
                biased;
                () = async { drop(stop.wait_for(|&stop| stop).await) } => return,
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.on_done(done),
                    Err(why) => match why.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_called_off) => {}
                    },
                },
                _ = ticking.tick() => {
                    self.keep_nodes();
                    self.step(Event::Tick);
                    self.look_for_idle();
                }
                Some(ask) = asks.recv() => match ask {
                    Ask::Due(mark) => self.on_due(mark),
                    Ask::Heard(from, message) => {
                        // A node that is new here has to be known before its word counts.
                        self.keep_nodes();
                        self.step(Event::Message { from, message });
                    }
                },
            }
        }
    }

    fn keep_nodes(&mut self) {
        let nodes: Vec<NodeId> = self.roster.load().others().collect();
        if nodes != self.nodes {
            self.nodes.clone_from(&nodes);
            self.step(Event::Nodes(nodes));
        }
    }

    // Signing.

    /// Has the last state of an application signed in which nothing happens.
    fn look_for_idle(&mut self) {
        let ndxs: Vec<AppNdx> = self.apps.keys().copied().collect();
        for ndx in ndxs {
            let Some(mark) = self.cosigning.latest(ndx) else { continue };
            let key = mark.key();
            let newest = self.core.newest(ndx).map(StateCertificate::key);
            let paired = self.cosigning.with(ndx, |known| known.paired());
            let Some(app) = self.apps.get_mut(&ndx) else { continue };
            let ticks = match &mut app.idle {
                Some((seen, ticks)) if *seen == key => {
                    *ticks = ticks.saturating_add(1);
                    *ticks
                }
                idle => {
                    *idle = Some((key, 0));
                    0
                }
            };
            // After a restart the state of the newest certificate may come later than the certificate.
            let is_news = newest < Some(key) || (newest == Some(key) && paired < Some(key));
            if ticks == IDLE_TICKS && app.signed < Some(key) && is_news {
                self.on_due(mark);
            }
        }
    }

    fn on_due(&mut self, mark: Mark) {
        let ndx = mark.view.app_ndx;
        // What is known to be wrong is not signed.
        let is_fenced = self.doors.get(&ndx).is_none_or(|door| door.fence().is_some());
        let every = self.every;
        let Some(app) = self.apps.get_mut(&ndx).filter(|_| !is_fenced) else { return };
        app.signed = app.signed.max(Some(mark.key()));
        app.waiting.push_back(mark);
        if app.waiting.len() > WAITING_MAX {
            // All nodes give up the same, however far each has come: the less round ones.
            let roundness = |mark: &Mark| match mark.before {
                Some(_) => u32::MAX,
                None => (mark.view.state_ndx.0 / every.max(1)).trailing_zeros(),
            };
            let least = app.waiting.iter().enumerate().min_by_key(|(_, mark)| roundness(mark));
            least.map(|(place, _)| place).and_then(|place| app.waiting.remove(place));
        }
        self.sign_next(ndx);
    }

    /// The commitment to a state may take long where the application does not keep it up.
    fn sign_next(&mut self, ndx: AppNdx) {
        let Some(app) = self.apps.get_mut(&ndx).filter(|app| !app.is_signing) else { return };
        let Some(mark) = app.waiting.pop_front() else { return };
        app.is_signing = true;
        let (identity, cluster) = (Arc::clone(&self.identity), self.cluster);
        self.jobs.spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let view = &mark.view;
            let statement = Statement {
                app: view.app_ndx,
                epoch: mark.members.epoch,
                members: mark.members.digest(),
                slot: mark.slot,
                state_ndx: view.state_ndx,
                chain: view.chain,
                root: view.app.root(),
            };
            let signature = sign_statement(identity.signing_key(), cluster, &statement);
            metrics::histogram!("synod_cosign_seconds", "app" => view.app_ndx.to_string())
                .record(begun.elapsed());
            Done::Signed(mark, statement, signature)
        });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Signed(mark, statement, signature) => {
                let (ndx, key) = (statement.app, statement.key());
                let Mark { view, members, before, .. } = mark;
                if let Some(app) = self.apps.get_mut(&ndx) {
                    app.is_signing = false;
                    app.views.insert(key, (statement, Arc::clone(&view)));
                    if app.views.len() > VIEWS_MAX {
                        app.views.pop_first();
                    }
                }
                self.step(Event::Due(Due { statement, signature, members, before }));
                self.pair(ndx);
                self.sign_next(ndx);
            }
            Done::Stored(certificate, is_handover, Ok(())) => {
                let app = certificate.statement.app;
                let kept_max = self.kept_max;
                let over =
                    self.cosigning.with(app, |known| known.held.take(&certificate, is_handover, kept_max));
                let folder = self.folder.clone();
                for one in over {
                    // What stays is removed at the next start, or overwritten: it is true all the same.
                    if let Err(why) = folder.forget(&one) {
                        debug!(%why, "an old certificate cannot be removed");
                    }
                }
                metrics::counter!("synod_certificates_total", "app" => app.to_string()).increment(1);
                self.step(Event::Stored { certificate, is_handover });
            }
            Done::Stored(certificate, _, Err(why)) => {
                warn!(app = %certificate.statement.app, %why, "a certificate cannot be stored; it is tried again");
                self.step(Event::NotStored { certificate });
            }
        }
    }

    /// Brings the newest certificate and its state together, if both are here.
    fn pair(&mut self, ndx: AppNdx) {
        let Some(app) = self.apps.get_mut(&ndx) else { return };
        let views = &mut app.views;
        self.cosigning.with(ndx, |known| {
            let Some(certificate) = known.held.newest().cloned() else { return };
            let key = certificate.key();
            let paired = known.paired();
            if let Some((statement, view)) = views.get(&key)
                && *statement == certificate.statement
                && paired < Some(key)
            {
                known.certified = Some(Certified { certificate, view: Arc::clone(view) });
            }
            views.retain(|other, _| *other > key);
        });
    }

    // The core.

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.core.step(event, &mut effects);
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.mesh.send(to, &Message::Cosign(message)),
            Effect::Store { certificate, is_handover } => {
                let folder = self.folder.clone();
                self.jobs.spawn_blocking(move || {
                    let of_members = certificate.of_members();
                    let handover = if is_handover { folder.write(&certificate, true) } else { Ok(()) };
                    let stored = handover.and_then(|()| folder.write(&of_members, false));
                    Done::Stored(certificate, is_handover, stored)
                });
            }
            Effect::Certified(certificate) => {
                let Statement { app, state_ndx, epoch, .. } = certificate.statement;
                info!(%app, %state_ndx, %epoch, signers = certificate.signatures.len(), "certified");
                metrics::gauge!("synod_certified_state_ndx", "app" => app.to_string())
                    .set(float(state_ndx.0));
                self.pair(app);
            }
            Effect::GiveHandOver { to, app, ends } => {
                let handover = self.cosigning.with(app, |known| known.held.handover_behind(ends).cloned());
                if let Some(certificate) = handover {
                    let certificate = StateCertificate::clone(&certificate);
                    self.mesh.send(to, &Message::Cosign(CosignMessage::Commit { certificate }));
                }
            }
            Effect::Conflict { signer, theirs, own } => self.on_conflict(signer, &theirs, &own),
        }
    }

    fn on_conflict(&self, signer: NodeId, theirs: &Statement, own: &Statement) {
        let app = theirs.app;
        self.cosigning.with(app, |known| known.conflicting.insert(signer));
        metrics::counter!("synod_signature_conflicts_total", "app" => app.to_string()).increment(1);
        let known = self.roster.load();
        let name = known.name(signer).unwrap_or("a node that is not known").to_owned();
        error!(
            %app,
            state_ndx = %theirs.state_ndx,
            epoch = %theirs.epoch,
            signer = name,
            id = %signer,
            chain = theirs.chain.short(),
            root = theirs.root.short(),
            own_chain = own.chain.short(),
            own_root = own.root.short(),
            "a node has signed a state that this one did not come to: one of the two is wrong. Compare both with a third (synod status), \
             and audit their logs (synod audit)"
        );
    }
}
