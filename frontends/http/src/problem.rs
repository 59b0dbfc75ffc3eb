//! Errors as clients get them: problem+json (RFC 9457). `type` is stable and is what a program looks at; it is an
//! address relative to this server.

use axum::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use synod_gateway::GatewayError;
use synod_types::StateNdx;
use utoipa::ToSchema;

use crate::parameters::Mistake;
use crate::reply::{Refused, Reply, Stamp};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Defines [`ProblemType`] from one line each: status, the type's name, title. Its comment is what `/problems/{name}` says
/// of it.
macro_rules! problem_types {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $status:ident, $name:literal, $title:literal;)+) => {
        /// Which problem. The numbers and names are part of what clients rely on.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum ProblemType {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl ProblemType {
            /// All of them.
            pub(crate) const ALL: &[ProblemType] = &[$(ProblemType::$variant,)+];

            /// What is known of it.
            pub(crate) fn description(self) -> Description {
                match self {
                    $(ProblemType::$variant => Description {
                        status: StatusCode::$status,
                        r#type: concat!("/problems/", $name),
                        title: $title,
                        meaning: concat!($($meaning),+),
                    },)+
                }
            }
        }
    };
}

problem_types! {
    /// There is nothing at this address.
    NotFound = NOT_FOUND, "not-found", "No such address";
    /// Something else than reading was asked for; commands are signed and go to the commanders' port.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This port only reads";
    /// A request with a body; the connection is closed.
    BodyNotAllowed = PAYLOAD_TOO_LARGE, "body-not-allowed", "A request here has no body";
    /// The address is longer than any key needs.
    UriTooLong = URI_TOO_LONG, "uri-too-long", "The address is too long";
    /// A part of the path is not what belongs there: a % without two hex digits, no zone's name, no stateNdx or no content key.
    InvalidPath = BAD_REQUEST, "invalid-path", "The path cannot be decoded";
    /// Query parameters that are unknown, repeated or out of bounds; `parameters` lists them.
    InvalidParameters = BAD_REQUEST, "invalid-parameters", "Query parameters do not fit";
    /// A header that is not what belongs there: no State-Vector.
    InvalidHeader = BAD_REQUEST, "invalid-header", "A header does not fit";
    /// The cluster has no such application; /v1/apps lists those that it has.
    UnknownApp = NOT_FOUND, "unknown-app", "No such application";
    /// The application is of another kind than the address is for.
    WrongKind = NOT_FOUND, "wrong-kind", "The application is of another kind";
    /// There is no such key in the state that State-Ndx says.
    NoSuchKey = NOT_FOUND, "no-such-key", "No such key";
    /// There is no such lease, or it is over.
    NoSuchLease = NOT_FOUND, "no-such-lease", "No such lease";
    /// There is no such zone in the state that State-Ndx says.
    NoSuchZone = NOT_FOUND, "no-such-zone", "No such zone";
    /// What the zone held in that state is no longer known, or not yet.
    NoSuchVersion = NOT_FOUND, "no-such-version", "What the zone held then is not known";
    /// The application has forgotten what was in that state; `oldest` is the oldest one that it remembers.
    Compacted = GONE, "compacted", "What was in that state is forgotten";
    /// No state of the application refers to a file with that key.
    NoSuchFile = NOT_FOUND, "no-such-file", "No state refers to such a file";
    /// This node has no snapshot of the application that a majority has signed: none was made yet, so the log goes back to
    /// the first slot.
    NoSuchSnapshot = NOT_FOUND, "no-such-snapshot", "There is no certified snapshot";
    /// This node has no certificate of that state: it was not signed, or is not kept any more, or too few have signed it yet.
    NoSuchCertificate = NOT_FOUND, "no-such-certificate", "There is no such certificate";
    /// A zone file that cannot be compared, since it does not load.
    BrokenZone = CONFLICT, "broken-zone", "The zone's file does not load";
    /// This node does not have a file that it should have; another one does.
    FileNotHere = SERVICE_UNAVAILABLE, "file-not-here", "This node does not have the file";
    /// That part of the log was cut off; what it made is in the node's snapshots.
    LogCut = GONE, "log-cut", "That part of the log was cut off";
    /// This node cannot read that part of its log; another one can.
    LogNotHere = SERVICE_UNAVAILABLE, "log-not-here", "This node cannot read that part of its log";
    /// The client takes none of the forms that there are.
    NotAcceptable = NOT_ACCEPTABLE, "not-acceptable", "Not in a form that you accept";
    /// The application does not understand the question.
    NotAQuery = BAD_REQUEST, "not-a-query", "The application does not answer this";
    /// Nobody confirms a linearizable read at the moment.
    NoLeader = SERVICE_UNAVAILABLE, "no-leader", "No leader confirms the read";
    /// The state was not there in time; State-Ndx says how far the node is.
    Timeout = GATEWAY_TIMEOUT, "timeout", "The state was not there in time";
    /// Of a stream: events were left untaken for too long.
    Slow = REQUEST_TIMEOUT, "slow", "Changes were not taken in time";
    /// Too many reads wait at this node, too many follow changes, or too many files or pages of a log are being read.
    Busy = SERVICE_UNAVAILABLE, "busy", "Too many reads are waiting";
    /// This node came to another state than a majority did; another one answers.
    Diverged = SERVICE_UNAVAILABLE, "diverged", "This node differs from the others";
    /// The application is in a process of its own, which is not there on this node just now; another one answers.
    Away = SERVICE_UNAVAILABLE, "application-away", "The application is away";
    /// The node stops; another one answers.
    Stopping = SERVICE_UNAVAILABLE, "stopping", "The node is stopping";
    /// The node cannot answer for every application yet; another one can.
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "The node is not ready";
}

