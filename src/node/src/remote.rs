//! Questions of this node's front ends for other nodes, and other nodes' for this one: a front end connected here asks an application
//! there, with every read level, and gets the answer of that node's gateway.
//!
//! A question travels once and may be lost, as may its answer; whoever asked is told so in time, and may ask again, since questions
//! change nothing. Nothing is passed on: a node answers for itself alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use synod_gateway::Read;
use synod_lane::front::{Asked, FrontAnswer, FrontQuestion, Told};
use synod_lane::message::Encoding;
use synod_lane::yard::YardQuestion;
use synod_lane::{decode, encode};
use synod_mesh::Mesh;
use synod_types::frame::HEADER_BYTES;
use synod_types::limits::{FRAME_BYTES_MAX, ROUTE_QUESTION_BYTES_MAX, ROUTE_QUESTIONS_MAX};
use synod_types::{Message, NodeId, RouteMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use crate::fronts::{Host, answer_for_another};
use crate::roster::Roster;

/// The encoding of questions and answers between nodes.
const ENCODING: Encoding = Encoding::MessagePack;
/// What an answer may take beyond the time for which its question has a state waited for.
const MARGIN: Duration = Duration::from_secs(3);
/// Between two looks at whether the other node is still there.
const LOOK: Duration = Duration::from_millis(200);
/// What the mesh's message has beside the answer in it, at most.
const AROUND_BYTES: usize = 64;

/// The way to the other nodes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Inner>);

struct Inner {
    mesh: Arc<Mesh>,
    roster: Arc<Roster>,
    waiting: Mutex<Waiting>,
}

/// Questions that wait for their answers.
#[derive(Default)]
struct Waiting {
    last: u64,
    asked: BTreeMap<u64, (NodeId, oneshot::Sender<FrontAnswer>)>,
}

impl Remote {
    pub(crate) fn new(mesh: Arc<Mesh>, roster: Arc<Roster>) -> Remote {
        Remote(Arc::new(Inner { mesh, roster, waiting: Mutex::default() }))
    }

    /// Asks another node. The answer is a problem where there is none.
    pub(crate) async fn ask(&self, server: &str, ask: FrontQuestion) -> FrontAnswer {
        match self.answer_of(server, ask).await {
            Ok(answer) => answer,
            Err(why) => {
                count(why.event());
                why.into_answer()
            }
        }
    }

    /// Whether another node can be asked now.
    pub(crate) fn is_reached(&self, node: NodeId) -> bool {
        is_reached(&self.0.mesh, node).is_ok()
    }

    async fn answer_of(&self, server: &str, ask: FrontQuestion) -> Result<FrontAnswer, NoAnswer> {
        let patience = patience(&ask).ok_or(NoAnswer::NotElsewhere)?;
        let unknown = || NoAnswer::UnknownServer(server.to_owned());
        let to = node_called(&self.0.roster, server).ok_or_else(unknown)?;
        let away = |why| NoAnswer::Away(server.to_owned(), why);
        is_reached(&self.0.mesh, to).map_err(away)?;
        let (number, mut answer) = self.begin(to).ok_or(NoAnswer::Busy)?;
        let _end = End { remote: self, number };
        let question = encode(ENCODING, &Asked { id: number, ask }).map_err(|_| NoAnswer::TooLarge)?;
        let question = Bytes::from(question).split_off(HEADER_BYTES);
        if question.len() > ROUTE_QUESTION_BYTES_MAX {
            return Err(NoAnswer::TooLarge);
        }
        self.0.mesh.send(to, &Message::Route(RouteMessage::Asked(question)));
        let late = Instant::now() + patience;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = &mut answer => return Ok(answer.expect("it is dropped when this ends")),
                () = tokio::time::sleep_until(late) => return Err(NoAnswer::Late(server.to_owned())),
                _ = looks.tick() => is_reached(&self.0.mesh, to).map_err(away)?,
            }
        }
    }

    fn begin(&self, to: NodeId) -> Option<(u64, oneshot::Receiver<FrontAnswer>)> {
        self.with(|waiting| {
            if waiting.asked.len() >= ROUTE_QUESTIONS_MAX {
                return None;
            }
            let (sender, answer) = oneshot::channel();
            waiting.last += 1;
            waiting.asked.insert(waiting.last, (to, sender));
            Some((waiting.last, answer))
        })
    }

    /// What another node answers.
    fn on_told(&self, from: NodeId, bytes: &[u8]) {
        let told: Told = match decode(ENCODING, bytes) {
            Ok(told) => told,
            Err(why) => {
                count("malformed");
                warn!(%from, %why, "a node gave an answer for a front end that makes no sense; dropped");
                return;
            }
        };
        let asked = self.with(|waiting| {
            let is_asked = waiting.asked.get(&told.id).is_some_and(|(asked, _)| *asked == from);
            is_asked.then(|| waiting.asked.remove(&told.id)).flatten()
        });
        match asked {
            // Who asked may have gone meanwhile.
            Some((_, answer)) => drop(answer.send(told.tell)),
            None => count("unasked"),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Forgets a question, however its asker ends.
struct End<'a> {
    remote: &'a Remote,
    number: u64,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.remote.with(|waiting| waiting.asked.remove(&self.number));
    }
}

/// Why there is no answer of another node.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("this cluster has no server {0:?}")]
    UnknownServer(String),
    #[error("the server {0:?} cannot be asked now: {1}")]
    Away(String, Away),
    #[error(
        "only apps, yards, query, wait and certificates are asked of another server: connect to it for the others"
    )]
    NotElsewhere,
    #[error("{ROUTE_QUESTIONS_MAX} questions of this node wait for answers of others: try again")]
    Busy,
    #[error("a question to another server has at most {ROUTE_QUESTION_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the server {0:?} has not answered in time: ask again")]
    Late(String),
}

