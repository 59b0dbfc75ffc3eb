//! `/livez` and `/readyz`, for whoever starts nodes and sends them clients.

use bytes::Bytes;

use crate::ask::Ask;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the process answers. A node that cannot write any more stops by itself.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "isLive",
    tag = "Health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
pub(super) async fn live(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    Ok(Reply::bytes(Stamp::of_all(&ask.gateway), TEXT, Bytes::from_static(b"live\n")))
}

/// Whether clients are welcome: the node is a member or about to become one, sees a leader of every application, and has once
/// caught up with the others since it started.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "isReady",
    tag = "Health",
    responses((status = 200, description = "They are", body = String, content_type = "text/plain")),
)]
pub(super) async fn ready(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let stamp = Stamp::of_all(&ask.gateway);
    let readiness = ask.gateway.ready();
    if readiness.is_ready() {
        return Ok(Reply::bytes(stamp, TEXT, Bytes::from_static(b"ready\n")));
    }
    if readiness.stopping {
        return Err(problem(
            stamp,
            &ask.uri,
            ProblemType::Stopping,
            "this node is stopping; ask another node",
        ));
    }
    if readiness.is_outside {
        return Err(problem(
            stamp,
            &ask.uri,
            ProblemType::NotReady,
            "this node is no member of the cluster: it was removed, or nobody has accepted it yet; ask another node",
        ));
    }
    let waiting: Vec<String> = readiness.waiting_for.iter().map(ToString::to_string).collect();
    let detail = format!(
        "no leader is known and what was chosen is not applied yet for application {}",
        waiting.join(", ")
    );
    Err(problem(stamp, &ask.uri, ProblemType::NotReady, &detail))
}
