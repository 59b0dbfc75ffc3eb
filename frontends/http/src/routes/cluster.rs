//! `/v1/cluster`: nodes and applications as this node sees them.

use synod_gateway::ClusterStatus;

use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// Nodes and applications as this node sees them.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    operation_id = "getCluster",
    tag = "Cluster",
    responses((status = 200, description = "The cluster, as this node sees it", body = ClusterStatus)),
)]
pub(super) async fn status(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    // Before the status: what is in it is at least as far as what the header says.
    let stamp = Stamp::of_all(&ask.gateway);
    Ok(Reply::json(stamp, &ask.gateway.status()))
}
