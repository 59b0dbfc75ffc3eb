//! Which pages of other origins may read here (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>). Browsers ask;
//! nobody else cares. By default none may.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue,
    ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};

/// What a page may read of an answer beside its body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("state-ndx, state-vector, last-change, etag, request-id, retry-after");
/// What a page may send.
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("accept, cache-control, if-none-match, last-event-id, request-id, state-vector");
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CorsOrigins(Allowed);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Allowed {
    Any,
    These(Vec<HeaderValue>),
}

impl Default for Allowed {
    fn default() -> Allowed {
        Allowed::These(Vec::new())
    }
}

/// An origin that no browser sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "an origin is scheme://host or scheme://host:port in lower case, without a path, as \"https://app.example\"; \"*\" alone allows all"
)]
pub struct BadOrigin;

impl CorsOrigins {
    /// Pages of any origin.
    pub fn any() -> CorsOrigins {
        CorsOrigins(Allowed::Any)
    }

    /// Allows pages of one more origin, written as browsers write it; `*` allows all.
    ///
    /// # Errors
    /// [`BadOrigin`].
    pub fn allow(&mut self, origin: &str) -> Result<(), BadOrigin> {
        if origin == "*" {
            *self = CorsOrigins::any();
            return Ok(());
        }
        let (scheme, rest) = origin.split_once("://").ok_or(BadOrigin)?;
        let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-.".contains(&byte));
        let is_host = rest
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte));
        if scheme.is_empty() || rest.is_empty() || !is_scheme || !is_host {
            return Err(BadOrigin);
        }
        if let Allowed::These(origins) = &mut self.0 {
            origins.push(HeaderValue::try_from(origin).map_err(|_| BadOrigin)?);
        }
        Ok(())
    }

    /// The answer to a browser that asks whether it may ask; `None` where this is no such question, or nothing is allowed.
    pub(crate) fn preflight(&self, request: &Parts) -> Option<(StatusCode, HeaderMap)> {
        let asks = request.method == Method::OPTIONS
            && request.headers.contains_key(ORIGIN)
            && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.0 == Allowed::default() {
            return None;
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ACCEPTED);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some((StatusCode::NO_CONTENT, headers))
    }

    /// Lets the page that asked read the answer, if it may.
    pub(crate) fn mark(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let allowed = match &self.0 {
            Allowed::Any => HeaderValue::from_static("*"),
            Allowed::These(origins) => {
                if origins.is_empty() {
                    return;
                }
                // A cache keeps what one origin may read from another.
                answer.append(VARY, HeaderValue::from_static("origin"));
                match origin.filter(|origin| origins.contains(origin)) {
                    Some(origin) => origin.clone(),
                    None => return,
                }
            }
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for origin in
            ["https://app.example", "http://localhost:3000", "http://[::1]:80", "moz-extension://a1"]
        {
            assert_eq!(CorsOrigins::default().allow(origin), Ok(()), "{origin}");
        }
        for origin in
            ["", "app.example", "https://", "://a", "https://a/", "https://A", "https://a b", "null", "**"]
        {
            assert_eq!(CorsOrigins::default().allow(origin), Err(BadOrigin), "{origin}");
        }
        let mut origins = CorsOrigins::default();
        origins.allow("*").unwrap();
        origins.allow("https://a").unwrap();
        assert_eq!(origins, CorsOrigins::any());
    }
}
