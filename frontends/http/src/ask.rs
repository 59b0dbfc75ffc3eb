//! What a client asks: the address, and the gateway to ask.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use synod_gateway::{AppDoor, Gateway, GatewayError, Read};

use crate::parameters::Parameters;
use crate::percent;
use crate::problem::{ProblemType, gateway_problem, mistakes, problem};
use crate::reply::{Refused, Stamp};

/// One request. Its address has the shape of the route that it was taken to.
pub(crate) struct Ask {
    pub(crate) gateway: Gateway,
    pub(crate) uri: Uri,
}

impl FromRequestParts<Gateway> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Ask, Infallible> {
        Ok(Ask { gateway: gateway.clone(), uri: std::mem::take(&mut parts.uri) })
    }
}

impl Ask {
    /// The application in `/v1/apps/{app}…`.
    pub(crate) fn app(&self) -> Result<&AppDoor, Refused> {
        let segment = self.uri.path().split('/').nth(3).unwrap_or_default();
        let name =
            percent::decode(segment).map_err(|why| self.invalid_path(Stamp::of_all(&self.gateway), why))?;
        let door = std::str::from_utf8(&name).ok().and_then(|name| self.gateway.find(name));
        door.ok_or_else(|| {
            let name = String::from_utf8_lossy(&name);
            let detail =
                format!("this cluster has no application {name:?}; /v1/apps lists their numbers and names");
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

    /// The rest of the path behind `/v1/apps/{app}/{word}/`, decoded.
    pub(crate) fn rest<'a>(&'a self, door: &AppDoor) -> Result<std::borrow::Cow<'a, [u8]>, Refused> {
        let rest = self.uri.path().splitn(6, '/').nth(5).unwrap_or_default();
        percent::decode(rest).map_err(|why| self.invalid_path(Stamp::of(door.state_ndx()), why))
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

    /// What the gateway could not answer about `door`.
    pub(crate) fn refused_by_gateway(&self, door: &AppDoor, error: &GatewayError) -> Refused {
        gateway_problem(Stamp::of(door.state_ndx()), &self.uri, error)
    }

    fn invalid_path(&self, stamp: Stamp, why: percent::BadEscape) -> Refused {
        problem(stamp, &self.uri, ProblemType::InvalidPath, &format!("in the path, {why}"))
    }
}
