//! The addresses. Each handler takes an [`Ask`] and comes to an [`Outcome`]; nothing else is in between.

mod apps;
mod certificates;
mod changes;
mod cluster;
mod commanders;
mod diff;
mod health;
mod interface;
mod kv;
mod log;
mod metrics;
mod problems;
mod query;
mod snapshot;
mod watch;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use synod_gateway::Gateway;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use utoipa_axum::routes;

use self::kv::{entries, history, leases, locks, usage};
use crate::ask::Ask;
use crate::openapi::Routes;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Stamp};
use crate::watch::Followers;

pub(crate) use interface::Interface;
pub(crate) use kv::{EntryView, text_or_base64};

/// Zone files that are being sent or compared, and pages of a log and files of a snapshot that are being sent, at a time: a file
/// may have 64 MiB.
const FILES_MAX: usize = 16;
/// Comparisons of zone files at a time: parsed, they take several times as much memory.
const COMPARISONS_MAX: usize = 2;

/// What every request finds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FrontEnd {
    pub(crate) gateway: Gateway,
    files: Arc<Semaphore>,
    comparisons: Arc<Semaphore>,
    pub(crate) followers: Arc<Followers>,
    interface: Arc<Interface>,
}

impl FrontEnd {
    fn new(gateway: Gateway, interface: Interface) -> FrontEnd {
        FrontEnd {
            gateway,
            files: Arc::new(Semaphore::new(FILES_MAX)),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_MAX)),
            followers: Arc::new(Followers::new()),
            interface: Arc::new(interface),
        }
    }

    /// What describes all this.
    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
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

/// Of one application.
const APP: &[ProblemType] = &[
    ProblemType::InvalidPath,
    ProblemType::UnknownApp,
    ProblemType::NoLeader,
    ProblemType::Busy,
    ProblemType::Stopping,
];
/// Of an application of one kind.
const OF_KIND: &[ProblemType] = &[ProblemType::WrongKind, ProblemType::NotAQuery];

/// Every address of the front end.
pub(crate) fn router(gateway: Gateway) -> Router {
    let (router, document) = routes().finish();
    serving(router, FrontEnd::new(gateway, Interface::of(&document)))
}

fn serving(router: Router<FrontEnd>, front_end: FrontEnd) -> Router {
    router
        // The router's rest of a path is never empty, and a key may be.
        .route("/v1/apps/{app}/kv/", get(entries::key))
        .route("/v1/apps/{app}/history/", get(history::history))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(front_end)
}

