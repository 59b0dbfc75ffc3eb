//! What the commanders' port answers over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use synod_types::limits::{
    BACKEND_HTTP_READ_MS_MAX, BACKEND_HTTP_REQUESTS_MAX, COMMAND_BYTES_MAX, COMMAND_WAIT_MS_MAX,
};
use synod_types::{
    AppNdx, CommandBody, CommandId, CommanderId, Digest, Outcome, Receipt, Refusal, RefusalCode,
    SignedCommand, wire,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::counters::count;
use crate::forms::{NextSeqForm, ReceiptForm, command_from_json};
use crate::intake::{Answer, Answered};
use crate::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::problem::Problem;
use crate::progress::CommandName;
use crate::shared::Shared;
use crate::{content_routes, progress_routes};

/// The state that an answer speaks of.
const STATE_NDX: HeaderName = HeaderName::from_static("state-ndx");
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";
pub(crate) const JSON: &str = "application/json";
/// Bytes of a body: base64 takes four bytes for three, and the form around it a little.
const BODY_BYTES_MAX: usize = COMMAND_BYTES_MAX.div_ceil(3) * 4 + 256;
/// How long a command may take: what the node allows, and a little for the way.
const ANSWER_WAIT: Duration = Duration::from_millis(COMMAND_WAIT_MS_MAX + 2_000);

/// Every route.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let room = Arc::new(Semaphore::new(BACKEND_HTTP_REQUESTS_MAX));
    let limited = middleware::from_fn_with_state((shared.clone(), room), within_limits);
    Router::new()
        .route("/v1/commands", post(submit))
        .route("/v1/seq/{app_ndx}/{commander}", get(next_seq))
        .merge(progress_routes::routes())
        .merge(content_routes::routes(shared.clone()))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(limited)
        .with_state(shared)
}

/// Counts a request, and works on so many at a time and no more: before its body is read.
async fn within_limits(
    State((shared, room)): State<(Arc<Shared>, Arc<Semaphore>)>,
    request: Request,
    next: Next,
) -> Response {
    count(&shared.counters.http_requests);
    let held = room.try_acquire();
    match held {
        Ok(held) => {
            let response = next.run(request).await;
            // Who waits for this takes nobody's room.
            drop(held);
            let is_forged = response.status() == StatusCode::UNAUTHORIZED;
            shared.slow_down(usize::from(is_forged)).await;
            response
        }
        Err(_) => {
            let text = "too many requests are in progress at this node; try again later or elsewhere";
            Problem::from(Refusal::new(RefusalCode::Busy, text)).into_response()
        }
    }
}

