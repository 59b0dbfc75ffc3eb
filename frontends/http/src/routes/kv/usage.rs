//! `/v1/apps/{app}/usage`: how full an application is.

use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvQuery, KvUsage};
use synod_types::{AppNdx, StateNdx};

use super::query_kv;
use crate::ask::Ask;
use crate::reply::{Outcome, Reply, Stamp};

/// How full an application is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageAnswer {
    app_ndx: AppNdx,
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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryUsage {
    /// The oldest state that can be read and watched from.
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

/// `GET /v1/apps/{app}/usage`
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
