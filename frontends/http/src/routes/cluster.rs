//! `/v1/cluster`: nodes and applications as this node sees them.

use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// `GET /v1/cluster`
pub(super) async fn status(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    // Before the status: what is in it is at least as far as what the header says.
    let stamp = Stamp::of_all(&ask.gateway);
    Ok(Reply::json(stamp, &ask.gateway.status()))
}
