//! Waits until a change is live, by asking every node itself: whether it has executed so many commands, and, where its
//! DNS port is known, whether it answers queries from them.
//!
//! No node's word about another one counts, and a node that was killed is asked again until it is back. Start with
//! [`Propagation::wait`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use synod_auth::Genesis;
use synod_gateway::ClusterStatus;
use synod_types::{AppNdx, ClusterId, NodeId, StateNdx};
use synod_zone::{Name, Rtype};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::dns_query::{self, DnsError};
use crate::exit::Failure;
use crate::reader::{HttpNode, ReadError, Reader};

/// How long a node is asked to wait for the state, and how much longer its answer may take.
const POLL_WAIT: Duration = Duration::from_secs(2);
const POLL_ROOM: Duration = Duration::from_secs(2);
/// The longest wait for one DNS answer.
const DNS_WAIT: Duration = Duration::from_secs(1);
/// The pause before a node that did not answer is asked again; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// What stands still for so long is told.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Standings that nodes have reported and nobody has read yet.
const STANDINGS_QUEUE: usize = 64;

/// At how many nodes a change is to be live.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// At every node of the cluster
    All,
    /// At a majority of them
    Quorum,
}

/// What to wait for.
#[derive(Clone, Debug)]
pub struct Change {
    /// The application.
    pub app: AppNdx,
    /// The state that the change made.
    pub state_ndx: StateNdx,
    /// The zone for which name servers are asked; `None`: only HTTP is.
    pub zone: Option<Name>,
}

/// The nodes of a cluster, all of which can be asked.
#[derive(Clone, Debug)]
pub struct Propagation {
    cluster: ClusterId,
    members: Vec<NodeId>,
    reader: Reader,
}

/// How far a node is, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has not answered yet.
    Unknown,
    /// It does not answer now, or with something else than an answer.
    Silent(String),
    /// It has executed only so many commands.
    Behind(StateNdx),
    /// Its state is there, and its name server does not answer from it.
    NotServed(String),
    /// It answers from the state that is waited for, or a later one.
    Live,
}

/// Every node with what it last said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standings(pub Vec<(String, Standing)>);

/// What came of waiting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waited {
    /// Whether the change is live wherever it was to be.
    pub is_live: bool,
    /// Every node's last word.
    pub standings: Standings,
    /// How long it took.
    pub took: Duration,
}

impl Propagation {
    /// For the nodes that `reader` knows, which have to be all of a cluster whose members are still the first ones.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there are nodes that it does not know.
    pub fn new(genesis: &Genesis, cluster: ClusterId, reader: Reader) -> Result<Propagation, Failure> {
        Propagation::of(genesis.members(), cluster, reader)
    }

    /// The same of a cluster that has these members.
    ///
    /// # Errors
    /// The same.
    pub fn of(members: Vec<NodeId>, cluster: ClusterId, reader: Reader) -> Result<Propagation, Failure> {
        let known = reader.nodes().iter().map(|node| &node.url).collect::<BTreeSet<_>>().len();
        if known < members.len() {
            return Err(Failure::Usage(format!(
                "--wait asks every node itself: the cluster has {}, and {known} readers' ports are known. Give all of \
                 them in the client file, or with --http",
                members.len()
            )));
        }
        Ok(Propagation { cluster, members, reader })
    }

