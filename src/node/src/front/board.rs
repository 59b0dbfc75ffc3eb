//! What the node last said of how everything is, and what follows from that for those who read here: who leads, how fresh each state
//! is, whether clients are well served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use synod_gateway::{
    AppDoor, AppPublisher, CertificateStatus, CertificateUse, ClusterStatus, Fence, NodeState, NodeStates,
};
use synod_lane::front::{AppPicture, FrontAnswer, FrontQuestion, PictureTold};
use synod_types::limits::{FRONT_PICTURE_MS, FRONT_PICTURE_MS_MAX};
use synod_types::{AppNdx, Certificate, NodeId, Slot, StateCertificate, StateNdx, wire};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::warn;

use super::asker::Asker;
use crate::freshness::Freshness;
use crate::metrics::float;

/// What the node said last.
pub(crate) struct Seen {
    /// As the node sees the cluster.
    pub status: ClusterStatus,
    /// Commands from one state that is signed to the next.
    pub sign_every: u64,
    /// Its applications.
    pub apps: BTreeMap<AppNdx, AppSeen>,
    nodes: Vec<(NodeId, Vec<(AppNdx, StateNdx)>)>,
    /// Whether it has answered the last question.
    is_there: bool,
}

/// An application on the node.
#[derive(Clone)]
pub(crate) struct AppSeen {
    pub name: String,
    pub kind: String,
    pub is_elsewhere: bool,
    /// The newest certificate of a state.
    pub certificate: Option<Arc<StateCertificate>>,
    /// The certificate of the newest snapshot that has one.
    pub snapshot: Option<Certificate>,
    is_ready: bool,
    applied: Slot,
    age: Option<Duration>,
}

impl Seen {
    /// Reads what a node told.
    ///
    /// # Errors
    /// What makes no sense in it.
    pub(crate) fn of(told: &PictureTold) -> Result<Seen, String> {
        let status = serde_json::from_slice(&told.status.0).map_err(|why| why.to_string())?;
        let apps = told.apps.iter().map(|app| Ok((AppNdx(app.app), AppSeen::of(app)?)));
        let node = |node: &synod_lane::front::NodePicture| {
            let id = node.node.parse().map_err(|_| format!("{:?} is no node's id", node.node))?;
            let states = node.states.iter().map(|(app, at)| (AppNdx(*app), StateNdx(*at)));
            Ok((id, states.collect()))
        };
        Ok(Seen {
            status,
            sign_every: told.sign_every,
            apps: apps.collect::<Result<_, String>>()?,
            nodes: told.nodes.iter().map(node).collect::<Result<_, String>>()?,
            is_there: true,
        })
    }
}

impl AppSeen {
    /// Whether as much is known behind this door as on the node.
    pub(crate) fn is_matched_by(&self, door: &AppDoor) -> bool {
        (door.is_ready() || !self.is_ready) && (door.age().is_some() || self.age.is_none())
    }

    fn of(told: &AppPicture) -> Result<AppSeen, String> {
        let read = |why: wire::WireError| why.to_string();
        let certificate = told.certificate.as_ref().map(|blob| wire::decode(&blob.0)).transpose();
        let snapshot = told.snapshot.as_ref().map(|blob| wire::decode(&blob.0)).transpose();
        Ok(AppSeen {
            name: told.name.clone(),
            kind: told.kind.clone(),
            is_elsewhere: told.is_elsewhere,
            certificate: certificate.map_err(read)?.map(Arc::new),
            snapshot: snapshot.map_err(read)?,
            is_ready: told.is_ready,
            applied: Slot(told.applied),
            age: told.age_ms.map(Duration::from_millis),
        })
    }
}

/// Where what the node said last is read.
pub(crate) struct Board(ArcSwap<Seen>);

impl Board {
    pub(crate) fn new(first: Seen) -> Board {
        Board(ArcSwap::from_pointee(first))
    }

