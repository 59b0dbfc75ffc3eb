//! `/v1/apps/{app}/watch`: what changes, as a stream of events or, asked again and again, page by page.

use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, VARY};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use synod_app_kv::{Kv, KvSelection};
use synod_gateway::Read;
use synod_types::limits::{KV_RANGE_BYTES_MAX, KV_RANGE_ENTRIES_MAX};
use synod_types::{AppNdx, StateNdx};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::parameters::Parameters;
use crate::problem::no_changes;
use crate::reply::{Outcome, Reply, Stamp};
use crate::watch::{Page, StateChangesView, event_stream};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// What a client that comes back has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy (nginx) to pass on what comes as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// States in a page where the client does not say how many.
const LIMIT_DEFAULT: u32 = 100;

/// One page of changes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangesPage<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// Everything behind this state…
    #[schema(value_type = u64)]
    after: StateNdx,
    /// …up to this one is in here: what to give for `after` next.
    #[schema(value_type = u64)]
    through: StateNdx,
    /// Whether there may be more already.
    more: bool,
    /// In their order; those that changed no such key are left out.
    #[schema(value_type = Vec<StateChangesView>)]
    states: Vec<&'a RawValue>,
}

/// Which changes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `watch` takes")]
struct WatchParameters {
    /// Of the keys that begin with this; without it and without `key`, of every key.
    #[param(nullable = false)]
    prefix: Option<String>,
    /// Of this key; not beside `prefix`.
    #[param(nullable = false)]
    key: Option<String>,
    /// What has changed behind this stateNdx; by default, behind the present one.
    #[param(nullable = false)]
    after: Option<u64>,
    /// Of pages: at most so many states.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
    /// Seconds to wait for the state in `after`, and of pages, for something to tell; fractions allowed.
    #[param(minimum = 0, maximum = 30, default = 5, nullable = false)]
    wait: Option<f64>,
}

/// Where a stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what `last_event_id` reads")]
struct LastEventId {
    /// The id of the last event that the client has; takes the place of `after`.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<u64>,
}

/// What changes, as it changes: page by page, or with `Accept: text/event-stream` as a stream of events (`change`,
/// `bookmark`, `end`), each with a stateNdx as its id.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/watch",
    operation_id = "watchKeys",
    tag = "Key-value",
    params(AppPath, WatchParameters, LastEventId),
    responses((
        status = 200,
        description = "As soon as there is something in it, or empty when the time is over; or a stream",
        content((ChangesPage = "application/json"), (String = "text/event-stream")),
    )),
)]
pub(super) async fn watch(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let stamp = || Stamp::of(door.state_ndx());
    let mut parameters = ask.parameters();
    let selection = selection(&mut parameters);
    let after = parameters.state_ndx("after");
    let after = last_event_id(&ask, &mut parameters).or(after);
    let limit = parameters.limit(KV_RANGE_ENTRIES_MAX).unwrap_or(LIMIT_DEFAULT);
    let wait = parameters.seconds("wait", Read::WAIT_MAX).unwrap_or(Read::WAIT_DEFAULT);
    ask.finish(parameters, stamp)?;
    let form = ask.acceptable(stamp, &[JSON, EVENTS])?;

    let deadline = Instant::now() + wait;
    let mut follower = ask.follow(door, selection, after, wait).await?;
    let after = follower.through();
    let gone = |end| no_changes(stamp(), &ask.uri, end);
    let reply = if form == EVENTS {
        // What is forgotten is refused before the stream begins.
        let first = follower.look(limit, KV_RANGE_BYTES_MAX).map_err(gone)?;
        let stamp = Stamp::of(first.state_ndx);
        let body = event_stream(follower, after, &first, ask.uri.clone());
        Reply::body(stamp, EVENTS, body).header(X_ACCEL_BUFFERING, HeaderValue::from_static("no"))
    } else {
        let mut page = follower.look(limit, KV_RANGE_BYTES_MAX).map_err(gone)?;
        while page.events.is_empty() {
            let Ok(more) = timeout_at(deadline, follower.more()).await else { break };
            let _turn = more.map_err(gone)?;
            page = follower.look(limit, KV_RANGE_BYTES_MAX).map_err(gone)?;
        }
        json(door.ndx(), after, &page)
    };
    Ok(reply
        .header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(VARY, HeaderValue::from_static("accept, last-event-id")))
}

/// `key` or `prefix`; without either, every key.
fn selection(parameters: &mut Parameters<'_>) -> KvSelection {
    let prefix = parameters.bytes("prefix");
    match (parameters.bytes("key"), prefix) {
        (Some(_), Some(_)) => {
            parameters.mistake(b"key", "is given beside \"prefix\": only one of them can be".to_owned());
            KvSelection::Prefix(Bytes::new())
        }
        (Some(key), None) => KvSelection::Key(Bytes::copy_from_slice(&key)),
        (None, prefix) => KvSelection::Prefix(Bytes::copy_from_slice(&prefix.unwrap_or_default())),
    }
}

/// What a client that comes back gives, which it does of itself, counts more than what its address says.
fn last_event_id(ask: &Ask, parameters: &mut Parameters<'_>) -> Option<StateNdx> {
    let value = ask.headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty())?;
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    if id.is_none() {
        parameters.mistake(b"Last-Event-ID", "is a header that must be a stateNdx".to_owned());
    }
    id
}

fn json(app_ndx: AppNdx, after: StateNdx, page: &Page) -> Reply {
    let Page { events, through, state_ndx } = page;
    let states = events.iter().map(|event| &*event.data).collect();
    let page = ChangesPage {
        app_ndx,
        state_ndx: *state_ndx,
        after,
        through: *through,
        more: through < state_ndx,
        states,
    };
    Reply::json(Stamp::of(*state_ndx), &page)
}
