//! Reading: at a level, from a state, within a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_machine::{Unanswered, View};
use synod_types::limits::READ_WAIT_MS_MAX;
use synod_types::{
    AppNdx, Certificate, CertificateBundle, ContentKey, Digest, LogPage, Slot, StateCertificate, StateNdx,
};
use tokio::sync::{Mutex, watch};

use crate::certificates::{Certificates, Certified, NoCertificates};
use crate::door::AppDoor;
use crate::error::{Awaited, GatewayError};
use crate::files::{Files, NoFiles};
use crate::log::{Log, LogUnread, NoLog};
use crate::metrics::{Metrics, NoMetrics};
use crate::nodes::{Change, NodeAt, NodeStates};
use crate::reads::ReadRefused;
use crate::snapshots::{NoSnapshots, Snapshots};
use crate::status::{ClusterStatus, NodeState};
use crate::vector::StateVector;

/// How long a read waits for its turn that would wait for nothing else: as long as commands are executed that came before it.
const TURN_WAIT_MIN: Duration = Duration::from_secs(1);

/// How fresh an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// This node's state, at once. It may be behind, and says its stateNdx.
    #[default]
    Local,
    /// Every command that was executed anywhere before the read began is in the state. Needs a leader, and waits for one.
    Linearizable,
}

/// What a read asks for beside the question itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// How fresh the state must be.
    pub consistency: Consistency,
    /// The least state to answer from; waited for.
    pub min: Option<StateNdx>,
    /// The longest to wait for the state; more than [`READ_WAIT_MS_MAX`] counts as that.
    pub wait: Duration,
}

impl Read {
    /// How long a read waits that does not say how long.
    pub const WAIT_DEFAULT: Duration = Duration::from_secs(5);
    /// The longest wait.
    pub const WAIT_MAX: Duration = Duration::from_millis(READ_WAIT_MS_MAX);
}

impl Default for Read {
    fn default() -> Read {
        Read { consistency: Consistency::Local, min: None, wait: Read::WAIT_DEFAULT }
    }
}

/// An application's answer, and the state that it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How many commands the application had executed.
    pub state_ndx: StateNdx,
    /// The hash chain's value there.
    pub chain: Digest,
    /// The application's answer.
    pub body: Bytes,
}

/// Whether this node should be sent clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// Applications that this node cannot answer for yet; none: it is ready.
    pub waiting_for: Vec<AppNdx>,
    /// The node is stopping: it is not ready, whatever its applications are.
    pub stopping: bool,
    /// The node is no member of the cluster, so that what it has may be old, and nobody brings it anything new.
    pub is_outside: bool,
}

impl Readiness {
    /// Whether clients are welcome.
    pub fn is_ready(&self) -> bool {
        self.waiting_for.is_empty() && !self.stopping && !self.is_outside
    }
}