    /// Waits until `change` is live at as many nodes as `reach` says, `limit` at most. `tell` is told whom it waits for,
    /// each time that nothing moved for a second.
    ///
    /// # Errors
    /// [`Failure::Usage`] if what was asked is not the cluster, node for node.
    pub async fn wait(
        &self,
        change: &Change,
        reach: Reach,
        limit: Duration,
        mut tell: impl FnMut(&Standings),
    ) -> Result<Waited, Failure> {
        let begun = Instant::now();
        let end = begun + limit;
        let (sender, mut receiver) = mpsc::channel(STANDINGS_QUEUE);
        // Aborted when this function ends.
        let mut watching = JoinSet::new();
        for (place, node) in self.reader.nodes().iter().enumerate() {
            let watch = Watch {
                place,
                node: node.clone(),
                reader: self.reader.clone(),
                change: change.clone(),
                cluster: self.cluster,
                sender: sender.clone(),
            };
            watching.spawn(watch.run());
        }
        drop(sender);
        let unknown = |node: &HttpNode| (node.name.clone(), Standing::Unknown);
        let mut standings = Standings(self.reader.nodes().iter().map(unknown).collect());
        let mut live = BTreeSet::new();
        let mut told = None;
        let mut tell_at = begun + TELL_AFTER;
        loop {
            let heard = tokio::select! {
                heard = timeout_at(end, receiver.recv()) => heard,
                () = sleep_until(tell_at) => {
                    tell_at += TELL_AFTER;
                    if told.as_ref() != Some(&standings) {
                        tell(&standings);
                        told = Some(standings.clone());
                    }
                    continue;
                }
            };
            let Ok(Some(heard)) = heard else {
                return Ok(Waited { is_live: false, standings, took: begun.elapsed() });
            };
            let Heard { place, node, standing } = heard?;
            standings.0[place].1 = standing.clone();
            if let Some(node) = node.filter(|_| standing == Standing::Live) {
                if !self.members.contains(&node) || !live.insert(node) {
                    let name = &standings.0[place].0;
                    return Err(Failure::Usage(format!(
                        "{name} is not a node of its own in this cluster: two readers' ports lead to one node, or one \
                         leads elsewhere; see to the client file, or to --http"
                    )));
                }
                if live.len() >= self.needed(reach) {
                    return Ok(Waited { is_live: true, standings, took: begun.elapsed() });
                }
            }
        }
    }

    /// Nodes at which a change is to be live. This decides nothing in the cluster, it only ends the waiting.
    fn needed(&self, reach: Reach) -> usize {
        match reach {
            Reach::All => self.members.len(),
            Reach::Quorum => self.members.len() / 2 + 1,
        }
    }
}

/// What a node said, and which one it is, as far as it says so.
struct Heard {
    place: usize,
    node: Option<NodeId>,
    standing: Standing,
}

/// Asks one node until the change is live there.
struct Watch {
    place: usize,
    node: HttpNode,
    reader: Reader,
    change: Change,
    cluster: ClusterId,
    sender: mpsc::Sender<Result<Heard, Failure>>,
}

