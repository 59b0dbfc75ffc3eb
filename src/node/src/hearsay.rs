//! What nodes say of themselves, as it goes around: how far each is, also one that this node does not reach. By gossip
//! ([`synod_delivery::gossip`]), so that a node learns that it is behind from any other, and nobody has to lead for that.
//!
//! Nothing is decided by it. What counts for commands, `wait` and fences comes from each node itself, in its own session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synod_auth::{TlsIdentity, sign_standing, verify_standing};
use synod_delivery::gossip::Gossip;
use synod_gateway::{AppDoor, Certificates as _};
use synod_mesh::Mesh;
use synod_types::limits::{APPS_MAX, GOSSIP_WORDS_MAX, MESH_NODES_MAX};
use synod_types::{
    AppNdx, AppStanding, ClusterId, GossipMessage, Message, NodeId, SignedStanding, Standing, StateNdx,
};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::content::Content;
use crate::cosigning::Cosigning;
use crate::metrics::float;
use crate::roster::Roster;

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// How many nodes are asked in a round.
const FANOUT: usize = 2;
/// Rounds in which a node is behind and comes no further, after which it says so.
const BEHIND_ROUNDS: u32 = 20;

/// What was heard last of each node, for who tells it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hearsay(Arc<Mutex<BTreeMap<NodeId, Heard>>>);

/// What was heard of a node.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub standing: Standing,
    /// When it came to this node.
    pub at: Instant,
}

impl Hearsay {
    /// What was heard last of a node.
    pub(crate) fn of(&self, node: NodeId) -> Option<Heard> {
        self.lock().get(&node).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that gossips.
pub(crate) struct Task {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub identity: Arc<TlsIdentity>,
    pub roster: Arc<Roster>,
    pub mesh: Arc<Mesh>,
    pub doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    pub cosigning: Cosigning,
    pub content: Content,
    pub hearsay: Hearsay,
    pub gossip: Gossip<SignedStanding>,
    /// Applications with which this node is behind: its state, and for how many rounds that is so.
    pub behind: BTreeMap<AppNdx, (StateNdx, u32)>,
}

impl Task {
    /// Begins a life of this node, at this time of its clock in milliseconds.
    pub(crate) fn begin(node: NodeId, now_ms: u64) -> Gossip<SignedStanding> {
        Gossip::new(node, now_ms, rand::random(), FANOUT)
    }

    /// Runs until `stop` is set.
    pub(crate) async fn run(
        mut self,
        mut heard: mpsc::Receiver<(NodeId, GossipMessage<SignedStanding>)>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = async { drop(stop.wait_for(|&stop| stop).await) } => return,
                _ = rounds.tick() => self.on_round(),
                Some((from, message)) = heard.recv() => self.on_message(from, message),
            }
        }
    }

    fn on_round(&mut self) {
        self.gossip.set_others(self.roster.load().others());
        let standing = self.standing();
        if self.gossip.word(self.node).is_none_or(|said| said.standing != standing) {
            self.say(standing);
        }
        for (to, message) in self.gossip.on_round() {
            self.mesh.send(to, &Message::Gossip(message));
        }
        self.look_whether_behind();
    }

    /// How far this node is.
    fn standing(&self) -> Standing {
        let app = |(&app, door): (&AppNdx, &Arc<AppDoor>)| {
            let view = door.view();
            let certified = self.cosigning.newest(app).map(|newest| newest.statement.state_ndx);
            let (state_ndx, chain) = (view.state_ndx, view.chain);
            AppStanding { app, state_ndx, chain, certified: certified.unwrap_or_default() }
        };
        let files = u64::try_from(self.content.count()).expect("usize has at most 64 bits");
        Standing { apps: self.doors.iter().map(app).collect(), files }
    }

    fn say(&mut self, standing: Standing) {
        self.gossip
            .say(|version| sign_standing(self.identity.signing_key(), self.cluster, version, standing));
    }

    fn on_message(&mut self, from: NodeId, mut message: GossipMessage<SignedStanding>) {
        match &mut message {
            GossipMessage::Heads(heads) => heads.truncate(MESH_NODES_MAX),
            GossipMessage::News { words, lacks } => {
                words.truncate(GOSSIP_WORDS_MAX);
                lacks.truncate(MESH_NODES_MAX);
                words.retain(|word| {
                    let is_known = word.node == self.node || self.roster.load().name(word.node).is_some();
                    let verified = verify_standing(word, self.cluster);
                    if let Err(why) = &verified {
                        warn!(%from, of = %word.node, %why, "a node passed on what another one did not say; dropped");
                    }
                    is_known && verified.is_ok() && word.says.standing.apps.len() <= APPS_MAX
                });
            }
        }
        let (answer, news) = self.gossip.on_message(message);
        if let Some(answer) = answer {
            self.mesh.send(from, &Message::Gossip(answer));
        }
        if news.contains(&self.node) {
            // It is of an earlier life, behind which nobody would hear this one.
            let standing = self.standing();
            self.say(standing);
        }
        self.keep(&news);
    }

    fn keep(&self, news: &BTreeSet<NodeId>) {
        let at = Instant::now();
        let mut heard = self.hearsay.lock();
        for (node, _, word) in self.gossip.words().filter(|(node, ..)| news.contains(node)) {
            heard.insert(node, Heard { standing: word.standing.clone(), at });
        }
        heard.retain(|node, _| self.gossip.words().any(|(known, ..)| known == *node));
    }

    /// Whether others have come further, and this node does not.
    fn look_whether_behind(&mut self) {
        for (&app, door) in &self.doors {
            let own = door.state_ndx();
            let others =
                self.gossip.words().filter_map(|(_, _, word)| Some(word.standing.of(app)?.state_ndx));
            let furthest = others.max().unwrap_or_default();
            let behind = furthest.0.saturating_sub(own.0);
            metrics::gauge!("synod_behind_states", "app" => app.to_string()).set(float(behind));
            let (at, rounds) = self.behind.entry(app).or_insert((own, 0));
            if behind == 0 || *at != own {
                (*at, *rounds) = (own, 0);
                continue;
            }
            *rounds += 1;
            if *rounds == BEHIND_ROUNDS {
                info!(%app, state_ndx = %own, %furthest, "other nodes have come further, as is said, and nothing comes from them");
            }
        }
    }
}
