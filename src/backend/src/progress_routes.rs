//! Over HTTPS: what has become of a command, and how far a change has come.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use synod_types::limits::COMMAND_WAIT_MS_MAX;
use synod_types::{AppNdx, Refusal, RefusalCode, StateNdx};

use crate::forms::{ChangeForm, WaitingForm};
use crate::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::problem::Problem;
use crate::progress::{CommandName, CommandProgress};
use crate::routes::{JSON, OCTET_STREAM, json, mentions, receipt};
use crate::shared::Shared;

/// The routes of progress.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/commands/{app_ndx}/{commander}/{seq}/{command}", get(command))
        .route("/v1/changes/{app_ndx}/{state_ndx}", get(change))
}

/// Where a command that waits can be asked for.
pub(crate) fn location(command: CommandName) -> String {
    let CommandName { app, commander, seq, id } = command;
    format!("/v1/commands/{app}/{commander}/{seq}/{id}")
}

/// What is said of a command that waits.
pub(crate) fn waiting(command: CommandName) -> Response {
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, JSON)], json(&WaitingForm::from(command))).into_response()
}

/// `GET /v1/commands/{appNdx}/{commander}/{seq}/{commandId}`: what has become of a command.
async fn command(
    State(shared): State<Arc<Shared>>,
    Path((app, commander, seq, id)): Path<(String, String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let command = CommandName {
        app: segment("appNdx", &app)?,
        commander: segment("commander id", &commander)?,
        seq: segment("seq", &seq)?,
        id: segment("command id", &id)?,
    };
    let prefer = Prefer::read(&headers);
    let progress = shared.progress.command(command, wait(&prefer, &uri)?).await?;
    let response = match progress {
        CommandProgress::Executed(found) => {
            let wants_bytes = mentions(&headers, header::ACCEPT, OCTET_STREAM);
            // The receipt was asked for, and here it is: 200, whatever came of the command.
            receipt(&found, wants_bytes, StatusCode::OK)
        }
        CommandProgress::Waiting => waiting(command),
        CommandProgress::Unknown => {
            let detail = "this node has not executed such a command, and none waits here; submit the same bytes \
                          again, at any node, to learn what became of it";
            return Err(Problem::http(StatusCode::NOT_FOUND, "unknown-command", detail));
        }
    };
    Ok(with_preferences(response, &prefer))
}

/// `GET /v1/changes/{appNdx}/{stateNdx}`: which nodes have come so far.
async fn change(
    State(shared): State<Arc<Shared>>,
    Path((app, state_ndx)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (app, state_ndx): (AppNdx, StateNdx) = (segment("appNdx", &app)?, segment("stateNdx", &state_ndx)?);
    let prefer = Prefer::read(&headers);
    let progress = shared.progress.change(app, state_ndx, wait(&prefer, &uri)?).await?;
    let form = ChangeForm::new(app, state_ndx, &progress);
    let response = ([(header::CONTENT_TYPE, JSON)], json(&form)).into_response();
    Ok(with_preferences(response, &prefer))
}

/// Says what was followed, and that the answer may be another one a moment later.
fn with_preferences(mut response: Response, prefer: &Prefer) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // An answer to these questions never comes at once and another one later: that is asked of commands alone.
    let wait = Prefer { respond_async: false, ..*prefer };
    if let Some(applied) = wait.applied() {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    response
}

/// How long to wait: as the query says, as on the readers' port, or else the header.
fn wait(prefer: &Prefer, uri: &Uri) -> Result<Duration, Refusal> {
    let Some(query) = uri.query() else { return Ok(prefer.wait().unwrap_or_default()) };
    let most = COMMAND_WAIT_MS_MAX / 1000;
    let seconds = query.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.filter(|seconds| *seconds <= most).ok_or_else(|| {
        let text = format!("the query is {query:?}, and may be wait= with whole seconds, 0 to {most}, only");
        Refusal::new(RefusalCode::Malformed, text)
    })?;
    Ok(Duration::from_secs(seconds))
}

fn segment<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(RefusalCode::Malformed, format!("in the path, {text:?} is no {what}: {error}"))
    })
}