/// A kind of problem, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Description {
    pub(crate) status: StatusCode,
    /// The address that stands for it.
    pub(crate) r#type: &'static str,
    pub(crate) title: &'static str,
    /// As it stands in the source: begins with a space.
    meaning: &'static str,
}

impl Description {
    /// The last part of its address.
    pub(crate) fn name(&self) -> &'static str {
        self.r#type.trim_start_matches("/problems/")
    }

    /// When it happens.
    pub(crate) fn meaning(&self) -> &'static str {
        self.meaning.trim_start()
    }
}

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    /// Which problem; `/problems` lists them all.
    #[schema(example = "/problems/no-such-key")]
    r#type: &'static str,
    /// What it is called; the same for all of a type.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong this time, and what to do.
    detail: &'a str,
    /// The path that was asked for.
    instance: &'a str,
    /// The query parameters that do not fit, up to 16.
    #[serde(skip_serializing_if = "<[Mistake]>::is_empty")]
    #[schema(required = false)]
    parameters: &'a [Mistake],
    /// Of what is compacted: the oldest state that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    oldest: Option<StateNdx>,
}

impl<'a> Problem<'a> {
    fn of(uri: &'a Uri, which: ProblemType, detail: &'a str) -> Problem<'a> {
        let Description { status, r#type, title, .. } = which.description();
        let (status, instance) = (status.as_u16(), uri.path());
        Problem { r#type, title, status, detail, instance, parameters: &[], oldest: None }
    }

    fn reply(&self, stamp: Stamp) -> Refused {
        let status = StatusCode::from_u16(self.status).expect("it was made from one");
        let mut reply = Reply::json_as(stamp, PROBLEM_JSON, self).status(status);
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
    Problem::of(uri, which, detail).reply(stamp)
}

/// Every mistake in the query of `uri`.
pub(crate) fn mistakes(stamp: Stamp, uri: &Uri, detail: &str, mistakes: &[Mistake]) -> Refused {
    Problem { parameters: mistakes, ..Problem::of(uri, ProblemType::InvalidParameters, detail) }.reply(stamp)
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
    Problem { oldest, ..Problem::of(uri, which, &detail) }.reply(stamp)
}

/// The same where the answer has begun already: the problem's document.
pub(crate) fn end_of_stream(uri: &Uri, end: StreamEnd) -> String {
    let (which, detail, oldest) = end.parts();
    let document = Problem { oldest, ..Problem::of(uri, which, &detail) };
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
        GatewayError::LogCut { .. } => ProblemType::LogCut,
        GatewayError::LogNotHere { .. } => ProblemType::LogNotHere,
        GatewayError::Stopping { .. } => ProblemType::Stopping,
        GatewayError::Diverged { .. } => ProblemType::Diverged,
        GatewayError::Away { .. } => ProblemType::Away,
    };
    let stamp = error.state_ndx().map_or(stamp, Stamp::of);
    problem(stamp, uri, which, &error.to_string())
}
