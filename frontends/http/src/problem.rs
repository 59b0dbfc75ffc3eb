//! Errors as clients get them: problem+json (RFC 9457). `type` is stable and is what a program looks at; it is an
//! address relative to this server.

use axum::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use synod_gateway::GatewayError;
use synod_types::StateNdx;

use crate::parameters::Mistake;
use crate::reply::{Refused, Reply, Stamp};

/// Which problem. The numbers and names are part of what clients rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProblemType {
    /// No such address.
    NotFound,
    /// Something else than reading.
    MethodNotAllowed,
    /// A request with a body.
    BodyNotAllowed,
    /// The address is longer than any key needs.
    UriTooLong,
    /// An address whose escapes are broken.
    InvalidPath,
    /// Query parameters that are unknown, repeated or out of bounds.
    InvalidParameters,
    /// No such application.
    UnknownApp,
    /// The application is of another kind.
    WrongKind,
    /// No such key.
    NoSuchKey,
    /// No such lease, or it is over.
    NoSuchLease,
    /// No such zone.
    NoSuchZone,
    /// What a zone held in some state is not known, or not yet.
    NoSuchVersion,
    /// The application has forgotten what was in that state.
    Compacted,
    /// The zone's file is none that can be compared.
    BrokenZone,
    /// The node does not have the file that it should have.
    FileNotHere,
    /// The node cannot read that part of its log.
    LogNotHere,
    /// The client takes none of the forms that there are.
    NotAcceptable,
    /// The application does not understand the question.
    NotAQuery,
    /// No leader confirms a linearizable read.
    NoLeader,
    /// The state was not there in time.
    Timeout,
    /// The client takes changes too slowly.
    Slow,
    /// Too many reads wait.
    Busy,
    /// The node stops.
    Stopping,
    /// The node cannot answer for every application yet.
    NotReady,
}

impl ProblemType {
    /// Status, last part of the type's address, title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            ProblemType::NotFound => (StatusCode::NOT_FOUND, "/problems/not-found", "No such address"),
            ProblemType::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "/problems/method-not-allowed", "This port only reads")
            }
            ProblemType::BodyNotAllowed => {
                (StatusCode::PAYLOAD_TOO_LARGE, "/problems/body-not-allowed", "A request here has no body")
            }
            ProblemType::UriTooLong => {
                (StatusCode::URI_TOO_LONG, "/problems/uri-too-long", "The address is too long")
            }
            ProblemType::InvalidPath => {
                (StatusCode::BAD_REQUEST, "/problems/invalid-path", "The path cannot be decoded")
            }
            ProblemType::InvalidParameters => {
                (StatusCode::BAD_REQUEST, "/problems/invalid-parameters", "Query parameters do not fit")
            }
            ProblemType::UnknownApp => {
                (StatusCode::NOT_FOUND, "/problems/unknown-app", "No such application")
            }
            ProblemType::WrongKind => {
                (StatusCode::NOT_FOUND, "/problems/wrong-kind", "The application is of another kind")
            }
            ProblemType::NoSuchKey => (StatusCode::NOT_FOUND, "/problems/no-such-key", "No such key"),
            ProblemType::NoSuchLease => (StatusCode::NOT_FOUND, "/problems/no-such-lease", "No such lease"),
            ProblemType::NoSuchZone => (StatusCode::NOT_FOUND, "/problems/no-such-zone", "No such zone"),
            ProblemType::NoSuchVersion => {
                (StatusCode::NOT_FOUND, "/problems/no-such-version", "What the zone held then is not known")
            }
            ProblemType::Compacted => {
                (StatusCode::GONE, "/problems/compacted", "What was in that state is forgotten")
            }
            ProblemType::BrokenZone => {
                (StatusCode::CONFLICT, "/problems/broken-zone", "The zone's file does not load")
            }
            ProblemType::FileNotHere => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/file-not-here",
                "This node does not have the file",
            ),
            ProblemType::LogNotHere => (
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/log-not-here",
                "This node cannot read that part of its log",
            ),
            ProblemType::NotAcceptable => {
                (StatusCode::NOT_ACCEPTABLE, "/problems/not-acceptable", "Not in a form that you accept")
            }
            ProblemType::NotAQuery => {
                (StatusCode::BAD_REQUEST, "/problems/not-a-query", "The application does not answer this")
            }
            ProblemType::NoLeader => {
                (StatusCode::SERVICE_UNAVAILABLE, "/problems/no-leader", "No leader confirms the read")
            }
            ProblemType::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, "/problems/timeout", "The state was not there in time")
            }
            ProblemType::Slow => {
                (StatusCode::REQUEST_TIMEOUT, "/problems/slow", "Changes were not taken in time")
            }
            ProblemType::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "/problems/busy", "Too many reads are waiting")
            }
            ProblemType::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "/problems/stopping", "The node is stopping")
            }
            ProblemType::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "/problems/not-ready", "The node is not ready")
            }
        }
    }
}

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "<[Mistake]>::is_empty")]
    parameters: &'a [Mistake],
    /// Of what is compacted: the oldest state that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<StateNdx>,
}