/// What front ends hold: every application, and how the cluster is. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    /// In the order of their numbers.
    doors: Vec<Arc<AppDoor>>,
    status: Box<dyn Fn() -> ClusterStatus + Send + Sync>,
    files: Arc<dyn Files>,
    log: Arc<dyn Log>,
    snapshots: Arc<dyn Snapshots>,
    certificates: Arc<dyn Certificates>,
    metrics: Arc<dyn Metrics>,
    nodes: Arc<NodeStates>,
    left_out: Vec<(AppNdx, String)>,
    stopping: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway to these applications. `status` is called for each question about the cluster; it must not block.
    ///
    /// # Panics
    /// If two applications have the same number.
    pub fn new(
        mut doors: Vec<Arc<AppDoor>>,
        status: impl Fn() -> ClusterStatus + Send + Sync + 'static,
    ) -> Gateway {
        doors.sort_by_key(|door| door.ndx());
        assert!(
            doors.is_sorted_by(|a, b| a.ndx() < b.ndx()),
            "each application has one door: the configuration was checked for that"
        );
        Gateway(Arc::new(Inner {
            doors,
            status: Box::new(status),
            files: Arc::new(NoFiles),
            log: Arc::new(NoLog),
            snapshots: Arc::new(NoSnapshots),
            certificates: Arc::new(NoCertificates),
            metrics: Arc::new(NoMetrics),
            nodes: Arc::new(NodeStates::new()),
            left_out: Vec::new(),
            stopping: watch::Sender::new(false),
        }))
    }

    /// The same gateway, with files to give out; without this, there are none.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_files(mut self, files: Arc<dyn Files>) -> Gateway {
        self.own().files = files;
        self
    }

    /// The same gateway, with a log to give out; without this, there is none.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_log(mut self, log: Arc<dyn Log>) -> Gateway {
        self.own().log = log;
        self
    }

    /// The same gateway, with snapshots to give out; without this, there are none.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_snapshots(mut self, snapshots: Arc<dyn Snapshots>) -> Gateway {
        self.own().snapshots = snapshots;
        self
    }

    /// The same gateway, with certificates to give out; without this, there are none.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_certificates(mut self, certificates: Arc<dyn Certificates>) -> Gateway {
        self.own().certificates = certificates;
        self
    }

    /// The same gateway, with measurements to tell; without this, there are none.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_metrics(mut self, metrics: Arc<dyn Metrics>) -> Gateway {
        self.own().metrics = metrics;
        self
    }

    /// The same gateway, with what the other nodes say of how far they are; without this, nothing is known of them.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_node_states(mut self, nodes: Arc<NodeStates>) -> Gateway {
        self.own().nodes = nodes;
        self
    }

    /// The same gateway, of a cluster that has these applications, too, which cannot be asked here.
    ///
    /// # Panics
    /// If the gateway was cloned already: it is put together first and handed out then.
    pub fn with_left_out(mut self, apps: Vec<(AppNdx, String)>) -> Gateway {
        self.own().left_out = apps;
        self
    }

    fn own(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.0).expect("a gateway is put together before it is cloned")
    }

    /// Every application, in the order of their numbers.
    pub fn apps(&self) -> &[Arc<AppDoor>] {
        &self.0.doors
    }

    /// The application with this number.
    ///
    /// # Errors
    /// [`GatewayError::UnknownApp`].
    pub fn app(&self, app: AppNdx) -> Result<&AppDoor, GatewayError> {
        let doors = &self.0.doors;
        match doors.binary_search_by_key(&app, |door| door.ndx()) {
            Ok(at) => Ok(&doors[at]),
            Err(_) => Err(GatewayError::UnknownApp { app }),
        }
    }

    /// The application with this number or, failing that, this name.
    pub fn find(&self, number_or_name: &str) -> Option<&AppDoor> {
        let by_number = number_or_name.parse().ok().and_then(|app| self.app(app).ok());
        by_number
            .or_else(|| self.0.doors.iter().find(|door| door.name() == number_or_name).map(|door| &**door))
    }

    /// Whether the cluster has an application with this number or name that cannot be asked here.
    pub fn is_left_out(&self, number_or_name: &str) -> bool {
        let is_it =
            |(app, name): &(AppNdx, String)| name == number_or_name || app.to_string() == number_or_name;
        self.0.left_out.iter().any(is_it)
    }

    /// Asks an application. A local read without `min` never waits.
    ///
    /// # Errors
    /// [`GatewayError`]; all but an unknown application say in which state the application is.
    pub async fn query(&self, app: AppNdx, read: Read, query: &[u8]) -> Result<Answer, GatewayError> {
        let door = self.app(app)?;
        self.await_state(door, read).await?;
        if let Some(turns) = door.turns() {
            return self.query_elsewhere(door, turns, read, query).await;
        }
        let view = door.peek();
        let body = view.app.query(view.state_ndx, query).map_err(|why| GatewayError::NotAQuery {
            app,
            state_ndx: view.state_ndx,
            why: why.to_string(),
        })?;
        Ok(Answer { state_ndx: view.state_ndx, chain: view.chain, body })
    }

    /// Asks an application in another process, from the state that is published when its turn comes.
    async fn query_elsewhere(
        &self,
        door: &AppDoor,
        turns: Arc<Mutex<()>>,
        read: Read,
        query: &[u8],
    ) -> Result<Answer, GatewayError> {
        let app = door.ndx();
        let busy = || GatewayError::Busy { app, state_ndx: door.state_ndx() };
        let _place = door.place().ok_or_else(busy)?;
        let wait = read.wait.min(Read::WAIT_MAX);
        let turn = tokio::time::timeout(wait.max(TURN_WAIT_MIN), turns.lock_owned()).await;
        let turn = turn.map_err(|_late| busy())?;
        let (view, query) = (door.view(), Bytes::copy_from_slice(query));
        let asked = tokio::task::spawn_blocking(move || {
            let answered = match view.app.apart() {
                Some(apart) => apart.query(view.state_ndx, &query),
                None => view.app.query(view.state_ndx, &query).map_err(Unanswered::NotAQuery),
            };
            drop(turn);
            (view, answered)
        });
        let (view, answered) = match asked.await {
            Ok(asked) => asked,
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => return Err(GatewayError::Stopping { app, state_ndx: door.state_ndx() }),
            },
        };
        let state_ndx = view.state_ndx;
        match answered {
            Ok(body) => Ok(Answer { state_ndx, chain: view.chain, body }),
            Err(Unanswered::NotAQuery(why)) => {
                Err(GatewayError::NotAQuery { app, state_ndx, why: why.to_string() })
            }
            Err(Unanswered::Away(_)) => Err(GatewayError::Away { app, state_ndx }),
        }
    }

    /// The state itself, for what is the same in every application (its number, chain and commanders).
    ///
    /// # Errors
    /// As for [`Gateway::query`].
    pub async fn view(&self, app: AppNdx, read: Read) -> Result<Arc<View>, GatewayError> {
        let door = self.app(app)?;
        self.await_state(door, read).await?;
        Ok(door.view())
    }

    /// The state of each application.
    pub fn state_vector(&self) -> StateVector {
        self.apps().iter().map(|door| (door.ndx(), door.state_ndx())).collect()
    }

    /// Waits until each application is as far as `seen` says, `wait` at most for each.
    ///
    /// # Errors
    /// As for [`Gateway::view`].
    pub async fn until(&self, seen: &StateVector, wait: Duration) -> Result<(), GatewayError> {
        // Nobody is answered here from what is left out.
        let is_here = |(app, _): &(AppNdx, StateNdx)| self.0.left_out.iter().all(|(other, _)| other != app);
        for (app, state_ndx) in seen.iter().filter(is_here) {
            if self.app(app)?.state_ndx() < state_ndx {
                self.view(app, Read { min: Some(state_ndx), wait, ..Read::default() }).await?;
            }
        }
        Ok(())
    }

    /// A file to which a state refers; `None` if this node does not have it, or cannot read it.
    pub async fn file(&self, key: ContentKey) -> Option<Bytes> {
        self.0.files.read(key).await
    }

    /// The newest snapshot of an application that a majority has signed.
    pub fn snapshot(&self, app: AppNdx) -> Option<Certificate> {
        self.0.snapshots.newest(app)
    }

    /// The newest state of an application of which there is a certificate, with that certificate: what is proved of the one is proved
    /// by the other. `None`: there is none, or its state is not in this node's memory since it started.
    pub fn certified(&self, app: AppNdx) -> Option<Certified> {
        self.0.certificates.certified(app)
    }

    /// The newest certificate of an application.
    pub fn certificate(&self, app: AppNdx) -> Option<Arc<StateCertificate>> {
        self.0.certificates.newest(app)
    }

    /// The certificates of an application of states before `after`, newest first, at most `limit`.
    pub async fn certificates(
        &self,
        app: AppNdx,
        after: Option<StateNdx>,
        limit: usize,
    ) -> Vec<Arc<StateCertificate>> {
        self.0.certificates.list(app, after, limit).await
    }

    /// The certificate of a state, or the newest one, with what proves from genesis on who signed it.
    pub async fn certificate_bundle(
        &self,
        app: AppNdx,
        state_ndx: Option<StateNdx>,
    ) -> Option<CertificateBundle> {
        self.0.certificates.bundle(app, state_ndx).await
    }

    /// A file of a snapshot; `None` if this node does not have it, or cannot read it.
    pub async fn snapshot_file(&self, key: ContentKey) -> Option<Bytes> {
        self.0.snapshots.file(key).await
    }

    /// What was chosen behind slot `after` and is applied here, at most `limit` decrees, and the state that this node had
    /// then.
    ///
    /// # Errors
    /// As for [`Gateway::view`], and [`GatewayError::LogNotHere`], [`GatewayError::LogCut`].
    pub async fn log(
        &self,
        app: AppNdx,
        read: Read,
        after: Slot,
        limit: u64,
    ) -> Result<(Arc<View>, LogPage), GatewayError> {
        let view = self.view(app, read).await?;
        let up_to = view.applied.min(Slot(after.0.saturating_add(limit)));
        let mut decrees = Vec::new();
        if after < up_to {
            let (slot, state_ndx) = (after.next(), view.state_ndx);
            decrees = self.0.log.read(app, slot, up_to).await.map_err(|why| match why {
                LogUnread::Busy => GatewayError::Busy { app, state_ndx },
                LogUnread::Cut(cut) => GatewayError::LogCut { app, state_ndx, cut },
                LogUnread::NotHere => GatewayError::LogNotHere { app, state_ndx, slot },
            })?;
        }
        let page = LogPage { cluster: view.cluster, app, applied: view.applied, decrees };
        Ok((view, page))
    }

    /// The slot that whoever follows this node's log has to have applied, so that everything is in its state that is chosen by now.
    ///
    /// # Errors
    /// [`GatewayError`]: there is no such application, it has no leader, too many ask, or the node is stopping.
    pub async fn read_index(&self, app: AppNdx) -> Result<Slot, GatewayError> {
        let door = self.app(app)?;
        let refused = |why| refused(door, why);
        let Some(_place) = door.place() else { return Err(refused(ReadRefused::Busy)) };
        let mut stopping = self.0.stopping.subscribe();
        tokio::select! {
            biased;
            index = door.read_index() => index.map_err(refused),
            _ = stopping.wait_for(|stopping| *stopping) => Err(refused(ReadRefused::Stopping)),
            () = tokio::time::sleep(Read::WAIT_MAX) => Err(refused(ReadRefused::NoLeader)),
        }
    }

    /// What other nodes say of how far they are.
    pub fn node_states(&self) -> &NodeStates {
        &self.0.nodes
    }

    /// What this node measures of itself.
    pub fn metrics(&self) -> Arc<dyn Metrics> {
        Arc::clone(&self.0.metrics)
    }

    /// How far each node has come towards a state of an application, as this node knows.
    ///
    /// # Errors
    /// [`GatewayError::UnknownApp`].
    pub fn change(&self, app: AppNdx, state_ndx: StateNdx) -> Result<Change, GatewayError> {
        Ok(self.change_behind(self.app(app)?, state_ndx))
    }

    /// As [`Gateway::change`], and waits until every node has come so far: `wait` at most, of which more than
    /// [`READ_WAIT_MS_MAX`] counts as that. Who is still behind then is in the answer.
    ///
    /// # Errors
    /// [`GatewayError::UnknownApp`]; [`GatewayError::Busy`] and [`GatewayError::Stopping`] where it would have to wait.
    pub async fn await_everywhere(
        &self,
        app: AppNdx,
        state_ndx: StateNdx,
        wait: Duration,
    ) -> Result<Change, GatewayError> {
        let door = self.app(app)?;
        // Before the first look, so that nothing is missed between the look and the wait.
        let mut heard = self.0.nodes.subscribe();
        let change = self.change_behind(door, state_ndx);
        if change.is_everywhere() || wait.is_zero() {
            return Ok(change);
        }
        let Some(_place) = door.place() else {
            return Err(GatewayError::Busy { app, state_ndx: door.state_ndx() });
        };
        let everywhere = async {
            door.until_state(state_ndx).await;
            while !self.change_behind(door, state_ndx).is_everywhere() {
                // The sender is in this gateway.
                let _ = heard.changed().await;
            }
        };
        let mut stopping = self.0.stopping.subscribe();
        tokio::select! {
            biased;
            () = everywhere => {}
            _ = stopping.wait_for(|stopping| *stopping) => {
                return Err(GatewayError::Stopping { app, state_ndx: door.state_ndx() });
            }
            () = tokio::time::sleep(wait.min(Read::WAIT_MAX)) => {}
        }
        Ok(self.change_behind(door, state_ndx))
    }

    fn change_behind(&self, door: &AppDoor, state_ndx: StateNdx) -> Change {
        let app_ndx = door.ndx();
        let at = |node: crate::status::NodeStatus| {
            let said = match node.state {
                // After a start a state is there before its files are.
                NodeState::Own => {
                    let view = door.peek();
                    view.app.wanted().is_empty().then_some(view.state_ndx)
                }
                NodeState::Up | NodeState::Down => self.0.nodes.of(node.id, app_ndx),
            };
            NodeAt { id: node.id, name: node.name, is_up: node.state != NodeState::Down, state_ndx: said }
        };
        Change { app_ndx, state_ndx, nodes: self.status().nodes.into_iter().map(at).collect() }
    }

    /// How the cluster is, as this node sees it.
    pub fn status(&self) -> ClusterStatus {
        (self.0.status)()
    }

    /// Whether this node should be sent clients.
    pub fn ready(&self) -> Readiness {
        let waiting = self.0.doors.iter().filter(|door| !door.is_ready());
        Readiness {
            waiting_for: waiting.map(|door| door.ndx()).collect(),
            stopping: *self.0.stopping.borrow(),
            is_outside: self.status().is_outside(),
        }
    }

    /// Ends every wait with [`GatewayError::Stopping`], now and from now on. Reads that need not wait are still
    /// answered: what this node knows stays true.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Returns when the node begins to stop: whoever follows changes ends then.
    pub async fn until_stopping(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender is in this gateway.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Returns when the application's state is as the read wants it.
    async fn await_state(&self, door: &AppDoor, read: Read) -> Result<(), GatewayError> {
        if let Some(fence) = door.fence() {
            let (app, state_ndx) = (door.ndx(), door.state_ndx());
            return Err(GatewayError::Diverged { app, state_ndx, since: fence.state_ndx });
        }
        let state_is_there = read.min.is_none_or(|min| door.state_ndx() >= min);
        if read.consistency == Consistency::Local && state_is_there {
            return Ok(());
        }
        let app = door.ndx();
        let Some(_place) = door.place() else {
            return Err(GatewayError::Busy { app, state_ndx: door.state_ndx() });
        };
        let refused = |why| refused(door, why);
        let wait = read.wait.min(Read::WAIT_MAX);
        let reached = async {
            if read.consistency == Consistency::Linearizable {
                door.until_leader_state(wait).await.map_err(refused)?;
            }
            if let Some(min) = read.min {
                door.until_state(min).await;
            }
            Ok(())
        };
        let mut stopping = self.0.stopping.subscribe();
        tokio::select! {
            // A state that is there is an answer, however short the wait.
            biased;
            result = reached => result,
            _ = stopping.wait_for(|stopping| *stopping) => Err(refused(ReadRefused::Stopping)),
            () = tokio::time::sleep(wait) => Err(GatewayError::Timeout {
                app,
                state_ndx: door.state_ndx(),
                awaited: match read.min {
                    Some(min) if door.state_ndx() < min => Awaited::State(min),
                    _ => Awaited::LeaderState,
                },
                waited_ms: wait.as_millis(),
            }),
        }
    }
}

/// Why there is no read index of an application.
fn refused(door: &AppDoor, why: ReadRefused) -> GatewayError {
    let (app, state_ndx) = (door.ndx(), door.state_ndx());
    match why {
        ReadRefused::NoLeader => GatewayError::NoLeader { app, state_ndx },
        ReadRefused::Busy => GatewayError::Busy { app, state_ndx },
        ReadRefused::Stopping => GatewayError::Stopping { app, state_ndx },
    }
}
