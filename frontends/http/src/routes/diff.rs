//! `…/zones/{zone}/diff`: the records that differ between what a zone held in two states.

use serde::Serialize;
use synod_app_zones::{Version, ZoneHistory, ZoneName};
use synod_gateway::AppDoor;
use synod_types::{AppNdx, StateNdx};
use synod_zone::diff::Retimed;
use synod_zone::{Diff, Faults, Record, rdata, zone_file};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::zones::{File, VersionView, ZonePath, file, held_in, history_of};
use crate::ask::Ask;
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// Records of one kind (added, removed, retimed) that one answer lists.
const LISTED_MAX: usize = 10_000;

/// Which states to compare.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `diff` takes")]
struct DiffParameters {
    /// What the zone is compared with: what it held in this stateNdx; by default, the version before `to`.
    #[param(nullable = false)]
    from: Option<u64>,
    /// What the zone held in this stateNdx; by default, what it holds now.
    #[param(nullable = false)]
    to: Option<u64>,
}

/// The records that differ between what a zone held in two states; with `Accept: text/plain`, for people.
#[utoipa::path(
    get,
    path = "/v1/zones/{zone}/diff",
    operation_id = "getZoneDiff",
    tag = "Zones",
    params(ZonePath, DiffParameters, ReadParameters),
    responses((
        status = 200,
        description = "What was added, removed, and given another TTL",
        content((DiffView = "application/json"), (String = "text/plain")),
    )),
)]
pub(super) async fn diff(ask: Ask) -> Outcome {
    let door = ask.zones_app()?;
    let zone = ask.zone(door)?;
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[JSON, TEXT])?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let from = parameters.number("from", 0..=u64::MAX).map(StateNdx);
    let to = parameters.number("to", 0..=u64::MAX).map(StateNdx);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let (state_ndx, known) = history_of(&ask, door, read, &zone).await?;
    let to = to.unwrap_or(state_ndx);
    let to_version = held_in(&ask, &zone, &known, state_ndx, to)?;
    let (from, from_version) = match from {
        Some(from) => (from, held_in(&ask, &zone, &known, state_ndx, from)?),
        None => before(&known, to),
    };

    let place = ask.place_for_comparison(door)?;
    let old = side(&ask, door, state_ndx, from_version).await?;
    let new = side(&ask, door, state_ndx, to_version).await?;
    let compared = tokio::task::spawn_blocking({
        let zone = zone.clone();
        move || compare(&zone, old, new, place)
    });
    let diff = compared.await.expect("a comparison does not panic").map_err(|faults| {
        let detail = format!("a file of zone {zone} does not load: {}", faults.first());
        problem(Stamp::of(state_ndx), &ask.uri, ProblemType::BrokenZone, &detail)
    })?;

    let stamp = Stamp::of(state_ndx);
    let reply = if form == TEXT {
        let text = text(&zone, from, to, diff);
        Reply::bytes(stamp, "text/plain; charset=utf-8", text.into())
    } else {
        Reply::json(
            stamp,
            &DiffView {
                app_ndx: door.ndx(),
                state_ndx,
                zone: zone.to_string(),
                from: Side { state_ndx: from, version: from_version.map(VersionView::of) },
                to: Side { state_ndx: to, version: to_version.map(VersionView::of) },
                added: Listed::of(&diff.added, RecordView::of),
                removed: Listed::of(&diff.removed, RecordView::of),
                retimed: Listed::of(&diff.retimed, RetimedView::of),
            },
        )
    };
    Ok(reply.varies_by_accept())
}

/// The version in front of the one that the zone had in a state, and the state that made it; of the first version, what
/// was before the zone.
fn before(known: &ZoneHistory, state_ndx: StateNdx) -> (StateNdx, Option<&Version>) {
    let mut versions = known.versions.iter().skip_while(|version| version.changed > state_ndx);
    let shown = versions.next();
    let before = versions.next();
    let began = shown.map_or(StateNdx(0), |version| StateNdx(version.changed.0.saturating_sub(1)));
    (before.map_or(began, |version| version.changed), before)
}

/// The file of a version; `None` where there was no zone.
async fn side(
    ask: &Ask,
    door: &AppDoor,
    state_ndx: StateNdx,
    version: Option<&Version>,
) -> Result<Option<File>, Refused> {
    match version.and_then(|version| version.content) {
        Some(content) => file(ask, door, state_ndx, content.key).await.map(Some),
        None => Ok(None),
    }
}

/// May take as long as reading both files does.
fn compare(
    zone: &ZoneName,
    old: Option<File>,
    new: Option<File>,
    _place: OwnedSemaphorePermit,
) -> Result<Diff, Faults> {
    let origin = zone.to_name();
    let records = |side: Option<File>| match side {
        Some(file) => zone_file::parse(&file.bytes, &origin).map(|parsed| parsed.records),
        None => Ok(Vec::new()),
    };
    Ok(synod_zone::diff(&records(old)?, &records(new)?))
}

/// Two lines of what is compared, then what differs, as much as one answer lists.
fn text(zone: &ZoneName, from: StateNdx, to: StateNdx, mut diff: Diff) -> String {
    let total = diff.added.len() + diff.removed.len() + diff.retimed.len();
    diff.added.truncate(LISTED_MAX);
    diff.removed.truncate(LISTED_MAX);
    diff.retimed.truncate(LISTED_MAX);
    let left_out = total - diff.added.len() - diff.removed.len() - diff.retimed.len();
    let more = if left_out > 0 { format!("; and {left_out} more\n") } else { String::new() };
    format!("--- {zone} in state {from}\n+++ {zone} in state {to}\n{diff}{more}")
}

/// The records that differ.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZoneDiff)]
pub(super) struct DiffView {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    zone: String,
    from: Side,
    to: Side,
    added: Listed<RecordView>,
    removed: Listed<RecordView>,
    /// RRsets whose TTL is another one, and whose records are not listed for that.
    retimed: Listed<RetimedView>,
}

/// What is compared.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ZoneDiffSide)]
struct Side {
    /// The state.
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// What the zone held there; `null`: there was no zone.
    version: Option<VersionView>,
}

/// How many there are, and the first [`LISTED_MAX`].
#[derive(Serialize, ToSchema)]
struct Listed<T> {
    count: usize,
    list: Vec<T>,
}

impl<T> Listed<T> {
    fn of<'a, S>(all: &'a [S], view: impl Fn(&'a S) -> T) -> Listed<T> {
        Listed { count: all.len(), list: all.iter().take(LISTED_MAX).map(view).collect() }
    }
}

/// A resource record.
#[derive(Serialize, ToSchema)]
#[schema(as = Record)]
struct RecordView {
    name: String,
    r#type: String,
    ttl: u32,
    /// As in a zone file, names absolute.
    data: String,
}

impl RecordView {
    fn of(record: &Record) -> RecordView {
        RecordView {
            name: record.owner.to_string(),
            r#type: record.rtype.to_string(),
            ttl: record.ttl,
            data: rdata::display(record.rtype, &record.rdata).to_string(),
        }
    }
}

/// An RRset whose TTL is another one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Retimed)]
struct RetimedView {
    name: String,
    r#type: String,
    old_ttl: u32,
    new_ttl: u32,
}

impl RetimedView {
    fn of(retimed: &Retimed) -> RetimedView {
        RetimedView {
            name: retimed.owner.to_string(),
            r#type: retimed.rtype.to_string(),
            old_ttl: retimed.old_ttl,
            new_ttl: retimed.new_ttl,
        }
    }
}