/// Every address with its description.
fn routes() -> Routes {
    use ProblemType::{
        Away, BrokenZone, Compacted, FileNotHere, InvalidPath, LogCut, LogNotHere, NoSuchCertificate,
        NoSuchFile, NoSuchKey, NoSuchLease, NoSuchSnapshot, NoSuchVersion, NoSuchZone, NotAcceptable,
        NotFound, NotReady, Stopping,
    };
    let of_kind = |more: &[ProblemType]| [APP, OF_KIND, more].concat();
    let mut routes = Routes::new()
        .add(&[], routes!(apps::all))
        .add(APP, routes!(apps::one))
        .add(APP, routes!(commanders::all))
        .add(APP, routes!(commanders::log))
        .add(APP, routes!(commanders::pending))
        .add(&[APP, &[LogCut, LogNotHere, NotAcceptable]].concat(), routes!(log::page))
        .add(APP, routes!(certificates::list))
        .add(&[APP, &[NoSuchCertificate, NotAcceptable]].concat(), routes!(certificates::one))
        .add(&[APP, &[NoSuchSnapshot, NotAcceptable]].concat(), routes!(snapshot::newest))
        .add(&[APP, &[FileNotHere]].concat(), routes!(snapshot::file))
        .add(&[APP, &[NoSuchFile, FileNotHere]].concat(), routes!(snapshot::referred))
        .add(&of_kind(&[Compacted]), routes!(entries::range))
        .add(&of_kind(&[NoSuchKey, NotAcceptable, Compacted]), routes!(entries::key))
        .add(&of_kind(&[NoSuchKey, Compacted]), routes!(history::history))
        .add(&of_kind(&[]), routes!(leases::leases))
        .add(&of_kind(&[NoSuchLease]), routes!(leases::lease))
        .add(&of_kind(&[]), routes!(locks::lock))
        .add(&of_kind(&[]), routes!(usage::usage))
        .add(&of_kind(&[NotAcceptable, Compacted]), routes!(watch::watch))
        .add(&of_kind(&[Away]), routes!(query::query))
        .add(APP, routes!(changes::change))
        .add(&[], routes!(cluster::status))
        .add(&[], routes!(metrics::metrics))
        .add(&[], routes!(health::live))
        .add(&[NotReady, Stopping], routes!(health::ready))
        .add(&[NotAcceptable], routes!(problems::all))
        .add(&[NotFound, NotAcceptable, InvalidPath], routes!(problems::one))
        .add(&[], routes!(interface::document))
        .add(&[], routes!(interface::docs));
    let zones = of_kind(&[]);
    let zone = of_kind(&[NoSuchZone, NoSuchVersion, NotAcceptable, FileNotHere]);
    let history = of_kind(&[NoSuchZone]);
    let diff = of_kind(&[NoSuchZone, NoSuchVersion, NotAcceptable, FileNotHere, BrokenZone]);
    // Of the first application of that kind, and of a named one.
    for base in ["/v1/zones", "/v1/apps/{app}/zones"] {
        routes = routes
            .add_at(base, &zones, routes!(zones::list))
            .add_at(&format!("{base}/{{zone}}"), &zone, routes!(zones::one))
            .add_at(&format!("{base}/{{zone}}/history"), &history, routes!(zones::history))
            .add_at(&format!("{base}/{{zone}}/diff"), &diff, routes!(diff::diff));
    }
    routes
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
    use std::collections::BTreeSet;

    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use synod_app_kv::Kv;
    use synod_gateway::AppDoor;
    use synod_machine::View;
    use synod_types::limits::HTTP_WATCHERS_MAX;
    use synod_types::{AppNdx, ClusterId};

    use super::*;
    use crate::watch::stage::status;

    #[tokio::test]
    async fn there_are_so_many_who_follow_and_no_more() {
        let view = View::new(ClusterId::default(), AppNdx(1), Box::new(Kv::new()));
        let (door, _publisher, _questions) = AppDoor::open("kv", view);
        let (router, document) = routes().finish();
        let front_end = FrontEnd::new(Gateway::new(vec![door], status), Interface::of(&document));
        let router = TowerToHyperService::new(serving(router, front_end.clone()));
        let ask = async |form: &str| {
            let request = Request::get("/v1/apps/1/watch?wait=0").header("accept", form);
            router
                .call(request.body(Body::empty()).expect("it is a request"))
                .await
                .expect("no error")
                .status()
        };
        let mut places: Vec<_> = (0..HTTP_WATCHERS_MAX)
            .map(|_| front_end.followers.place().expect("there are so many places"))
            .collect();
        for form in ["text/event-stream", "application/json"] {
            assert_eq!(ask(form).await, StatusCode::SERVICE_UNAVAILABLE, "{form}");
        }
        places.pop();
        for form in ["text/event-stream", "application/json", "text/event-stream"] {
            assert_eq!(ask(form).await, StatusCode::OK, "{form}: who has left has left a place");
        }
    }

    #[test]
    fn every_address_is_described() {
        let (described, _) = routes().finish();
        let (served, described) = (paths(&router(Gateway::new(Vec::new(), status))), paths(&described));
        let undescribed: Vec<&String> = served.difference(&described).collect();
        let of_empty_key = ["/v1/apps/{app}/history/", "/v1/apps/{app}/kv/"];
        assert_eq!(undescribed, of_empty_key, "a key that is empty is a key");
        assert!(described.is_subset(&served) && described.contains("/v1/apps/{app}/kv/{*key}"));
    }

    /// The router shows them to whoever debugs it.
    fn paths<S>(router: &Router<S>) -> BTreeSet<String> {
        let shown = format!("{router:?}");
        shown.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect()
    }
}
