//! `/v1/apps/{app}/kv`: keys, in the present state or an earlier one.

use bytes::Bytes;
use serde::Serialize;
use synod_app_kv::{Kv, KvAnswer, KvEntry, KvQuery};
use synod_types::limits::KV_RANGE_ENTRIES_MAX;
use synod_types::{AppNdx, StateNdx};
use utoipa::{IntoParams, ToSchema};

use super::super::proof::{self, ProofParameters, ProvedEntry};
use super::{AtParameters, EntryView, KeyPath, LIMIT_DEFAULT, next_page, query_kv, read_at};
use crate::ask::{AppPath, Ask};
use crate::etag::{EntityTag, IfNoneMatch};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

const RAW: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// A key in JSON: by itself, or with `proof=1` with its proof.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `key` answers with")]
enum KeyView<'a> {
    Entry(EntryView<'a>),
    Proved(Box<ProvedEntry<'a>>),
}

/// The value of a key: its bytes, or with `Accept: application/json` all that is known of it.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/kv/{*key}",
    operation_id = "getKey",
    tag = "Key-value",
    params(AppPath, KeyPath, AtParameters, ReadParameters, ProofParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The value",
            content((Vec<u8> = "application/octet-stream"), (KeyView = "application/json")),
            headers(
                ("ETag" = String, description = "Of this value: the states that made and last changed the key"),
                ("Last-Change" = u64, description = "The stateNdx that last changed the key: what a compare-and-set expects"),
            ),
        ),
        (
            status = 304,
            description = "The client has this value",
            headers(("ETag" = String), ("Last-Change" = u64)),
        ),
    ),
)]
pub(crate) async fn key(ask: Ask) -> Outcome {
    let door = ask.app_of_kind(Kv::KIND)?;
    let mut parameters = ask.parameters();
    let proof = proof::asked(&mut parameters);
    let (read, at) = read_at(&mut parameters);
    ask.finish(parameters, || Stamp::of(door.state_ndx()))?;
    let key = ask.rest(door)?;
    if let Some(min) = proof {
        return proof::key(&ask, door, &key, min).await;
    }
    let form = ask.acceptable(|| Stamp::of(door.state_ndx()), &[RAW, JSON])?;
    let query = KvQuery::Get { key: Bytes::copy_from_slice(&key), at };
    let (state_ndx, answer) = query_kv(&ask, door, read, &query).await?;
    let stamp = Stamp::of(state_ndx);
    let KvAnswer::Get(entry) = answer else {
        unreachable!("a key is answered by one entry, not by {answer:?}");
    };
    let Some(entry) = entry else {
        let (key, state_ndx) = (String::from_utf8_lossy(&key), at.unwrap_or(state_ndx));
        let detail = format!("application {} has no key {key:?} in state {state_ndx}", door.ndx());
        return Err(problem(stamp, &ask.uri, ProblemType::NoSuchKey, &detail));
    };
    let KvEntry { created, changed, .. } = entry;
    let (reply, tag) = if form == JSON {
        (
            Reply::json(stamp, &EntryView::of(&entry)),
            EntityTag::strong(format_args!("{created}-{changed}.json")),
        )
    } else {
        (Reply::bytes(stamp, RAW, entry.value), EntityTag::strong(format_args!("{created}-{changed}")))
    };
    Ok(reply.tagged(&tag, &ask.headers).last_change(changed).varies_by_accept())
}

/// One page of entries.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntriesPage<'a> {
    #[schema(value_type = u32)]
    app_ndx: AppNdx,
    #[schema(value_type = u64)]
    state_ndx: StateNdx,
    /// The state that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    at: Option<StateNdx>,
    entries: Vec<EntryView<'a>>,
    /// Whether there are entries behind these.
    more: bool,
    /// The address of the next page, from this state or a later one.
    next: Option<String>,
}

/// Which keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `range` takes")]
struct RangeParameters {
    /// Only keys that begin with this.
    #[param(nullable = false)]
    prefix: Option<String>,
    /// Only keys behind this one.
    #[param(nullable = false)]
    after: Option<String>,
    /// At most so many entries.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<u32>,
}

/// Entries in the order of their keys.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/kv",
    operation_id = "listKeys",
    tag = "Key-value",
    params(AppPath, RangeParameters, AtParameters, ReadParameters, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "One page",
            body = EntriesPage,
            headers(("ETag" = String, description = "Of this page in this state of the application")),
        ),
        (status = 304, description = "The client has this page", headers(("ETag" = String))),
    ),
)]
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
    Ok(Reply::json(Stamp::of(state_ndx), &page).tagged(&EntityTag::strong(state_ndx), &ask.headers))
}
