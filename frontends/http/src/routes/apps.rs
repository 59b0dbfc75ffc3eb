//! `/v1/apps`: the applications.

use serde::Serialize;
use synod_gateway::{AppDoor, Leader, View};
use synod_types::{AppNdx, Slot, StateNdx, TimeMs};
use utoipa::ToSchema;

use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::reply::{Outcome, Reply, Stamp};

/// One application, from one state.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct App<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    name: &'a str,
    kind: &'static str,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The hash chain's value at `state_ndx`.
    chain: String,
    /// The last slot that was applied.
    #[schema(value_type = u64)]
    applied: Slot,
    /// The time of the last decree, milliseconds since 1970.
    #[schema(value_type = u64)]
    time_ms: TimeMs,
    /// `null` while nobody is known to lead.
    leader: Option<Leader>,
}

impl App<'_> {
    fn of<'a>(door: &'a AppDoor, view: &View) -> App<'a> {
        App {
            app_ndx: door.ndx(),
            name: door.name(),
            kind: door.kind(),
            state_ndx: view.state_ndx,
            chain: view.chain.to_string(),
            applied: view.applied,
            time_ms: view.time,
            leader: door.leader().map(|leader| Leader::clone(&leader)),
        }
    }
}

/// All applications.
#[derive(Serialize, ToSchema)]
pub(super) struct Apps<'a> {
    apps: Vec<App<'a>>,
}

/// Every application.
#[utoipa::path(
    get,
    path = "/v1/apps",
    operation_id = "listApps",
    tag = "Applications",
    responses((status = 200, description = "All of them, in the order of their numbers", body = Apps)),
)]
pub(super) async fn all(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let apps = ask.gateway.apps().iter().map(|door| App::of(door, &door.view())).collect();
    Ok(Reply::json(Stamp::of_all(&ask.gateway), &Apps { apps }))
}

/// One application.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}",
    operation_id = "getApp",
    tag = "Applications",
    params(AppPath, ReadParameters),
    responses((status = 200, description = "The application", body = App)),
)]
pub(super) async fn one(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let read = ask.read_of(door)?;
    let view =
        ask.gateway.view(door.ndx(), read).await.map_err(|error| ask.refused_by_gateway(door, &error))?;
    Ok(Reply::json(Stamp::of(view.state_ndx), &App::of(door, &view)))
}