    /// What the node said last.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.0.load_full()
    }

    /// How the cluster is, seen from here: as the node sees it, with the states that are here. While the node is away, nobody else is
    /// seen and nobody leads.
    pub(crate) fn status(&self, publishers: &Publishers, own: &[CertificateStatus]) -> ClusterStatus {
        let seen = self.0.load();
        let mut status = seen.status.clone();
        for app in &mut status.apps {
            if !seen.is_there {
                app.leader = None;
            }
            let Some(publisher) = publishers.get(&app.app_ndx) else { continue };
            let view = publisher.door().view();
            (app.state_ndx, app.applied, app.chain) = (view.state_ndx, view.applied, view.chain);
            app.level = view.level().0;
            app.commanders = u64::try_from(view.commanders().count()).unwrap_or(u64::MAX);
            app.chosen = app.chosen.max(view.applied);
            app.lag = app.chosen.0 - view.applied.0;
        }
        if !seen.is_there {
            for node in status.nodes.iter_mut().filter(|node| node.state == NodeState::Up) {
                node.state = NodeState::Down;
            }
        }
        // What the node's own front ends show is nothing to those who read here.
        let is_nodes =
            |one: &CertificateStatus| matches!(one.certificate, CertificateUse::Node | CertificateUse::Ca);
        status.certificates.retain(is_nodes);
        status.certificates.extend_from_slice(own);
        status
    }
}

/// The applications that are served here.
pub(crate) type Publishers = BTreeMap<AppNdx, Arc<AppPublisher>>;

/// Asks the node again and again.
pub(crate) struct Looking {
    pub asker: Asker,
    pub board: Arc<Board>,
    pub publishers: Arc<Publishers>,
    pub nodes: Arc<NodeStates>,
    /// When the node's states were the newest.
    pub freshness: BTreeMap<AppNdx, Freshness>,
}

impl Looking {
    /// Asks until the process stops.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(Duration::from_millis(FRONT_PICTURE_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = Duration::from_millis(FRONT_PICTURE_MS_MAX);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.asker.changed() => {}
            }
            let asked = Instant::now();
            match timeout(patience, self.asker.one(FrontQuestion::Picture)).await {
                Ok(Ok(FrontAnswer::Picture(told))) => match Seen::of(&told) {
                    Ok(seen) => self.take(asked, seen),
                    Err(why) => warn!(why, "what the node says of the cluster makes no sense"),
                },
                Ok(Ok(_) | Err(_)) | Err(_) => self.lose(),
            }
        }
    }

    fn take(&mut self, asked: Instant, seen: Seen) {
        for (node, states) in &seen.nodes {
            self.nodes.heard(*node, states);
        }
        for (node, _) in self.nodes.all() {
            if !seen.nodes.iter().any(|(other, _)| *other == node) {
                self.nodes.forget(node);
            }
        }
        for app in &seen.status.apps {
            let (ndx, known) = (app.app_ndx, seen.apps.get(&app.app_ndx));
            let (Some(publisher), Some(known)) = (self.publishers.get(&ndx), known) else { continue };
            let door = publisher.door();
            publisher.set_leader(app.leader.clone());
            match app.diverged {
                Some(state_ndx) => publisher.set_fence(Fence { state_ndx, is_exact: false }),
                None if door.fence().is_some() => publisher.lift_fence(),
                None => {}
            }
            let freshness = self.freshness.entry(ndx).or_default();
            if let Some(age) = known.age
                && let Some(as_of) = asked.checked_sub(age)
            {
                freshness.grant(as_of, known.applied);
            }
            let applied = door.applied();
            freshness.on_applied(applied, publisher);
            if known.is_ready && known.applied <= applied {
                publisher.set_caught_up();
            }
            let behind = known.applied.0.saturating_sub(applied.0);
            metrics::gauge!("synod_front_behind_slots", "app" => ndx.to_string()).set(float(behind));
        }
        self.board.0.store(Arc::new(seen));
    }

    /// The node is away: nobody is known to lead, nor how far the others are.
    fn lose(&self) {
        let seen = self.board.0.load();
        if !seen.is_there {
            return;
        }
        self.publishers.values().for_each(|publisher| publisher.set_leader(None));
        self.nodes.all().into_iter().for_each(|(node, _)| self.nodes.forget(node));
        let Seen { status, sign_every, apps, nodes, .. } = &**seen;
        let lost = Seen {
            status: status.clone(),
            sign_every: *sign_every,
            apps: apps.clone(),
            nodes: nodes.clone(),
            is_there: false,
        };
        self.board.0.store(Arc::new(lost));
    }
}
