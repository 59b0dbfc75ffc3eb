//! Answers. There is no way to make one without saying the state that it comes from.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use synod_gateway::{Gateway, StateVector};
use synod_types::StateNdx;

use crate::etag::EntityTag;

/// Carried by every answer: how many commands the application had executed.
const STATE_NDX: HeaderName = HeaderName::from_static("state-ndx");
/// The state that last changed what is shown.
const LAST_CHANGE: HeaderName = HeaderName::from_static("last-change");

/// The value of `State-Ndx`.
///
/// What concerns one application carries that application's stateNdx alone: `State-Ndx: 17`. What concerns the cluster
/// or no application that exists carries a list of appNdx and stateNdx, in the order of appNdx: `State-Ndx: 1=17, 2=5`.
/// (A sum or a maximum would be a number that nothing can be waited for with.)
#[derive(Clone, Debug)]
pub(crate) struct Stamp(HeaderValue);

impl Stamp {
    /// One application's state.
    pub(crate) fn of(state_ndx: StateNdx) -> Stamp {
        Stamp(HeaderValue::from(state_ndx.0))
    }

    /// Every application's state.
    pub(crate) fn of_all(gateway: &Gateway) -> Stamp {
        Stamp(vector_value(&gateway.state_vector()))
    }
}

/// A vector as the value of a header.
pub(crate) fn vector_value(vector: &StateVector) -> HeaderValue {
    HeaderValue::try_from(vector.to_string()).expect("digits, commas and spaces")
}

/// An answer with its state.
pub(crate) struct Reply(Response);

impl Reply {
    /// `body` as it is.
    pub(crate) fn bytes(stamp: Stamp, content_type: &'static str, body: Bytes) -> Reply {
        Reply::body(stamp, content_type, Body::from(body))
    }

    /// `body`, as it comes.
    pub(crate) fn body(stamp: Stamp, content_type: &'static str, body: Body) -> Reply {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        // What a cache keeps it has to ask about again: only this node knows its state.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(STATE_NDX, stamp.0);
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        Reply(response)
    }

    /// Headers alone.
    pub(crate) fn empty(stamp: Stamp, status: StatusCode, mut headers: HeaderMap) -> Reply {
        headers.insert(STATE_NDX, stamp.0);
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        Reply(response).status(status)
    }

    /// `value` as JSON.
    pub(crate) fn json(stamp: Stamp, value: &impl Serialize) -> Reply {
        Reply::json_as(stamp, "application/json", value)
    }

    /// `value` as JSON of a particular type.
    pub(crate) fn json_as(stamp: Stamp, content_type: &'static str, value: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(value).expect("what is answered here has only text for keys");
        Reply::bytes(stamp, content_type, body.into())
    }

    /// Another status than 200.
    pub(crate) fn status(mut self, status: StatusCode) -> Reply {
        *self.0.status_mut() = status;
        self
    }

    /// Which version of something this is. Nothing is sent to a client that has it.
    pub(crate) fn tagged(mut self, tag: &EntityTag, asked: &HeaderMap) -> Reply {
        self.0.headers_mut().insert(ETAG, tag.value());
        if tag.is_known(asked) {
            *self.0.status_mut() = StatusCode::NOT_MODIFIED;
            *self.0.body_mut() = Body::empty();
            self.0.headers_mut().remove(CONTENT_TYPE);
        }
        self
    }

    /// Says which state last changed what is shown.
    pub(crate) fn last_change(self, changed: StateNdx) -> Reply {
        self.header(LAST_CHANGE, HeaderValue::from(changed.0))
    }

    /// Says that the form was chosen by `Accept`.
    pub(crate) fn varies_by_accept(self) -> Reply {
        self.header(VARY, HeaderValue::from_static("accept"))
    }

    /// One more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.0.headers_mut().insert(name, value);
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.0
    }
}

/// What a route comes to: an answer, or a refusal that is already one.
pub(crate) type Outcome = Result<Reply, Refused>;

/// A problem, rendered. Boxed, so that the good way stays cheap.
pub(crate) struct Refused(pub(crate) Box<Reply>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
