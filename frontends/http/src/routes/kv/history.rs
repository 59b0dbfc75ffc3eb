//! `/v1/apps/{app}/history/{key}`: what a key held, as far as it is remembered.

use bytes::Bytes;
use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvQuery, KvVersion};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use super::{KeyPath, LIMIT_DEFAULT, next_page, query_kv, text_or_base64};
use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

/// One page of versions, the latest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryPage<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    versions: Vec<VersionView<'a>>,
    /// The oldest state that is remembered.
    #[schema(value_type = u64)]
    oldest: StateNdx,
    /// Whether there are versions before these.
    more: bool,
    /// The address of the next page.
    next: Option<String>,
}

/// What a key held from a state on; nothing, if it was removed there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyVersion)]
struct VersionView<'a> {
    /// The state that changed it.
    #[schema(value_type = u64)]
    changed: StateNdx,
    /// Whether it was removed there.
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The state that made the key, after it last did not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    created: Option<StateNdx>,
    /// The lease with which it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    lease: Option<StateNdx>,
}

impl VersionView<'_> {
    fn of(version: &KvVersion) -> VersionView<'_> {
        let KvVersion { changed, entry } = version;
        let (value, value_base64) = entry.as_ref().map(|entry| text_or_base64(&entry.value)).unzip();
        VersionView {
            changed: *changed,
            removed: entry.is_none(),
            value: value.flatten(),
            value_base64: value_base64.flatten(),
            created: entry.as_ref().map(|entry| entry.created),
            lease: entry.as_ref().and_then(|entry| entry.lease),
        }
    }
}

/// Which versions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `history` takes")]
struct HistoryParameters {
    /// Only what the key held before this stateNdx.
    #[param(nullable = false)]
    before: Option<u64>,
    /// At most so many versions.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// What a key held, the latest first, as far as it is remembered.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/history/{*key}",
    operation_id = "getKeyHistory",
    tag = "Key-value",
    params(AppPath, KeyPath, HistoryParameters, ReadParameters),
    responses((status = 200, description = "One page", body = HistoryPage)),
)]
pub(crate) async fn history(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let read = parameters.read();
    let before = parameters.state_ndx("before");
    let limit = parameters.limit(KV_RANGE_ENTRIES_MAX);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    let key = ask.rest(door)?;

    let limit_or_default = limit.unwrap_or(LIMIT_DEFAULT);
    let query = KvQuery::History { key: Bytes::copy_from_slice(&key), before, limit: limit_or_default };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let KvAnswer::History { versions, more, oldest } = answer else {
        unreachable!("a history is answered by a history, not by {answer:?}");
    };
    if versions.is_empty() && before.is_none() {
        let (app, key) = (door.ndx(), String::from_utf8_lossy(&key));
        let detail = format!("application {app} had no key {key:?} from state {oldest} to state {state_ndx}");
        return Err(problem(Stamp::of(state_ndx), &ask.uri, ProblemType::NoSuchKey, &detail));
    }
    let next = versions.last().filter(|_| more).map(|last| {
        let before = last.changed.to_string();
        next_page(&ask, read, state_ndx, &[("before", before.as_bytes())], &[("limit", limit.map(u64::from))])
    });
    let ((key, key_base64), versions) =
        (text_or_base64(&key), versions.iter().map(VersionView::of).collect());
    let page = HistoryPage { app_ndx: door.ndx(), state_ndx, key, key_base64, versions, oldest, more, next };
    Ok(Reply::json(Stamp::of(state_ndx), &page))
}