impl NoAnswer {
    /// As it is counted.
    fn event(&self) -> &'static str {
        match self {
            NoAnswer::UnknownServer(_) => "unknown-server",
            NoAnswer::Away(..) => "server-away",
            NoAnswer::NotElsewhere => "not-elsewhere",
            NoAnswer::Busy => "busy",
            NoAnswer::TooLarge => "too-large",
            NoAnswer::Late(_) => "late",
        }
    }

    fn into_answer(self) -> FrontAnswer {
        let code = match self {
            NoAnswer::Late(_) => "timeout",
            _ => self.event(),
        };
        FrontAnswer::problem(code, self)
    }
}

/// Why a node is not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Away {
    #[error("there is no session with it")]
    NoSession,
    #[error("its program is older than this one, and knows nothing of that")]
    Older,
}

/// Whether questions and messages for front ends get to a node, and back.
pub(crate) fn is_reached(mesh: &Mesh, node: NodeId) -> Result<(), Away> {
    let peer = mesh.peers().into_iter().find(|peer| peer.id == node).ok_or(Away::NoSession)?;
    if !peer.is_up() {
        return Err(Away::NoSession);
    }
    let since = Message::Route(RouteMessage::Packet(Bytes::new())).since();
    if peer.wire.is_some_and(|wire| wire >= since) { Ok(()) } else { Err(Away::Older) }
}

/// Which of the other nodes has this name.
pub(crate) fn node_called(roster: &Roster, name: &str) -> Option<NodeId> {
    let known = roster.load();
    known.others().find(|&node| known.name(node) == Some(name))
}

/// How long an answer of another node is waited for; `None`: that is asked of no other node.
fn patience(ask: &FrontQuestion) -> Option<Duration> {
    match ask {
        FrontQuestion::Apps
        | FrontQuestion::Yard(YardQuestion::List)
        | FrontQuestion::Certificates { .. } => Some(MARGIN),
        FrontQuestion::Query { wait_ms, .. } | FrontQuestion::Wait { wait_ms, .. } => {
            let wait = wait_ms.map_or(Read::WAIT_DEFAULT, Duration::from_millis);
            Some(wait.min(Read::WAIT_MAX) + MARGIN)
        }
        // What says more than once, what is a connection's own, and what somebody may add.
        _ => None,
    }
}

/// Something happened that is not the rule.
pub(crate) fn count(event: &'static str) {
    counter!("synod_route_events_total", "event" => event).increment(1);
}

/// Takes what other nodes say on behalf of front ends, and answers their questions.
pub(crate) struct Task {
    /// This node, with the way to the others.
    pub host: Host,
}

impl Task {
    /// Runs until the node stops.
    pub(crate) async fn run(self, mut heard: mpsc::Receiver<(NodeId, RouteMessage)>) {
        let mut jobs = JoinSet::new();
        let mut under_way: BTreeMap<NodeId, usize> = BTreeMap::new();
        loop {
            tokio::select! {
                message = heard.recv() => match message {
                    Some((from, RouteMessage::Asked(bytes))) => {
                        let asking = under_way.entry(from).or_default();
                        if *asking < ROUTE_QUESTIONS_MAX {
                            *asking += 1;
                            jobs.spawn(answer(self.host.clone(), from, bytes));
                        } else {
                            // Who asks is told by its own clock.
                            count("busy");
                        }
                    }
                    Some((from, RouteMessage::Told(bytes))) => self.host.remote.on_told(from, &bytes),
                    Some((from, RouteMessage::Packet(bytes))) => self.host.yards.on_packet(from, &bytes),
                    None => return,
                },
                Some(ended) = jobs.join_next() => match ended {
                    Ok(from) => {
                        if let Some(asking) = under_way.get_mut(&from) {
                            *asking -= 1;
                        }
                        under_way.retain(|_, asking| *asking > 0);
                    }
                    Err(why) => if let Ok(panic) = why.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    },
                },
            }
        }
    }
}

/// Answers one question of another node; gives that node back.
async fn answer(host: Host, from: NodeId, bytes: Bytes) -> NodeId {
    let asked = decode::<Asked>(ENCODING, &bytes);
    let Asked { id, ask } = match asked {
        Ok(asked) => asked,
        Err(why) => {
            count("malformed");
            warn!(%from, %why, "a node asked what makes no sense; dropped");
            return from;
        }
    };
    let told = match patience(&ask) {
        Some(_) if ask == FrontQuestion::Yard(YardQuestion::List) => {
            encode(ENCODING, &Told { id, tell: host.yards.list() }).ok()
        }
        Some(_) => answer_for_another(&host, id, ask, ENCODING).await,
        // Who asks knows that, unless its program is another one.
        None => encode(ENCODING, &Told { id, tell: NoAnswer::NotElsewhere.into_answer() }).ok(),
    };
    let whole = |told: &Vec<u8>| told.len() + AROUND_BYTES <= FRAME_BYTES_MAX;
    let told = told.filter(whole).or_else(|| {
        let no = FrontAnswer::problem("too-large", "the answer is larger than what one node tells another");
        encode(ENCODING, &Told { id, tell: no }).ok()
    });
    if let Some(told) = told {
        let told = Bytes::from(told).split_off(HEADER_BYTES);
        host.remote.0.mesh.send(from, &Message::Route(RouteMessage::Told(told)));
    }
    from
}
