//! `/v1/apps/{app}/log`: what was chosen, in the order of the slots, for whoever executes it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use synod_types::limits::LOG_PAGE_DECREES_MAX;
use synod_types::{AppNdx, Decree, LogPage, SignedCommand, Slot, StateNdx, TimeMs};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::reply::{Outcome, Reply, Stamp};

const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Decrees in a page whose length the client does not say.
const LIMIT_DEFAULT: u64 = 1000;

/// Which part of the log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `page` takes")]
struct LogParameters {
    /// Only decrees behind this slot.
    #[param(default = 0, nullable = false)]
    after: Option<u64>,
    /// At most so many decrees.
    #[param(minimum = 1, maximum = 4096, default = 1000, nullable = false)]
    limit: Option<u64>,
}

/// What was chosen and is applied here, in the order of the slots: what `synod audit` executes again, or with
/// `Accept: application/json` the same in JSON.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/log",
    operation_id = "getLog",
    tag = "Applications",
    params(AppPath, LogParameters, ReadParameters),
    responses((
        status = 200,
        description = "One page",
        content((Vec<u8> = "application/octet-stream"), (PageView = "application/json")),
    )),
)]
pub(super) async fn page(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[BYTES, JSON])?;
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
    Ok(Reply::bytes(Stamp::of(view.state_ndx), form, body).varies_by_accept())
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

/// One page of the log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogPage)]
pub(super) struct PageView {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The last slot that this node has applied.
    #[schema(value_type = u64)]
    applied: Slot,
    decrees: Vec<DecreeView>,
    /// Where the log goes on; `null` where it ends here, for now.
    next: Option<String>,
}

/// What a slot holds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Decree)]
struct DecreeView {
    #[schema(value_type = u64)]
    slot: Slot,
    /// The time of a batch, milliseconds since 1970; `null`: the slot executes nothing.
    #[schema(value_type = Option<u64>)]
    time_ms: Option<TimeMs>,
    commands: Vec<CommandView>,
}

/// A command as it was submitted; each part in base64.
#[derive(Serialize, ToSchema)]
#[schema(as = Command)]
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
            Decree::Noop | Decree::Seal(_) => None,
            Decree::Batch(batch) => Some(batch.time),
        };
        DecreeView { slot, time_ms, commands: decree.commands().iter().map(CommandView::of).collect() }
    }
}

impl CommandView {
    fn of(command: &SignedCommand) -> CommandView {
        CommandView {
            body: BASE64.encode(&command.body[..]),
            signature: BASE64.encode(&command.signature),
            key: BASE64.encode(&command.key),
        }
    }
}
