//! `/v1/apps/{app}/log`: what was chosen, in the order of the slots, for whoever executes it again.

use axum::http::header::{HeaderValue, VARY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use synod_types::limits::LOG_PAGE_DECREES_MAX;
use synod_types::{AppNdx, Decree, LogPage, SignedCommand, Slot, StateNdx, TimeMs};
use tokio::sync::OwnedSemaphorePermit;

use super::zones::acceptable;
use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Decrees in a page whose length the client does not say.
const LIMIT_DEFAULT: u64 = 1000;

/// `GET /v1/apps/{app}/log?after=&limit=`
pub(super) async fn page(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let form = acceptable(&ask, door, &[BYTES, JSON])?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let after = parameters.number("after", 0..=u64::MAX).map_or(Slot(0), Slot);
    let limit = parameters.number("limit", 1..=LOG_PAGE_DECREES_MAX).unwrap_or(LIMIT_DEFAULT);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let place = ask.place_for_file(door)?;
    let read = ask.gateway.log(door.ndx(), read, after, limit).await;
    let (view, page) = read.map_err(|error| ask.refused_by_gateway(door, &error))?;
    let body = if form == JSON {
        let json = PageView::of(&page, view.state_ndx, limit);
        serde_json::to_vec(&json).expect("what is answered here has only text for keys")
    } else {
        page.encode()
    };
    // The page holds its place until it is sent.
    let body = Bytes::from_owner(Sent { body, _place: place });
    Ok(Reply::bytes(Stamp::of(view.state_ndx), form, body).header(VARY, HeaderValue::from_static("accept")))
}

struct Sent {
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageView {
    app_ndx: AppNdx,
    state_ndx: StateNdx,
    /// The last slot that this node has applied.
    applied: Slot,
    decrees: Vec<DecreeView>,
    /// Where the log goes on; `null` where it ends here, for now.
    next: Option<String>,
}

/// What a slot holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecreeView {
    slot: Slot,
    /// The time of a batch, milliseconds since 1970; `null`: the slot executes nothing.
    time_ms: Option<TimeMs>,
    commands: Vec<CommandView>,
}

/// A command as it was submitted; each part in base64.
#[derive(Serialize)]
struct CommandView {
    body: String,
    signature: String,
    key: String,
}

impl PageView {
    fn of(page: &LogPage, state_ndx: StateNdx, limit: u64) -> PageView {
        let last = page.decrees.last().map(|(slot, _)| *slot).filter(|last| *last < page.applied);
        PageView {
            app_ndx: page.app,
            state_ndx,
            applied: page.applied,
            decrees: page.decrees.iter().map(|(slot, decree)| DecreeView::of(*slot, decree)).collect(),
            next: last.map(|last| format!("/v1/apps/{}/log?after={last}&limit={limit}", page.app)),
        }
    }
}

impl DecreeView {
    fn of(slot: Slot, decree: &Decree) -> DecreeView {
        let time_ms = match decree {
            Decree::Noop => None,
            Decree::Batch(batch) => Some(batch.time),
        };
        DecreeView { slot, time_ms, commands: decree.commands().iter().map(CommandView::of).collect() }
    }
}

impl CommandView {
    fn of(command: &SignedCommand) -> CommandView {
        CommandView {
            body: BASE64.encode(&command.body),
            signature: BASE64.encode(&command.signature),
            key: BASE64.encode(&command.key),
        }
    }
}
