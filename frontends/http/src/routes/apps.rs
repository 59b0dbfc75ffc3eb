//! `/v1/apps`: the applications.

use serde::Serialize;
use synod_gateway::{AppDoor, Leader, View};
use synod_types::{AppNdx, Slot, StateNdx, TimeMs};

use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// One application, from one state.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct App<'a> {
    app_ndx: AppNdx,
    name: &'a str,
    kind: &'static str,
    state_ndx: StateNdx,
    /// The hash chain's value at `state_ndx`.
    chain: String,
    /// The last slot that was applied.
    applied: Slot,
    /// The time of the last decree, milliseconds since 1970.
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

/// `GET /v1/apps`
pub(super) async fn all(ask: Ask) -> Outcome {
    #[derive(Serialize)]
    struct Apps<'a> {
        apps: Vec<App<'a>>,
    }
    ask.without_parameters()?;
    let apps = ask.gateway.apps().iter().map(|door| App::of(door, &door.view())).collect();
    Ok(Reply::json(Stamp::of_all(&ask.gateway), &Apps { apps }))
}

/// `GET /v1/apps/{app}`
pub(super) async fn one(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let read = ask.read_of(door)?;
    let view =
        ask.gateway.view(door.ndx(), read).await.map_err(|error| ask.refused_by_gateway(door, &error))?;
    Ok(Reply::json(Stamp::of(view.state_ndx), &App::of(door, &view)))
}
