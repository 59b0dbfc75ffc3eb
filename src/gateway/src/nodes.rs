//! How far each node of the cluster has come: a change is live everywhere when every node has applied it.

use std::collections::BTreeMap;

use synod_types::{AppNdx, NodeId, StateNdx};
use tokio::sync::watch;

/// What the nodes said themselves of how far they have come. The node writes what it hears; front ends see it through
/// [`crate::Gateway::change`]. Holds what was said in living sessions only: who may have restarted since is unknown, for
/// it may have come back with less.
pub struct NodeStates(watch::Sender<BTreeMap<NodeId, BTreeMap<AppNdx, StateNdx>>>);

impl NodeStates {
    /// Nothing is known of anybody.
    pub fn new() -> NodeStates {
        NodeStates(watch::Sender::new(BTreeMap::new()))
    }

    /// Another node said how many commands it has executed, of each of its applications. Replaces what it said before.
    pub fn heard(&self, node: NodeId, states: &[(AppNdx, StateNdx)]) {
        let said: BTreeMap<AppNdx, StateNdx> = states.iter().copied().collect();
        self.0.send_if_modified(|known| {
            let changes = known.get(&node) != Some(&said);
            if changes {
                known.insert(node, said);
            }
            changes
        });
    }

    /// The session with a node is over: how far it is, is unknown until it says so again.
    pub fn forget(&self, node: NodeId) {
        self.0.send_if_modified(|known| known.remove(&node).is_some());
    }

    /// What is known now of everybody, for whoever passes it on.
    pub fn all(&self) -> Vec<(NodeId, Vec<(AppNdx, StateNdx)>)> {
        let known = self.0.borrow();
        let states =
            |states: &BTreeMap<AppNdx, StateNdx>| states.iter().map(|(app, at)| (*app, *at)).collect();
        known.iter().map(|(node, said)| (*node, states(said))).collect()
    }

    /// How far a node has come in an application; `None`: unknown.
    pub(crate) fn of(&self, node: NodeId, app: AppNdx) -> Option<StateNdx> {
        self.0.borrow().get(&node)?.get(&app).copied()
    }

    /// Tells of everything that changes from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<NodeId, BTreeMap<AppNdx, StateNdx>>> {
        self.0.subscribe()
    }
}

impl Default for NodeStates {
    fn default() -> NodeStates {
        NodeStates::new()
    }
}

/// One change of an application, and how far each node has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The application.
    pub app_ndx: AppNdx,
    /// The state that the change made.
    pub state_ndx: StateNdx,
    /// Every node of the cluster, in the cluster's order.
    pub nodes: Vec<NodeAt>,
}

/// How far one node has come in one application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAt {
    /// SHA3-256 of its public key.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is this node, or this node has a session with it.
    pub is_up: bool,
    /// How many commands it has executed, as it said last in a session that lasts; `None`: unknown.
    pub state_ndx: Option<StateNdx>,
}

impl Change {
    /// Whether every node has applied it. A node of which nothing is known has not.
    pub fn is_everywhere(&self) -> bool {
        self.nodes.iter().all(|node| self.is_applied_by(node))
    }

    /// Whether a node has applied it.
    pub fn is_applied_by(&self, node: &NodeAt) -> bool {
        node.state_ndx.is_some_and(|at| at >= self.state_ndx)
    }
}
