//! The addresses. Each handler takes an [`Ask`] and comes to an [`Outcome`]; nothing else is in between.

mod apps;
mod cluster;
mod health;
mod kv;

use axum::Router;
use axum::routing::get;
use synod_gateway::Gateway;

use crate::ask::Ask;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Stamp};

/// Every address of the front end.
pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/apps", get(apps::all))
        .route("/v1/apps/{app}", get(apps::one))
        .route("/v1/apps/{app}/commanders", get(apps::commanders))
        .route("/v1/apps/{app}/kv", get(kv::range))
        .route("/v1/apps/{app}/kv/", get(kv::key))
        .route("/v1/apps/{app}/kv/{*key}", get(kv::key))
        .route("/v1/cluster", get(cluster::status))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(gateway)
}

async fn not_found(ask: Ask) -> Outcome {
    let detail = "there is nothing at this address; /v1/apps and /v1/cluster are good places to begin";
    Err(problem(Stamp::of_all(&ask.gateway), &ask.uri, ProblemType::NotFound, detail))
}

async fn method_not_allowed(ask: Ask) -> Outcome {
    let detail = "only GET and HEAD are answered here; commands are signed and go to the back-end port";
    let is_app = ask.uri.path().starts_with("/v1/apps/");
    let door = is_app.then(|| ask.app().ok()).flatten();
    let stamp = door.map_or_else(|| Stamp::of_all(&ask.gateway), |door| Stamp::of(door.state_ndx()));
    Err(problem(stamp, &ask.uri, ProblemType::MethodNotAllowed, detail))
}
