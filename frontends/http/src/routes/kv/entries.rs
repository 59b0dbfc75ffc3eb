//! `/v1/apps/{app}/kv`: keys, in the present state or an earlier one.

use axum::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvQuery};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};

use super::{EntryView, LIMIT_DEFAULT, next_page, query_kv, read_at};
use crate::ask::Ask;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

/// The state that last changed a key.
const LAST_CHANGE: HeaderName = HeaderName::from_static("last-change");

/// `GET /v1/apps/{app}/kv/{key}?at=`
pub(crate) async fn key(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let (read, at) = read_at(&mut parameters);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    let key = ask.rest(door)?;
    let query = KvQuery::Get { key: Bytes::copy_from_slice(&key), at };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let stamp = Stamp::of(state_ndx);
    let KvAnswer::Get(entry) = answer else {
        unreachable!("a key is answered by one entry, not by {answer:?}");
    };
    let Some(KvEntry { value, changed, .. }) = entry else {
        let (key, state_ndx) = (String::from_utf8_lossy(&key), at.unwrap_or(state_ndx));
        let detail = format!("application {} has no key {key:?} in state {state_ndx}", door.ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchKey, &detail));
    };
    Ok(Reply::bytes(stamp, "application/octet-stream", value)
        .header(LAST_CHANGE, HeaderValue::from(changed.0)))
}

/// One page of entries.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntriesPage<'a> {
    app_ndx: AppNdx,
    state_ndx: StateNdx,
    /// The state that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<StateNdx>,
    entries: Vec<EntryView<'a>>,
    /// Whether there are entries behind these.
    more: bool,
    /// The address of the next page, from this state or a later one.
    next: Option<String>,
}

/// `GET /v1/apps/{app}/kv?prefix=&after=&limit=&at=`
pub(crate) async fn range(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let (read, at) = read_at(&mut parameters);
    let prefix = parameters.bytes("prefix").unwrap_or_default();
    let after = parameters.bytes("after");
    let limit = parameters.limit(KV_RANGE_ENTRIES_MAX);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;

    let query = KvQuery::Range {
        prefix: Bytes::copy_from_slice(&prefix),
        after: after.as_deref().map(Bytes::copy_from_slice),
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        at,
    };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let KvAnswer::Range { entries, more } = answer else {
        unreachable!("a range is answered by a range, not by {answer:?}");
    };
    let next = entries.last().filter(|_| more).map(|last| {
        let from: [(_, &[u8]); 2] = [("prefix", &prefix), ("after", &last.key)];
        next_page(&ask, read, state_ndx, &from, &[("limit", limit.map(u64::from)), ("at", at.map(|at| at.0))])
    });
    let entries = entries.iter().map(EntryView::of).collect();
    let page = EntriesPage { app_ndx: door.ndx(), state_ndx, at, entries, more, next };
    Ok(Reply::json(Stamp::of(state_ndx), &page))
}
