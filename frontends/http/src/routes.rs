//! The addresses. Each handler takes an [`Ask`] and comes to an [`Outcome`]; nothing else is in between.

mod apps;
mod changes;
mod cluster;
mod diff;
mod health;
mod kv;
mod log;
mod metrics;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use synod_gateway::Gateway;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::ask::Ask;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Stamp};

/// Zone files that are being sent or compared, and pages of a log that are being sent, at a time: a file may have 64 MiB.
const FILES_MAX: usize = 16;
/// Comparisons of zone files at a time: parsed, they take several times as much memory.
const COMPARISONS_MAX: usize = 2;

/// What every request finds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FrontEnd {
    pub(crate) gateway: Gateway,
    files: Arc<Semaphore>,
    comparisons: Arc<Semaphore>,
}

impl FrontEnd {
    fn new(gateway: Gateway) -> FrontEnd {
        FrontEnd {
            gateway,
            files: Arc::new(Semaphore::new(FILES_MAX)),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_MAX)),
        }
    }

    /// One of [`FILES_MAX`] places.
    pub(crate) fn place_for_file(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.files).try_acquire_owned()
    }

    /// One of [`COMPARISONS_MAX`] places.
    pub(crate) fn place_for_comparison(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.comparisons).try_acquire_owned()
    }
}

/// Every address of the front end.
pub(crate) fn router(gateway: Gateway) -> Router {
    let mut router = Router::new()
        .route("/v1/apps", get(apps::all))
        .route("/v1/apps/{app}", get(apps::one))
        .route("/v1/apps/{app}/commanders", get(apps::commanders))
        .route("/v1/apps/{app}/log", get(log::page))
        .route("/v1/apps/{app}/kv", get(kv::range))
        .route("/v1/apps/{app}/kv/", get(kv::key))
        .route("/v1/apps/{app}/kv/{*key}", get(kv::key))
        .route("/v1/cluster", get(cluster::status))
        .route("/v1/changes/{app}/{state_ndx}", get(changes::change))
        .route("/metrics", get(metrics::metrics))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready));
    // Of the first application of that kind, and of a named one.
    for base in ["/v1/zones", "/v1/apps/{app}/zones"] {
        router = router
            .route(base, get(zones::list))
            .route(&format!("{base}/{{zone}}"), get(zones::one))
            .route(&format!("{base}/{{zone}}/history"), get(zones::history))
            .route(&format!("{base}/{{zone}}/diff"), get(diff::diff));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(FrontEnd::new(gateway))
}

async fn not_found(ask: Ask) -> Outcome {
    let detail = "there is nothing at this address; /v1/apps and /v1/cluster are good places to begin";
    Err(problem(Stamp::of_all(&ask.gateway), &ask.uri, ProblemType::NotFound, detail))
}

async fn method_not_allowed(ask: Ask) -> Outcome {
    let detail = "only GET and HEAD are answered here; commands are signed and go to the back-end port";
    let path = ask.uri.path();
    let door = if path.starts_with("/v1/apps/") || path.starts_with("/v1/changes/") {
        ask.app().ok()
    } else if path == "/v1/zones" || path.starts_with("/v1/zones/") {
        ask.zones_app().ok()
    } else {
        None
    };
    let stamp = door.map_or_else(|| Stamp::of_all(&ask.gateway), |door| Stamp::of(door.state_ndx()));
    Err(problem(stamp, &ask.uri, ProblemType::MethodNotAllowed, detail))
}
