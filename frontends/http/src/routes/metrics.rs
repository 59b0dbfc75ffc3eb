//! `/metrics`: what this node measures of itself, for Prometheus.

use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What this node measures of itself, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "Cluster",
    responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let metrics = ask.gateway.metrics();
    // It reads files.
    let text = tokio::task::spawn_blocking(move || metrics.render()).await;
    let text = text.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
    Ok(Reply::bytes(Stamp::of_all(&ask.gateway), TEXT, text.into()))
}