impl Watch {
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut id = None;
        loop {
            let standing = self.look(&mut id).await;
            let is_over = matches!(standing, Ok(Standing::Live) | Err(_));
            pause = match standing {
                // The node itself waited.
                Ok(Standing::Behind(_)) => PAUSE_MIN,
                _ => (pause * 2).min(PAUSE_MAX),
            };
            let heard = standing.map(|standing| Heard { place: self.place, node: id, standing });
            if self.sender.send(heard).await.is_err() || is_over {
                return;
            }
            sleep(pause).await;
        }
    }

    async fn look(&self, id: &mut Option<NodeId>) -> Result<Standing, Failure> {
        if id.is_none() {
            match self.identity().await? {
                Ok(node) => *id = Some(node),
                Err(silent) => return Ok(silent),
            }
        }
        let Change { app, state_ndx, .. } = self.change;
        // Whoever answers this has seen a quorum after it was asked: it is not cut off with a state that grows old.
        let parameters = [
            ("min", state_ndx.to_string()),
            ("consistency", "linearizable".to_owned()),
            ("wait", POLL_WAIT.as_secs().to_string()),
        ];
        let path = format!("/v1/apps/{app}");
        let answer = self.reader.get_within(POLL_WAIT + POLL_ROOM, &self.node, &path, &parameters).await;
        let at = match answer {
            Ok(answer) => answer.state_ndx,
            Err(ReadError::Problem(problem)) if problem.is_timeout() => problem.state_ndx,
            Err(why) => return Ok(Standing::Silent(why.to_string())),
        };
        match at.map(StateNdx) {
            None => Ok(Standing::Silent("its answer has no State-Ndx".to_owned())),
            Some(at) if at < state_ndx => Ok(Standing::Behind(at)),
            Some(_) => Ok(self.served().await),
        }
    }

    /// Which node answers; a node of another cluster ends the waiting.
    async fn identity(&self) -> Result<Result<NodeId, Standing>, Failure> {
        let answer = self.reader.get_within(POLL_ROOM, &self.node, "/v1/cluster", &[]).await;
        let status: ClusterStatus = match answer.map(|answer| answer.json()) {
            Ok(Ok(status)) => status,
            Ok(Err(why)) => return Ok(Err(Standing::Silent(format!("{why:#}")))),
            Err(why) => return Ok(Err(Standing::Silent(why.to_string()))),
        };
        if status.cluster_id != self.cluster {
            let (name, other) = (&self.node.name, status.cluster_id.short());
            let text = format!("{name} at {} is a node of another cluster, {other}", self.node.url);
            return Err(Failure::Usage(text));
        }
        Ok(Ok(status.node_id))
    }

    /// Whether the node's name server answers from the state.
    async fn served(&self) -> Standing {
        let (Some(zone), Some(address)) = (&self.change.zone, &self.node.dns) else { return Standing::Live };
        match self.ask_name_server(zone, address).await {
            Ok(()) => Standing::Live,
            Err(why) => Standing::NotServed(why),
        }
    }

    async fn ask_name_server(&self, zone: &Name, address: &str) -> Result<(), String> {
        let server = resolve(address).await?;
        let said = |why: DnsError| format!("its DNS port {why}");
        let answer = dns_query::ask(server, zone, Rtype::SOA, DNS_WAIT).await.map_err(said)?;
        let at = match answer.rcode {
            dns_query::NOERROR => answer.state_ndx,
            // It has no such zone: it was deleted, if the server's state is the one that is waited for.
            dns_query::REFUSED => dns_query::ask_state(server, DNS_WAIT).await.map_err(said)?,
            other => return Err(format!("its DNS port {server} answers {}", dns_query::rcode_name(other))),
        };
        match at {
            Some(at) if at >= self.change.state_ndx => Ok(()),
            Some(at) => Err(format!("its DNS port {server} answers from stateNdx {at}")),
            None => Err(format!("its DNS port {server} does not say from which stateNdx it answers")),
        }
    }
}

/// The first address that `host:port` stands for.
pub(crate) async fn resolve(address: &str) -> Result<SocketAddr, String> {
    let found =
        tokio::net::lookup_host(address).await.map_err(|why| format!("cannot resolve {address}: {why}"))?;
    found.into_iter().next().ok_or_else(|| format!("{address} has no address"))
}

impl Standings {
    /// Who is not there yet, and how far each of them is, in words.
    pub fn missing(&self) -> String {
        let missing = self.0.iter().filter(|(_, standing)| *standing != Standing::Live);
        let words: Vec<String> = missing.map(|(name, standing)| format!("{name} ({standing})")).collect();
        words.join(", ")
    }

    /// The names of those that are there.
    pub fn live(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, standing)| *standing == Standing::Live).map(|(name, _)| name.as_str())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Unknown => f.write_str("no answer yet"),
            Standing::Silent(why) | Standing::NotServed(why) => f.write_str(why),
            Standing::Behind(at) => write!(f, "at stateNdx {at}"),
            Standing::Live => f.write_str("live"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_missing_are_named_with_the_reason() {
        let standings = Standings(vec![
            ("node1".to_owned(), Standing::Live),
            ("node2".to_owned(), Standing::Behind(StateNdx(7))),
            ("node3".to_owned(), Standing::Silent("refused".to_owned())),
        ]);
        assert_eq!(standings.missing(), "node2 (at stateNdx 7), node3 (refused)");
        assert_eq!(standings.live().collect::<Vec<_>>(), ["node1"]);
    }
}
