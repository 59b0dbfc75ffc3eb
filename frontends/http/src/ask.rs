//! What a client asks: the address, and the gateway to ask.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use synod_app_kv::KvSelection;
use synod_app_zones::{ZoneName, ZonesApp};
use synod_gateway::{Answer, AppDoor, Gateway, GatewayError, Read};
use synod_types::{ContentKey, StateNdx};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use crate::accept::preferred;
use crate::parameters::Parameters;
use crate::percent;
use crate::problem::{ProblemType, gateway_problem, mistakes, problem};
use crate::reply::{Refused, Stamp};
use crate::routes::{FrontEnd, Interface};
use crate::watch::Follower;

/// The application in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::app` finds")]
pub(crate) struct AppPath {
    /// An application: its number or its name.
    #[param(example = "kv")]
    app: String,
}

/// One request. Its address has the shape of the route that it was taken to.
pub(crate) struct Ask {
    pub(crate) gateway: Gateway,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    front_end: FrontEnd,
}

impl FromRequestParts<FrontEnd> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, front_end: &FrontEnd) -> Result<Ask, Infallible> {
        Ok(Ask {
            gateway: front_end.gateway.clone(),
            uri: std::mem::take(&mut parts.uri),
            headers: std::mem::take(&mut parts.headers),
            front_end: front_end.clone(),
        })
    }
}

impl Ask {
    /// The application in `/v1/apps/{app}…` and `/v1/changes/{app}…`.
    pub(crate) fn app(&self) -> Result<&AppDoor, Refused> {
        let name = self.segment(3, || Stamp::of_all(&self.gateway))?;
        let door = std::str::from_utf8(&name).ok().and_then(|name| self.gateway.find(name));
        door.ok_or_else(|| {
            let name = String::from_utf8_lossy(&name);
            let detail = if self.gateway.is_left_out(&name) {
                format!("application {name:?} is in a process of its own and is not served here; ask the node itself")
            } else {
                format!("this cluster has no application {name:?}; /v1/apps lists their numbers and names")
            };
            problem(Stamp::of_all(&self.gateway), &self.uri, ProblemType::UnknownApp, &detail)
        })
    }

    /// The application in `/v1/apps/{app}…`, which must be of this kind.
    pub(crate) fn app_of_kind(&self, kind: &'static str) -> Result<&AppDoor, Refused> {
        let door = self.app()?;
        if door.kind() == kind {
            return Ok(door);
        }
        let (ndx, name, actual) = (door.ndx(), door.name(), door.kind());
        let detail =
            format!("application {ndx} ({name}) is of kind {actual:?}; this address is for {kind:?}");
        Err(problem(Stamp::of(door.state_ndx()), &self.uri, ProblemType::WrongKind, &detail))
    }

    /// The application in `/v1/apps/{app}/zones…`, which must be of that kind, or the one that `/v1/zones…` stands for:
    /// the first of that kind.
    pub(crate) fn zones_app(&self) -> Result<&AppDoor, Refused> {
        if self.names_app() {
            return self.app_of_kind(ZonesApp::KIND);
        }
        let first = self.gateway.apps().iter().find(|door| door.kind() == ZonesApp::KIND);
        first.map(|door| &**door).ok_or_else(|| {
            let detail = "this cluster has no application of kind \"zones\"; /v1/apps lists what it has";
            problem(Stamp::of_all(&self.gateway), &self.uri, ProblemType::UnknownApp, detail)
        })
    }

    /// The zone in `/v1/zones/{zone}…` and `/v1/apps/{app}/zones/{zone}…`.
    pub(crate) fn zone(&self, door: &AppDoor) -> Result<ZoneName, Refused> {
        let stamp = || Stamp::of(door.state_ndx());
        let segment = self.segment(if self.names_app() { 5 } else { 3 }, stamp)?;
        let text = String::from_utf8_lossy(&segment);
        ZoneName::parse(&text).map_err(|why| {
            let detail = format!("in the path, {text:?} is no zone's name: {why}");
            problem(stamp(), &self.uri, ProblemType::InvalidPath, &detail)
        })
    }

    /// Whether the path has the form `/v1/apps/{app}…`.
    pub(crate) fn names_app(&self) -> bool {
        self.uri.path().starts_with("/v1/apps/")
    }

    /// One segment of the path, decoded; the first one, counted from 0, is the empty one in front.
    pub(crate) fn segment(
        &self,
        nth: usize,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<Cow<'_, [u8]>, Refused> {
        let segment = self.uri.path().split('/').nth(nth).unwrap_or_default();
        percent::decode(segment).map_err(|why| self.invalid_path(stamp(), why))
    }

    /// What describes this front end.
    pub(crate) fn interface(&self) -> &Interface {
        self.front_end.interface()
    }

    /// A place for a file or a page of a log, to keep for as long as it is.
    pub(crate) fn place_for_file(&self, door: &AppDoor) -> Result<OwnedSemaphorePermit, Refused> {
        self.front_end.place_for_file().map_err(|_full| self.busy_with_files(door))
    }

    /// A place for a comparison of two files, to keep for as long as it takes.
    pub(crate) fn place_for_comparison(&self, door: &AppDoor) -> Result<OwnedSemaphorePermit, Refused> {
        self.front_end.place_for_comparison().map_err(|_full| self.busy_with_files(door))
    }

