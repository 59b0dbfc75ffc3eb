//! `/v1/changes/{app}/{state}`: which nodes have applied it.

use std::time::Duration;

use serde::Serialize;
use synod_gateway::{Change, NodeAt, Read};
use synod_types::{AppNdx, StateNdx};

use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// One change, and how far each node has come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress<'a> {
    app_ndx: AppNdx,
    /// The state that was asked for.
    state_ndx: StateNdx,
    /// Every node of the cluster has applied it.
    everywhere: bool,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    id: String,
    name: &'a str,
    state: NodeProgress,
    /// How far it has come; `null` where that is unknown.
    state_ndx: Option<StateNdx>,
    /// It is the node that answers, or that one has a session with it.
    up: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum NodeProgress {
    Applied,
    Pending,
    Unknown,
}

/// `GET /v1/changes/{app}/{state}?wait=`
pub(super) async fn change(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let stamp = || Stamp::of(door.state_ndx());
    let state_ndx = ask.state_ndx_at(4, door)?;
    let mut parameters = ask.parameters();
    let wait = parameters.seconds("wait", Read::WAIT_MAX).unwrap_or(Duration::ZERO);
    ask.finish(parameters, stamp)?;

    let change = ask.gateway.await_everywhere(door.ndx(), state_ndx, wait).await;
    let change = change.map_err(|error| ask.refused_by_gateway(door, &error))?;
    let answer = Progress {
        app_ndx: change.app_ndx,
        state_ndx: change.state_ndx,
        everywhere: change.is_everywhere(),
        nodes: change.nodes.iter().map(|node| node_progress(&change, node)).collect(),
    };
    Ok(Reply::json(stamp(), &answer))
}

fn node_progress<'a>(change: &Change, node: &'a NodeAt) -> Node<'a> {
    let state = match node.state_ndx {
        None => NodeProgress::Unknown,
        Some(_) if change.is_applied_by(node) => NodeProgress::Applied,
        Some(_) => NodeProgress::Pending,
    };
    Node { id: node.id.to_string(), name: &node.name, state, state_ndx: node.state_ndx, up: node.is_up }
}
