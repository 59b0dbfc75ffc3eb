//! The addresses. Each handler takes an [`Ask`] and comes to an [`Outcome`]; nothing else is in between.

mod apps;
mod changes;
mod cluster;
mod commanders;
mod diff;
mod health;
mod kv;
mod log;
mod metrics;
mod watch;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use synod_gateway::Gateway;
use synod_types::limits::HTTP_WATCHERS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::ask::Ask;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Stamp};
use crate::watch::Turns;

pub(crate) use kv::{EntryView, text_or_base64};

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
    watchers: Arc<Semaphore>,
    turns: Arc<Turns>,
}

impl FrontEnd {
    fn new(gateway: Gateway) -> FrontEnd {
        FrontEnd {
            gateway,
            files: Arc::new(Semaphore::new(FILES_MAX)),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_MAX)),
            watchers: Arc::new(Semaphore::new(HTTP_WATCHERS_MAX)),
            turns: Arc::new(Turns::new()),
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

    /// One of [`HTTP_WATCHERS_MAX`] places.
    pub(crate) fn place_for_watcher(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.watchers).try_acquire_owned()
    }

    /// The turns of those who follow changes.
    pub(crate) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }
}

/// Every address of the front end.
pub(crate) fn router(gateway: Gateway) -> Router {
    routes(FrontEnd::new(gateway))
}

fn routes(front_end: FrontEnd) -> Router {
    let mut router = Router::new()
        .route("/v1/apps", get(apps::all))
        .route("/v1/apps/{app}", get(apps::one))
        .route("/v1/apps/{app}/commanders", get(commanders::all))
        .route("/v1/apps/{app}/log", get(log::page))
        .route("/v1/apps/{app}/commanders/log", get(commanders::log))
        .route("/v1/apps/{app}/commanders/pending", get(commanders::pending))
        .route("/v1/apps/{app}/kv", get(kv::range))
        .route("/v1/apps/{app}/kv/", get(kv::key))
        .route("/v1/apps/{app}/kv/{*key}", get(kv::key))
        .route("/v1/apps/{app}/history/", get(kv::history))
        .route("/v1/apps/{app}/history/{*key}", get(kv::history))
        .route("/v1/apps/{app}/leases", get(kv::leases))
        .route("/v1/apps/{app}/leases/{lease}", get(kv::lease))
        .route("/v1/apps/{app}/locks/{*name}", get(kv::lock))
        .route("/v1/apps/{app}/usage", get(kv::usage))
        .route("/v1/apps/{app}/watch", get(watch::watch))
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
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(front_end)
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use synod_app_kv::Kv;
    use synod_gateway::{AppDoor, ClusterStatus};
    use synod_machine::View;
    use synod_types::{AppNdx, ClusterId, NodeId};

    use super::*;

    #[tokio::test]
    async fn there_are_so_many_who_follow_and_no_more() {
        let view = View::new(ClusterId::default(), AppNdx(1), Box::new(Kv::new()));
        let (door, _publisher, _questions) = AppDoor::open("kv", view);
        let status = || ClusterStatus {
            cluster_id: ClusterId::default(),
            cluster_name: "none".to_owned(),
            node_id: NodeId::default(),
            node_name: "none".to_owned(),
            version: "1".to_owned(),
            nodes: Vec::new(),
            apps: Vec::new(),
        };
        let front_end = FrontEnd::new(Gateway::new(vec![door], status));
        let router = TowerToHyperService::new(routes(front_end.clone()));
        let ask = async |form: &str| {
            let request = Request::get("/v1/apps/1/watch?wait=0").header("accept", form);
            router
                .call(request.body(Body::empty()).expect("it is a request"))
                .await
                .expect("no error")
                .status()
        };
        let mut places: Vec<_> = (0..HTTP_WATCHERS_MAX)
            .map(|_| front_end.place_for_watcher().expect("there are so many places"))
            .collect();
        for form in ["text/event-stream", "application/json"] {
            assert_eq!(ask(form).await, StatusCode::SERVICE_UNAVAILABLE, "{form}");
        }
        places.pop();
        for form in ["text/event-stream", "application/json", "text/event-stream"] {
            assert_eq!(ask(form).await, StatusCode::OK, "{form}: who has left has left a place");
        }
    }
}