/// `POST /v1/commands`: executes a signed command.
async fn submit(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let wants_bytes = mentions(request.headers(), header::ACCEPT, OCTET_STREAM);
    let prefer = Prefer::read(request.headers());
    let command = read_command(request).await?;
    let body = command.body.clone();
    let mut response = match execute(&shared, command, prefer.wait()).await {
        Some(Ok(receipt)) => answer(&receipt, wants_bytes),
        Some(Err(refusal)) => return Err(Problem::from(refusal)),
        None => accepted(&body)?,
    };
    if let Some(applied) = prefer.applied() {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn answer(found: &Receipt, wants_bytes: bool) -> Response {
    match &found.outcome {
        Outcome::Done(_) => receipt(found, wants_bytes, StatusCode::OK),
        Outcome::Refused(_) if wants_bytes => receipt(found, wants_bytes, StatusCode::CONFLICT),
        Outcome::Refused(refusal) => {
            let mut response = Problem::executed(refusal, found).into_response();
            response.headers_mut().insert(STATE_NDX, found.state_ndx.0.into());
            response
        }
    }
}

/// A receipt, whatever came of its command.
pub(crate) fn receipt(found: &Receipt, wants_bytes: bool, status: StatusCode) -> Response {
    let (content_type, body) = if wants_bytes {
        (OCTET_STREAM, wire::encode(found))
    } else {
        (JSON, json(&ReceiptForm::from(found)))
    };
    let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
    response.headers_mut().insert(STATE_NDX, found.state_ndx.0.into());
    response
}

/// A command that the node has taken, and that is not executed yet: where to ask for it.
fn accepted(body: &Bytes) -> Result<Response, Refusal> {
    // It was verified, and so decoded, before.
    let CommandBody { app, commander, seq, .. } =
        CommandBody::decode(body).map_err(|error| Refusal::new(RefusalCode::Malformed, error))?;
    let command = CommandName { app, commander, seq, id: CommandId(Digest::of(&[body])) };
    let mut response = progress_routes::waiting(command);
    let location = HeaderValue::from_str(&progress_routes::location(command));
    response.headers_mut().insert(header::LOCATION, location.expect("digits and slashes are a value"));
    Ok(response)
}

/// Verifies a command, hands it to the node and waits, as long as the node does or for `wait` only; `None`: that is over.
/// Its room is given back when the node answers, also if the client has left by then.
async fn execute(shared: &Arc<Shared>, command: SignedCommand, wait: Option<Duration>) -> Option<Answered> {
    let bytes = match shared.admit(&command) {
        Ok(bytes) => bytes,
        Err(refusal) => {
            let answered = Err(refusal);
            shared.answered(0, &answered);
            return Some(answered);
        }
    };
    let (sender, receiver) = oneshot::channel();
    let counting = shared.clone();
    let answer = Answer::from_fn(move |answered| {
        counting.answered(bytes, &answered);
        // The client may have left.
        let _ = sender.send(answered);
    });
    shared.execute(vec![(command, answer)]).await;
    match timeout(wait.unwrap_or(ANSWER_WAIT), receiver).await {
        Ok(Ok(answered)) => Some(answered),
        Err(_) if wait.is_some() => None,
        Ok(Err(_)) | Err(_) => {
            let text = "the command was not executed in time; submit the same bytes again to find out";
            Some(Err(Refusal::new(RefusalCode::Timeout, text)))
        }
    }
}

/// Reads the command in the body, in either form.
async fn read_command(request: Request) -> Result<SignedCommand, Problem> {
    let is_json = mentions(request.headers(), header::CONTENT_TYPE, JSON);
    if !is_json && !mentions(request.headers(), header::CONTENT_TYPE, OCTET_STREAM) {
        let detail = format!("send a command as {OCTET_STREAM} or {JSON}");
        return Err(Problem::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let body = read_body(request).await?;
    if is_json {
        command_from_json(&body).map_err(malformed)
    } else {
        wire::decode(&body).map_err(|error| malformed(error.to_string()))
    }
}

async fn read_body(request: Request<Body>) -> Result<Bytes, Problem> {
    let limit = Duration::from_millis(BACKEND_HTTP_READ_MS_MAX);
    match timeout(limit, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BytesRejection::FailedToBufferBody(error)))
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE =>
        {
            let text = format!("a command has at most {COMMAND_BYTES_MAX} bytes");
            Err(Problem::from(Refusal::new(RefusalCode::TooLarge, text)))
        }
        Ok(Err(error)) => Err(Problem::from(Refusal::new(RefusalCode::Malformed, error))),
        Err(_) => {
            let detail = format!("the body did not arrive within {BACKEND_HTTP_READ_MS_MAX} ms");
            Err(Problem::http(StatusCode::REQUEST_TIMEOUT, "slow-request", detail))
        }
    }
}

/// `GET /v1/seq/{appNdx}/{commander}`: the next seq of a commander in an application.
async fn next_seq(
    State(shared): State<Arc<Shared>>,
    Path((app, commander)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let app: AppNdx = app.parse().map_err(|error| malformed(format!("{app:?} is not an appNdx: {error}")))?;
    let commander: CommanderId = commander.parse().map_err(|error| malformed(format!("{error}")))?;
    let seq = shared.intake.next_seq(app, commander)?;
    let form = NextSeqForm { app_ndx: app.0, seq: seq.0 };
    Ok(([(header::CONTENT_TYPE, JSON)], json(&form)).into_response())
}

async fn no_such_route() -> Problem {
    let detail = "this port has POST /v1/commands; GET /v1/commands/{appNdx}/{commander}/{seq}/{commandId}, \
                  /v1/changes/{appNdx}/{stateNdx} and /v1/seq/{appNdx}/{commander}; and /v1/content/{appNdx}/{key} for files";
    Problem::http(StatusCode::NOT_FOUND, "no-such-route", detail)
}

async fn no_such_method() -> Problem {
    let detail = "POST to /v1/commands; GET what is below it, /v1/changes and /v1/seq; PUT, POST or GET \
                  /v1/content/{appNdx}/{key}; PUT its pieces";
    Problem::http(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", detail)
}

/// What cannot be read.
fn malformed(why: String) -> Problem {
    Problem::from(Refusal::new(RefusalCode::Malformed, why))
}

/// The bytes of a form.
pub(crate) fn json<T: serde::Serialize>(form: &T) -> Vec<u8> {
    serde_json::to_vec(form).expect("strings and numbers always serialize")
}

/// Whether a header names a media type; parameters and preferences do not matter here.
pub(crate) fn mentions(headers: &HeaderMap, name: HeaderName, media_type: &str) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|part| {
            part.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type))
        })
    })
}