    fn busy_with_files(&self, door: &AppDoor) -> Refused {
        let detail = "too many files are being read on this node; try again later or ask another node";
        problem(Stamp::of(door.state_ndx()), &self.uri, ProblemType::Busy, detail)
    }

    /// The form that the client prefers among those that there are: media types, of which the first one is for clients
    /// that do not say.
    pub(crate) fn acceptable(
        &self,
        stamp: impl FnOnce() -> Stamp,
        offers: &[&'static str],
    ) -> Result<&'static str, Refused> {
        preferred(&self.headers, offers).ok_or_else(|| {
            let detail = format!("the answer is {}; accept one of them", offers.join(" or "));
            problem(stamp(), &self.uri, ProblemType::NotAcceptable, &detail)
        })
    }

    /// The rest of the path behind `/v1/apps/{app}/{word}/`, decoded.
    pub(crate) fn rest<'a>(&'a self, door: &AppDoor) -> Result<Cow<'a, [u8]>, Refused> {
        let rest = self.uri.path().splitn(6, '/').nth(5).unwrap_or_default();
        percent::decode(rest).map_err(|why| self.invalid_path(Stamp::of(door.state_ndx()), why))
    }

    /// The key of a file at the end of `/v1/apps/{app}/{word}/{key}`.
    pub(crate) fn content_key(&self, door: &AppDoor) -> Result<ContentKey, Refused> {
        let rest = self.rest(door)?;
        let key = std::str::from_utf8(&rest).ok().and_then(|text| text.parse().ok());
        key.ok_or_else(|| {
            let rest = String::from_utf8_lossy(&rest);
            let detail = format!("in the path, {rest:?} is no content key: 64 hex digits are expected");
            problem(Stamp::of(door.state_ndx()), &self.uri, ProblemType::InvalidPath, &detail)
        })
    }

    /// The stateNdx in a segment of the path, counted as for [`Ask::segment`].
    pub(crate) fn state_ndx_at(&self, nth: usize, door: &AppDoor) -> Result<StateNdx, Refused> {
        let stamp = || Stamp::of(door.state_ndx());
        let segment = self.segment(nth, stamp)?;
        let state_ndx = std::str::from_utf8(&segment).ok().and_then(|text| text.parse().ok());
        state_ndx.ok_or_else(|| {
            let segment = String::from_utf8_lossy(&segment);
            let detail = format!("in the path, {segment:?} is no stateNdx: a whole number is expected");
            problem(stamp(), &self.uri, ProblemType::InvalidPath, &detail)
        })
    }

    /// Follows what changes behind a state, or behind the present one; a state that is not there yet is waited for. There
    /// is a limit on those who follow.
    pub(crate) async fn follow(
        &self,
        door: &AppDoor,
        of: KvSelection,
        after: Option<StateNdx>,
        wait: Duration,
    ) -> Result<Follower, Refused> {
        let place = self.front_end.followers.place().map_err(|_full| {
            let detail = "too many clients follow changes on this node; try again later or ask another node";
            problem(Stamp::of(door.state_ndx()), &self.uri, ProblemType::Busy, detail)
        })?;
        let read = Read { min: after, wait, ..Read::default() };
        let view = self.gateway.view(door.ndx(), read).await;
        let view = view.map_err(|error| self.refused_by_gateway(door, &error))?;
        let after = after.unwrap_or(view.state_ndx);
        Ok(self.front_end.followers.follow(place, self.gateway.clone(), door.ndx(), of, after))
    }

    /// The query, to take parameters from.
    pub(crate) fn parameters(&self) -> Parameters<'_> {
        Parameters::of(self.uri.query())
    }

    /// No parameter is wrong, unknown or left.
    pub(crate) fn finish(
        &self,
        parameters: Parameters<'_>,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<(), Refused> {
        parameters.finish().map_err(|(listed, count)| {
            let mut detail = String::new();
            for mistake in &listed {
                let separator = if detail.is_empty() { "" } else { "; " };
                detail.push_str(&format!("{separator}{:?} {}", mistake.name, mistake.reason));
            }
            if count > listed.len() {
                detail.push_str(&format!("; and {} more", count - listed.len()));
            }
            mistakes(stamp(), &self.uri, &detail, &listed)
        })
    }

    /// How to read, where there are no other parameters.
    pub(crate) fn read_of(&self, door: &AppDoor) -> Result<Read, Refused> {
        let mut parameters = self.parameters();
        let read = parameters.read();
        self.finish(parameters, || Stamp::of(door.state_ndx()))?;
        Ok(read)
    }

    /// There are no parameters.
    pub(crate) fn without_parameters(&self) -> Result<(), Refused> {
        self.finish(self.parameters(), || Stamp::of_all(&self.gateway))
    }

    /// Asks an application, in its own words.
    pub(crate) async fn query(&self, door: &AppDoor, read: Read, query: &[u8]) -> Result<Answer, Refused> {
        let answer = self.gateway.query(door.ndx(), read, query).await;
        answer.map_err(|error| self.refused_by_gateway(door, &error))
    }

    /// What the gateway could not answer about `door`.
    pub(crate) fn refused_by_gateway(&self, door: &AppDoor, error: &GatewayError) -> Refused {
        gateway_problem(Stamp::of(door.state_ndx()), &self.uri, error)
    }

    fn invalid_path(&self, stamp: Stamp, why: percent::BadEscape) -> Refused {
        problem(stamp, &self.uri, ProblemType::InvalidPath, &format!("in the path, {why}"))
    }
}
