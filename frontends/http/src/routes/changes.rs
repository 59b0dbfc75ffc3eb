//! `/v1/changes/{app}/{state}`: which nodes have applied it.

use std::time::Duration;

use serde::Serialize;
use synod_gateway::{Change, NodeAt, Read};
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::reply::{Outcome, Reply, Stamp};

/// One change, and how far each node has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Change)]
pub(super) struct Progress<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    /// The state that was asked for.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// Every node of the cluster has applied it.
    everywhere: bool,
    nodes: Vec<Node<'a>>,
}

/// How far one node has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChangeAtNode)]
struct Node<'a> {
    id: String,
    name: &'a str,
    state: NodeProgress,
    /// How far it has come; `null` where that is unknown.
    #[schema(value_type = Option<u64>)]
    state_ndx: Option<StateNdx>,
    /// It is the node that answers, or that one has a session with it.
    up: bool,
}

/// Whether a node has applied a change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NodeProgress {
    /// It has.
    Applied,
    /// It has not.
    Pending,
    /// The node that answers has no session with it.
    Unknown,
}

/// How long to wait for every node.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `change` takes")]
struct EverywhereParameters {
    /// Seconds to wait until every node has come so far, fractions allowed.
    #[param(minimum = 0, maximum = 30, default = 0, nullable = false)]
    wait: Option<f64>,
}

/// Which nodes have applied a change.
#[utoipa::path(
    get,
    path = "/v1/changes/{app}/{stateNdx}",
    operation_id = "getChange",
    tag = "Cluster",
    params(
        AppPath,
        ("stateNdx" = u64, Path, description = "The stateNdx of the change, as in its receipt", example = 1),
        EverywhereParameters,
    ),
    responses((status = 200, description = "How far each node has come, whether that is far enough or not", body = Progress)),
)]
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