impl<'a> Document<'a> {
    fn of(uri: &'a Uri, which: ProblemType, detail: &'a str) -> Document<'a> {
        let (status, r#type, title) = which.parts();
        let (status, instance) = (status.as_u16(), uri.path());
        Document { r#type, title, status, detail, instance, parameters: &[], oldest: None }
    }

    fn reply(&self, stamp: Stamp) -> Refused {
        let status = StatusCode::from_u16(self.status).expect("it was made from one");
        let mut reply = Reply::json_as(stamp, "application/problem+json", self).status(status);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            reply = reply.header(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply = reply.header(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Refused(Box::new(reply))
    }
}

/// A problem with what was asked for at `uri`.
pub(crate) fn problem(stamp: Stamp, uri: &Uri, which: ProblemType, detail: &str) -> Refused {
    Document::of(uri, which, detail).reply(stamp)
}

/// Every mistake in the query of `uri`.
pub(crate) fn mistakes(stamp: Stamp, uri: &Uri, detail: &str, mistakes: &[Mistake]) -> Refused {
    Document { parameters: mistakes, ..Document::of(uri, ProblemType::InvalidParameters, detail) }
        .reply(stamp)
}

/// Why there are no more changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StreamEnd {
    /// The node stops.
    Stopping,
    /// The client takes them too slowly.
    Slow,
    /// What comes next is forgotten.
    Compacted {
        /// The oldest state that is not.
        oldest: StateNdx,
    },
}

impl StreamEnd {
    /// The problem, its words, and the oldest state that is not forgotten.
    fn parts(self) -> (ProblemType, String, Option<StateNdx>) {
        match self {
            StreamEnd::Stopping => {
                (ProblemType::Stopping, "this node is stopping; go on at another node".to_owned(), None)
            }
            StreamEnd::Slow => {
                let detail = "changes were left untaken for too long; go on from the last id".to_owned();
                (ProblemType::Slow, detail, None)
            }
            StreamEnd::Compacted { oldest } => {
                let detail = format!(
                    "what was before state {oldest} is forgotten; read the present state and go on from there"
                );
                (ProblemType::Compacted, detail, Some(oldest))
            }
        }
    }
}

/// There are no changes to answer with.
pub(crate) fn no_changes(stamp: Stamp, uri: &Uri, end: StreamEnd) -> Refused {
    let (which, detail, oldest) = end.parts();
    Document { oldest, ..Document::of(uri, which, &detail) }.reply(stamp)
}

/// The same where the answer has begun already: the problem's document.
pub(crate) fn end_of_stream(uri: &Uri, end: StreamEnd) -> String {
    let (which, detail, oldest) = end.parts();
    let document = Document { oldest, ..Document::of(uri, which, &detail) };
    serde_json::to_string(&document).expect("a document has only text for keys")
}

/// What was asked for at `uri` is forgotten; `oldest` is not.
pub(crate) fn compacted(stamp: Stamp, uri: &Uri, oldest: StateNdx) -> Refused {
    no_changes(stamp, uri, StreamEnd::Compacted { oldest })
}

/// What the gateway could not answer.
pub(crate) fn gateway_problem(stamp: Stamp, uri: &Uri, error: &GatewayError) -> Refused {
    let which = match error {
        GatewayError::UnknownApp { .. } => ProblemType::UnknownApp,
        GatewayError::NoLeader { .. } => ProblemType::NoLeader,
        GatewayError::Timeout { .. } => ProblemType::Timeout,
        GatewayError::NotAQuery { .. } => ProblemType::NotAQuery,
        GatewayError::Busy { .. } => ProblemType::Busy,
        GatewayError::LogNotHere { .. } => ProblemType::LogNotHere,
        GatewayError::Stopping { .. } => ProblemType::Stopping,
    };
    let stamp = error.state_ndx().map_or(stamp, Stamp::of);
    problem(stamp, uri, which, &error.to_string())
}
