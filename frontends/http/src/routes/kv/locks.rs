//! `/v1/apps/{app}/locks/{name}`: who holds a lock or is elected, and who waits.

use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvQuery, KvSelection, lock};
use synod_gateway::Read;
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::{LIMIT_DEFAULT, query_kv, text_or_base64};
use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::reply::{Outcome, Reply, Stamp};

/// A lock, or an election.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LockAnswer<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    /// Who holds it; `null`: it is free.
    holder: Option<PlaceView<'a>>,
    /// The first ones of those who wait, in their order.
    waiting: Vec<PlaceView<'a>>,
    /// How many wait.
    waiting_count: u64,
}

/// Who stands in the queue.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PlaceInLock)]
struct PlaceView<'a> {
    /// The state that put it in the queue: whoever comes later has a higher one.
    #[schema(value_type = u64)]
    fencing_token: StateNdx,
    /// The lease with which it ends.
    #[schema(value_type = Option<u64>)]
    lease: Option<StateNdx>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl PlaceView<'_> {
    fn of(entry: &KvEntry) -> PlaceView<'_> {
        let (value, value_base64) = text_or_base64(&entry.value);
        PlaceView { fencing_token: entry.created, lease: entry.lease, value, value_base64 }
    }
}

/// The lock in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::rest` finds")]
struct LockPath {
    /// The name of the lock or election, percent-encoded; any bytes.
    #[param(example = "nightly")]
    name: String,
}

/// What to tell of a lock, and when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `lock` takes")]
struct LockParameters {
    /// Answer once something has changed behind this stateNdx, or when `wait` is over.
    #[param(nullable = false)]
    after: Option<u64>,
    /// Show at most so many places.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// Who holds a lock or is elected, and who waits. With `after`, once something has changed behind that state, or when the
/// time is over.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/locks/{*name}",
    operation_id = "getLock",
    tag = "Key-value",
    params(AppPath, LockPath, LockParameters, ReadParameters),
    responses((status = 200, description = "The lock", body = LockAnswer)),
)]
pub(crate) async fn lock(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let after = parameters.state_ndx("after");
    let limit = parameters.limit(KV_RANGE_ENTRIES_MAX);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    let name = ask.rest(door)?;
    let prefix = lock::prefix(&name);

    let read = Read { min: read.min.max(after), ..read };
    if let Some(after) = after {
        let deadline = Instant::now() + read.wait;
        let selection = KvSelection::Prefix(prefix.clone());
        let mut follower = ask.follow(door, selection, Some(after), read.wait).await?;
        // Behind a state that is forgotten, something may have changed.
        while follower.look(1, 1).is_ok_and(|page| page.events.is_empty()) {
            if !matches!(timeout_at(deadline, follower.more()).await, Ok(Ok(_turn))) {
                break;
            }
        }
    }
    let query = KvQuery::Queue { prefix, limit: limit.unwrap_or(LIMIT_DEFAULT) };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let KvAnswer::Queue { entries, count } = answer else {
        unreachable!("a queue is answered by a queue, not by {answer:?}");
    };
    let (name, name_base64) = text_or_base64(&name);
    let mut places = entries.iter().map(PlaceView::of);
    let answer = LockAnswer {
        app_ndx: door.ndx(),
        state_ndx,
        name,
        name_base64,
        holder: places.next(),
        waiting: places.collect(),
        waiting_count: count.saturating_sub(1),
    };
    Ok(Reply::json(Stamp::of(state_ndx), &answer))
}
