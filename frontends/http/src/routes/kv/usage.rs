//! `/v1/apps/{app}/usage`: how full an application is.

use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvQuery, KvUsage};
use synod_types::{AppNdx, StateNdx};
use utoipa::ToSchema;

use super::query_kv;
use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::reply::{Outcome, Reply, Stamp};

/// How full an application is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageAnswer {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    keys: u64,
    /// Bytes that the keys count for.
    bytes: u64,
    /// How many these may be: growth beyond it is refused.
    quota_bytes: u64,
    leases: u64,
    history: HistoryUsage,
}

/// How much of the past is remembered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryUsage {
    /// The oldest state that can be read and watched from.
    #[schema(value_type = u64)]
    oldest: StateNdx,
    /// States whose changes are remembered, and at most so many are.
    states: u64,
    states_max: u64,
    /// Bytes that they count for, and at most so many do.
    bytes: u64,
    bytes_max: u64,
    /// Milliseconds for which they are remembered.
    age_max_ms: u64,
}

/// How full an application is, and how much of the past it remembers.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/usage",
    operation_id = "getUsage",
    tag = "Key-value",
    params(AppPath, ReadParameters),
    responses((status = 200, description = "What there is, and how much there may be", body = UsageAnswer)),
)]
pub(crate) async fn usage(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let read = ask.read_of(door)?;
    let (state_ndx, answer) = query_kv(&ask, door, read, &KvQuery::Usage).await?;
    let KvAnswer::Usage(KvUsage {
        keys,
        bytes,
        quota_bytes,
        leases,
        oldest,
        history_states,
        history_bytes,
        history_max,
    }) = answer
    else {
        unreachable!("usage is answered by usage, not by {answer:?}");
    };
    let history = HistoryUsage {
        oldest,
        states: history_states,
        states_max: history_max.states,
        bytes: history_bytes,
        bytes_max: history_max.bytes,
        age_max_ms: history_max.age_ms,
    };
    let answer = UsageAnswer { app_ndx: door.ndx(), state_ndx, keys, bytes, quota_bytes, leases, history };
    Ok(Reply::json(Stamp::of(state_ndx), &answer))
}
