//! One request and its answer: everything that is the same at every address. The address itself is the router's.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Request, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use synod_gateway::{BadVector, Gateway, StateVector};
use synod_types::limits::{HTTP_COMPRESS_BYTES_MIN, HTTP_REQUEST_MS_MAX, HTTP_URI_BYTES_MAX};
use tower_http::compression::Compression;
use tracing::Level;

use crate::accept::accepts_gzip;
use crate::cors::CorsOrigins;
use crate::etag::weakened;
use crate::parameters::Parameters;
use crate::problem::{ProblemType, gateway_problem, problem};
use crate::reply::{Reply, Stamp, vector_value};
use crate::request_id::{REQUEST_ID, RequestIds};

/// How far a client has seen all applications; carried by each answer to who sends one.
const STATE_VECTOR: HeaderName = HeaderName::from_static("state-vector");

/// Tells whether an answer is compressed for a client that would take it so.
type IsCompressible = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// Answers requests.
pub(crate) struct Exchange {
    router: TowerToHyperService<Router>,
    compressing: TowerToHyperService<Compression<Router, IsCompressible>>,
    gateway: Gateway,
    cors: CorsOrigins,
    ids: RequestIds,
}

impl Exchange {
    pub(crate) fn new(router: Router, gateway: Gateway, cors: CorsOrigins) -> Exchange {
        let is_compressible: IsCompressible = |_, _, headers, _| is_compressible(headers);
        let compressing = Compression::new(router.clone()).compress_when(is_compressible);
        Exchange {
            router: TowerToHyperService::new(router),
            compressing: TowerToHyperService::new(compressing),
            gateway,
            cors,
            ids: RequestIds::new(),
        }
    }

    /// One request. Its body is not read, whatever it is.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let id = self.ids.of(parts.headers.get(REQUEST_ID));
        let origin = parts.headers.get(ORIGIN).cloned();
        let noted = tracing::enabled!(Level::DEBUG)
            .then(|| (Instant::now(), parts.method.clone(), parts.uri.path().to_owned()));

        let mut response = match self.cors.preflight(&parts) {
            Some((status, headers)) => {
                Reply::empty(Stamp::of_all(&self.gateway), status, headers).into_response()
            }
            None => self.causally(parts, has_body).await,
        };
        let is_known = response.status() == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        self.cors.mark(origin.as_ref(), headers);
        if has_body {
            // What was not read cannot be told from the next request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_known {
            // That of the body that is not sent, if any (RFC 9110 8.6), and not that of no body.
            headers.remove(CONTENT_LENGTH);
        }
        if let Some((begin, method, path)) = noted {
            let (request_id, status) = (id.to_str().unwrap_or_default(), response.status().as_u16());
            tracing::debug!(request_id, %method, path, status, elapsed = ?begin.elapsed(), "answered");
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// What the router says, and not before this node has come to what the client has seen elsewhere; with what the client has seen
    /// then.
    async fn causally(&self, mut parts: Parts, has_body: bool) -> Response {
        let Some(seen) = parts.headers.remove(STATE_VECTOR) else { return self.route(parts, has_body).await };
        let seen = seen.to_str().map_err(|_| BadVector).and_then(str::parse::<StateVector>);
        let mut seen = match seen {
            Ok(seen) => seen,
            Err(why) => {
                let (stamp, detail) = (Stamp::of_all(&self.gateway), format!("State-Vector: {why}"));
                return problem(stamp, &parts.uri, ProblemType::InvalidHeader, &detail).into_response();
            }
        };
        let wait = Parameters::of(parts.uri.query()).read().wait;
        let mut response = match self.gateway.until(&seen, wait).await {
            Ok(()) => self.route(parts, has_body).await,
            Err(why) => gateway_problem(Stamp::of_all(&self.gateway), &parts.uri, &why).into_response(),
        };
        // Behind the answer: it is from no later states than these.
        seen.join(&self.gateway.state_vector());
        response.headers_mut().insert(STATE_VECTOR, vector_value(&seen));
        response
    }

    /// What the router says, where it is asked at all.
    async fn route(&self, parts: Parts, has_body: bool) -> Response {
        let refused = |uri, which, detail: &str| {
            problem(Stamp::of_all(&self.gateway), uri, which, detail).into_response()
        };
        let uri = parts.uri.clone();
        if uri.path_and_query().is_some_and(|uri| uri.as_str().len() > HTTP_URI_BYTES_MAX) {
            let detail = format!("an address has at most {HTTP_URI_BYTES_MAX} bytes");
            return refused(&uri, ProblemType::UriTooLong, &detail);
        }
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if has_body && is_read {
            return refused(&uri, ProblemType::BodyNotAllowed, "send the request without a body");
        }
        let compresses = accepts_gzip(parts.headers.get_all(ACCEPT_ENCODING));
        let request = Request::from_parts(parts, Body::empty());
        let routed =
            async { if compresses { self.compressed(request).await } else { self.plain(request).await } };
        // Of a body that comes bit by bit, this is the time to its beginning.
        match tokio::time::timeout(Duration::from_millis(HTTP_REQUEST_MS_MAX), routed).await {
            Ok(response) => response,
            Err(_) => {
                let detail =
                    format!("there was no answer in {HTTP_REQUEST_MS_MAX} ms; try again or ask another node");
                refused(&uri, ProblemType::Timeout, &detail)
            }
        }
    }

    async fn plain(&self, request: Request<Body>) -> Response {
        let Ok(mut response) = self.router.call(request).await;
        if is_compressible(response.headers()) {
            response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        }
        response
    }

    async fn compressed(&self, request: Request<Body>) -> Response {
        let Ok(response) = self.compressing.call(request).await;
        let mut response = response.map(Body::new);
        if response.headers().contains_key(CONTENT_ENCODING)
            && let Some(weakened) = response.headers().get(ETAG).and_then(weakened)
        {
            response.headers_mut().insert(ETAG, weakened);
        }
        response
    }
}

/// Text of a known length that is worth it. What comes bit by bit is never held back for being compressed.
fn is_compressible(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_text = text(CONTENT_TYPE).is_some_and(|of| {
        of.starts_with("text/")
            || of.starts_with("application/json")
            || of.starts_with("application/problem+json")
    });
    let bytes = text(CONTENT_LENGTH).and_then(|bytes| bytes.parse::<u64>().ok());
    is_text && bytes.is_some_and(|bytes| bytes >= HTTP_COMPRESS_BYTES_MIN)
}
